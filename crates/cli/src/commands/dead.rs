//! `selvedge dead`: messages that a subscriber could not handle.

use std::process::ExitCode;

use anyhow::bail;
use selvedge::dead::{Letter, Letters};
use selvedge::{Name, cursor};
use serde::Serialize;

use crate::options::Common;
use crate::output;

/// Look at what a named subscriber could not handle, and hand it over again
///
/// Such messages are kept in the subscriber's state folder: name it with --state if it is another.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List them: id, when it was given up, tries, topic, and what the handler said
    List {
        /// The subscriber
        name: Name,
    },
    /// Hand them over again when the subscriber starts next, before anything new
    Requeue {
        /// The subscriber
        name: Name,
        /// Which of them, as listed; or --all
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// A letter as JSON.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    topic: &'a str,
    time: String,
    tries: u32,
    why: &'a str,
    requeued: bool,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::List { name } => list(&letters(common, name)?, common.json),
        What::Requeue { name, ids, all } => requeue(&letters(common, name)?, ids, *all),
    }
}

fn letters(common: &Common, name: &Name) -> anyhow::Result<Letters> {
    let state = common.state_folder();
    if let Ok(None) = cursor::read(&state, name) {
        bail!("no subscriber {name} in {}; name another folder with --state", state.display());
    }
    Ok(Letters::of(&state, name))
}

fn list(letters: &Letters, json: bool) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for letter in letters.list()? {
        match letter {
            Ok(letter) => output::line(&shown(&letter, json)?)?,
            Err(error) => {
                output::say(&error.to_string());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn requeue(letters: &Letters, ids: &[String], all: bool) -> anyhow::Result<ExitCode> {
    let count = match all {
        true => letters.requeue_all()?,
        false => {
            ids.iter().try_for_each(|id| letters.requeue(id))?;
            ids.len()
        }
    };
    output::say(&format!("{count} to be handed over when the subscriber starts next"));
    Ok(ExitCode::SUCCESS)
}

fn shown(letter: &Letter, json: bool) -> anyhow::Result<String> {
    let time = output::time(letter.died);
    let Letter { tries, why, requeued, .. } = letter;
    if json {
        let (id, topic) = (letter.to_string(), letter.topic.as_str());
        let line = Line { id, topic, time, tries: *tries, why, requeued: *requeued };
        return Ok(serde_json::to_string(&line)?);
    }
    let mut line = format!("{letter}  {time}  tries {tries}  {}  ", letter.topic);
    output::escape(why, &mut line);
    line.push_str(if *requeued { "  (requeued)" } else { "" });
    Ok(line)
}
