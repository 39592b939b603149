//! What serves peers: the listener, a task for each connection, and the core's fan-out.
//!
//! A publisher and a relay have one each. Nothing here waits for a peer: the fan-out's queues take
//! what a socket does not, up to their bounds.

mod accept;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use selvedge_core::fanout::{self, FanOut, PeerId};
use selvedge_core::limits::OFFER_BYTES;
use selvedge_core::seal::Commit;
use selvedge_core::topic::Topic;
use selvedge_core::wire::{self, Frames, Ignored, Limits, Mark};
use selvedge_core::{KeyId, Position};
use selvedge_journal::Reader;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::counters::PeerCounters;
use crate::journal::{self, Step};
use crate::net::{Listener, Progress, Stream, Unwritten};
use peer::Said;

/// Events from peers that may wait for the outlet: a bound, since each is small.
const EVENTS: usize = 1_024;

/// How long connections may take to end after the last byte.
const GOODBYE: Duration = Duration::from_millis(500);

/// What an outlet is to do beside sending on.
#[derive(Debug, Default)]
pub struct Options {
    /// Bounds of the queues.
    pub queues: fanout::Config,
    /// What peers missed is read from here.
    pub journal: Option<Reader>,
    /// Whether to take packets from peers: see [`Outlet::offers`].
    pub offers: bool,
}

/// What a peer offers.
#[derive(Debug)]
pub enum Offer {
    /// A message, which may be a packet.
    Packet(PeerId, Frames),
    /// One that offered something is gone.
    Gone(PeerId),
}

/// See the module.
#[derive(Debug)]
pub struct Outlet {
    fan_out: FanOut,
    clock: Clock,
    peers: BTreeMap<PeerId, Handle>,
    said: mpsc::Sender<(PeerId, Said)>,
    events: mpsc::Receiver<(PeerId, Said)>,
    journal: Option<Reader>,
    effects: Vec<fanout::Output>,
    tips_wanted: Vec<KeyId>,
    takes_offers: bool,
    offers: Vec<Offer>,
    offering: BTreeSet<PeerId>,
    counters: Arc<PeerCounters>,
    accepting: AbortOnDropHandle<()>,
}

/// How to write to a peer.
#[derive(Debug)]
struct Handle {
    stream: Arc<Stream>,
    rest: mpsc::Sender<Unwritten>,
    task: AbortOnDropHandle<()>,
}

impl Outlet {
    /// Serves whoever connects to `listener`. Must be called within a tokio runtime.
    pub fn new(listener: Listener, options: Options) -> Outlet {
        let Options { queues, journal, offers } = options;
        let (said, events) = mpsc::channel(EVENTS);
        let config = fanout::Config { journal: journal.is_some(), ..queues };
        let limits = match offers {
            true => Limits { command_bytes: OFFER_BYTES, ..Limits::default() },
            false => Limits::default(),
        };
        let counters = Arc::new(PeerCounters::default());
        let accepting = tokio::spawn(accept::run(listener, limits, said.clone(), counters.clone()));
        Outlet {
            fan_out: FanOut::new(config),
            clock: Clock::new(),
            peers: BTreeMap::new(),
            said,
            events,
            journal,
            effects: Vec::new(),
            tips_wanted: Vec::new(),
            takes_offers: offers,
            offers: Vec::new(),
            offering: BTreeSet::new(),
            counters,
            accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Does one step.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Commit { commit, .. } => self.send(commit),
            Step::Passed { key, upto } => self.passed(*key, *upto),
            Step::Gone { key, upto } => self.gone(*key, *upto),
            Step::Note { tip, .. } => self.handle(fanout::Input::Evidence(tip)),
            Step::Again { .. } | Step::Sync => {}
        }
    }

    /// Hands a commit, or the part of it that came, to every peer that matches.
    pub fn send(&mut self, commit: &Commit) {
        self.handle(fanout::Input::Commit(commit));
    }

    /// Numbers below `upto` were passed by a MARK: see [`fanout::Input::Passed`].
    pub fn passed(&mut self, key: KeyId, upto: Position) {
        self.handle(fanout::Input::Passed { key, upto });
    }

    /// Numbers below `upto` that did not come are gone: see [`fanout::Input::Gone`].
    pub fn gone(&mut self, key: KeyId, upto: Position) {
        self.handle(fanout::Input::Gone { key, upto });
    }

    /// Waits for peers or a deadline, and does what they ask for. Cancel safe.
    pub async fn turn(&mut self) {
        let deadline = self.fan_out.deadline();
        let mut batch = Vec::new();
        tokio::select! {
            _ = self.events.recv_many(&mut batch, 64) => {}
            () = self.clock.at(deadline) => self.handle(fanout::Input::Tick),
        }
        for (peer, said) in batch {
            self.said(peer, said);
        }
    }

    /// The streams that somebody joined and whose authors should make a tip.
    pub fn tips_wanted(&mut self) -> impl Iterator<Item = KeyId> {
        std::mem::take(&mut self.tips_wanted).into_iter()
    }

