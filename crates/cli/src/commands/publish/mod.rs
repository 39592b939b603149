//! `selvedge publish`: one message, or one for each line of standard input.

mod body;
mod lines;
mod receipts;
mod via;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use selvedge::directory::{self, Directory};
use selvedge::publisher::{self, PublishError};
use selvedge::{Headers, Name, Outgoing, Publisher, Receipt, Topic, keys};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::{block_on, known_services};
use crate::options::{Common, KeyFile, seconds};
use crate::{logging, output, signals};
use body::Type;
use lines::Line;
use receipts::Receipts;

/// How long what was accepted may take to be written: with the time to close, below 10 s.
const LINGER: Duration = Duration::from_secs(9);

/// How long a single message waits for a listener unless the user says.
const WAIT: Duration = Duration::from_secs(5);

/// Publish one message, or one for each line of standard input
///
/// Messages go to the subscribers that are connected when they are sent, and to a service's
/// journal, if the directory gives it one. With --body the command waits for the first subscriber
/// and fails if nobody comes, unless the message is kept. Without it, the service's socket is open
/// from the start of standard input to its end, and what is said before anybody listens is heard by
/// nobody: use --wait to hold the first line back.
///
/// With --via nothing is bound: messages are offered to a relay, and the command succeeds once that
/// has all of them on its disk. With --spool what no relay takes in time is kept, and delivered by
/// the next run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the message is about
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    topic: Option<Topic>,
    /// The service that speaks
    #[arg(long, value_name = "SERVICE")]
    name: Name,
    #[command(flatten)]
    key: KeyFile,
    /// The message; without it, each line of standard input is one
    #[arg(long, value_name = "TEXT", conflicts_with = "jsonl", allow_hyphen_values = true)]
    body: Option<String>,
    /// What the message is; msgpack is written as JSON
    #[arg(long = "type", value_name = "TYPE", default_value = "text", conflicts_with = "jsonl")]
    kind: Type,
    /// A header, such as user=amy; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    #[arg(conflicts_with = "jsonl")]
    headers: Vec<(String, String)>,
    /// Each line is {"topic": …, "body": any JSON, "headers": {…} or none}
    #[arg(long)]
    jsonl: bool,
    /// Wait so long for a subscriber before the first message, or for a relay to take all of them
    /// [default: 5 with --body or --via, else 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Offer to this relay, which must keep a journal; may be repeated: the first that takes them
    #[arg(long, value_name = "RELAY")]
    via: Vec<Name>,
    /// Keep here what no relay takes, and deliver what was kept
    #[arg(long, value_name = "DIR", requires = "via")]
    spool: Option<PathBuf>,
    /// Print a line for each message, in order, once it is where it should be: in the journal, with
    /// --via on a relay's disk, else on its way. It is the message's id, or - if it was not taken
    #[arg(long)]
    receipts: bool,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, false);
    block_on(publish(args, common))
}

