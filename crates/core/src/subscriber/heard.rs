//! What the topics' own numbers (`tseq`) tell: whether a message was left out, whatever a MARK says.

use alloc::collections::BTreeMap;

use crate::Position;
use crate::limits::TOPICS_HEARD;
use crate::seal::{Packet, Recent};
use crate::topic::Topic;

/// Messages of one topic that are known to be missing: between two of its messages that came, or at
/// a place that a tip lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub topic: Topic,
    /// The first missing one's number among those of its topic.
    pub tseq: u64,
    /// How many are missing.
    pub missing: u64,
    /// They have numbers in `from..upto`, of one epoch.
    pub from: Position,
    pub upto: Position,
    /// Fewer numbers there are open than messages are missing: what MARKs say of it is wrong.
    pub is_binding: bool,
}

impl Step {
    /// What is missing before and after a packet of this topic that came.
    pub fn split(self, packet: &Packet) -> [Option<Step>; 2] {
        let count = u64::from(packet.count());
        let end = self.tseq.saturating_add(self.missing);
        let next = packet.tseq().saturating_add(count);
        if packet.tseq() < self.tseq || next > end {
            // Its publisher forgot the topic in between: only their sum is known.
            let missing = self.missing.saturating_sub(count);
            return [(missing > 0).then_some(Step { missing, ..self }), None];
        }
        let (before, after) = (packet.tseq() - self.tseq, end - next);
        let first = Step { missing: before, upto: packet.start(), ..self.clone() };
        let second = Step { tseq: next, missing: after, from: packet.last().after(), ..self };
        [(before > 0).then_some(first), (after > 0).then_some(second)]
    }
}

/// The last message of each topic in one epoch, as far as it came or a tip told of it.
#[derive(Debug, Default)]
pub struct Heard {
    epoch: u64,
    topics: BTreeMap<Topic, Last>,
    /// A tip listed all topics: one that is not known here had no message below this number.
    complete: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// The number that the topic's next message has; 0 if its publisher forgot.
    next_tseq: u64,
    /// The number in the stream of its last message.
    seq: u64,
}

impl Heard {
    /// Notes a packet that came; returns what it shows to be missing before it.
    pub fn packet(&mut self, packet: &Packet) -> Option<Step> {
        let (start, last) = (packet.start(), packet.last().seq);
        self.note(packet.topic(), packet.tseq(), start, u64::from(packet.count()), last)
    }

    /// Notes the last message of a topic, as a tip of `epoch` lists it; returns what it shows to be
    /// missing before it. False in the second place if this place was known before.
    pub fn listed(&mut self, epoch: u64, said: &Recent) -> (Option<Step>, bool) {
        let known = |last: &Last| last.seq >= said.seq;
        if epoch < self.epoch
            || epoch == self.epoch && self.topics.get(&said.topic).is_some_and(known)
        {
            return (None, false);
        }
        let judged = self.topics.contains_key(&said.topic) || self.complete.is_some();
        let step = match self.epoch == epoch && judged {
            true => self.note(&said.topic, said.tseq, Position::new(epoch, said.seq), 1, said.seq),
            // What came before the first message that one hears of is not missed.
            false => {
                self.begin(epoch);
                self.insert(&said.topic, said.tseq.saturating_add(1), said.seq);
                None
            }
        };
        (step, true)
    }

    /// A tip of `epoch` listed all topics spoken below `next`.
    pub fn listed_all(&mut self, epoch: u64, next: u64) {
        if epoch == self.epoch || self.begin(epoch) {
            self.complete = Some(next);
        }
    }

    fn note(
        &mut self,
        topic: &Topic,
        tseq: u64,
        start: Position,
        count: u64,
        last: u64,
    ) -> Option<Step> {
        if start.epoch != self.epoch && !self.begin(start.epoch) {
            return None;
        }
        let next_tseq = tseq.saturating_add(count);
        let before = match self.topics.get_mut(topic) {
            Some(known) if last <= known.seq => return None,
            Some(known) => {
                let before = *known;
                *known = Last { next_tseq, seq: last };
                (before.next_tseq, before.seq.saturating_add(1))
            }
            None => {
                let all = self.complete;
                self.insert(topic, next_tseq, last);
                (1, all?)
            }
        };
        let (expected, from) = before;
        let missing = tseq.checked_sub(expected).filter(|missing| *missing > 0)?;
        let from = Position::new(start.epoch, from);
        let topic = topic.detached();
        let step = Step { topic, tseq: expected, missing, from, upto: start, is_binding: false };
        (from < start).then_some(step)
    }

    /// Forgets an earlier epoch; false if `epoch` is the earlier one.
    fn begin(&mut self, epoch: u64) -> bool {
        if epoch > self.epoch {
            *self = Heard { epoch, ..Heard::default() };
        }
        epoch == self.epoch
    }

    fn insert(&mut self, topic: &Topic, next_tseq: u64, seq: u64) {
        if self.topics.len() >= TOPICS_HEARD {
            // Forgotten numbers judge nothing.
            self.topics.clear();
            self.complete = None;
        }
        self.topics.insert(topic.detached(), Last { next_tseq, seq });
    }
}
