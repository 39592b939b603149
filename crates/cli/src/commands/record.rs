//! `selvedge record`: verified messages into a file that proves itself.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use selvedge::directory::Watched;
use selvedge::inlet::{self, Inlet};
use selvedge::recording::Recorder;
use selvedge::{Name, Pattern, Start};
use selvedge_core::subscriber::Output;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::tail::{self, at, tell_lost, tell_who_speaks};
use super::{block_on, known_relays};
use crate::options::{Common, seconds};
use crate::{logging, notices, output, signals};

/// How long all who may hold something older are waited for.
const GATHER: Duration = Duration::from_secs(5);

/// Write verified messages to a file, until it is told to end
///
/// The file keeps the packets as they were signed, with keys and names: replay --file reads it on
/// any machine that has the directory, journal verify on any machine. Exit 1 if something was lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Topics to record: * is one segment, a final # the rest [default: #]
    #[arg(value_name = "PATTERN")]
    patterns: Vec<Pattern>,
    /// Hear this relay instead of the services themselves; may be repeated
    #[arg(long, value_name = "RELAY")]
    via: Vec<Name>,
    /// End with the commit that holds message number N
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// End after so long; a failure if --count messages did not come
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Where to begin: now, oldest, a time such as 2026-11-22T08:00:00Z, or so long ago, such as 2h
    #[arg(long, value_name = "WHERE", value_parser = tail::start, default_value = "now")]
    from: Start,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, false);
    block_on(record(args, common))
}

async fn record(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let stop = signals::shutdown()?;
    let watched = common.watch(common.state.as_deref())?;
    let now = watched.directory.borrow().clone();
    known_relays(&now, &args.via)?;
    let patterns = tail::or_all(&args.patterns);
    tell_who_speaks(&now, &patterns, &[]);
    let (notices, told) = notices::channel();
    tokio::spawn(notices::tell_each(told, |line| output::say(&line.text)));
    let options = inlet::Options {
        patterns: patterns.clone(),
        via: args.via.clone(),
        direct: args.via.is_empty(),
        others: if args.from == Start::Now { inlet::Start::Now } else { inlet::Start::Oldest },
        gather: if args.from == Start::Now { Duration::ZERO } else { GATHER },
        notices,
        ..inlet::Options::default()
    };
    let mut recorder = Recorder::create(&args.file, &now, patterns)?;
    let inlet = Inlet::new(watched.directory.clone(), options);
    let recorded = write(args, inlet, &watched, &mut recorder, &stop).await;
    let bytes = recorder.bytes();
    // Whatever went wrong, what came before is finished in order.
    let finished = recorder.finish();
    let Recorded { messages, lost } = recorded?;
    finished?;
    output::say(&format!("{messages} messages, {bytes} bytes in {}", args.file.display()));
    let missing = args.count.map_or(0, |count| count.get().saturating_sub(messages));
    if missing > 0 && !stop.is_cancelled() {
        let wanted = messages + missing;
        output::say(&format!("{messages} of {wanted} messages came in time"));
    }
    let failed = lost || (missing > 0 && !stop.is_cancelled());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Recorded {
    messages: u64,
    lost: bool,
}

async fn write(
    args: &Args,
    mut inlet: Inlet,
    watched: &Watched,
    recorder: &mut Recorder,
    stop: &CancellationToken,
) -> anyhow::Result<Recorded> {
    let deadline = args.timeout.map(|after| Instant::now() + after);
    let mut recorded = Recorded { messages: 0, lost: false };
    let mut outputs = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(recorded),
            () = at(deadline) => return Ok(recorded),
            () = inlet.turn(&mut outputs) => {}
        }
        let directory = watched.directory.borrow().clone();
        for output in outputs.drain(..) {
            match &output {
                Output::Lost(lost) => {
                    tell_lost(lost);
                    recorded.lost = true;
                }
                Output::Deliver(delivery) if is_early(args.from, delivery.header.time.0) => {
                    recorder.skip(delivery);
                    continue;
                }
                _ => {}
            }
            recorded.messages += tokio::task::block_in_place(|| recorder.take(output, &directory))?;
            if args.count.is_some_and(|count| recorded.messages >= count.get()) {
                return Ok(recorded);
            }
        }
    }
}

/// Whether what was sealed then, in microseconds since 1970, is too old.
fn is_early(from: Start, sealed: u64) -> bool {
    match from {
        Start::Since(time) => UNIX_EPOCH + Duration::from_micros(sealed) < time,
        Start::Now | Start::Oldest => false,
    }
}
