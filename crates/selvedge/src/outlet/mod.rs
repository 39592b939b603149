//! What serves peers: the listener, a task for each connection, and the core's fan-out.
//!
//! A publisher and a relay have one each. Nothing here waits for a peer: the fan-out's queues take
//! what a socket does not, up to their bounds.

mod accept;
mod peer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use selvedge_core::fanout::{self, FanOut, PeerId};
use selvedge_core::seal::Commit;
use selvedge_core::topic::Topic;
use selvedge_core::{KeyId, Position};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::counters::PeerCounters;
use crate::net::{Listener, Progress, Stream, Unwritten};
use peer::Said;

/// Events from peers that may wait for the outlet: a bound, since each is small.
const EVENTS: usize = 1_024;

/// How long connections may take to end after the last byte.
const GOODBYE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Outlet {
    fan_out: FanOut,
    clock: Clock,
    peers: BTreeMap<PeerId, Handle>,
    events: mpsc::Receiver<(PeerId, Said)>,
    effects: Vec<fanout::Output>,
    tips_wanted: Vec<KeyId>,
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
    pub fn new(listener: Listener, config: fanout::Config) -> Outlet {
        let (said, events) = mpsc::channel(EVENTS);
        let counters = Arc::new(PeerCounters::default());
        let accepting = tokio::spawn(accept::run(listener, said, counters.clone()));
        Outlet {
            fan_out: FanOut::new(config),
            clock: Clock::new(),
            peers: BTreeMap::new(),
            events,
            effects: Vec::new(),
            tips_wanted: Vec::new(),
            counters,
            accepting: AbortOnDropHandle::new(accepting),
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
        drop(self.events);
        let all = async {
            for task in &mut tasks {
                let _ = task.await; // a cancelled task is as good as an ended one
            }
        };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }

    fn said(&mut self, peer: PeerId, said: Said) {
        let input = match said {
            Said::Connected { stream, selvedge, rest, task } => {
                self.peers.insert(peer, Handle { stream, rest, task });
                fanout::Input::Connected { peer, selvedge }
            }
            _ if !self.peers.contains_key(&peer) => return, // closed by us before
            Said::Subscribe(prefix) => fanout::Input::Subscribe { peer, prefix },
            Said::Cancel(prefix) => fanout::Input::Cancel { peer, prefix },
            Said::Ask(ask) => fanout::Input::Ask { peer, ask },
            Said::Ping(context) => fanout::Input::Ping { peer, context },
            Said::Wrote { done } => fanout::Input::Wrote { peer, done },
            Said::Gone => {
                self.peers.remove(&peer);
                fanout::Input::Disconnected(peer)
            }
        };
        self.handle(input);
    }

    fn handle(&mut self, input: fanout::Input<'_>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.fan_out.handle(self.clock.time(), input, &mut effects);
        while let Some(effect) = effects.pop() {
            match effect {
                fanout::Output::Write { peer, slices } => self.write(peer, slices, &mut effects),
                fanout::Output::Read { .. } => {}
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
