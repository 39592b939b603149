//! What topics' own numbers (`tseq`) tell: whether a message was left out, whatever a MARK says.

use alloc::collections::BTreeMap;

use crate::Position;
use crate::limits::TOPICS_HEARD;
use crate::seal::{Packet, Recent};
use crate::topic::Topic;

/// The last message of each topic in one epoch, in the order in which they were handed over.
#[derive(Debug)]
pub struct Heard {
    /// Topics that are not listed here had no message handed over from this place on.
    since: Position,
    /// Topics that are not listed here have had no message in this epoch before this place.
    unspoken: Option<Position>,
    topics: BTreeMap<Topic, Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// The number that the topic's next message has.
    next_tseq: u64,
    /// The number in the stream of its last message, or a later one up to which it had no other.
    seq: u64,
}

/// Where messages of one topic lie that did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first place where one can be.
    pub from: Position,
    /// The place after the last one; in the same epoch.
    pub upto: Position,
}

impl Heard {
    /// Nothing yet, from `next` on.
    pub fn starting(next: Position) -> Heard {
        let unspoken = (next.seq == 0).then_some(next);
        Heard { since: next, unspoken, topics: BTreeMap::new() }
    }

    /// From where on messages were handed over.
    pub fn since(&self) -> Position {
        self.since
    }

    /// Where messages of its topic are missing before this packet.
    pub fn gap(&self, packet: &Packet) -> Option<Gap> {
        let epoch = packet.header().epoch;
        let (expected, from) = match self.topics.get(packet.topic()) {
            _ if epoch != self.since.epoch => return None,
            Some(last) => (last.next_tseq, Position::new(epoch, last.seq).after()),
            None => (1, self.unspoken?),
        };
        (packet.tseq() > expected).then(|| self.gap_in(from, packet.start())).flatten()
    }

    /// Where the last messages of a topic lie, as a tip of `epoch` lists it, if they did not come.
    pub fn missed(&self, said: &Recent, epoch: u64) -> Option<Gap> {
        let at = Position::new(epoch, said.seq);
        let from = match self.topics.get(&said.topic) {
            _ if epoch != self.since.epoch => return None,
            Some(last) if last.seq < said.seq => Position::new(epoch, last.seq).after(),
            None if at >= self.since => self.unspoken.map_or(at, |place| place.min(at)),
            _ => return None,
        };
        self.gap_in(from, at.after())
    }

    /// What was said before this began is not missing.
    fn gap_in(&self, from: Position, upto: Position) -> Option<Gap> {
        let from = from.max(self.since);
        (from < upto).then_some(Gap { from, upto })
    }

    /// Notes a packet that is handed over.
    pub fn note(&mut self, packet: &Packet) {
        let next_tseq = packet.tseq().saturating_add(u64::from(packet.count()));
        self.insert(packet.topic(), packet.last(), next_tseq);
    }

    /// Notes the last message of a topic before `next`, as a tip lists it.
    pub fn note_last(&mut self, said: &Recent, next: Position) {
        let last = Position::new(next.epoch, next.seq.saturating_sub(1).max(said.seq));
        self.insert(&said.topic, last, said.tseq.saturating_add(1));
    }

    /// A tip listed all topics spoken before `next`.
    pub fn listed_all(&mut self, next: Position) {
        if next.epoch == self.since.epoch {
            self.unspoken = Some(next.max(self.since));
        }
    }

    fn insert(&mut self, topic: &Topic, at: Position, next_tseq: u64) {
        if at.epoch != self.since.epoch {
            return;
        }
        let last = Last { next_tseq, seq: at.seq };
        if let Some(known) = self.topics.get_mut(topic) {
            if known.seq < at.seq {
                *known = last;
            }
            return;
        }
        if self.topics.len() >= TOPICS_HEARD {
            // Forgotten numbers judge nothing.
            *self = Heard { unspoken: None, ..Heard::starting(at) };
        }
        self.topics.insert(topic.detached(), last);
    }
}
