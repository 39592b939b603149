//! `selvedge tail`: verified messages as they come.

mod handle;
pub mod message;
mod msgpack;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use selvedge::directory::Directory;
use selvedge::{Event, Lost, Name, Pattern, Position, Subscriber};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::exec::Exec;
use super::{block_on, known_relays, known_services};
use crate::options::{Common, seconds};
use crate::output::{self, ReaderGone};
use crate::{logging, notices, signals};
use message::Form;

/// Messages are written when no more are at hand, or they have so many bytes.
pub const WRITE_BYTES: usize = 64 << 10;

/// How long a write may take that is under way when the command is told to end.
pub const GRACE: Duration = Duration::from_millis(500);

/// Show verified messages as they come
///
/// One JSON object a line with --json or when standard output is not a terminal: id topic publisher
/// epoch seq tseq time type headers body, or body_base64 where the body is neither text nor JSON
/// nor becomes JSON. Losses and refusals are told on standard error.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topics to show: * is one segment, a final # the rest [default: #]
    #[arg(value_name = "PATTERN")]
    patterns: Vec<Pattern>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// End after so long; a failure if --count messages did not come
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Hear this relay instead of the services themselves; may be repeated
    #[arg(long, value_name = "RELAY")]
    via: Vec<Name>,
    /// Show only what this service says; may be repeated
    #[arg(long, value_name = "SERVICE")]
    from: Vec<Name>,
    #[command(flatten)]
    exec: Exec,
    /// With --exec: remember under this name what was handled, and go on there next time
    ///
    /// What is not handled is tried five times more, then put aside as a dead letter. One process at
    /// a time may use a name.
    #[arg(long, value_name = "NAME", requires = "exec", conflicts_with = "keep_going")]
    cursor: Option<Name>,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, false);
    block_on(tail(args, common))
}

async fn tail(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let stop = signals::shutdown()?;
    // No service: nothing is kept unless there is a place for it.
    let watched = common.watch(common.state.as_deref())?;
    let now = watched.directory.borrow().clone();
    known_relays(&now, &args.via)?;
    known_services(&now, &args.from)?;
    let patterns = or_all(&args.patterns);
    tell_who_speaks(&now, &patterns, &args.from);
    let (notices, told) = notices::channel();
    tokio::spawn(notices::tell_each(told, |line| output::say(&line.text)));
    let mut subscriber = Subscriber::to(watched.directory.clone()).notices(notices);
    subscriber = patterns.into_iter().fold(subscriber, |builder, p| builder.pattern(p));
    subscriber = args.from.iter().cloned().fold(subscriber, |builder, name| builder.from(name));
    subscriber = args.via.iter().cloned().fold(subscriber, |builder, name| builder.via(name));

    let (deadline, wanted) = (args.timeout.map(|after| Instant::now() + after), args.count);
    if let Some(handler) = args.exec.handler(&stop) {
        if let Some(name) = &args.cursor {
            subscriber = subscriber.name(name.clone()).state(common.state_folder());
        }
        let handling = handle::Handling {
            handler,
            keep_going: args.exec.keep_going,
            left: wanted.map(NonZeroU64::get),
            deadline,
            stop,
        };
        let ended = match args.cursor.is_some() {
            true => handling.run(subscriber.connect()?).await?,
            false => handling.each(subscriber.connect()?).await?,
        };
        return Ok(code(ended, wanted));
    }

    // On a task of its own, so that a write that nobody takes does not stop us from ending.
    let screen =
        Screen { form: form(common), left: args.count.map(NonZeroU64::get), text: Vec::new() };
    let mut shown = tokio::spawn(screen.show(subscriber.connect()?, deadline, stop.clone()));
    let end = tokio::select! {
        end = &mut shown => end??,
        () = output::reader_gone() => return Err(ReaderGone.into()),
        () = stop.cancelled() => {
            let _ = timeout(GRACE, shown).await; // whoever asked us to end does not want to wait
            return Ok(ExitCode::SUCCESS);
        }
    };
    Ok(code(end, wanted))
}

