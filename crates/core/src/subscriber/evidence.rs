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
    pub(super) fn note(&mut self, packet: &Packet) {
        let fills = |s: &Step| {
            s.topic == *packet.topic() && s.from <= packet.start() && packet.start() < s.upto
        };
        if let Some(at) = self.steps.iter().position(fills) {
            let rest = self.steps.swap_remove(at).split(packet);
            self.steps.extend(rest.into_iter().flatten());
        }
        if let Some(step) = self.heard.packet(packet) {
            self.miss(step);
        }
    }

    fn miss(&mut self, step: Step) {
        match self.steps.len() < RANGES {
            true => self.steps.push(step),
            false => self.deny(step.from, step.upto),
        }
    }

    /// Lets no MARK pass `from..upto`, nor what lies between it and what was denied before.
    pub(super) fn deny(&mut self, from: Position, upto: Position) {
        let (start, end) = self.denied.unwrap_or((from, upto));
        self.denied = Some((start.min(from), end.max(upto)));
    }

    /// Compares the newest tip's list of topics with what came.
    pub(super) fn compare(&mut self) {
        let Some(newest) = &self.tip else { return };
        let (epoch, next, more) = (newest.epoch, newest.tip.next, newest.tip.more);
        let listed = newest.tip.recent.iter().filter(|said| said.seq < next);
        for said in listed.cloned().collect::<Vec<_>>() {
            let at = Position::new(epoch, said.seq);
            let (before, is_new) = self.heard.listed(epoch, &said);
            if !self.wanted.iter().any(|pattern| pattern.matches(&said.topic)) {
                continue;
            }
            let here = (is_new && !self.has(at)).then(|| Step {
                topic: said.topic.detached(),
                tseq: said.tseq,
                missing: 1,
                from: at,
                upto: at.after(),
                is_binding: false,
            });
            before.into_iter().chain(here).for_each(|step| self.miss(step));
        }
        if !more {
            self.heard.listed_all(epoch, next);
        }
    }

    /// Looks again at messages that are known to be missing: whether they may still come, were
    /// declared lost, or were passed by somebody who was wrong.
    pub(super) fn judge(&mut self, counters: &mut Counters, out: &mut Vec<Output>) {
        let mut steps = core::mem::take(&mut self.steps);
        steps.sort_by_key(|step| step.upto);
        for mut step in steps {
            if self.unblamed.take(step.from, step.upto, step.missing) {
                continue;
            }
            let lost = self.unblamed.count_within(step.from, step.upto);
            let open = self.open(step.from.max(self.next), step.upto);
            if lost + open >= step.missing {
                self.steps.push(Step { is_binding: false, ..step });
                continue;
            }
            counters.void_marks += u64::from(!step.is_binding && !self.plain);
            step.is_binding = true;
            let behind = step.upto.min(self.next);
            for (from, upto) in self.behind.clone_within(step.from, behind).iter() {
                self.lose(from, upto, Reason::Gap, out);
            }
            self.behind.remove(step.from, behind);
            if step.upto > self.next {
                self.steps.push(step);
            } else if step.from < self.forgotten {
                // Which numbers of this range came is not known any more.
                self.lose(step.from, step.upto.min(self.forgotten), Reason::Gap, out);
            }
        }
    }

    /// How many numbers of `from..upto` neither came nor are passed or declared lost.
    fn open(&self, from: Position, upto: Position) -> u64 {
        if from >= upto {
            return 0;
        }
        let mut closed = self.claimed(from, upto);
        closed.extend(self.lost.clone_within(from, upto).iter());
        for (start, commit) in self.pending.range(..upto) {
            let mut have = commit.came();
            have.extend([(*start, commit.settled)]);
            closed.extend(have.clone_within(from, upto).iter());
        }
        (upto.seq - from.seq).saturating_sub(closed.count_within(from, upto))
    }

    /// What MARKs pass in `from..upto`, and no step contradicts.
    pub(super) fn vouched(&self, from: Position, upto: Position) -> Ranges {
        let mut vouched = self.claimed(from, upto);
        let binding = self.steps.iter().filter(|step| step.is_binding);
        binding.for_each(|step| vouched.remove(step.from, step.upto));
        vouched
    }

    /// What MARKs pass in `from..upto`, less what was denied.
    fn claimed(&self, from: Position, upto: Position) -> Ranges {
        let mut claimed = self.passed.clone_within(from, upto);
        if let Some((start, end)) = self.denied {
            claimed.remove(start, end);
        }
        claimed
    }

    /// Over links without MARKs: the end of the range around `at` in which messages are missing.
    pub(super) fn gap_end(&self, at: Position) -> Option<Position> {
        let around = |step: &&Step| step.is_binding && step.from <= at && at < step.upto;
        let steps = self.steps.iter().filter(|_| self.plain);
        steps.filter(around).map(|step| step.upto).max()
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
