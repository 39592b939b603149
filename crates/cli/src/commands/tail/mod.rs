//! `selvedge tail`: verified messages as they come.

mod handle;
pub mod message;
mod msgpack;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use selvedge::directory::Directory;
use selvedge::{Event, Lost, Message, Name, Pattern, Position, Start, Subscriber};
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

/// Messages of a named tail that may wait to be written; they are, long before.
const UNWRITTEN: usize = 100_000;

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
    /// Go on where the last tail of this name ended: what was written to standard output does not
    /// come again, what was said meanwhile does. Kept in the state folder; a name for each pattern.
    /// With --exec: what was handled; what is not is tried five times more, then put aside
    #[arg(long, value_name = "NAME", conflicts_with = "keep_going")]
    name: Option<Name>,
    /// Where to begin: now, oldest, a time such as 2026-11-22T08:00:00Z, or so long ago, such as
    /// 2h; a time costs the transfer of all that is held. With --name it counts for a new name only
    /// [default: now]
    #[arg(long, value_name = "WHERE", value_parser = start)]
    start: Option<Start>,
    #[command(flatten)]
    exec: Exec,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, false);
    block_on(tail(args, common))
}

async fn tail(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let stop = signals::shutdown()?;
    // No service: nothing is kept unless there is a place, or a name, for it.
    let state = args.name.as_ref().map(|_| common.state_folder()).or(common.state.clone());
    let watched = common.watch(state.as_deref())?;
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
    subscriber = subscriber.start(args.start.unwrap_or_default());
    if let Some(name) = &args.name {
        subscriber = subscriber.name(name.clone()).explicit_acks(UNWRITTEN);
        subscriber = subscriber.state(common.state_folder());
    }

    let (deadline, wanted) = (args.timeout.map(|after| Instant::now() + after), args.count);
    if let Some(handler) = args.exec.handler(&stop) {
        let handling = handle::Handling {
            handler,
            keep_going: args.exec.keep_going,
            left: wanted.map(NonZeroU64::get),
            deadline,
            stop,
        };
        let ended = match args.name.is_some() {
            true => handling.run(subscriber.connect()?).await?,
            false => handling.each(subscriber.connect()?).await?,
        };
        return Ok(code(ended, wanted));
    }

    // On a task of its own, so that a write that nobody takes does not stop us from ending.
    let screen = Screen {
        form: form(common),
        left: args.count.map(NonZeroU64::get),
        text: Vec::new(),
        unwritten: args.name.is_some().then(Vec::new),
    };
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
    /// Its messages, if they are handled only then.
    unwritten: Option<Vec<Message>>,
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
                    self.write(&mut subscriber)?;
                    continue;
                }
            };
            match event {
                Some(Event::Message(message)) => {
                    self.form.write(&message, &mut self.text);
                    self.left = self.left.map(|left| left - 1);
                    self.unwritten.iter_mut().for_each(|all| all.push(message.clone()));
                }
                Some(Event::Lost(lost)) => tell_lost(&lost),
                None => break End::Done,
            }
            if self.left == Some(0) {
                break End::Done;
            }
            if self.text.len() >= WRITE_BYTES {
                self.write(&mut subscriber)?;
            }
        };
        self.write(&mut subscriber)?;
        subscriber.flush().await?;
        Ok(end)
    }

    fn write(&mut self, subscriber: &mut Subscriber) -> anyhow::Result<()> {
        if !self.text.is_empty() {
            // It may take for ever; connections and signals are attended to meanwhile.
            tokio::task::block_in_place(|| output::print(&self.text))?;
            self.text.clear();
        }
        let written = self.unwritten.iter_mut().flat_map(|all| all.drain(..));
        written.for_each(|message| subscriber.ack(&message));
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

/// Parses where to begin.
pub fn start(text: &str) -> Result<Start, String> {
    let ago = |duration| SystemTime::now().checked_sub(duration);
    match text {
        "now" => Ok(Start::Now),
        "oldest" => Ok(Start::Oldest),
        _ => humantime::parse_rfc3339_weak(text)
            .ok()
            .or_else(|| humantime::parse_duration(text).ok().and_then(ago))
            .map(Start::Since)
            .ok_or_else(|| "now, oldest, 2026-11-22T08:00:00Z or 2h is expected".to_owned()),
    }
}

pub async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