fn code(end: End, wanted: Option<NonZeroU64>) -> ExitCode {
    match (end, wanted) {
        (End::Late { left: Some(left) }, Some(wanted)) => {
            output::say(&format!("{} of {wanted} messages came in time", wanted.get() - left));
            ExitCode::FAILURE
        }
        (End::Unhandled, _) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// These patterns, or all topics if there are none.
pub fn or_all(patterns: &[Pattern]) -> Vec<Pattern> {
    match patterns.is_empty() {
        true => vec![Pattern::all()],
        false => patterns.to_vec(),
    }
}

/// Says how many may say what is wanted, and which patterns nobody's topics match.
pub fn tell_who_speaks(directory: &Directory, patterns: &[Pattern], from: &[Name]) {
    let mut speakers = BTreeSet::new();
    for pattern in patterns {
        let who = directory.who_may_say(pattern);
        let who: Vec<&Name> = who.filter(|n| from.is_empty() || from.contains(n)).collect();
        if who.is_empty() {
            let who = if from.is_empty() { "nobody in the directory" } else { "none of --from" };
            output::say(&format!("{who} may say anything that matches {pattern}"));
        }
        speakers.extend(who);
    }
    let all = directory.services().count();
    output::say(&format!("{} of {all} services may say what is wanted", speakers.len()));
}

pub fn form(common: &Common) -> Form {
    match io::stdout().is_terminal() && !common.json {
        true => Form::Text { colour: output::colour_wanted() },
        false => Form::Json,
    }
}

/// Why no more messages are shown.
enum End {
    /// All that were wanted came, or somebody said stop.
    Done,
    /// The time is up, and so many are missing.
    Late { left: Option<u64> },
    /// A message was not handled, and that was told.
    Unhandled,
}

/// Shows messages.
struct Screen {
    form: Form,
    /// How many more, if anybody counts.
    left: Option<u64>,
    /// What is not written yet.
    text: Vec<u8>,
}

impl Screen {
    async fn show(
        mut self,
        mut subscriber: Subscriber,
        deadline: Option<Instant>,
        stop: CancellationToken,
    ) -> anyhow::Result<End> {
        let mut late = std::pin::pin!(at(deadline));
        let mut stopped = std::pin::pin!(stop.cancelled_owned());
        let end = loop {
            let unwritten = !self.text.is_empty();
            let event = tokio::select! {
                biased;
                () = &mut late => break End::Late { left: self.left },
                () = &mut stopped => break End::Done,
                event = subscriber.next() => event,
                // No more are at hand: whoever reads gets what there is.
                () = std::future::ready(()), if unwritten => {
                    self.write()?;
                    continue;
                }
            };
            match event {
                Some(Event::Message(message)) => {
                    self.form.write(&message, &mut self.text);
                    self.left = self.left.map(|left| left - 1);
                }
                Some(Event::Lost(lost)) => tell_lost(&lost),
                None => break End::Done,
            }
            if self.left == Some(0) {
                break End::Done;
            }
            if self.text.len() >= WRITE_BYTES {
                self.write()?;
            }
        };
        self.write()?;
        Ok(end)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        if !self.text.is_empty() {
            // It may take for ever; connections and signals are attended to meanwhile.
            tokio::task::block_in_place(|| output::print(&self.text))?;
            self.text.clear();
        }
        Ok(())
    }
}

pub fn tell_lost(lost: &Lost) {
    let Lost { publisher, from, to, reason, .. } = lost;
    let reason = reason.label();
    output::say(&lost_words(publisher.as_str(), *from, *to, reason));
}

/// The words for messages that are lost.
pub fn lost_words(publisher: &str, from: Position, to: Position, reason: &str) -> String {
    format!("lost: {publisher}/{from} up to {publisher}/{to}, not included: {reason}")
}

pub async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
