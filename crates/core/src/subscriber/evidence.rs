//! What signed words say about numbers that did not come.
//!
//! A tip tells what its publisher still holds and how its epochs ended. Both its list of topics and
//! the numbers of each topic tell of messages that were left out: no MARK passes those.

use alloc::vec::Vec;

use super::heard::Step;
use super::ranges::Ranges;
use super::stream::Stream;
use super::{Counters, Output, Reason};
use crate::Position;
use crate::limits::RANGES;
use crate::seal::{Packet, Tip};

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

impl Stream {
    /// Notes the topic number of a packet that is at hand, or was.
    pub(super) fn note(&mut self, packet: &Packet, counters: &mut Counters, out: &mut Vec<Output>) {
        let fills = |s: &Step| {
            s.topic == *packet.topic() && s.from <= packet.start() && packet.start() < s.upto
        };
        if let Some(at) = self.steps.iter().position(fills) {
            let rest = self.steps.swap_remove(at).split(packet);
            self.steps.extend(rest.into_iter().flatten());
        }
        if let Some(step) = self.heard.packet(packet) {
            self.object(step, counters, out);
        }
    }

    /// Compares the newest tip's list of topics with what came.
    pub(super) fn compare(&mut self, counters: &mut Counters, out: &mut Vec<Output>) {
        let Some(newest) = &self.tip else { return };
        let (epoch, next, more) = (newest.epoch, newest.tip.next, newest.tip.more);
        let wanted = |topic| self.wanted.iter().any(|pattern| pattern.matches(topic));
        let listed = newest.tip.recent.iter().filter(|said| said.seq < next && wanted(&said.topic));
        for said in listed.cloned().collect::<Vec<_>>() {
            let at = Position::new(epoch, said.seq);
            let (before, is_new) = self.heard.listed(epoch, &said);
            if let Some(step) = before {
                self.object(step, counters, out);
            }
            if is_new && !self.has(at) {
                let (topic, tseq) = (said.topic.detached(), said.tseq);
                let step = Step { topic, tseq, missing: 1, from: at, upto: at.after() };
                self.object(step, counters, out);
            }
        }
        if !more {
            self.heard.listed_all(epoch, next);
        }
    }

    /// Messages are missing: what lies behind is lost, what lies ahead is passed by no MARK.
    pub(super) fn object(&mut self, step: Step, counters: &mut Counters, out: &mut Vec<Output>) {
        if self.explains(&step) {
            return;
        }
        let behind = self.behind.clone_within(step.from, step.upto.min(self.next));
        if !self.plain && (!behind.is_empty() || self.passed.touches(step.from, step.upto)) {
            counters.void_marks += 1;
        }
        for (from, upto) in behind.iter() {
            self.lose(from, upto, Reason::Gap, out);
        }
        self.behind.remove(step.from, step.upto.min(self.next));
        if self.explains(&step) {
            return;
        }
        if step.upto > self.next {
            self.steps.push(step);
        } else {
            // It is not known any more which numbers of this range came.
            self.lose(step.from, step.upto, Reason::Gap, out);
        }
    }

    /// Whether as many numbers as are missing were declared lost there.
    pub(super) fn explains(&self, step: &Step) -> bool {
        self.lost.count_within(step.from, step.upto) >= step.missing
    }

    /// The end of the step that `at` lies in.
    pub(super) fn step_end(&self, at: Position) -> Option<Position> {
        let around = self.steps.iter().filter(|step| step.from <= at && at < step.upto);
        around.map(|step| step.upto).max()
    }

    /// What MARKs pass in `from..upto`, and no step contradicts.
    pub(super) fn vouched(&self, from: Position, upto: Position) -> Ranges {
        // Too many contradictions to remember: no MARK counts until they are settled.
        if self.steps.len() >= RANGES {
            return Ranges::default();
        }
        let mut vouched = self.passed.clone_within(from, upto);
        self.steps.iter().for_each(|step| vouched.remove(step.from, step.upto));
        vouched
    }

    /// Whether the message at `at` came.
    fn has(&self, at: Position) -> bool {
        if at < self.next {
            return self.behind.end_at(at).is_none() && self.lost.end_at(at).is_none();
        }
        let commit = self.pending.range(..=at).next_back();
        commit.is_some_and(|(_, commit)| commit.has(at))
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
