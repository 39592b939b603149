//! The end of a history: has everything come that can, and is what did not come explained?

use std::collections::BTreeSet;

use selvedge_core::seal::Commit;
use selvedge_core::{KeyId, Position, subscriber};

use super::{Event, LOOK, World};
use crate::ledger::Judged;
use crate::node::{Kind, Lies, Node};

/// Bytes that a fan-out may hold for one peer above its bound: its `CONTROL_ROOM` and a commit, and
/// what it reads at once.
const ABOVE_BOUND: usize = (1 << 20) + 64 * 1_024 + (512 << 10);

/// How long it may take until what archives hold has come, if nobody else says where it begins.
const PATIENT: u64 = 60_000_000;

const END: Position = Position::new(u64::MAX, u64::MAX);

impl World {
    pub(super) fn look(&mut self) {
        let all = (0..self.plan.nodes.len()).all(|node| {
            self.plan.nodes[node].up != self.plan.nodes[node].retired
                && self
                    .keys()
                    .into_iter()
                    .all(|key| !self.served(node, key) || self.arrived(node, key))
        });
        // Of who is gone, nobody says when it is over: patience at each of some archives in a row.
        let waits = self.plan.faults.retires && self.now < self.plan.busy + PATIENT;
        match (all && !waits, self.settled) {
            (true, None) => self.settled = Some(self.now),
            (false, _) => self.settled = None,
            _ => {}
        }
        self.after(LOOK, Event::Look);
    }

    fn keys(&self) -> Vec<KeyId> {
        self.plan.nodes.iter().filter_map(Node::key).collect()
    }

    /// Whether a node stands where a publisher does.
    fn arrived(&self, node: usize, key: KeyId) -> bool {
        let Some(subscriber) = &self.plan.nodes[node].subscriber else { return true };
        let is_it = |other: &&Node| other.key() == Some(key);
        let author = self.plan.nodes.iter().find(is_it).and_then(|node| node.author.as_ref());
        let end = author.map(|author| author.next());
        self.plan.nodes[node].app.queue.is_empty() && end == subscriber.position(key)
    }

    /// Whether a node reaches a stream's publisher, directly or over archives that lost nothing, so
    /// that whatever is held comes.
    fn served(&self, node: usize, key: KeyId) -> bool {
        self.reaches(node, key, |_| true)
    }

    /// The same, by links of which this is true.
    pub(super) fn reaches(&self, node: usize, key: KeyId, up: impl Fn(usize) -> bool) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![node];
        while let Some(at) = next.pop() {
            if !seen.insert(at) {
                continue;
            }
            let routes = self.plan.routes.iter().enumerate();
            for (_, route) in routes.filter(|(link, route)| route.dialer == at && up(*link)) {
                let listener = &self.plan.nodes[route.listener];
                if route.plain || route.unmarked {
                    continue;
                }
                if listener.key() == Some(key) {
                    if !listener.retired {
                        return true;
                    }
                    continue;
                }
                let relays = matches!(listener.kind, Kind::Relay { .. });
                let memory = self.plan.nodes[at].remembers().is_some();
                let sound = listener.keeps() && !listener.ailing;
                if relays && (sound || !memory && !self.plan.faults.any()) {
                    next.push(route.listener);
                }
            }
        }
        false
    }

    pub(super) fn judge(&mut self) {
        let faults = self.plan.faults;
        let plain = self.plan.routes.iter().any(|route| route.plain);
        for at in 0..self.plan.nodes.len() {
            let node = &self.plan.nodes[at];
            let Some(subscriber) = &node.subscriber else { continue };
            if faults.any() && self.is_deaf(at) {
                continue; // without MARKs, what is lost at the end of an epoch shows to nobody
            }
            let lied = faults.lies != Lies::Never || plain;
            let counters = subscriber.counters();
            if counters.bad_tips + counters.conflicts > 0
                || counters.stale > 0 && !self.plan.keeps
                || counters.void_marks > 0 && self.ledger.harmed.is_empty() && !lied
            {
                self.ledger.problem(format!("node {at}: {counters:?}"));
            }
            for key in self.keys() {
                self.judge_stream(at, key, lied);
            }
        }
    }

    /// Whether some of what a node hears came over a link without MARKs, here or on its way.
    fn is_deaf(&self, node: usize) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![node]);
        while let Some(at) = next.pop() {
            if seen.insert(at) {
                let routes = self.plan.routes.iter().filter(|route| route.dialer == at);
                next.extend(routes.map(|route| route.listener));
            }
        }
        self.plan.routes.iter().any(|route| route.plain && seen.contains(&route.dialer))
    }

    fn judge_stream(&mut self, at: usize, key: KeyId, lied: bool) {
        let node = &self.plan.nodes[at];
        let wanted = node.wanted();
        let lives = node.remembers().is_some();
        let position = node.subscriber.as_ref().and_then(|subscriber| subscriber.position(key));
        let served = self.served(at, key) || !self.plan.keeps;
        if served && !self.ledger.knows(at, key) {
            return self.ledger.problem(format!("node {at} never heard of {key}"));
        }
        if self.served(at, key) && !lied && !self.arrived(at, key) {
            self.ledger
                .problem(format!("node {at} stands at {position:?} of {key}, not at its end"));
        }
        self.judge_archives(at, key);
        let upto = if served { END } else { position.unwrap_or_default() };
        let has = self.holder(key);
        self.ledger.check(Judged { node: at, key, wanted: &wanted, upto, lied, lives }, has);
    }

    /// What an archive holds of a publisher that is gone has come to who hears that archive.
    fn judge_archives(&mut self, at: usize, key: KeyId) {
        let gone = |node: &Node| node.key() == Some(key) && node.retired && !node.ailing;
        let node = &self.plan.nodes[at];
        let Some(subscriber) = &node.subscriber else { return };
        if !self.plan.nodes.iter().any(gone) || node.remembers().is_none() {
            return;
        }
        let wanted = node.wanted();
        let Some(position) = subscriber.position(key) else { return }; // it was to begin now
        let links = self.plan.routes.iter().filter(|route| route.dialer == at && !route.plain);
        let archives = links.map(|route| &self.plan.nodes[route.listener]);
        let sound = archives.filter(|node| node.key().is_none() && !node.ailing);
        let views: Vec<_> = sound.filter_map(|node| Some(node.store.as_ref()?.view())).collect();
        let has = |at: Position| views.iter().any(|view| view.has(key, at));
        self.ledger.check_held(at, key, &wanted, position, has);
    }

    pub(super) fn check_memory(&mut self) {
        let bound = self.plan.queue_bytes;
        for (at, node) in self.plan.nodes.iter().enumerate() {
            let peers = node.fanout.peers();
            if node.fanout.queued_bytes() > peers * (bound + ABOVE_BOUND) {
                self.ledger.problem(format!("node {at} holds too much for its peers"));
            }
        }
    }
}

pub fn describe(commit: &Commit) -> String {
    let header = commit.header;
    let topics: Vec<&str> = commit.packets.iter().map(|packet| packet.topic.as_str()).collect();
    format!("commit {} {}+{} {topics:?}", header.commit, header.start(), header.n)
}

pub fn describe_output(output: &subscriber::Output) -> String {
    match output {
        subscriber::Output::Deliver(delivery) => {
            format!("deliver from {}: {}", delivery.from, describe(&delivery.to_commit()))
        }
        subscriber::Output::Evidence { at, tip, .. } => {
            format!("on at {at} by tip {}", describe(&tip.to_commit()))
        }
        subscriber::Output::Tip(tip) => format!("tip {}", describe(&tip.to_commit())),
        other => format!("{other:?}"),
    }
}
