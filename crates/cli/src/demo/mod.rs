//! `selvedge demo`: a whole fabric on this machine, on real events, and whether its sums are right.
//!
//! Services, a relay and subscribers are processes of their own that speak over loopback. While
//! they do, the things happen that a bus must survive; then every accepted message is accounted for
//! at each subscriber. Nothing has to be set up before, and nothing is left behind.

mod account;
mod activity;
mod children;
mod fabric;
mod parts;
mod report;
mod services;
mod stage;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::options::{self, Common};
use crate::signals;
use account::{Heard, Id, Sum};
use parts::{Order, Part};
use report::{Narrator, Summary};
use stage::{Interrupted, Service, Stage};

/// Hears everything from the services themselves.
const DIRECT: &str = "direct";
/// Hears everything through the relay.
const RELAYED: &str = "relayed";
/// Hears some topics from the services themselves.
const FILTERED: &str = "filtered";
/// All who hear.
const SUBSCRIBERS: [&str; 3] = [DIRECT, RELAYED, FILTERED];
/// Hears everything, and sends it on.
const RELAY: &str = "edge";
/// What [`FILTERED`] asks for.
const FILTER: [&str; 2] = ["demo.host.load", "demo.files.#"];

/// How long a subscriber is away.
const AWAY: Duration = Duration::from_secs(3);

/// How long the last messages may take to arrive.
const SETTLE: Duration = Duration::from_secs(5);