async fn publish(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let stop = signals::shutdown()?;
    let format = Format::new(args)?;
    let single = args.body.as_ref().map(|body| format.message(body.as_bytes())).transpose()?;
    let state = common.state_folder();
    let watched = common.watch(Some(&state))?;
    known_services(&watched.directory.borrow(), [&args.name])?;
    let key = keys::read(&args.key.path(&args.name))?;
    let options = || {
        let mut options = publisher::Options::new(args.name.clone(), key.clone());
        options.state.clone_from(&state);
        options.via.clone_from(&args.via);
        options.hold =
            args.body.is_none() && keeps_nothing(&watched.directory.borrow(), &args.name);
        options.journal = args.spool.as_ref().map(|spool| spool.join(args.name.as_str()));
        options
    };
    let wait = args.wait.unwrap_or(WAIT);
    if !args.via.is_empty() {
        let receipts = Receipts::new(args.receipts);
        let messages = via::Messages { format: &format, single, receipts };
        return via::publish(&watched.directory, options, messages, wait, &stop).await;
    }
    let publisher = Publisher::start(watched.directory.clone(), options())?;
    let receipts = Receipts::new(args.receipts);
    let outcome = match single {
        Some(message) => one(&publisher, message, wait, &receipts, &stop).await,
        None => all(&publisher, &format, args.wait, &receipts, &stop).await,
    };
    // Whatever went wrong, what came before is sent.
    let closed = publisher.close(LINGER).await;
    receipts.end(&stop).await?;
    if let Err(unsent) = closed {
        output::say(&unsent.to_string());
        return outcome.map(|()| ExitCode::FAILURE);
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Whether what a subscriber is too slow for is in no journal, so that input has to wait for it.
fn keeps_nothing(directory: &Directory, name: &Name) -> bool {
    let service = directory.service(name.as_str());
    service.is_none_or(|service| service.journal == directory::Journal::Off)
}

/// Sends one message and makes sure that somebody got it, or that it is kept.
async fn one(
    publisher: &Publisher,
    message: Outgoing,
    wait: Duration,
    receipts: &Receipts,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let topic = message.topic().clone();
    publisher.check(&topic)?;
    let deadline = Instant::now() + wait;
    if publisher.is_journaled() {
        let receipt = send(publisher, &message).await?;
        receipts.expect(receipt.clone(), stop).await?;
        return Ok(receipt.sent().await?);
    }
    if !listened(publisher, &topic, deadline, stop).await {
        if stop.is_cancelled() {
            bail!("ended before anybody listened to {topic}; the message was not sent");
        }
        bail!(
            "nobody listened to {topic} within {} s; the message was not sent",
            wait.as_secs_f64()
        );
    }
    receipts.expect(send(publisher, &message).await?, stop).await?;
    publisher.flush(deadline.saturating_duration_since(Instant::now())).await?;
    if publisher.counters().snapshot().get("messages_written").is_none_or(|count| *count == 0) {
        bail!("whoever listened to {topic} left before the message was written");
    }
    Ok(())
}

/// Sends each line of standard input, up to its end, the first bad one, or a signal.
async fn all(
    publisher: &Publisher,
    format: &Format,
    mut wait: Option<Duration>,
    receipts: &Receipts,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if let Format::Topic { topic, .. } = format {
        publisher.check(topic)?;
    }
    let mut lines = lines::of_standard_input();
    loop {
        let batch = tokio::select! {
            batch = lines.recv() => batch,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(batch) = batch else { return Ok(()) };
        for Line { number, text } in batch.context("cannot read standard input")? {
            let at = || format!("line {number}");
            let message = format.message(&text).with_context(at)?;
            publisher.check(message.topic()).with_context(at)?;
            if let Some(wait) = wait.take()
                && !listened(publisher, message.topic(), Instant::now() + wait, stop).await
            {
                output::say(&format!("nobody listens to {} yet", message.topic()));
            }
            let receipt = send(publisher, &message).await.with_context(at)?;
            receipts.expect(receipt, stop).await?;
        }
    }
}

/// Whether somebody listens to `topic` at the deadline at the latest, or when told to end.
async fn listened(
    publisher: &Publisher,
    topic: &Topic,
    deadline: Instant,
    stop: &CancellationToken,
) -> bool {
    tokio::select! {
        listening = timeout_at(deadline, publisher.listeners(topic)) => listening.is_ok(),
        () = stop.cancelled() => false,
    }
}

/// Sends a message, once there is room for it.
async fn send(publisher: &Publisher, message: &Outgoing) -> Result<Receipt, PublishError> {
    loop {
        match publisher.send(message.clone()) {
            Err(PublishError::Full) => publisher.ready().await,
            sent => return sent,
        }
    }
}

/// How a line becomes a message.
enum Format {
    /// It is the body.
    Topic { topic: Topic, kind: Type, headers: Headers },
    /// It says all.
    Jsonl,
}

impl Format {
    fn new(args: &Args) -> anyhow::Result<Format> {
        let Some(topic) = args.topic.clone() else { return Ok(Format::Jsonl) };
        let mut headers = Headers::new();
        for (name, value) in &args.headers {
            headers.set(name, value)?;
        }
        headers.encode()?; // so that it is not the first line's fault
        Ok(Format::Topic { topic, kind: args.kind, headers })
    }

    fn message(&self, text: &[u8]) -> anyhow::Result<Outgoing> {
        match self {
            Format::Topic { topic, kind, headers } => {
                Ok(kind.message(topic.clone(), text)?.headers(headers)?)
            }
            Format::Jsonl => body::from_json_line(text),
        }
    }
}

/// Parses `NAME=VALUE`.
fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_waits_for_subscribers_where_no_journal_does() {
        let entry = |name: &str, more: &str| {
            let key = keys::generate().unwrap().public();
            format!("[services.{name}]\nkey = \"{key}\"\ntopics = [\"a\"]\n{more}\n")
        };
        let entries = entry("live", "") + &entry("kept", "journal = true");
        let text = format!("format = 1\nfabric = \"f\"\n{entries}");
        let directory = Directory::from_text("d.toml", &text).unwrap();
        let keeps_nothing = |name: &str| keeps_nothing(&directory, &name.parse().unwrap());
        assert!(keeps_nothing("live") && !keeps_nothing("kept"));
    }
}
