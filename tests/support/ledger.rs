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
    /// By node and its start: a relay that starts again remembers nothing.
    streams: BTreeMap<(usize, u32, KeyId), Record>,
    /// Streams of which something was really dropped or kept back.
    pub harmed: BTreeSet<KeyId>,
    pub problems: Vec<String>,
    pub delivered: u64,
    pub lost: u64,
}

struct Said {
    topic: Topic,
    body: Bytes,
    /// Whether its commit was sealed and handed to the fan-out.
    sent: bool,
}

/// What one node made of one stream.
struct Record {
    start: Position,
    /// What the first tip announced: from there on every topic's numbers are known.
    tip: Option<Position>,
    delivered: BTreeSet<Position>,
    lost: Vec<(Position, Position)>,
    /// Ranges in which a topic's numbers show that something is missing; the rest of one came.
    gaps: Vec<(Position, Position)>,
}

impl Ledger {
    pub fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    pub fn numbered(&mut self, unsealed: &Unsealed) {
        let header = unsealed.header;
        for group in &unsealed.groups {
            for (off, draft) in group.messages.iter().filter(|(off, _)| *off != TIP_OFF) {
                let at = Position::new(header.epoch, header.first + u64::from(*off));
                let (topic, body) = (draft.topic.clone(), draft.body.clone());
                let said = Said { topic, body, sent: false };
                if self.said.insert((header.key, at), said).is_some() {
                    self.problem(format!("{} {at} was given out twice", header.key));
                }
            }
        }
    }

    pub fn sent(&mut self, commit: &Commit) {
        let header = commit.header;
        for ((_, _), said) in
            self.said.range_mut((header.key, header.start())..(header.key, header.end()))
        {
            said.sent = true;
        }
        for packet in &commit.packets {
            let wire = bytes(packet);
            let parsed = Packet::parse(Frames::parse(wire.clone()).unwrap()).unwrap();
            self.wires.insert((CommitId::of(&parsed), parsed.first_off()), wire);
        }
    }

    /// A packet came through the door somewhere.
    pub fn came(&mut self, packet: &Packet) {
        let sent = self.wires.get(&(CommitId::of(packet), packet.first_off()));
        if sent != Some(packet.wire()) {
            self.problem(format!("{:?} is not as it was sent", packet.header()));
        }
    }

    pub fn started(&mut self, node: (usize, u32), key: KeyId, start: Position) {
        let record = Record {
            start,
            tip: None,
            delivered: BTreeSet::new(),
            lost: Vec::new(),
            gaps: Vec::new(),
        };
        if self.streams.insert((node.0, node.1, key), record).is_some() {
            self.problem(format!("{key} started twice at {node:?}"));
        }
    }

    pub fn tip(&mut self, node: (usize, u32), key: KeyId, announces: Position) {
        if let Some(record) = self.streams.get_mut(&(node.0, node.1, key)) {
            record.tip.get_or_insert(announces);
        }
    }

    pub fn delivery(&mut self, node: (usize, u32), wanted: &[Pattern], delivery: &Delivery) {
        let mut problems = Vec::new();
        let record = self.streams.get_mut(&(node.0, node.1, delivery.key)).unwrap();
        for (seq, trusted, _, entry) in delivery.messages() {
            let at = Position::new(delivery.header.epoch, seq);
            let topic = trusted.packet().topic();
            if !wanted.iter().any(|pattern| pattern.matches(topic)) {
                continue; // the prefix matched, and the pattern does not: looked at again, dropped
            }
            let said = self.said.get(&(delivery.key, at));
            if !said.is_some_and(|said| {
                said.topic == *topic && said.body == trusted.packet().body(entry.body)
            }) {
                problems.push(format!("{at} at {node:?} is not what was said"));
            }
            if record.delivered.last().is_some_and(|last| *last >= at) {
                problems.push(format!("{at} at {node:?} is out of order or a duplicate"));
            }
            if at < record.start {
                problems.push(format!("{at} at {node:?} is before the start"));
            }
            record.delivered.insert(at);
            self.delivered += 1;
        }
        self.problems.extend(problems);
    }

    pub fn lost(&mut self, node: (usize, u32), lost: &Lost) {
        self.lost += 1;
        let record = self.streams.get_mut(&(node.0, node.1, lost.key)).unwrap();
        match lost.reason {
            Reason::Gap => record.gaps.push((lost.from, lost.to)),
            _ => record.lost.push((lost.from, lost.to)),
        }
        if lost.from >= lost.to || lost.from < record.start {
            self.problem(format!("{lost:?} at {node:?} is no range of this stream"));
        }
        if !self.harmed.contains(&lost.key) {
            self.problem(format!("{lost:?} at {node:?}, and nothing was lost"));
        }
    }

    /// At the end: what became of everything that was said. `reached` are the streams that a node
    /// must have heard of. Where somebody `lied`, or nobody said MARK, only a topic's own numbers
    /// tell of a loss, and only once one of them is known.
    pub fn check(&mut self, node: (usize, u32), wanted: &[Pattern], reached: &[KeyId], lied: bool) {
        let mut problems = Vec::new();
        for key in reached {
            let Some(record) = self.streams.get(&(node.0, node.1, *key)) else {
                problems.push(format!("{node:?} never heard of {key}"));
                continue;
            };
            let from = match record.tip {
                Some(tip) if lied => (*key, record.start.max(tip)),
                _ => (*key, record.start),
            };
            let to = (*key, Position::new(u64::MAX, u64::MAX));
            for ((_, at), said) in self.said.range(from..to) {
                let is_wanted = wanted.iter().any(|pattern| pattern.matches(&said.topic));
                let delivered = usize::from(record.delivered.contains(at));
                let around = |range: &&(Position, Position)| range.0 <= *at && *at < range.1;
                let lost = record.lost.iter().filter(around).count();
                let gap = record.gaps.iter().any(|range| around(&range));
                if is_wanted && said.sent && delivered + lost == 0 && gap {
                    continue;
                }
                if is_wanted && said.sent && delivered + lost != 1 {
                    problems.push(format!(
                        "{key} {at} ({}) at {node:?}: delivered {delivered}, lost {lost} times",
                        said.topic
                    ));
                } else if delivered + lost > 1 {
                    problems.push(format!("{key} {at} at {node:?} was delivered and lost"));
                }
            }
        }
        self.problems.extend(problems);
    }
}

fn bytes(packet: &Sealed) -> Bytes {
    Bytes::from(packet.wire.concat())
}