/// The longest demo, and how long one is kept.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Show a whole fabric on this machine: real events, faults, and whether the sums are right
///
/// Services, a relay and subscribers run as processes of their own on loopback, in a temporary
/// folder; nothing has to be set up before, and nothing is left behind.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the fabric running after the report, to play with, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// How long to go on before the report
    #[arg(long, hide = true, default_value = "15", value_parser = options::seconds)]
    seconds: Duration,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Exits 0 only if everything was seen that should be, and every message is accounted for.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    if let Some(part) = &args.part {
        return parts::play(part, common);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let good = runtime.block_on(stage(args, common))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets the stage, and clears it whatever happens on it.
async fn stage(args: &Args, common: &Common) -> anyhow::Result<bool> {
    let shutdown = signals::shutdown()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let closed = shutdown.clone();
    tokio::spawn(async move {
        hangup.recv().await; // the terminal is gone
        closed.cancel();
    });
    let narrator = Narrator::new(common.json);
    let mut stage = Stage::new(narrator, common.log, shutdown)?;
    let good = act(&mut stage, args).await;
    let cleared = stage.clear().await;
    good.and_then(|good| cleared.map(|()| good))
}

async fn act(stage: &mut Stage, args: &Args) -> anyhow::Result<bool> {
    story(stage, args.seconds).await?;
    let summary = add_up(stage).await?;
    stage.narrator.summary(&summary)?;
    if args.keep {
        play_on(stage).await?;
    }
    Ok(summary.good)
}

// ---- the story ---------------------------------------------------------------------------------

async fn story(stage: &mut Stage, length: Duration) -> anyhow::Result<()> {
    let (start, length) = (Instant::now(), length.min(LONGEST));
    let at = |part: f64| start + length.mul_f64(part);

    a_fabric_starts(stage).await?;
    wait(stage, at(0.12)).await?;
    a_service_is_added(stage).await?;
    wait(stage, at(0.18)).await?;
    a_hook_speaks_through_the_relay(stage).await?;
    wait(stage, at(0.25)).await?;
    a_subscriber_goes_away(stage).await?;
    let back = Instant::now() + AWAY;
    wait(stage, at(0.33)).await?;
    a_publisher_is_killed(stage).await?;
    wait(stage, back).await?;
    the_subscriber_is_back(stage).await?;
    it_is_started_again(stage).await?;
    wait(stage, at(0.57)).await?;
    a_forger_takes_an_endpoint(stage).await?;
    wait(stage, at(0.66)).await?;
    an_insider_leaves_its_topics(stage).await?;
    wait(stage, at(0.76)).await?;
    the_directory_is_damaged(stage).await?;
    wait(stage, at(0.86)).await?;
    it_is_repaired(stage).await?;
    wait(stage, at(1.0)).await
}

async fn a_fabric_starts(stage: &mut Stage) -> anyhow::Result<()> {
    let folder = stage.fabric.folder().display().to_string();
    stage.narrator.tell(&format!("A fabric in {folder}: each of these is a process"))?;
    for name in ["host", "files", "lines"] {
        stage.fabric.add_service(name, &format!("demo.{name}.#"))?;
    }
    stage.fabric.add_relay(RELAY)?;
    let (watched, lines) = (stage.fabric.watched(), stage.fabric.lines());
    stage.start_relay(RELAY)?;
    stage.start_service("host", &["host"])?;
    stage.start_service("files", &["files", &watched.to_string_lossy()])?;
    stage.start_service("lines", &["lines", &lines.to_string_lossy()])?;
    stage.must_run(&[RELAY, "host", "files", "lines"]).await?;
    stage.start_activity();
    stage.narrator.more("services host (load, memory, disk), files (changes), lines (a file)")?;
    stage.must_happen("the first events", |stage| stage.history.accepted.len() >= 30).await?;
    stage.start_subscriber(DIRECT, None, &["#"])?;
    stage.start_subscriber(RELAYED, Some(RELAY), &["#"])?;
    stage.start_subscriber(FILTERED, None, &FILTER)?;
    stage.narrator.more(&format!(
        "relay {RELAY}; subscribers direct (to everything), relayed (through {RELAY}),"
    ))?;
    stage.narrator.more(&format!("  filtered ({})", FILTER.join(", ")))?;
    let joined = |stage: &Stage| {
        let begun = |name, of: &[&str]| {
            of.iter().all(|publisher| heard(stage, name).starts.contains_key(*publisher))
        };
        let everything = |name| begun(name, &["host", "files", "lines"]);
        everything(DIRECT) && everything(RELAYED) && begun(FILTERED, &["host", "files"])
    };
    stage.must_see("all three hear what they asked for", joined).await
}

async fn a_service_is_added(stage: &mut Stage) -> anyhow::Result<()> {
    stage.narrator.tell("A fourth service is added to endpoints.toml: net")?;
    stage.fabric.add_service("net", "demo.net.#")?;
    stage.start_service("net", &["net"])?;
    let heard = |stage: &Stage| everyone_hears(stage, "net");
    stage.must_see("heard, directly and through the relay", heard).await?;
    stage.narrator.more("nothing was restarted")
}

async fn a_hook_speaks_through_the_relay(stage: &mut Stage) -> anyhow::Result<()> {
    stage
        .narrator
        .tell("A hook, which nobody can dial, says one thing through the relay and ends")?;
    stage.fabric.add_hook("hook", "demo.hook.done")?;
    stage.start_hook("hook", RELAY, "demo.hook.done")?;
    let kept = |stage: &Stage| stage.history.complete.keys().any(|(name, _)| name == "hook");
    stage.must_see("it is in the relay's journal", kept).await?;
    let heard = |stage: &Stage| everyone_hears(stage, "hook");
    stage.must_see("and heard by all who want it", heard).await
}

async fn a_subscriber_goes_away(stage: &mut Stage) -> anyhow::Result<()> {
    let seconds = AWAY.as_secs();
    stage.narrator.tell(&format!("{RELAYED} goes away for {seconds} s"))?;
    stage.leave(RELAYED).await
}

/// While a publisher is down whose last messages it missed.
async fn the_subscriber_is_back(stage: &mut Stage) -> anyhow::Result<()> {
    stage.narrator.tell(&format!("{RELAYED} is back; host is still down"))?;
    stage.start_subscriber(RELAYED, Some(RELAY), &["#"])?;
    let missed = |stage: &Stage| {
        let has: BTreeSet<&Id> = heard(stage, RELAYED).delivered.iter().map(|(id, _)| id).collect();
        let of_host = stage.history.accepted.keys().filter(|id| id.publisher == "host");
        of_host
            .filter(|id| id.at >= heard(stage, RELAYED).starts["host"])
            .all(|id| has.contains(id))
    };
    let what = format!("the last messages of host come from the journal of {RELAY}");
    stage.must_see(&what, missed).await?;
    let lost = heard(stage, RELAYED).lost.len();
    stage.narrator.more(&format!("lost while it was away: {lost}"))
}

async fn a_publisher_is_killed(stage: &mut Stage) -> anyhow::Result<()> {
    stage.kill("host").await?;
    let said = stage.history.by_publisher().get("host").copied().unwrap_or(0);
    stage.narrator.tell(&format!("host is killed with SIGKILL, after {said} messages"))
}

async fn it_is_started_again(stage: &mut Stage) -> anyhow::Result<()> {
    let last = |heard: &Heard| {
        let of_host = heard.delivered.iter().filter(|(id, _)| id.publisher == "host");
        of_host.map(|(id, _)| id.at.epoch).max()
    };
    let before: Vec<_> = SUBSCRIBERS.iter().map(|name| last(heard(stage, name))).collect();
    stage.narrator.tell("host is started again, in a new epoch")?;
    stage.start_service("host", &["host"])?;
    let moved_on = |stage: &Stage| {
        SUBSCRIBERS.iter().zip(&before).all(|(name, before)| last(heard(stage, name)) > *before)
    };
    stage.must_see("heard again by all three", moved_on).await?;
    let losses = stage.history.losses();
    for (name, losses) in losses.iter().filter(|(_, losses)| !losses.is_empty()) {
        stage.narrator.more(&format!("{name} was told: {}", report::losses(losses)))?;
    }
    match losses.values().all(Vec::is_empty) {
        true => stage.narrator.more("nothing was lost: it is read from the journal of host"),
        false => Ok(()),
    }
}

async fn a_forger_takes_an_endpoint(stage: &mut Stage) -> anyhow::Result<()> {
    stage.narrator.tell("A forger listens at the endpoint of vault, with a key of its own")?;
    stage.fabric.add_service("vault", "demo.vault.#")?;
    let directory = stage.fabric.with_another_key("vault")?;
    let forger = Service {
        name: "vault",
        rights: None,
        directory: &directory,
        key: &stage.fabric.key("vault-forged"),
        source: &["words", "demo.vault.opened"],
    };
    stage.start_as(forger)?;
    must_be_refused(stage, "unknown_key").await
}

async fn an_insider_leaves_its_topics(stage: &mut Stage) -> anyhow::Result<()> {
    stage.narrator.tell("An insider, guest, signs demo.host.load with its own valid key")?;
    stage.fabric.add_service("guest", "demo.guest.#")?;
    let directory = stage.fabric.with_all_topics("guest", "demo.guest.#")?;
    let insider = Service {
        name: "guest",
        rights: Some("demo.guest.#"),
        directory: &directory,
        key: &stage.fabric.key("guest"),
        source: &["words", "demo.guest.hello", "demo.host.load"],
    };
    stage.start_as(insider)?;
    must_be_refused(stage, "topic_denied").await?;
    let heard = |stage: &Stage| everyone_hears(stage, "guest");
    stage.must_see("what it may say, demo.guest.hello, is heard all the same", heard).await
}

async fn the_directory_is_damaged(stage: &mut Stage) -> anyhow::Result<()> {
    stage.narrator.tell("Somebody breaks endpoints.toml")?;
    stage.fabric.damage("\n[services.typo]\nendpoint = \"tcp://127.0.0.1:1\nkey = ?\n")?;
    let alarmed = |stage: &Stage| {
        let told = |name: &&str| stage.problems.get(*name).is_some_and(|told| !told.is_empty());
        SUBSCRIBERS.iter().all(told)
    };
    stage.must_happen("the alarm", alarmed).await?;
    let folder = format!("{}/", stage.fabric.folder().display());
    if let Some(problem) = stage.problems.get(DIRECT).and_then(|problems| problems.first()) {
        let problem = problem.replace(&folder, "");
        stage.narrator.alarm(&problem)?;
    }
    let before = heard(stage, DIRECT).delivered.len();
    let goes_on = |stage: &Stage| heard(stage, DIRECT).delivered.len() >= before + 20;
    stage.must_see("told by all three, which go on by its last good form", goes_on).await
}

async fn it_is_repaired(stage: &mut Stage) -> anyhow::Result<()> {
    stage.narrator.tell("The file is repaired")?;
    stage.fabric.repair()?;
    let quiet = |stage: &Stage| stage.problems.values().all(Vec::is_empty);
    stage.must_see("no alarm any more", quiet).await
}

// ---- the end -----------------------------------------------------------------------------------

/// Lets everything that was said arrive, and accounts for it.
async fn add_up(stage: &mut Stage) -> anyhow::Result<Summary> {
    stage.narrator.tell("The services pause; every message is accounted for")?;
    stage.tell_services(Order::Pause).await?;
    stage.must_happen("the final count of every service", Stage::all_paused).await?;
    let right = |stage: &Stage| stage.history.sums().values().all(Sum::is_right);
    stage.until(Instant::now() + SETTLE, right).await?;
    let doors = [DIRECT, RELAYED, FILTERED, RELAY];
    stage.count_refusals(&doors).await?;
    Ok(Summary::of(stage, &doors))
}

/// Leaves everything running until the user has seen enough.
async fn play_on(stage: &mut Stage) -> anyhow::Result<()> {
    stage.tell_services(Order::Resume).await?;
    stage.narrator.invitation(&stage.fabric.directory(), RELAY)?;
    match stage.until(Instant::now() + LONGEST, |_| false).await {
        Err(error) if error.is::<Interrupted>() => Ok(()),
        other => other.map(drop),
    }
}

// ---- small helpers -----------------------------------------------------------------------------

async fn wait(stage: &mut Stage, until: Instant) -> anyhow::Result<()> {
    stage.until(until, |_| false).await?;
    Ok(())
}

/// The subscriber that hears it itself and the relay must refuse something for this reason.
async fn must_be_refused(stage: &mut Stage, reason: &str) -> anyhow::Result<()> {
    let refused = |stage: &Stage, name: &str| {
        stage.refused.get(name).and_then(|refused| refused.get(reason)).copied().unwrap_or(0)
    };
    let by_both = |stage: &Stage| [DIRECT, RELAY].iter().all(|name| refused(stage, name) > 0);
    stage.must_see(&format!("refused ({reason}) by {DIRECT} and {RELAY}"), by_both).await
}

fn heard<'a>(stage: &'a Stage, subscriber: &str) -> &'a Heard {
    &stage.history.heard[subscriber]
}

/// Whether all who want everything have heard something of this publisher.
fn everyone_hears(stage: &Stage, publisher: &str) -> bool {
    let from_it = |(id, _): &(Id, String)| id.publisher == publisher;
    [DIRECT, RELAYED].iter().all(|name| heard(stage, name).delivered.iter().any(from_it))
}
