//! The processes of the demo, each with one part in it: a service, a subscriber, the relay.
//!
//! A part reports what happens as JSON lines on standard output, and is told what to do on standard
//! input. When that ends, whoever started it is gone, and so is the part, at once.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use selvedge::directory::{self, Watched};
use selvedge::subscriber::Builder;
use selvedge::{Event, Name, Notice, Notices, Outgoing, Pattern, Publisher, Subscriber};
use selvedge::{keys, publisher};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::account::{Gap, Id};
use super::services::{self, Source};
use crate::options::Common;
use crate::{logging, output};

/// Notices that may wait to be reported.
const NOTICES: usize = 4_096;

/// How long a service may take to write what it has accepted when it pauses.
const FLUSH: Duration = Duration::from_secs(2);

/// Which process this is.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Part {
    /// Reports events of this machine
    #[command(hide = true)]
    Service {
        #[arg(long)]
        name: Name,
        #[arg(long)]
        key: PathBuf,
        #[command(subcommand)]
        source: Source,
    },
    /// Hears what others report
    #[command(hide = true)]
    Subscriber {
        #[arg(long)]
        name: Name,
        #[arg(long)]
        via: Option<Name>,
        patterns: Vec<Pattern>,
    },
    /// Says one thing through a relay, and ends
    #[command(hide = true)]
    Hook {
        #[arg(long)]
        name: Name,
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        via: Name,
        topic: String,
    },
    /// Condenses all services into one stream
    #[command(hide = true)]
    Relay {
        #[arg(long)]
        name: Name,
        #[arg(long)]
        key: PathBuf,
    },
}

/// What a part reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It runs: bound, or trying to connect.
    Ready,
    /// A message was accepted, and is kept.
    Accepted { id: Id, topic: String },
    /// So many were accepted in this epoch; all are reported, and no more come for now.
    Paused { epoch: u64, accepted: u64 },
    /// A message was handed over.
    Delivered { id: Id, topic: String },
    /// Messages were declared lost.
    Lost(Gap),
    /// A stream begins.
    Started { at: Id },
    /// Packets were refused; so far, by reason.
    Refused(BTreeMap<String, u64>),
    /// What is wrong with the directory now.
    Problems(Vec<String>),
}

/// What a part is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Say nothing more, report all that was accepted.
    Pause,
    /// Go on.
    Resume,
    /// Report what was refused so far.
    Count,
    /// Note what was heard, and end.
    Leave,
}

