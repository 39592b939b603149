//! How fast is a whole path, beside others? Each peer in turn within a run, so that what the
//! machine does meanwhile hits all of them; each publisher, relay and subscriber is a process.
//!
//! A peer is one file with two or three functions. A case is data.
#![cfg_attr(
    not(all(feature = "brokers", feature = "zenoh")),
    allow(dead_code, reason = "what only peers need that are left out")
)]

use std::fs;
use std::io::{Write as _, stderr, stdout};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use clap::builder::PossibleValuesParser;

use case::Case;
use peer::{PEERS, Peer};
use report::{Entry, Row, Skipped, Table};
use servers::SERVERS;

#[cfg(feature = "brokers")]
mod amqp;
mod case;
mod engine;
mod libzmq;
mod measure;
#[cfg(feature = "brokers")]
mod mqtt;
#[cfg(feature = "brokers")]
mod nats;
mod peer;
mod plot;
mod process;
#[cfg(feature = "brokers")]
mod redis;
mod report;
mod servers;
mod signed;
mod socket;
mod tcp;
mod window;
#[cfg(feature = "zenoh")]
mod zenoh;
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
    #[arg(long, value_name = "PEER", value_parser = names())]
    only: Vec<String>,
    /// Where the program of a server is, such as `nats=/opt/nats-server`, instead of on the PATH;
    /// may be repeated.
    #[arg(long, value_name = "PEER=FILE", value_parser = server)]
    server: Vec<(String, PathBuf)>,
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
    let (peers, skipped) = peers(&arguments)?;
    let rows = measure_all(&arguments, &peers)?;
    let entries = rows.iter().map(Entry::Row).chain(skipped.iter().map(Entry::Skipped));
    let json = serde_json::to_string_pretty(&entries.collect::<Vec<_>>())?;
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

/// Those to be measured, with the programs of the servers that they need, and those that cannot be.
fn peers(arguments: &Arguments) -> Result<(Vec<Ready>, Vec<Skipped>)> {
    let wanted = |peer: &&Peer| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == peer.name)
    };
    let (mut ready, mut skipped) = (Vec::new(), Vec::new());
    for peer in PEERS.iter().filter(wanted) {
        match peer.program(&arguments.server) {
            Ok(program) => ready.push((peer, program)),
            Err(reason) => {
                writeln!(stderr(), "{} is skipped: {reason}", peer.name)?;
                skipped.push(Skipped { peer: peer.name, skipped: reason });
            }
        }
    }
    Ok((ready, skipped))
}

/// A peer, and its server.
type Ready = (&'static Peer, Option<PathBuf>);

fn measure_all(arguments: &Arguments, peers: &[Ready]) -> Result<Vec<Row>> {
    let (runs, seconds) = match arguments.smoke {
        true => (1, arguments.seconds / 50.0),
        false => (arguments.runs.get(), arguments.seconds),
    };
    let named = |case: &Case| arguments.case.iter().all(|part| case.to_string().contains(part));
    let cases: Vec<Case> = case::all(seconds).into_iter().filter(named).collect();
    let all = || cases.iter().flat_map(|case| peers.iter().map(move |ready| (case, ready)));
    let pairs = || all().filter(|(case, (peer, _))| peer.can(case));
    ensure!(pairs().count() > 0, "no such case");
    let mut outcomes = vec![Vec::new(); pairs().count()];
    for run in 1..=runs {
        for ((case, (peer, program)), outcomes) in pairs().zip(&mut outcomes) {
            writeln!(stderr(), "run {run} of {runs}: {case}, {}", peer.name)?;
            let outcome = process::measure(peer, program.as_deref(), case);
            outcomes.push(outcome.with_context(|| format!("{case}, {}", peer.name))?);
        }
    }
    Ok(pairs().zip(&outcomes).map(|((case, (peer, _)), all)| Row::new(peer, case, all)).collect())
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(PEERS.iter().map(|peer| peer.name))
}

/// A server by its name, and where its program is.
fn server(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("it has the form PEER=FILE")?;
    let names = SERVERS.map(|server| server.name);
    if !names.contains(&name) {
        return Err(format!("it is one of {}", names.join(", ")));
    }
    Ok((name.to_owned(), path.into()))
}