    /// What peers have offered, in order. Answer each packet with [`Outlet::answer`].
    pub fn offers(&mut self) -> Vec<Offer> {
        std::mem::take(&mut self.offers)
    }

    /// Answers an offer.
    pub fn answer(&mut self, peer: PeerId, mark: &Mark) {
        self.handle(fanout::Input::Reply { peer, frame: mark.encode() });
    }

    /// Messages that wait for some peer, once per peer.
    pub fn waiting(&self) -> u64 {
        self.fan_out.waiting()
    }

    /// Bytes that wait for all peers.
    pub fn queued_bytes(&self) -> usize {
        self.fan_out.queued_bytes()
    }

    /// Peers that would get a message of `topic` now.
    pub fn listeners(&self, topic: &Topic) -> usize {
        self.fan_out.listeners(topic)
    }

    /// What happened to peers so far.
    pub fn counters(&self) -> Arc<PeerCounters> {
        self.counters.clone()
    }

    /// Accepts nobody more, ends all connections after what was written, and gives peers
    /// half a second to take it.
    pub async fn close(self) {
        self.accepting.abort();
        let _ = self.accepting.await; // cancelled; the listener is gone, and a local socket removed
        let mut tasks = Vec::new();
        for handle in self.peers.into_values() {
            drop(handle.rest); // tells the task to end the connection in order
            tasks.push(handle.task);
        }
        drop((self.said, self.events));
        let all = async {
            for task in &mut tasks {
                let _ = task.await; // a cancelled task is as good as an ended one
            }
        };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }

    fn said(&mut self, peer: PeerId, said: Said) {
        let input = match said {
            Said::Answer(answer) => fanout::Input::Answer(answer),
            Said::Connected { stream, selvedge, rest, task } => {
                self.peers.insert(peer, Handle { stream, rest, task });
                fanout::Input::Connected { peer, selvedge }
            }
            _ if !self.peers.contains_key(&peer) => return, // closed by us before
            Said::Subscribe(prefix) => fanout::Input::Subscribe { peer, prefix },
            Said::Cancel(prefix) => fanout::Input::Cancel { peer, prefix },
            Said::Ask(ask) => fanout::Input::Ask { peer, ask },
            Said::Ping(context) => fanout::Input::Reply { peer, frame: wire::pong(&context) },
            Said::Wrote { done } => fanout::Input::Wrote { peer, done },
            Said::Offer(frames) => return self.offered(peer, frames),
            Said::Gone => {
                self.peers.remove(&peer);
                if self.offering.remove(&peer) {
                    self.offers.push(Offer::Gone(peer));
                }
                fanout::Input::Disconnected(peer)
            }
        };
        self.handle(input);
    }

    fn offered(&mut self, peer: PeerId, frames: Frames) {
        if !self.takes_offers {
            return self.counters.ignored(Ignored::Misdirected);
        }
        self.offering.insert(peer);
        self.offers.push(Offer::Packet(peer, frames));
    }

    fn handle(&mut self, input: fanout::Input<'_>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.fan_out.handle(self.clock.time(), input, &mut effects);
        while let Some(effect) = effects.pop() {
            match effect {
                fanout::Output::Write { peer, slices } => self.write(peer, slices, &mut effects),
                fanout::Output::Read { peer, key, from, upto } => self.read(peer, key, from, upto),
                fanout::Output::TipWanted(key) => self.tips_wanted.push(key),
                fanout::Output::Close { peer, why } => {
                    tracing::warn!(peer = peer.0, reason = why.reason(), "peer cut off: {why}");
                    self.counters.cut_off(why);
                    self.peers.remove(&peer);
                }
            }
        }
        self.effects = effects;
        self.counters.store(&self.fan_out);
    }

    /// Reads from the journal on a thread of its own: it may wait for the disk.
    fn read(&self, peer: PeerId, key: KeyId, from: Position, upto: Position) {
        let Some(reader) = self.journal.clone() else { return };
        let said = self.said.clone();
        tokio::task::spawn_blocking(move || {
            let answer = journal::read(&reader, peer, key, from, upto);
            let _ = said.blocking_send((peer, Said::Answer(answer))); // the outlet may be gone
        });
    }

    /// Writes inline what the socket takes; the peer's task does the rest.
    fn write(&mut self, id: PeerId, slices: Vec<bytes::Bytes>, out: &mut Vec<fanout::Output>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let mut pending = Unwritten::new(slices);
        let done = match peer.stream.try_write(&mut pending) {
            Ok(Progress::Done) => true,
            // One write at a time: the channel of one has room. A broken socket is the task's to
            // notice and report.
            Ok(_) => peer.rest.try_send(pending).is_err(),
            Err(error) => {
                tracing::debug!(peer = id.0, "write: {error}");
                self.peers.remove(&id);
                let input = fanout::Input::Disconnected(id);
                return self.fan_out.handle(self.clock.time(), input, out);
            }
        };
        if done {
            let input = fanout::Input::Wrote { peer: id, done };
            self.fan_out.handle(self.clock.time(), input, out);
        }
    }
}