/// Plays a part until it is told to end.
pub fn play(part: &Part, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, false);
    let orders = orders();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let watched = directory::watch(common.directory(), None)?;
        match part.clone() {
            Part::Service { name, key, source } => {
                let mut options = publisher::Options::new(name, keys::read(&key)?);
                options.state = common.state_folder();
                service(watched, options, source, orders).await
            }
            Part::Subscriber { name, via, patterns } => {
                let to = Subscriber::to(watched.directory.clone()).name(name);
                let to = to.state(common.state_folder());
                let to = patterns.into_iter().fold(to, Builder::pattern);
                subscriber(watched, via.into_iter().fold(to, Builder::via), orders).await
            }
            Part::Hook { name, key, via, topic } => {
                let mut options = publisher::Options::new(name, keys::read(&key)?);
                options.state = common.state_folder();
                options.via = vec![via];
                hook(watched, options, &topic).await
            }
            Part::Relay { name, key } => {
                let mut config = selvedge_relay::Config::new(name, keys::read(&key)?);
                config.state = common.state_folder();
                relay(watched, config, orders).await
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

// ---- the parts ---------------------------------------------------------------------------------

async fn service(
    watched: Watched,
    options: publisher::Options,
    source: Source,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let publisher = Publisher::start(watched.directory.clone(), options)?;
    let mut events = services::start(source)?;
    report(&Report::Ready)?;
    let mut paused = false;
    loop {
        tokio::select! {
            Some(event) = events.recv() => if !paused {
                publish(&publisher, event).await?;
            },
            Some(order) = orders.recv() => match order {
                Order::Pause => {
                    paused = true;
                    publisher.flush(FLUSH).await?;
                    let (epoch, accepted) = (publisher.epoch(), publisher.accepted());
                    report(&Report::Paused { epoch, accepted })?;
                }
                Order::Resume => paused = false,
                Order::Count | Order::Leave => {}
            },
            else => return Ok(()),
        }
    }
}

async fn publish(publisher: &Publisher, event: services::Event) -> anyhow::Result<()> {
    let services::Event { topic, value } = event;
    publisher.ready().await;
    let receipt = publisher.send(Outgoing::json(topic.as_str(), &value)?)?;
    receipt.sent().await?;
    report(&Report::Accepted { id: id(receipt.id())?, topic })
}

/// What a hook, a cron job or a deploy script does.
async fn hook(watched: Watched, options: publisher::Options, topic: &str) -> anyhow::Result<()> {
    let publisher = Publisher::start(watched.directory.clone(), options)?;
    report(&Report::Ready)?;
    let topic = topic.to_owned();
    publish(&publisher, services::Event { topic, value: "done".into() }).await?;
    let (epoch, accepted) = (publisher.epoch(), publisher.accepted());
    publisher.close(FLUSH).await?;
    report(&Report::Paused { epoch, accepted })
}

async fn subscriber(
    watched: Watched,
    to: Builder,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let (notices, mut told) = mpsc::channel(NOTICES);
    let to = to.notices(Notices::to(notices));
    let (mut subscriber, mut health) = (to.connect()?, watched.health.clone());
    let mut problems = Vec::new();
    report(&Report::Ready)?;
    loop {
        tokio::select! {
            Some(event) = subscriber.next() => heard(event)?,
            Some(notice) = told.recv() => match notice {
                Notice::Started { publisher, at } => {
                    report(&Report::Started { at: id(format!("{publisher}/{at}"))? })?;
                }
                Notice::Refused { .. } => refused(&subscriber.counters().snapshot())?,
                _ => {}
            },
            Ok(()) = health.changed() => {
                let health = health.borrow_and_update().clone();
                let now: Vec<String> = health.problems.iter().map(ToString::to_string).collect();
                if now != problems {
                    problems.clone_from(&now);
                    report(&Report::Problems(now))?;
                }
            }
            Some(order) = orders.recv() => match order {
                Order::Count => refused(&subscriber.counters().snapshot())?,
                Order::Leave => return Ok(subscriber.flush().await?),
                Order::Pause | Order::Resume => {}
            },
            else => return Ok(()),
        }
    }
}

fn heard(event: Event) -> anyhow::Result<()> {
    report(&match event {
        Event::Message(message) => {
            Report::Delivered { id: id(message.id())?, topic: message.topic().to_string() }
        }
        Event::Lost(lost) => Report::Lost(Gap {
            from: id(format!("{}/{}", lost.publisher, lost.from))?,
            to: id(format!("{}/{}", lost.publisher, lost.to))?,
            reason: lost.reason.label().to_owned(),
        }),
    })
}

async fn relay(
    watched: Watched,
    mut config: selvedge_relay::Config,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let (notices, mut told) = mpsc::channel(NOTICES);
    config.notices = Notices::to(notices);
    let node = selvedge_relay::Node::start(watched.directory.clone(), config)?;
    let links = node.counters().links;
    let mut running = std::pin::pin!(node.run(CancellationToken::new()));
    report(&Report::Ready)?;
    loop {
        tokio::select! {
            () = &mut running => return Ok(()),
            Some(notice) = told.recv() => if let Notice::Refused { .. } = notice {
                refused(&links.snapshot())?;
            },
            Some(order) = orders.recv() => if let Order::Count = order {
                refused(&links.snapshot())?;
            },
        }
    }
}

// ---- the pipes ---------------------------------------------------------------------------------

/// What comes on standard input. Its end is the end of this process, whatever it does just then.
fn orders() -> mpsc::UnboundedReceiver<Order> {
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(order) = serde_json::from_str(&line) {
                let _ = sender.send(order); // on its way out
            }
        }
        std::process::exit(0);
    });
    orders
}

fn report(report: &Report) -> anyhow::Result<()> {
    output::line(&serde_json::to_string(report)?)
}

/// Why packets were refused, except as duplicates: a second path brings everything twice.
const REFUSALS: [&str; 7] =
    ["malformed", "unknown_key", "revoked", "topic_denied", "muted", "bad_proof", "bad_signature"];

fn refused(counters: &BTreeMap<&'static str, u64>) -> anyhow::Result<()> {
    let refusals = REFUSALS.iter().map(|reason| (reason, counters.get(reason)));
    let refusals = refusals.filter_map(|(reason, count)| Some((reason, *count?)));
    let refusals = refusals.filter(|(_, count)| *count > 0);
    report(&Report::Refused(refusals.map(|(why, count)| ((*why).to_owned(), count)).collect()))
}

fn id(text: String) -> anyhow::Result<Id> {
    text.parse().ok().with_context(|| format!("{text} is not an id"))
}
