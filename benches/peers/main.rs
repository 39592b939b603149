//! How fast is a whole path, beside others? Each peer in turn within a run, so that what the
//! machine does meanwhile hits all of them; publisher and subscribers in processes of their own.
//!
//! A peer is one file with two functions. A case is data.

use std::io::{Write as _, stderr, stdout};
use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::measure::{Publishing, Subscribing};
use crate::report::{Row, Table};

mod case;
mod engine;
mod libzmq;
mod measure;
mod process;
mod report;
mod signed;
mod tcp;

/// Something that carries messages from one process to others.
pub struct Peer {
    /// How reports and `--only` call it.
    pub name: &'static str,
    /// Binds, says where, waits for its subscribers, sends every body; returns when all is taken.
    pub publish: fn(&mut Publishing) -> Result<()>,
    /// Connects there and hands over every body until no more are due, or none came for
    /// [`measure::SILENCE`].
    pub subscribe: fn(&mut Subscribing, way: &Way) -> Result<()>,
    /// Binds, says where, and sends on what the publisher says, until it is killed; none: it has
    /// nothing of the kind.
    pub forward: Option<fn(publisher: &str) -> Result<()>>,
}

/// Where messages come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Who says them.
    pub publisher: String,
    /// Who sends them on, if they are not heard directly.
    pub relay: Option<String>,
}

impl Way {
    /// Where to connect.
    pub fn endpoint(&self) -> &str {
        self.relay.as_deref().unwrap_or(&self.publisher)
    }
}

const PEERS: [Peer; 4] = [signed::PEER, engine::PEER, libzmq::PEER, tcp::PEER];

fn peer(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// Measures transports side by side, in separate processes on this host.
#[derive(Parser)]
struct Arguments {
    /// One JSON value, instead of a table.
    #[arg(long)]
    json: bool,
    /// A hundredth of the messages, once: whether all works, in seconds.
    #[arg(long)]
    smoke: bool,
    /// How often each is measured; medians are shown.
    #[arg(long, value_name = "N", default_value = "5")]
    runs: NonZeroU32,
    /// Only this one; may be repeated.
    #[arg(long, value_name = "PEER", value_parser = PEERS.map(|peer| peer.name))]
    only: Vec<String>,
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
    match arguments.json {
        true => writeln!(stdout(), "{}", serde_json::to_string_pretty(&rows)?)?,
        false => write!(stdout(), "{}", Table(&rows))?,
    }
    Ok(if rows.iter().all(Row::is_complete) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure_all(arguments: &Arguments) -> Result<Vec<Row>> {
    let cases = case::all(arguments.smoke);
    let runs = if arguments.smoke { 1 } else { arguments.runs.get() };
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|n| n == name);
    let peers: Vec<&Peer> = PEERS.iter().filter(|peer| wanted(peer.name)).collect();
    let can = |case: &Case, peer: &Peer| !case.relayed || peer.forward.is_some();
    let all = || cases.iter().flat_map(|case| peers.iter().map(move |peer| (case, *peer)));
    let pairs = || all().filter(|(case, peer)| can(case, peer));
    let mut outcomes = vec![Vec::new(); pairs().count()];
    for run in 1..=runs {
        for ((case, peer), outcomes) in pairs().zip(&mut outcomes) {
            writeln!(stderr(), "run {run} of {runs}: {}, {}", case.name, peer.name)?;
            let outcome = process::measure(peer, case);
            outcomes.push(outcome.with_context(|| format!("{}, {}", case.name, peer.name))?);
        }
    }
    Ok(pairs().zip(&outcomes).map(|((case, peer), all)| Row::new(peer.name, case, all)).collect())
}
