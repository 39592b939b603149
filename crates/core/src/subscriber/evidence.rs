//! What signed words say about numbers that did not come.
//!
//! A tip tells what its publisher still holds and how its epochs ended; the numbers of a topic
//! (`tseq`) tell whether one of its messages was left out, whatever a MARK claims.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::stream::Stream;
use super::{Counters, Reason};
use crate::Position;
use crate::limits::TOPICS_HEARD;
use crate::seal::{Packet, Tip};
use crate::topic::Topic;

/// The newest tip of a stream.
#[derive(Debug)]
pub struct NewestTip {
    epoch: u64,
    commit: u64,
    tip: Tip,
}

impl NewestTip {
    /// Reads a trusted tip; `None` if its body is none, or contradicts its seal.
    pub fn read(packet: &Packet) -> Option<NewestTip> {
        let header = packet.header();
        let tip = Tip::parse(&packet.body(0)).ok()?;
        (tip.next == header.end().seq).then_some(NewestTip {
            epoch: header.epoch,
            commit: header.commit,
            tip,
        })
    }

    pub fn is_newer_than(&self, other: &NewestTip) -> bool {
        (self.epoch, self.commit) > (other.epoch, other.commit)
    }

    /// The first epoch that this tip knows of after `epoch`.
    fn following(&self, epoch: u64) -> u64 {
        let earlier = self.tip.epochs.iter().map(|end| end.epoch);
        earlier.filter(|e| *e > epoch).min().unwrap_or(self.epoch).min(self.epoch)
    }
}

/// The last message of each topic that came in one epoch.
#[derive(Debug, Default)]
pub struct Heard {
    epoch: u64,
    topics: BTreeMap<Topic, Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// The number that the topic's next message has.
    next_tseq: u64,
    /// The number in the stream of its last message.
    seq: u64,
}

impl Heard {
    /// Notes a packet. If messages of its topic are missing before it: how many, and between which
    /// numbers of the stream.
    fn note(&mut self, packet: &Packet) -> Option<(u64, Position, Position)> {
        let epoch = packet.header().epoch;
        if epoch != self.epoch {
            if epoch < self.epoch {
                return None;
            }
            *self = Heard { epoch, topics: BTreeMap::new() };
        }
        let next_tseq = packet.tseq().saturating_add(u64::from(packet.count()));
        let now = Last { next_tseq, seq: packet.last().seq };
        let Some(last) = self.topics.get_mut(packet.topic()) else {
            if self.topics.len() >= TOPICS_HEARD {
                self.topics.clear(); // forgotten numbers judge nothing
            }
            self.topics.insert(packet.topic().clone(), now);
            return None;
        };
        if now.seq <= last.seq {
            return None;
        }
        let before = core::mem::replace(last, now);
        let missing = packet.tseq().checked_sub(before.next_tseq)?;
        let from = Position::new(epoch, before.seq.saturating_add(1));
        (missing > 0 && packet.tseq() > 0).then(|| (missing, from, packet.start()))
    }
}

impl Stream {
    /// Notes a packet's topic numbers; the range in which messages of its topic are missing.
    pub(super) fn step(&mut self, packet: &Packet) -> Option<(Position, Position)> {
        let (missing, from, upto) = self.heard.note(packet)?;
        // Declared lost, or not all numbers between are accounted for: nothing to object to.
        let open = self.unaccounted(from.max(self.next), upto);
        let explained = from < self.lost || open >= missing;
        (!explained || self.next >= upto).then_some((from, upto))
    }

    /// Takes back what MARKs said about messages that the newest tip lists and that did not come.
    pub(super) fn void_by_tip(&mut self, counters: &mut Counters) {
        for (from, upto) in self.unseen() {
            self.void(from, upto, counters);
        }
    }

    /// Takes back what MARKs said about a range in which a message is known to be missing.
    pub(super) fn void(&mut self, from: Position, upto: Position, counters: &mut Counters) {
        if self.passed.touches(from, upto) {
            counters.void_marks += 1;
            self.passed.remove(from, upto);
        }
    }

    /// The last messages of wanted topics, as the newest tip lists them, that did not come.
    pub(super) fn unseen(&self) -> Vec<(Position, Position)> {
        let Some(newest) = &self.tip else { return Vec::new() };
        let recent = newest.tip.recent.iter();
        let wanted = recent.filter(|said| self.wanted.iter().any(|p| p.matches(&said.topic)));
        let places = wanted.map(|said| Position::new(newest.epoch, said.seq));
        let missing = places.filter(|at| *at >= self.next && !self.holds(*at));
        missing.map(|at| (at, Position::new(at.epoch, at.seq.saturating_add(1)))).collect()
    }

    /// Whether a message waits to be handed over.
    fn holds(&self, at: Position) -> bool {
        let commit = self.pending.range(..=at).next_back();
        commit.is_some_and(|(_, commit)| commit.numbers().any(|(from, _)| from == at))
    }

    /// How many numbers of `from..upto` neither came nor are passed.
    fn unaccounted(&self, from: Position, upto: Position) -> u64 {
        if from >= upto {
            return 0;
        }
        let mut have = self.passed.clone_within(from, upto);
        for (_, commit) in self.pending.range(..upto) {
            for (start, end) in commit.numbers().filter(|(start, _)| *start >= from) {
                have.add(start, end);
            }
        }
        (upto.seq - from.seq).saturating_sub(have.count_within(from, upto))
    }

    /// How far, and why, a hole at `at` may be closed by the newest tip.
    pub(super) fn evidence(&self, at: Position) -> Option<(Position, Reason)> {
        let newest = self.tip.as_ref()?;
        let tip = &newest.tip;
        let void =
            tip.voids.iter().find(|v| v.epoch == at.epoch && (v.from..v.to).contains(&at.seq));
        if let Some(void) = void {
            return Some((Position::new(void.epoch, void.to), Reason::Void));
        }
        if at.epoch > newest.epoch {
            return None;
        }
        if at.epoch == newest.epoch {
            return (tip.oldest > at).then_some((tip.oldest, Reason::NotHeld));
        }
        let following = Position::new(newest.following(at.epoch), 0);
        match tip.epochs.iter().find(|end| end.epoch == at.epoch) {
            Some(end) if at.seq < end.end => {
                let end = Position::new(at.epoch, end.end);
                (tip.oldest > at).then(|| (tip.oldest.min(end), Reason::NotHeld))
            }
            Some(end) if end.clean => Some((following, Reason::NotHeld)),
            Some(_) => Some((following, Reason::UncleanEnd)),
            None => (tip.oldest > at).then_some((following, Reason::UncleanEnd)),
        }
    }

    /// The epoch after `next`'s, if that ended cleanly right there.
    pub(super) fn clean_end(&self) -> Option<u64> {
        let newest = self.tip.as_ref()?;
        let end = newest.tip.epochs.iter().find(|end| end.epoch == self.next.epoch)?;
        let over = end.clean && self.next.seq >= end.end && self.next.epoch < newest.epoch;
        over.then(|| newest.following(self.next.epoch))
    }
}
