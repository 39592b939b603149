//! What was said, what became of it at each node, and whether that is what was promised.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use selvedge_core::open::CommitId;
use selvedge_core::seal::{Commit, Packet, Sealed, TIP_OFF, Unsealed};
use selvedge_core::subscriber::{Delivery, Lost, Reason};
use selvedge_core::topic::{Pattern, Topic};
use selvedge_core::wire::Frames;
use selvedge_core::{KeyId, Position};

#[derive(Default)]
pub struct Ledger {
    said: BTreeMap<(KeyId, Position), Said>,
    wires: BTreeMap<(CommitId, u16), Bytes>,
    /// By node. What a node without a memory made of a stream ends with its life.
    streams: BTreeMap<(usize, KeyId), Record>,
    /// Streams of which something was really dropped, kept back or destroyed.
    pub harmed: BTreeSet<KeyId>,
    pub problems: Vec<String>,
    pub delivered: u64,
    pub losses: u64,
}

struct Said {
    topic: Topic,
    body: Bytes,
    /// Whether its commit was handed to the fan-out.
    sent: bool,
    /// Whether somebody was told that it is on the disk.
    receipt: bool,
}

/// What one node made of one stream.
#[derive(Default)]
struct Record {
    start: Position,
    /// It begins with the oldest that anyone holds, and has not yet said where that is.
    oldest: bool,
    /// What the first tip announced: from there on every topic's numbers are known.
    tip: Option<Position>,
    handled: BTreeSet<Position>,
    lost: Vec<(Position, Position)>,
    /// Ranges in which a topic's numbers show that something is missing; the rest of one came.
    gaps: Vec<(Position, Position)>,
    /// What was handled, and what was declared lost, in this life.
    now: BTreeSet<Position>,
    lost_now: Vec<(Position, Position)>,
}

/// How a stream is judged at one node.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    pub node: usize,
    pub key: KeyId,
    pub wanted: &'a [Pattern],
    /// Where it stands; beyond, it waits visibly for somebody who cannot be reached.
    pub upto: Position,
    /// Where somebody lied, or nobody said MARK, only a topic's own numbers tell of a loss, and
    /// only once one of them is known.
    pub lied: bool,
    /// It remembers, so that something may be handled in one life and lost in another.
    pub lives: bool,
}

impl Ledger {
    pub fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    // ---- what is said --------------------------------------------------------------------------

    pub fn numbered(&mut self, unsealed: &Unsealed) {
        let header = unsealed.header;
        for group in &unsealed.groups {
            for (off, draft) in group.messages.iter().filter(|(off, _)| *off != TIP_OFF) {
                let at = Position::new(header.epoch, header.first + u64::from(*off));
                let (topic, body) = (draft.topic.clone(), draft.body.clone());
                let said = Said { topic, body, sent: false, receipt: false };
                if self.said.insert((header.key, at), said).is_some() {
                    self.problem(format!("{} {at} was given out twice", header.key));
                }
            }
        }
    }

    /// What its packets look like on the wire.
    pub fn sealed(&mut self, commit: &Commit) {
        for packet in &commit.packets {
            let wire = bytes(packet);
            let parsed = Packet::parse(Frames::parse(wire.clone()).unwrap()).unwrap();
            self.wires.insert((CommitId::of(&parsed), parsed.first_off()), wire);
        }
    }

    pub fn sent(&mut self, commit: &Commit) {
        let header = commit.header;
        let numbers = (header.key, header.start())..(header.key, header.end());
        self.said.range_mut(numbers).for_each(|(_, said)| said.sent = true);
    }

    pub fn receipt(&mut self, key: KeyId, at: Position) {
        self.said.get_mut(&(key, at)).into_iter().for_each(|said| said.receipt = true);
    }

