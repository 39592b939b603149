//! One stream: its position, what waits, and how it moves on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::evidence::NewestTip;
use super::heard::{Heard, Step};
use super::pending::{Delivery, Pending};
use super::ranges::Ranges;
use super::{Counters, LinkId, Lost, Output, Reason};
use crate::limits::{HELD_BYTES, HOLE_PATIENCE, PACKET_BYTES};
use crate::open::Trusted;
use crate::seal::Packet;
use crate::topic::{Name, Pattern};
use crate::wire::Mark;
use crate::{KeyId, Position, Time};

/// Over links without MARKs, a commit is handed over this long after the last packet of it that
/// came: what comes later is lost, so a slow link had better not be cut short.
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
    links: BTreeMap<LinkId, Link>,
    /// Whether no link sends MARKs, so that a packet or tip has to pass what lies before it. Stays
    /// as it was while there is no link.
    pub(super) plain: bool,
    pub(super) pending: BTreeMap<Position, Pending>,
    held: usize,
    /// What MARKs pass, or, over links without them, what lies before a packet.
    pub(super) passed: Ranges,
    /// Numbers below `next` that were passed: nobody can deliver them any more.
    pub(super) behind: Ranges,
    /// Below it nobody knows any more which numbers were passed.
    pub(super) forgotten: Position,
    /// Numbers that were declared lost.
    pub(super) lost: Ranges,
    /// Those of them that no missing message is put down to yet.
    pub(super) unblamed: Ranges,
    pub(super) tip: Option<NewestTip>,
    /// The newest tip, until `next` reaches it: whoever hears it from us shall have heard all
    /// before it.
    announced: Option<Trusted>,
    pub(super) heard: Heard,
    /// Messages that are known to be missing, whatever MARKs say; at most [`crate::limits::RANGES`].
    pub(super) steps: Vec<Step>,
    /// Where packets came for which there was no room: no MARK passes anything in it.
    pub(super) denied: Option<(Position, Position)>,
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
            links: BTreeMap::new(),
            plain: true,
            pending: BTreeMap::new(),
            held: 0,
            passed: Ranges::default(),
            behind: Ranges::default(),
            forgotten: Position::default(),
            lost: Ranges::default(),
            unblamed: Ranges::default(),
            tip: None,
            announced: None,
            heard: Heard::default(),
            steps: Vec::new(),
            denied: None,
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
        self.plain = self.links.values().all(|link| !link.selvedge);
    }

    pub fn unlink(&mut self, link: LinkId) {
        self.links.remove(&link);
        if !self.links.is_empty() {
            self.plain = self.links.values().all(|link| !link.selvedge);
        }
    }

    fn shows(&mut self, link: LinkId, upto: Position) {
        if let Some(link) = self.links.get_mut(&link) {
            link.shown = link.shown.max(upto);
        }
    }

    pub fn mark(&mut self, link: LinkId, mark: &Mark) {
        self.link(link, true);
        self.shows(link, mark.upto);
        self.passed.add_keeping_low(mark.from.max(self.next), mark.upto);
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
        if self.plain {
            // Over such links nothing else will tell what lies between.
            self.passed.add_keeping_low(self.next, header.start());
            self.shows(link, if packet.is_tip() { header.end() } else { header.start() });
        }
        if packet.is_tip() {
            return self.tip(trusted, counters);
        }
        self.shows(link, header.start());
        self.note(packet);
        if packet.last() < self.next {
            return self.late(packet, counters, out);
        }
        self.hold(now, trusted, counters);
    }

    /// A packet that comes after its numbers were passed: only now it shows that they mattered.
    fn late(&mut self, packet: &Packet, counters: &mut Counters, out: &mut Vec<Output>) {
        let epoch = packet.header().epoch;
        let at = |off: u16| Position::new(epoch, packet.header().first + u64::from(off));
        let mut passed = false;
        for number in packet.entries().map(|entry| at(entry.off)) {
            if self.behind.end_at(number).is_some() {
                passed = true;
                self.behind.remove(number, number.after());
                self.lose(number, number.after(), Reason::Gap, out);
            }
        }
        counters.duplicates += u64::from(!passed);
    }

    /// Keeps a packet until its commit can be handed over.
    fn hold(&mut self, now: Time, trusted: Trusted, counters: &mut Counters) {
        let packet = trusted.packet();
        let header = *packet.header();
        let bytes = packet.wire().len();
        // What is wanted next has room beside what waits for it.
        let room = if header.start() > self.next { HELD_BYTES } else { HELD_BYTES + PACKET_BYTES };
        if self.held > 0 && self.held + bytes > room {
            counters.held_full += 1;
            return self.deny(packet.start(), packet.last().after());
        }
        let commit = self.pending.entry(header.start()).or_insert_with(|| Pending::new(header));
        if commit.header != header {
            counters.conflicts += 1;
            return;
        }
        if !commit.add(trusted) {
            counters.duplicates += 1;
            return;
        }
        self.held += bytes;
        if self.plain {
            commit.hand_over = Some(now + HAND_OVER);
        }
    }

    fn tip(&mut self, trusted: Trusted, counters: &mut Counters) {
        let Some(tip) = NewestTip::read(trusted.packet()) else {
            counters.bad_tips += 1;
            return;
        };
        if self.tip.as_ref().is_some_and(|newest| !tip.is_newer_than(newest)) {
            counters.duplicates += 1;
            return;
        }
        self.tip = Some(tip);
        self.announced = Some(trusted);
        self.compare();
    }

    /// A packet of an epoch that this stream has left.
    fn below(&self, trusted: &Trusted, counters: &mut Counters, out: &mut Vec<Output>) {
        let packet = trusted.packet();
        let epoch = packet.header().epoch;
        let known = |left: Position| epoch < left.epoch || packet.last() < left;
        if self.left.is_some_and(known) {
            counters.duplicates += 1;
        } else {
            counters.superseded += 1;
            let publisher = self.publisher.clone();
            out.push(Output::Superseded { key: self.key, publisher, epoch });
        }
    }

    /// Moves on as far as possible; returns when to try again without a new input.
    pub fn advance(
        &mut self,
        now: Time,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) -> Option<Time> {
        let timer = loop {
            self.judge(counters, out);
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
                break timer;
            }
        };
        let next = self.next;
        let reached = |tip: &mut Trusted| tip.packet().header().end() <= next;
        out.extend(self.announced.take_if(reached).map(Output::Tip));
        timer
    }

    /// `next` lies in the commit that waits first: hand it over, if nothing of it is missing.
    fn inside_commit(&mut self, now: Time, out: &mut Vec<Output>) -> Result<(), Option<Time>> {
        let Some((_, commit)) = self.pending.first_key_value() else { return Err(None) };
        let due = commit.hand_over.filter(|_| self.plain);
        let vouched = self.vouched(self.next, commit.header.end());
        let Some((from, to)) = commit.missing(self.next, &vouched) else {
            self.deliver(out);
            return Ok(());
        };
        let to = if let Some(end) = self.gap_end(from) {
            let to = to.min(end);
            self.lose(from, to, Reason::Gap, out);
            to
        } else if due.is_some_and(|due| due <= now) {
            to
        } else {
            let (to, reason) = self.close(now, from, to).map_err(|timer| earliest(timer, due))?;
            self.lose(from, to, reason, out);
            to
        };
        if let Some(mut commit) = self.pending.first_entry() {
            commit.get_mut().settled = to;
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
        let vouched = self.vouched(self.next, bound);
        if let Some(to) = self.gap_end(self.next) {
            let to = to.min(bound);
            self.lose(self.next, to, Reason::Gap, out);
            self.move_to(to);
        } else if let Some(to) = vouched.end_at(self.next) {
            self.pass(self.next, to);
            self.move_to(to);
            out.push(Output::Passed { key: self.key, upto: to });
        } else if let Some(following) = self.clean_end().filter(|epoch| *epoch <= bound.epoch) {
            self.move_to(Position::new(following, 0));
            out.push(Output::Passed { key: self.key, upto: self.next });
        } else {
            let hole = vouched.start_above(self.next).unwrap_or(bound);
            let (to, reason) = self.close(now, self.next, hole)?;
            self.lose(self.next, to, reason, out);
            self.move_to(to);
        }
        Ok(())
    }

    fn deliver(&mut self, out: &mut Vec<Output>) {
        let from = self.next;
        let Some(commit) = self.take_front() else { return };
        if !commit.is_whole() {
            for (start, upto) in commit.gaps() {
                self.pass(start.max(from), upto);
            }
            for (start, upto) in self.lost.clone_within(from, commit.header.end()).iter() {
                self.behind.remove(start, upto);
            }
        }
        self.move_to(commit.header.end());
        out.push(Output::Deliver(Delivery {
            key: self.key,
            publisher: self.publisher.clone(),
            header: commit.header,
            from,
            packets: commit.packets,
        }));
    }

    /// Remembers that these numbers did not come.
    fn pass(&mut self, from: Position, upto: Position) {
        let forgotten = self.behind.add_keeping_high(from, upto);
        self.forgotten = self.forgotten.max(forgotten.unwrap_or_default());
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
        self.denied.take_if(|(_, upto)| *upto <= next);
    }

    pub(super) fn lose(
        &mut self,
        from: Position,
        to: Position,
        reason: Reason,
        out: &mut Vec<Output>,
    ) {
        self.lost.add_keeping_high(from, to);
        // Where a MARK is void, all that it passed is lost: it stands for no other message.
        if reason != Reason::Gap {
            let mut unclaimed = Ranges::one(from, to);
            self.passed.clone_within(from, to).iter().for_each(|(a, b)| unclaimed.remove(a, b));
            unclaimed.iter().for_each(|(a, b)| {
                self.unblamed.add_keeping_high(a, b);
            });
        }
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
            while let Some(mut commit) = self.pending.first_entry()
                && let Some((from, to)) = commit.get().missing(self.next, &self.passed)
            {
                commit.get_mut().settled = to;
                self.lose(from, to, Reason::Removed, out);
            }
            self.deliver(out);
        }
        if self.next < self.shown {
            self.lose(self.next, self.shown, Reason::Removed, out);
        }
    }
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    [a, b].into_iter().flatten().min()
}
