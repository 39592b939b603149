//! One stream: its position, what waits, and how it moves on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::evidence::{Heard, NewestTip};
use super::pending::{Delivery, Pending};
use super::ranges::Ranges;
use super::{Counters, LinkId, Lost, Output, Reason};
use crate::limits::{HELD_BYTES, HOLE_PATIENCE};
use crate::open::Trusted;
use crate::topic::{Name, Pattern};
use crate::wire::Mark;
use crate::{KeyId, Position, Time};

/// Over links without MARKs, a commit is handed over this long after its first packet.
const HAND_OVER: Duration = Duration::from_millis(5);

/// A link that carries this stream.
#[derive(Debug)]
struct Link {
    selvedge: bool,
    /// Everything below that this link would ever bring has come.
    shown: Position,
}

#[derive(Debug)]
pub struct Stream {
    pub(super) key: KeyId,
    publisher: Name,
    pub(super) wanted: Vec<Pattern>,
    /// Everything before it was delivered, passed or declared lost.
    pub(super) next: Position,
    /// The highest place that a signed packet or tip has shown.
    shown: Position,
    /// Where the epoch before `next`'s was left.
    left: Option<Position>,
    /// The end of the last `Lost`.
    pub(super) lost: Position,
    links: BTreeMap<LinkId, Link>,
    pub(super) pending: BTreeMap<Position, Pending>,
    held: usize,
    /// What MARKs pass, and what was declared lost inside a commit that waits.
    pub(super) passed: Ranges,
    /// Over links without MARKs: numbers that a step in a topic's own numbers shows to be lost.
    gaps: Ranges,
    pub(super) tip: Option<NewestTip>,
    pub(super) heard: Heard,
    /// The hole that links are given time to fill, and since when.
    waiting: Option<(Position, Time)>,
    /// When the caller will tick; kept here for the caller.
    pub timer: Option<Time>,
}

impl Stream {
    pub fn new(key: KeyId, publisher: Name, next: Position, wanted: Vec<Pattern>) -> Stream {
        Stream {
            key,
            publisher,
            wanted,
            next,
            shown: next,
            left: None,
            lost: Position::default(),
            links: BTreeMap::new(),
            pending: BTreeMap::new(),
            held: 0,
            passed: Ranges::default(),
            gaps: Ranges::default(),
            tip: None,
            heard: Heard::default(),
            waiting: None,
            timer: None,
        }
    }

    pub fn next(&self) -> Position {
        self.next
    }

    /// This link carries the stream.
    pub fn link(&mut self, link: LinkId, selvedge: bool) {
        self.links.entry(link).or_insert(Link { selvedge, shown: Position::default() });
    }