    /// A publisher starts again: what it was said to keep from a place on must be held.
    pub fn reopened(&mut self, key: KeyId, from: Position, has: impl Fn(Position) -> bool) {
        let ours = self.said.range((key, from)..(key, END));
        let gone = ours.filter(|((_, at), said)| said.receipt && !has(*at));
        let gone: Vec<String> = gone
            .map(|((_, at), _)| format!("{key} {at} had a durable receipt, and is gone"))
            .collect();
        self.problems.extend(gone.into_iter().take(3));
    }

    // ---- what comes ----------------------------------------------------------------------------

    /// A packet came through the door somewhere.
    pub fn came(&mut self, packet: &Packet) {
        let sent = self.wires.get(&(CommitId::of(packet), packet.first_off()));
        if sent != Some(packet.wire()) {
            self.problem(format!("{:?} is not as it was sent", packet.header()));
        }
    }

    /// A node starts, with or without a memory.
    pub fn lives(&mut self, node: usize, remembers: bool) {
        if !remembers {
            self.streams.retain(|(at, _), _| *at != node);
        }
        for (_, record) in self.streams.iter_mut().filter(|((at, _), _)| *at == node) {
            record.now.clear();
            record.lost_now.clear();
        }
    }

    /// A node wants a stream from a place on.
    pub fn begins(&mut self, node: usize, key: KeyId, at: Position) {
        let record = self
            .streams
            .entry((node, key))
            .or_insert_with(|| Record { start: at, ..Record::default() });
        record.oldest = at == Position::default();
    }

    /// A stream begins here at a node; `has` says what its publisher holds.
    pub fn started(
        &mut self,
        node: usize,
        key: KeyId,
        at: Position,
        wanted: &[Pattern],
        has: impl Fn(Position) -> bool,
    ) {
        let record = self.streams.entry((node, key)).or_default();
        let before = record.oldest.then_some(Position::default());
        (record.start, record.oldest) = (at, false);
        if let Some(before) = before {
            self.skipped(node, key, (before, at), wanted, has);
        }
    }

    pub fn tip(&mut self, node: usize, key: KeyId, announces: Position) {
        let record = self.streams.get_mut(&(node, key));
        if let Some(record) = record.filter(|record| announces >= record.start) {
            record.tip.get_or_insert(announces);
        }
    }

    /// A handler ran for this message.
    pub fn handled(&mut self, node: usize, at: Position, wanted: &[Pattern], commit: &Delivery) {
        let key = commit.key;
        let mut messages = commit.messages();
        let found = messages.find(|(seq, ..)| *seq == at.seq);
        let Some((_, trusted, _, entry)) = found else {
            return self.problem(format!("{key} {at} is not in its commit"));
        };
        let topic = trusted.packet().topic();
        if !wanted.iter().any(|pattern| pattern.matches(topic)) {
            return; // the prefix matched, and the pattern does not: looked at again, dropped
        }
        let mut problems = Vec::new();
        let said = self.said.get(&(key, at));
        let same =
            |said: &Said| said.topic == *topic && said.body == trusted.packet().body(entry.body);
        if !said.is_some_and(same) {
            problems.push(format!("{key} {at} at node {node} is not what was said"));
        }
        let record = self.streams.entry((node, key)).or_default();
        if record.now.last().is_some_and(|last| *last >= at) {
            problems.push(format!("{key} {at} at node {node} is out of order or a duplicate"));
        }
        if at < record.start {
            problems.push(format!("{key} {at} at node {node} is before the start"));
        }
        if record.lost_now.iter().any(|(from, to)| *from <= at && at < *to) {
            problems.push(format!("{key} {at} at node {node} was declared lost before"));
        }
        record.now.insert(at);
        record.handled.insert(at);
        self.delivered += 1;
        self.problems.extend(problems);
    }

