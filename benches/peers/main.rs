//! How fast is a whole path, beside others? Each peer in turn within a run, so that what the
//! machine does meanwhile hits all of them; each publisher, relay and subscriber is a process.
//!
//! A peer is one file with two or three functions. A case is data.

use std::fs;
use std::io::{Write as _, stderr, stdout};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use case::Case;
use peer::{PEERS, Peer};
use report::{Row, Table};

mod case;
mod engine;
mod libzmq;
mod measure;
mod peer;
mod plot;
mod process;
mod report;
mod signed;
mod socket;
mod tcp;
mod zeromq_crate;

/// Measures transports side by side, in separate processes on this host.
#[derive(Parser)]
struct Arguments {
    /// A fiftieth of the time, once: whether all works.
    #[arg(long)]
    smoke: bool,
    /// How often each is measured; medians are shown.
    #[arg(long, value_name = "N", default_value = "5")]
    runs: NonZeroU32,
    /// How long each publishes; four times as long in cases with a rate.
    #[arg(long, value_name = "S", default_value = "1")]
    seconds: f64,
    /// Only this peer; may be repeated.
    #[arg(long, value_name = "PEER", value_parser = PEERS.map(|peer| peer.name))]
    only: Vec<String>,
    /// Only cases with this in their name, such as `1 to 8`, `64 topics` or `/s`; may be repeated:
    /// all of them then.
    #[arg(long, value_name = "SUBSTRING")]
    case: Vec<String>,
    /// Write JSON, to standard output instead of the table if no file is given.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,
    /// Draw it, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What a process started by this one has to do.
    #[arg(long, hide = true)]
    task: Option<String>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(task) = &arguments.task {
        return process::perform(task).map(|()| ExitCode::SUCCESS);
    }
    let rows = measure_all(&arguments)?;
    let json = serde_json::to_string_pretty(&rows)?;
    match &arguments.json {
        Some(None) => writeln!(stdout(), "{json}")?,
        _ => write!(stdout(), "{}", Table(&rows))?,
    }
    if let Some(Some(file)) = &arguments.json {
        fs::write(file, json)?;
    }
    if let Some(file) = &arguments.svg {
        fs::write(file, plot::svg(&rows))?;
    }
    Ok(if rows.iter().all(Row::is_complete) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure_all(arguments: &Arguments) -> Result<Vec<Row>> {
    let (runs, seconds) = match arguments.smoke {
        true => (1, arguments.seconds / 50.0),
        false => (arguments.runs.get(), arguments.seconds),
    };
    let named = |case: &Case| arguments.case.iter().all(|part| case.to_string().contains(part));
    let cases: Vec<Case> = case::all(seconds).into_iter().filter(named).collect();
    let wanted = |peer: &&Peer| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == peer.name)
    };
    let peers: Vec<&Peer> = PEERS.iter().filter(wanted).collect();
    let all = || cases.iter().flat_map(|case| peers.iter().map(move |peer| (case, *peer)));
    let pairs = || all().filter(|(case, peer)| peer.can(case));
    ensure!(pairs().count() > 0, "no such case");
    let mut outcomes = vec![Vec::new(); pairs().count()];
    for run in 1..=runs {
        for ((case, peer), outcomes) in pairs().zip(&mut outcomes) {
            writeln!(stderr(), "run {run} of {runs}: {case}, {}", peer.name)?;
            let outcome = process::measure(peer, case);
            outcomes.push(outcome.with_context(|| format!("{case}, {}", peer.name))?);
        }
    }
    Ok(pairs().zip(&outcomes).map(|((case, peer), all)| Row::new(peer, case, all)).collect())
}
