//! `selvedge bench`: how fast Selvedge is between two hosts.
//!
//! Two processes that each are a service of a directory made up for the occasion, and hear each
//! other: the full path, signed and verified on both sides. What they say to each other to begin
//! and to end goes the same way as what is measured, so it comes in order with it.

mod listen;
mod send;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use rustix::time::{ClockId, clock_gettime};
use selvedge::directory::{Directory, Endpoint};
use selvedge::publisher::Options;
use selvedge::{Publisher, Subscriber};
use selvedge_core::seal::SecretKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;

use super::block_on;
use crate::options::Common;
use crate::{logging, notices};

/// Measure Selvedge between two hosts
///
/// Start `selvedge bench listen` on one host, then `selvedge bench send` on the other, both with
/// the same two endpoints and the same secret. Nothing but these is needed, and nothing is left
/// behind: no directory or key of yours is used.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Listen(listen::Args),
    Send(send::Args),
}

/// Where the two are.
#[derive(Debug, clap::Args)]
struct Ends {
    /// Where the listening process is, such as tcp://a.example.org:9940
    listener: Endpoint,
    /// Where the sending process is, such as tcp://b.example.org:9940
    sender: Endpoint,
    /// Anything that nobody else knows, the same on both sides: their keys are made of it
    #[arg(long, value_name = "TEXT", env = "SELVEDGE_BENCH_SECRET", hide_env_values = true)]
    secret: String,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, common.json);
    match &args.role {
        Role::Listen(args) => block_on(listen::run(args, common)),
        Role::Send(args) => block_on(send::run(args, common)),
    }
}

// ---- what the two say --------------------------------------------------------------------------

/// What the sender says on [`ORDERS`]; repeated until it is answered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Order {
    /// Count what comes on [`DATA`], and send it back if `echo`.
    Begin { run: u64, echo: bool },
    /// That was all.
    End { run: u64 },
}

/// What the listener answers on [`ANSWERS`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Answer {
    Ready { run: u64 },
    Heard { run: u64, heard: Heard },
}

/// What came of one run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Heard {
    messages: u64,
    /// Numbers told as lost, of messages and orders.
    lost: u64,
    /// From the arrival of the first to that of the last.
    wall_ns: u64,
    /// CPU time of the whole process in between.
    cpu_ns: u64,
}

const ORDERS: &str = "bench.orders";
const ANSWERS: &str = "bench.answers";
const ECHOES: &str = "bench.echoes";

/// What the topics of what is measured begin with.
const DATA: &str = "bench.data.";

// ---- the two services --------------------------------------------------------------------------

const LISTENER: &str = "listener";
const SENDER: &str = "sender";

/// One of the two, connected to the other as soon as that is there.
struct Service {
    publisher: Publisher,
    subscriber: Subscriber,
    _state: TempDir,
}

impl Service {
    fn start(ends: &Ends, name: &str, other: &str) -> anyhow::Result<Service> {
        let state = tempfile::tempdir().context("no temporary folder")?;
        let directory = watch::channel(directory(ends)?).1;
        let mut options = Options::new(name.parse()?, key(&ends.secret, name));
        options.state = state.path().into();
        options.hold = true; // the slower side is the pace
        options.body_bytes = send::MOST_BYTES;
        let publisher = Publisher::start(directory.clone(), options)?;
        let (notices, told) = notices::channel();
        tokio::spawn(notices::tell_each(told, notices::log));
        let subscriber = Subscriber::to(directory).from(other.parse()?).notices(notices);
        let subscriber = subscriber.body_bytes(send::MOST_BYTES).connect()?;
        Ok(Service { publisher, subscriber, _state: state })
    }
}

/// Both sides make the same.
fn directory(ends: &Ends) -> anyhow::Result<Arc<Directory>> {
    let entry = |name: &str, endpoint: &Endpoint, topics: &str| {
        let key = key(&ends.secret, name).public();
        format!("[services.{name}]\nendpoint = \"{endpoint}\"\nkey = \"{key}\"\n{topics}\n")
    };
    let text = [
        "format = 1\nfabric = \"bench\"\n".to_owned(),
        entry(LISTENER, &ends.listener, "topics = [\"bench.answers\", \"bench.echoes\"]"),
        entry(SENDER, &ends.sender, "topics = [\"bench.orders\", \"bench.data.#\"]"),
    ];
    let directory = Directory::from_text("endpoints.toml", &text.concat());
    Ok(Arc::new(directory.map_err(|problems| anyhow!("{problems:?}"))?))
}

/// The key of a side: whoever does not know the secret can neither be it nor make it count.
fn key(secret: &str, name: &str) -> SecretKey {
    let seed = Sha256::new()
        .chain_update(b"selvedge/bench/key\0")
        .chain_update(name)
        .chain_update(b"\0")
        .chain_update(secret)
        .finalize();
    SecretKey::from_seed(&seed.into())
}

fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

fn cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