    /// A node was told of a loss; `has` says what the publisher holds.
    pub fn lost(
        &mut self,
        node: usize,
        lost: &Lost,
        wanted: &[Pattern],
        has: impl Fn(Position) -> bool,
    ) {
        self.losses += 1;
        let key = lost.key;
        let range = (lost.from, lost.to);
        let record = self.streams.entry((node, key)).or_default();
        let start = record.start;
        match lost.reason {
            Reason::Gap => record.gaps.push(range),
            _ => {
                let again = record.now.range(range.0..range.1.max(range.0)).next().is_some();
                record.lost.push(range);
                record.lost_now.push(range);
                if again {
                    self.problem(format!("{lost:?} at node {node} was handled before"));
                }
            }
        }
        if lost.from >= lost.to || lost.from < start {
            self.problem(format!("{lost:?} at node {node} is no range of this stream"));
        }
        if !self.harmed.contains(&key) {
            self.problem(format!("{lost:?} at node {node}, and nothing was lost"));
        }
        if lost.reason != Reason::Gap {
            self.skipped(node, key, range, wanted, has);
        }
    }

    /// Nothing that its publisher holds may be given up.
    fn skipped(
        &mut self,
        node: usize,
        key: KeyId,
        (from, to): (Position, Position),
        wanted: &[Pattern],
        has: impl Fn(Position) -> bool,
    ) {
        if from >= to {
            return;
        }
        let here = self.said.range((key, from)..(key, to));
        let wanted = here.filter(|(_, said)| wanted.iter().any(|p| p.matches(&said.topic)));
        let held = wanted.map(|((_, at), _)| *at).find(|at| has(*at));
        if let Some(at) = held {
            self.problem(format!("{key} {at} at node {node} was given up, and is still held"));
        }
    }

    // ---- the end -------------------------------------------------------------------------------

    /// Whether a node ever heard of a stream.
    pub fn knows(&self, node: usize, key: KeyId) -> bool {
        self.streams.contains_key(&(node, key))
    }

    /// Everything that is held beyond where a node stands must have come to it.
    pub fn check_held(
        &mut self,
        node: usize,
        key: KeyId,
        wanted: &[Pattern],
        position: Position,
        has: impl Fn(Position) -> bool,
    ) {
        let said = self.said.range((key, position)..(key, END));
        let wanted = said.filter(|(_, said)| wanted.iter().any(|p| p.matches(&said.topic)));
        if let Some(at) = wanted.map(|((_, at), _)| *at).find(|at| has(*at)) {
            self.problem(format!("{key} {at} at node {node}: an archive holds it, and it waits"));
        }
    }

    /// What became of everything that was said on one stream, at one node; `has` says what can
    /// still be had, so that it must have been handled.
    pub fn check(&mut self, judged: Judged<'_>, has: impl Fn(Position) -> bool) {
        let Judged { node, key, wanted, upto, lied, lives } = judged;
        let mut problems = Vec::new();
        let Some(record) = self.streams.get(&(node, key)) else { return };
        let from = match record.tip {
            Some(tip) if lied => record.start.max(tip),
            _ => record.start,
        };
        if from > upto {
            return;
        }
        for ((_, at), said) in self.said.range((key, from)..(key, upto)) {
            let is_wanted = wanted.iter().any(|pattern| pattern.matches(&said.topic));
            let handled = usize::from(record.handled.contains(at));
            let around = |range: &&(Position, Position)| range.0 <= *at && *at < range.1;
            let lost = record.lost.iter().filter(around).count();
            let gap = record.gaps.iter().any(|range| around(&range));
            let what = || {
                let topic = &said.topic;
                format!("{key} {at} ({topic}) at node {node}: {handled} handled, {lost} times lost")
            };
            let held = is_wanted && has(*at);
            let real = is_wanted && (said.sent || held);
            if real && handled + lost == 0 && !gap {
                problems.push(format!("{}: missed silently", what()));
            } else if held && handled == 0 && !gap {
                problems.push(format!("{}: it is still held", what()));
            } else if !lives && handled + lost > 1 {
                problems.push(what());
            }
        }
        self.problems.extend(problems.into_iter().take(3)); // they are alike
    }
}

const END: Position = Position::new(u64::MAX, u64::MAX);

fn bytes(packet: &Sealed) -> Bytes {
    Bytes::from(packet.wire.concat())
}
