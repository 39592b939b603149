//! `selvedge bridge`: messages between the fabric and messaging systems that are none.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{ArgGroup, Subcommand};
use selvedge::directory::Watched;
use selvedge::{Name, Pattern, Publisher, Subscriber, keys, publisher};
use selvedge_bridge::zmq::{Endpoint, Prefix, from, to};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::tail::message;
use super::{block_on, known_relays, known_services};
use crate::options::{Common, KeyFile, seconds};
use crate::{logging, notices, signals};

/// Carry messages between the fabric and others, until it is told to end
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    other: Other,
}

#[derive(Debug, Subcommand)]
enum Other {
    Zmq(Zmq),
}

/// ZeroMQ applications that know nothing of Selvedge
///
/// With --from, what a foreign PUB or PUSH says is published under the service's own name, with the
/// header origin: [topic][payload]… or a single payload; fedmsg's envelopes are opened. What was in
/// a fabric before is not taken.
///
/// With --to, verified messages go out on a plain PUB socket as [topic][JSON], the JSON being that
/// of tail.
///
/// Let a service manager restart it and bound its memory: the foreign side is trusted more than
/// peers of the fabric are.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("direction").required(true).args(["from", "to"])))]
struct Zmq {
    /// Read the foreign publisher at this endpoint, such as tcp://old.example.org:9940
    #[arg(long, value_name = "ENDPOINT", requires = "name")]
    from: Option<Endpoint>,
    /// Bind this endpoint and put out what the fabric says
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<Endpoint>,
    /// With --from: the service that speaks
    #[arg(long, value_name = "SERVICE", conflicts_with = "to")]
    name: Option<Name>,
    #[command(flatten)]
    key: KeyFile,
    /// With --from: NEW is put before topics, OLD=NEW in the place of how they begin; all that does
    /// not begin with OLD is dropped. A payload without a topic gets NEW
    #[arg(long, value_name = "NEW", conflicts_with = "to")]
    prefix: Option<Prefix>,
    /// With --from: the peer is a PUSH, not a PUB
    #[arg(long, conflicts_with = "to")]
    pull: bool,
    /// With --from: bind the endpoint, for peers that connect
    #[arg(long, conflicts_with = "to")]
    bind: bool,
    /// With --from: connect anew after so long without a message
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    #[arg(conflicts_with_all = ["to", "bind"])]
    idle: Option<Duration>,
    /// The name of the foreign side. With --from the header origin of what is published [default:
    /// the endpoint]; with --to messages with that origin are left out
    #[arg(long, value_name = "TEXT")]
    origin: Option<String>,
    /// With --to: hear this relay instead of the services themselves; may be repeated
    #[arg(long, value_name = "RELAY", conflicts_with = "from")]
    via: Vec<Name>,
    /// With --to: topics to put out: * is one segment, a final # the rest [default: #]
    #[arg(value_name = "PATTERN", conflicts_with = "from")]
    patterns: Vec<Pattern>,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::INFO, common.json);
    let Other::Zmq(args) = &args.other;
    block_on(zmq(args, common))
}

async fn zmq(args: &Zmq, common: &Common) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let watched = common.watch(Some(&common.state_folder()))?;
    let carry = async {
        match (&args.from, &args.name, &args.to) {
            (Some(endpoint), Some(name), _) => {
                read(endpoint.clone(), name, args, common, &watched, shutdown).await
            }
            (_, _, Some(endpoint)) => feed(endpoint.clone(), args, &watched, shutdown).await,
            _ => bail!("one of --from, with --name, and --to is needed"), // clap sees to it
        }
    };
    let mut done = std::pin::pin!(carry);
    loop {
        tokio::select! {
            outcome = &mut done => return outcome.map(|()| ExitCode::SUCCESS),
            Some(()) = hang_up.recv() => watched.look(),
        }
    }
}

async fn read(
    endpoint: Endpoint,
    name: &Name,
    args: &Zmq,
    common: &Common,
    watched: &Watched,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    known_services(&watched.directory.borrow(), [name])?;
    let mut options = publisher::Options::new(name.clone(), keys::read(&args.key.path(name))?);
    options.state = common.state_folder();
    let config = from::Config {
        kind: if args.pull { from::Kind::Pull } else { from::Kind::Sub },
        bind: args.bind,
        prefix: args.prefix.clone(),
        origin: args.origin.clone(),
        idle: args.idle,
        ..from::Config::new(endpoint.clone())
    };
    let publisher = Publisher::start(watched.directory.clone(), options)?;
    let node = from::Node::start(publisher, config).await?;
    let counters = node.counters();
    tracing::info!("the bridge {name} reads {endpoint}");
    let outcome = node.run(shutdown).await;
    tracing::info!(counters = ?counters.snapshot(), "the bridge {name} has ended");
    Ok(outcome?)
}

async fn feed(
    endpoint: Endpoint,
    args: &Zmq,
    watched: &Watched,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    known_relays(&watched.directory.borrow(), &args.via)?;
    let (notices, told) = notices::channel();
    tokio::spawn(notices::tell_each(told, notices::log));
    let mut subscriber = Subscriber::to(watched.directory.clone()).notices(notices);
    subscriber = args.patterns.iter().cloned().fold(subscriber, |builder, p| builder.pattern(p));
    subscriber = args.via.iter().cloned().fold(subscriber, |builder, name| builder.via(name));
    let config = to::Config { endpoint, origin: args.origin.clone(), write: message::json };
    let node = to::Node::start(subscriber.connect()?, config).await?;
    let counters = node.counters();
    tracing::info!("the bridge feeds {}", node.endpoint());
    node.run(shutdown).await;
    tracing::info!(counters = ?counters.snapshot(), "the bridge has ended");
    Ok(())
}
