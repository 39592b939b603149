//! A relay: hears many publishers, and sends on what passed the door, the same bytes.
//!
//! It is a subscriber and a fan-out, and needs no trust: it can delay or withhold, which tips and
//! topic numbers expose, and cannot forge. Several side by side are safe, because duplicates end at
//! each door; a ring is, because what lies below a stream's position is not sent on. It says
//! nothing itself but its own tip.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use selvedge::directory::{Directory, Relay};
use selvedge::{Inlet, LinkCounters, Listener, Name, Notices, Outlet, Pattern, PeerCounters};
use selvedge::{StartError, Topic, Voice, inlet, state};
use selvedge_core::author::Input;
use selvedge_core::fanout;
use selvedge_core::limits::BODY_BYTES_HARD;
use selvedge_core::seal::SecretKey;
use selvedge_core::subscriber::Output;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long to go on writing after the shutdown.
const DRAIN: Duration = Duration::from_secs(30);

/// How a relay is to be.
#[derive(Debug)]
pub struct Config {
    /// Its name in the directory.
    pub name: Name,
    /// Its private key: signs its own tip, nothing that it relays.
    pub key: SecretKey,
    /// The folder of its state; [`state::default_folder`] unless set.
    pub state: PathBuf,
    /// A listener bound already, instead of the directory's `bind` or `endpoint`.
    pub listener: Option<Listener>,
    /// Other relays to hear too, beside the services themselves.
    pub via: Vec<Name>,
    /// Bounds of the queues for peers.
    pub queues: fanout::Config,
    /// Told what happens to links.
    pub notices: Notices,
}

impl Config {
    /// With defaults for all but name and key.
    pub fn new(name: Name, key: SecretKey) -> Config {
        Config {
            name,
            key,
            state: state::default_folder(),
            listener: None,
            via: Vec::new(),
            queues: fanout::Config::default(),
            notices: Notices::default(),
        }
    }
}

/// What a relay did, readable while it runs.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Towards publishers.
    pub links: Arc<LinkCounters>,
    /// Towards subscribers.
    pub peers: Arc<PeerCounters>,
}

/// A relay that is bound and not running yet.
#[derive(Debug)]
pub struct Node {
    name: Name,
    carries: Vec<Pattern>,
    voice: Voice,
    inlet: Inlet,
    outlet: Outlet,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Runs a relay until `shutdown`, then goes on writing what waits for at most 30 s.
///
/// # Errors
/// [`StartError`] if it cannot start; once it runs, nothing that a peer or the directory does ends
/// it.
pub async fn run(
    directory: watch::Receiver<Arc<Directory>>,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    Node::start(directory, config)?.run(shutdown).await;
    Ok(())
}

impl Node {
    /// Binds the relay's socket and connects to publishers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub fn start(
        mut directory: watch::Receiver<Arc<Directory>>,
        config: Config,
    ) -> Result<Node, StartError> {
        let now = directory.borrow_and_update().clone();
        let Config { name, key, state, listener, via, queues, notices } = config;
        let (voice, listener) = Voice::relay(&now, &name, key, &state, listener)?;
        let carries = carried(&now, &name);
        let options = inlet::Options {
            patterns: carries.clone(),
            via,
            myself: Some(name.clone()),
            body_bytes: BODY_BYTES_HARD,
            notices,
            ..inlet::Options::default()
        };
        let outlet = Outlet::new(listener, queues);
        let inlet = Inlet::new(directory.clone(), options);
        Ok(Node { name, carries, voice, inlet, outlet, directory })
    }

    /// What it does, readable while it runs.
    pub fn counters(&self) -> Counters {
        Counters { links: self.inlet.counters(), peers: self.outlet.counters() }
    }

    /// Until `shutdown`, and the drain after it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.voice.say(Input::Tick, &mut self.outlet); // the first tip
        let mut outputs = Vec::new();
        loop {
            tokio::select! {
                () = self.inlet.turn(&mut outputs) => {
                    outputs.drain(..).for_each(|output| self.pass_on(output));
                }
                () = self.outlet.turn() => {}
                () = self.voice.due() => self.voice.say(Input::Tick, &mut self.outlet),
                Ok(()) = self.directory.changed() => {
                    let now = self.directory.borrow_and_update().clone();
                    self.carries = carried(&now, &self.name);
                    self.inlet.want(self.carries.clone());
                }
                () = shutdown.cancelled() => break,
            }
            // Of streams that are not our own, only their authors can make tips; the next comes.
            let ours = self.voice.key_id();
            if self.outlet.tips_wanted().any(|key| key == ours) {
                self.voice.say(Input::TipWanted, &mut self.outlet);
            }
        }
        self.drain().await;
    }

    fn pass_on(&mut self, output: Output) {
        match output {
            Output::Deliver(mut delivery) => {
                // The wire matches bytes, patterns segments.
                delivery.packets.retain(|trusted| self.carries(trusted.packet().topic()));
                self.outlet.send(&delivery.to_commit());
            }
            Output::Tip(trusted) => self.outlet.send(&trusted.to_commit()),
            Output::Passed { key, upto } => self.outlet.passed(key, upto),
            Output::Started { key, at, .. } => self.outlet.passed(key, at),
            Output::Lost(lost) => self.outlet.gone(lost.key, lost.to),
            Output::Ask { .. } | Output::Superseded { .. } => {} // done, and told as a notice
        }
    }

    fn carries(&self, topic: &Topic) -> bool {
        self.carries.iter().any(|pattern| pattern.matches(topic))
    }

    /// Hears nobody any more, and writes what waits.
    async fn drain(mut self) {
        drop(self.inlet);
        self.voice.say(Input::Close, &mut self.outlet);
        let deadline = Instant::now() + DRAIN;
        while self.outlet.waiting() > 0 {
            if timeout_at(deadline, self.outlet.turn()).await.is_err() {
                tracing::warn!(messages = self.outlet.waiting(), "not written at the deadline");
                break;
            }
        }
        if let Err(error) = self.voice.end() {
            tracing::warn!("cannot note the clean end of the epoch: {error}");
        }
        self.outlet.close().await;
    }
}

/// What this relay is to condense; nothing once the directory no longer lists it.
fn carried(directory: &Directory, name: &Name) -> Vec<Pattern> {
    let relay: Option<&Relay> = directory.relay(name.as_str());
    relay.map(|relay| relay.carries.clone()).unwrap_or_default()
}
