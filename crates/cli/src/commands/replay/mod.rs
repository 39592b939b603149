//! `selvedge replay`: what was said, again.

mod bar;
mod fabric;
mod file;
mod pace;
mod range;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use selvedge::{Message, Name, Pattern, directory};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::exec::{Exec, Handled, Handler};
use super::tail::message::Form;
use super::tail::{self, GRACE, WRITE_BYTES, tell_who_speaks};
use super::{block_on, known_relays, known_services};
use crate::options::{Common, seconds};
use crate::output::{self, ReaderGone};
use crate::{logging, signals};
use bar::Bar;
use fabric::{Asked, Fabric};
use file::Files;
use pace::{Pace, Speed, speed};
use range::{Bound, Item, Range};

/// How long a stream may stand still unless somebody says.
const WAIT: Duration = Duration::from_secs(5);

/// Show again what was said, and end
///
/// Asks the publishers' journals, and the relays that keep one; with --file, reads a recording or a
/// journal on disk instead, as its process runs or without it. It ends at --to, or with what had
/// been said when it began. What tail shows, and as tail shows it; every message passes the same
/// checks. Exit 1 if something was lost within the range, or somebody who may have said something
/// did not answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topics to show: * is one segment, a final # the rest [default: #]
    #[arg(value_name = "PATTERN")]
    patterns: Vec<Pattern>,
    /// Read this recording, segment, or folder of a journal instead of asking the fabric
    #[arg(long, value_name = "FILE", conflicts_with_all = ["via", "wait"])]
    file: Option<PathBuf>,
    /// Begin here: a time such as 2026-11-22T19:00:00Z, or a message's id (publisher/epoch/seq);
    /// with an id, only that publisher is replayed
    #[arg(long, value_name = "TIME|ID")]
    from: Option<Bound>,
    /// End with what was said at this time, or with this message
    #[arg(long, value_name = "TIME|ID")]
    to: Option<Bound>,
    /// As fast as it was said, or N times that [default: max]
    #[arg(long, value_name = "N|max", value_parser = speed)]
    speed: Option<Speed>,
    /// Ask this relay instead of the services themselves; may be repeated
    #[arg(long, value_name = "RELAY")]
    via: Vec<Name>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Give up a publisher of which nothing came for so long [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    #[command(flatten)]
    exec: Exec,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let range = Range::new(args.from.clone(), args.to.clone());
    let range = range.unwrap_or_else(|why| {
        clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")).exit()
    });
    logging::start(common, LevelFilter::WARN, false);
    block_on(replay(args, range, common))
}