    pub fn unlink(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Whether no link sends MARKs, so that a packet or tip has to pass what lies before it.
    fn is_plain(&self) -> bool {
        self.links.values().all(|link| !link.selvedge)
    }

    fn shows(&mut self, link: LinkId, upto: Position) {
        if let Some(link) = self.links.get_mut(&link) {
            link.shown = link.shown.max(upto);
        }
    }

    pub fn mark(&mut self, link: LinkId, mark: &Mark, counters: &mut Counters) {
        self.link(link, true);
        self.shows(link, mark.upto);
        self.passed.add(mark.from.max(self.next), mark.upto);
        self.void_by_tip(counters);
    }

    pub fn packet(
        &mut self,
        now: Time,
        link: LinkId,
        trusted: Trusted,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) {
        let packet = trusted.packet();
        let header = *packet.header();
        if header.epoch < self.next.epoch {
            return self.below(&trusted, counters, out);
        }
        self.shown = self.shown.max(header.end());
        if packet.is_tip() {
            self.shows(link, header.end());
            return self.tip(trusted, counters, out);
        }
        self.shows(link, header.start());
        let step = self.step(packet);
        if packet.last() < self.next {
            match step.filter(|_| self.is_plain()) {
                // Handed over without it: what comes too late over such a link is lost.
                Some(_) => self.lose(packet.start(), after(packet.last()), Reason::Gap, out),
                None => counters.duplicates += 1,
            }
            return;
        }
        if self.is_plain() {
            if let Some((from, upto)) = step.filter(|(_, upto)| *upto > self.next) {
                self.gaps.add(from.max(self.next), upto);
            }
            self.passed.add(self.next, header.start());
        } else if let Some((from, upto)) = step {
            self.void(from, upto, counters);
        }
        self.hold(now, trusted, counters);
    }

    /// Keeps a packet until its commit can be handed over.
    fn hold(&mut self, now: Time, trusted: Trusted, counters: &mut Counters) {
        let packet = trusted.packet();
        let header = *packet.header();
        let bytes = packet.wire().len();
        if header.start() > self.next && self.held + bytes > HELD_BYTES {
            counters.held_full += 1;
            return;
        }
        let hand_over = self.is_plain().then(|| now + HAND_OVER);
        let commit = self.pending.entry(header.start()).or_insert_with(|| Pending::new(header));
        commit.hand_over = commit.hand_over.or(hand_over);
        match commit.add(trusted) {
            true => self.held += bytes,
            false => counters.duplicates += 1,
        }
    }

    fn tip(&mut self, trusted: Trusted, counters: &mut Counters, out: &mut Vec<Output>) {
        let Some(tip) = NewestTip::read(trusted.packet()) else {
            counters.bad_tips += 1;
            return;
        };
        if self.tip.as_ref().is_some_and(|newest| !tip.is_newer_than(newest)) {
            counters.duplicates += 1;
            return;
        }
        let end = trusted.packet().header().end();
        self.tip = Some(tip);
        out.push(Output::Tip(trusted));
        if self.is_plain() {
            for (from, upto) in self.unseen() {
                self.gaps.add(from, upto);
            }
            self.passed.add(self.next, end);
        } else {
            self.void_by_tip(counters);
        }
    }

    /// A packet of an epoch that this stream has left.
    fn below(&self, trusted: &Trusted, counters: &mut Counters, out: &mut Vec<Output>) {
        let packet = trusted.packet();
        let epoch = packet.header().epoch;
        let known = |left: Position| epoch < left.epoch || packet.last() <= left;
        if self.left.is_some_and(known) {
            counters.duplicates += 1;
        } else {
            counters.superseded += 1;
            let publisher = self.publisher.clone();
            out.push(Output::Superseded { key: self.key, publisher, epoch });
        }
    }

    /// Moves on as far as possible; returns when to try again without a new input.
    pub fn advance(&mut self, now: Time, out: &mut Vec<Output>) -> Option<Time> {
        loop {
            let front = self.pending.first_key_value().map(|(start, commit)| (*start, commit));
            let moved = match front {
                Some((_, commit)) if commit.header.end() <= self.next => {
                    self.take_front();
                    Ok(())
                }
                Some((start, _)) if start <= self.next => self.inside_commit(now, out),
                front => self.between_commits(now, front.map(|(start, _)| start), out),
            };
            if let Err(timer) = moved {
                return timer;
            }
        }
    }

    /// `next` lies in the commit that waits first: hand it over, if nothing of it is missing.
    fn inside_commit(&mut self, now: Time, out: &mut Vec<Output>) -> Result<(), Option<Time>> {
        let Some((_, commit)) = self.pending.first_key_value() else { return Err(None) };
        let (end, hand_over) = (commit.header.end(), commit.hand_over);
        match commit.missing(self.next, &self.passed) {
            None => self.deliver(out),
            Some((from, to)) if self.gaps.end_at(from).is_some() => {
                let to = self.gaps.end_at(from).unwrap_or(to).min(to);
                self.lose(from, to, Reason::Gap, out);
                self.passed.add(from, to);
            }
            Some(_) if hand_over.is_some_and(|due| due <= now) => {
                self.passed.add(self.next, end);
            }
            Some((from, to)) => match self.close(now, from, to) {
                Ok((to, reason)) => {
                    self.lose(from, to, reason, out);
                    self.passed.add(from, to);
                }
                Err(timer) => return Err(earliest(timer, hand_over)),
            },
        }
        Ok(())
    }

    /// `next` lies before the first commit that waits (at `front`), or nothing waits.
    fn between_commits(
        &mut self,
        now: Time,
        front: Option<Position>,
        out: &mut Vec<Output>,
    ) -> Result<(), Option<Time>> {
        let bound = front.unwrap_or(self.shown).min(self.shown);
        if self.next >= bound {
            return Err(None);
        }
        if let Some(end) = self.gaps.end_at(self.next) {
            let (from, to) = (self.next, end.min(bound));
            self.lose(from, to, Reason::Gap, out);
            self.move_to(to);
        } else if let Some(end) = self.passed.end_at(self.next) {
            let gap = self.gaps.start_above(self.next).unwrap_or(end);
            self.move_to(end.min(bound).min(gap));
            out.push(Output::Passed { key: self.key, upto: self.next });
        } else if let Some(following) = self.clean_end().filter(|epoch| *epoch <= bound.epoch) {
            self.move_to(Position::new(following, 0));
            out.push(Output::Passed { key: self.key, upto: self.next });
        } else {
            let hole = self.passed.start_above(self.next).map_or(bound, |start| start.min(bound));
            let (to, reason) = self.close(now, self.next, hole)?;
            self.lose(self.next, to, reason, out);
            self.move_to(to);
        }
        Ok(())
    }

    fn deliver(&mut self, out: &mut Vec<Output>) {
        let from = self.next;
        let Some(commit) = self.take_front() else { return };
        self.move_to(commit.header.end());
        out.push(Output::Deliver(Delivery {
            key: self.key,
            publisher: self.publisher.clone(),
            header: commit.header,
            from,
            packets: commit.packets,
        }));
    }

    fn take_front(&mut self) -> Option<Pending> {
        let (_, commit) = self.pending.pop_first()?;
        self.held -= commit.bytes();
        Some(commit)
    }

    fn move_to(&mut self, next: Position) {
        if next.epoch != self.next.epoch {
            self.left = Some(self.next);
        }
        self.next = next;
        self.shown = self.shown.max(next);
        self.waiting = None;
        self.passed.forget_below(next);
        self.gaps.forget_below(next);
    }

    fn lose(&mut self, from: Position, to: Position, reason: Reason, out: &mut Vec<Output>) {
        self.lost = self.lost.max(to);
        let publisher = self.publisher.clone();
        out.push(Output::Lost(Lost { key: self.key, publisher, from, to, reason }));
    }

    /// Whether the hole `from..to` may be closed now, how far, and why; else when to ask again.
    ///
    /// A tip says what its publisher no longer holds; a link that has not come as far may still
    /// bring it, and is given [`HOLE_PATIENCE`].
    fn close(
        &mut self,
        now: Time,
        from: Position,
        to: Position,
    ) -> Result<(Position, Reason), Option<Time>> {
        let (limit, reason) = self.evidence(from).ok_or(None)?;
        let to = to.min(limit);
        if self.links.values().any(|link| link.shown < to) {
            let since = match self.waiting {
                Some((hole, since)) if hole == from => since,
                _ => now,
            };
            self.waiting = Some((from, since));
            if now < since + HOLE_PATIENCE {
                return Err(Some(since + HOLE_PATIENCE));
            }
        }
        Ok((to, reason))
    }

    /// The key is gone: everything that was shown and did not come is lost, what waits is handed
    /// over unless the key was `revoked`.
    pub fn abandon(mut self, revoked: bool, out: &mut Vec<Output>) {
        while !revoked && let Some((start, _)) = self.pending.first_key_value() {
            let start = *start;
            if start > self.next {
                self.lose(self.next, start, Reason::Removed, out);
                self.move_to(start);
            }
            while let Some((_, commit)) = self.pending.first_key_value()
                && let Some((from, to)) = commit.missing(self.next, &self.passed)
            {
                self.lose(from, to, Reason::Removed, out);
                self.passed.add(from, to);
            }
            self.deliver(out);
        }
        if self.next < self.shown {
            self.lose(self.next, self.shown, Reason::Removed, out);
        }
    }
}

fn after(position: Position) -> Position {
    Position::new(position.epoch, position.seq.saturating_add(1))
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    [a, b].into_iter().flatten().min()
}