async fn replay(args: &Args, range: Range, common: &Common) -> anyhow::Result<ExitCode> {
    let stop = signals::shutdown()?;
    let patterns = tail::or_all(&args.patterns);
    let (source, bytes) = match &args.file {
        Some(file) => {
            let directory = directory::load(common.directory())?.0;
            known_services(&directory, range.publisher())?;
            let files = Files::open(file, directory, patterns, range)?;
            let bytes = files.bytes;
            (Source::Files(files), Some(bytes))
        }
        None => (Source::Fabric(ask(args, patterns, range, common)?), None),
    };
    let handler = args.exec.handler(&stop);
    let is_handled = handler.is_some();
    let player = Player {
        sink: match handler {
            Some(handler) => Sink::Handler { handler, keep_going: args.exec.keep_going },
            None => Sink::Screen { form: tail::form(common), text: Vec::new() },
        },
        left: args.count.map(NonZeroU64::get),
        pace: Pace::new(args.speed.unwrap_or(Speed::Max)),
        bar: Bar::new(bytes),
        good: true,
        stop: stop.clone(),
    };
    // On a task of its own, so that a write that nobody takes does not stop us from ending.
    let mut played = tokio::spawn(player.play(source));
    if is_handled {
        return Ok(code(played.await??));
    }
    tokio::select! {
        good = &mut played => Ok(code(good??)),
        () = output::reader_gone() => Err(ReaderGone.into()),
        () = stop.cancelled() => {
            let _ = timeout(GRACE, played).await; // whoever asked us to end does not want to wait
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ask(
    args: &Args,
    patterns: Vec<Pattern>,
    range: Range,
    common: &Common,
) -> anyhow::Result<Fabric> {
    let watched = common.watch(common.state.as_deref())?;
    let now = watched.directory.borrow().clone();
    known_relays(&now, &args.via)?;
    known_services(&now, range.publisher())?;
    let only: Vec<Name> = range.publisher().cloned().into_iter().collect();
    tell_who_speaks(&now, &patterns, &only);
    let asked = Asked {
        patterns,
        via: args.via.clone(),
        range,
        wait: args.wait.unwrap_or(WAIT),
        by_time: matches!(args.speed, Some(Speed::Times(_))),
    };
    Ok(Fabric::ask(watched, asked))
}

/// Where messages come from.
enum Source {
    Fabric(Fabric),
    Files(Files),
}

impl Source {
    /// What comes next; none at the end. Cancel safe.
    async fn next(&mut self, bar: &Bar) -> Option<Vec<Item>> {
        match self {
            Source::Fabric(fabric) => fabric.next().await,
            Source::Files(files) => {
                let batch = files.next().await?;
                bar.read(batch.read);
                Some(batch.items)
            }
        }
    }

    /// So long nothing was taken.
    fn rested(&mut self, time: Duration) {
        if let Source::Fabric(fabric) = self {
            fabric.rested(time);
        }
    }
}

/// Where they go.
enum Sink {
    Screen { form: Form, text: Vec<u8> },
    Handler { handler: Handler, keep_going: bool },
}

impl Sink {
    fn is_unwritten(&self) -> bool {
        matches!(self, Sink::Screen { text, .. } if !text.is_empty())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        match self {
            Sink::Screen { text, .. } if !text.is_empty() => {
                // It may take for ever; connections and signals are attended to meanwhile.
                tokio::task::block_in_place(|| output::print(text))?;
                text.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Takes messages from one to the other.
struct Player {
    sink: Sink,
    /// How many more, if anybody counts.
    left: Option<u64>,
    pace: Pace,
    bar: Bar,
    good: bool,
    stop: CancellationToken,
}

impl Player {
    /// To the end; whether all was good.
    async fn play(mut self, mut source: Source) -> anyhow::Result<bool> {
        let stop = self.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled());
        'all: loop {
            let is_unwritten = self.sink.is_unwritten();
            let items = tokio::select! {
                biased;
                () = &mut stopped => break,
                items = source.next(&self.bar) => items,
                // No more are at hand: whoever reads gets what there is.
                () = std::future::ready(()), if is_unwritten => {
                    self.sink.write()?;
                    continue;
                }
            };
            let Some(items) = items else { break };
            let taken = Instant::now();
            for item in items {
                match item {
                    Item::Bad { text, .. } => {
                        self.good = false;
                        self.bar.aside(|| output::say(&text));
                    }
                    Item::Note(text) => self.bar.aside(|| output::say(&text)),
                    Item::Message(message) => {
                        self.rest(&message).await?;
                        if self.stop.is_cancelled() || !self.message(&message).await? {
                            break 'all;
                        }
                    }
                }
            }
            source.rested(taken.elapsed());
        }
        self.sink.write()?;
        self.bar.end();
        Ok(self.good)
    }

    /// Whether to go on after it.
    async fn message(&mut self, message: &Message) -> anyhow::Result<bool> {
        match &mut self.sink {
            Sink::Screen { form, text } => {
                form.write(message, text);
                if text.len() >= WRITE_BYTES {
                    self.sink.write()?;
                }
            }
            Sink::Handler { handler, keep_going } => {
                let handled = handler.run(message).await?;
                if let Handled::No(why) = handled {
                    self.good = false;
                    let keep_going = *keep_going;
                    self.bar.aside(|| output::say(&format!("{message} was not handled: {why}")));
                    if !keep_going {
                        return Ok(false);
                    }
                }
            }
        }
        self.bar.shown();
        self.left = self.left.map(|left| left - 1);
        Ok(self.left != Some(0))
    }

    /// Waits until it is this message's turn.
    async fn rest(&mut self, message: &Message) -> anyhow::Result<()> {
        let Some(due) = self.pace.due(message.time, Instant::now()) else { return Ok(()) };
        self.sink.write()?;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }
}
