//! One stream: its position, what waits, and how it moves on.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::evidence::{Ended, Evidence, NewestTip};
use super::heard::Heard;
use super::pending::{Delivery, Pending};
use super::ranges::Ranges;
use super::{Counters, LinkId, Lost, Output, Reason};
use crate::limits::{ASK_AGAIN, ASK_AGAIN_MAX, HELD_BYTES, HOLE_PATIENCE, PACKET_BYTES};
use crate::open::Trusted;
use crate::topic::{Name, Pattern};
use crate::wire::{Ask, Mark};
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
    /// When that changed last.
    moved: Time,
    /// It was asked, and has not begun to answer: what it shows until then is not the answer.
    asked: bool,
}

/// A position that does not move although something signed lies beyond it.
#[derive(Clone, Copy, Debug)]
struct Stuck {
    at: Position,
    ask_at: Time,
    wait: Duration,
}

#[derive(Debug)]
pub struct Stream {
    pub(super) key: KeyId,
    publisher: Name,
    pub(super) wanted: Vec<Pattern>,
    /// What the directory lets its publisher say: what else it says is refused at the door.
    pub(super) allowed: Arc<[Pattern]>,
    /// Everything before it was delivered, passed or declared lost.
    pub(super) next: Position,
    /// The highest place that a signed packet or tip has shown.
    pub(super) shown: Position,
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
    /// The end of the last numbers that were passed: whether they mattered is somebody's word.
    pub(super) skipped: Position,
    /// The end of the last numbers that a tip declared lost.
    pub(super) lost: Position,
    pub(super) tip: Option<NewestTip>,
    /// Until `next` reaches the newest tip: whoever hears it from us shall have heard all before
    /// it.
    announced: bool,
    /// How epochs ended, from `next`'s on.
    pub(super) ends: BTreeMap<u64, Ended>,
    pub(super) heard: Heard,
    /// Where packets came for which there was no room: no MARK passes anything in it.
    denied: Option<(Position, Position)>,
    /// Whether what was denied was asked for again.
    denied_asked: bool,
    /// Below where links are given time to fill holes, and since when.
    waiting: Option<(Position, Time)>,
    /// When to ask for what is wanted next once more.
    stuck: Option<Stuck>,
    /// When the caller will tick; kept here for the caller.
    pub timer: Option<Time>,
}

impl Stream {
    pub fn new(key: KeyId, publisher: Name, next: Position, wanted: Vec<Pattern>) -> Stream {
        Stream {
            key,
            publisher,
            wanted,
            allowed: Arc::new([]),
            next,
            shown: next,
            left: None,
            links: BTreeMap::new(),
            plain: true,
            pending: BTreeMap::new(),
            held: 0,
            passed: Ranges::default(),
            skipped: Position::default(),
            lost: Position::default(),
            tip: None,
            announced: false,
            ends: BTreeMap::new(),
            heard: Heard::starting(next),
            denied: None,
            denied_asked: false,
            waiting: None,
            stuck: None,
            timer: None,
        }
    }

    pub fn next(&self) -> Position {
        self.next
    }

    /// This link carries the stream.
    pub fn link(&mut self, now: Time, link: LinkId, selvedge: bool) {
        let fresh = || Link { selvedge, shown: Position::default(), moved: now, asked: false };
        self.links.entry(link).or_insert_with(fresh);
        self.plain = self.links.values().all(|link| !link.selvedge);
    }

    /// Asks one link for what is wanted next, if it understands that.
    pub fn ask(&mut self, id: LinkId, counters: &mut Counters, out: &mut Vec<Output>) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.selvedge) {
            link.asked = true;
            counters.asks += 1;
            out.push(Output::Ask { link: id, ask: Ask { key: self.key, from: self.next } });
        }
    }

    /// Asks all links, and later again if that does not help.
    pub fn ask_all(&mut self, now: Time, counters: &mut Counters, out: &mut Vec<Output>) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        links.into_iter().for_each(|id| self.ask(id, counters, out));
        let again = |stuck: Stuck| (stuck.wait * 2).min(ASK_AGAIN_MAX);
        let wait = self.stuck.filter(|stuck| stuck.at == self.next).map_or(ASK_AGAIN, again);
        self.stuck = Some(Stuck { at: self.next, ask_at: now + wait, wait });
    }

    pub fn unlink(&mut self, link: LinkId) {
        self.links.remove(&link);
        if !self.links.is_empty() {
            self.plain = self.links.values().all(|link| !link.selvedge);
        }
    }

    fn shows(&mut self, now: Time, link: LinkId, upto: Position) {
        let further = |link: &&mut Link| link.shown < upto && !link.asked;
        if let Some(link) = self.links.get_mut(&link).filter(further) {
            (link.shown, link.moved) = (upto, now);
        }
    }

    /// A link begins to answer what it was asked.
    fn answered(&mut self, now: Time, id: LinkId, mark: &Mark) {
        if mark.flags & Mark::UNKNOWN != 0 {
            return self.unlink(id); // until it brings something of this stream after all
        }
        if let Some(link) = self.links.get_mut(&id) {
            *link = Link { shown: mark.upto, moved: now, asked: false, ..*link };
        }
    }

    pub fn mark(&mut self, now: Time, link: LinkId, mark: &Mark) {
        self.link(now, link, true);
        match mark.flags & Mark::ANSWER {
            0 => self.shows(now, link, mark.upto),
            _ => self.answered(now, link, mark),
        }
        self.passed.add(mark.from.max(self.next), mark.upto);
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
        self.allowed.clone_from(trusted.topics());
        if self.plain {
            // Over such links nothing else will tell what lies between.
            self.passed.add(self.next, header.start());
            self.shows(now, link, if packet.is_tip() { header.end() } else { header.start() });
        }
        if packet.is_tip() {
            return self.tip(&trusted, counters);
        }
        self.shows(now, link, header.start());
        if packet.last() < self.next {
            counters.duplicates += 1;
            return;
        }
        self.hold(now, trusted, counters);
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

    fn tip(&mut self, trusted: &Trusted, counters: &mut Counters) {
        let Some(tip) = NewestTip::read(trusted) else {
            counters.bad_tips += 1;
            return;
        };
        // One from before this stream began tells nothing of it, and to others as if it began
        // there.
        let is_old = trusted.packet().last() < self.heard.since();
        let is_newest = self.tip.as_ref().is_none_or(|newest| tip.is_newer_than(newest));
        let learned = !is_old && self.learn(&tip, is_newest);
        if is_old || !is_newest {
            counters.duplicates += u64::from(!learned);
            return;
        }
        (self.tip, self.announced) = (Some(tip), true);
    }

    /// Lets no MARK pass `from..upto`, nor what lies between it and what was denied before.
    fn deny(&mut self, from: Position, upto: Position) {
        let (start, end) = self.denied.unwrap_or((from, upto));
        self.denied = Some((start.min(from), end.max(upto)));
        self.denied_asked = false;
    }

    /// A packet of an epoch that this stream has left.
    fn below(&self, trusted: &Trusted, counters: &mut Counters, out: &mut Vec<Output>) {
        let packet = trusted.packet();
        let epoch = packet.header().epoch;
        let known = |left: Position| epoch < left.epoch || packet.last() < left;
        let late = |tip: &NewestTip| !tip.is_followed_by(packet.header());
        if self.left.is_some_and(known) || self.tip.as_ref().is_some_and(late) {
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
            let front = self.pending.first_key_value().map(|(start, commit)| (*start, commit));
            let moved = match front {
                Some((_, commit)) if commit.header.end() <= self.next => {
                    self.take_front();
                    Ok(())
                }
                Some((start, _)) if start <= self.next => self.inside_commit(now, counters, out),
                front => {
                    let front = front.map(|(start, _)| start);
                    self.between_commits(now, front, counters, out)
                }
            };
            if let Err(timer) = moved {
                break timer;
            }
        };
        let asks = self.ask_again(now, counters, out);
        let tip = self.tip.as_ref().filter(|_| self.announced).map(NewestTip::trusted);
        if let Some(tip) = tip.filter(|tip| tip.packet().header().end() <= self.next).cloned() {
            self.announced = false;
            self.compare(out);
            out.push(Output::Tip(tip));
        }
        earliest(timer, asks)
    }

    /// Asks for what was denied once there is room for it, and from time to time for what lies
    /// before something signed and does not come; returns when that is due.
    fn ask_again(
        &mut self,
        now: Time,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) -> Option<Time> {
        if self.next >= self.shown {
            self.stuck = None;
            return None;
        }
        let has_room = self.denied.is_some_and(|(start, _)| start <= self.next);
        if has_room && !self.denied_asked {
            self.denied_asked = true;
            self.ask_all(now, counters, out);
        }
        match self.stuck {
            Some(stuck) if stuck.at == self.next && stuck.ask_at <= now => {
                self.ask_all(now, counters, out);
            }
            Some(stuck) if stuck.at == self.next => {}
            _ => {
                let (at, ask_at, wait) = (self.next, now + ASK_AGAIN, ASK_AGAIN);
                self.stuck = Some(Stuck { at, ask_at, wait });
            }
        }
        self.stuck.map(|stuck| stuck.ask_at)
    }

    /// `next` lies in the commit that waits first: hand it over, if nothing of it is missing.
    fn inside_commit(
        &mut self,
        now: Time,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) -> Result<(), Option<Time>> {
        let Some((_, commit)) = self.pending.first_key_value() else { return Err(None) };
        if commit.is_whole() {
            self.deliver(out);
            return Ok(());
        }
        let due = commit.hand_over.filter(|_| self.plain);
        let passed = self.passed(self.next, commit.header.end(), counters);
        let Some((_, commit)) = self.pending.first_key_value() else { return Err(None) };
        let Some((from, to)) = commit.missing(self.next, &passed) else {
            self.deliver(out);
            return Ok(());
        };
        let to = match due {
            Some(due) if due <= now => {
                self.skipped = to;
                to
            }
            due => {
                let closed = self.close(now, from, to);
                let (to, reason, by) = closed.map_err(|timer| earliest(timer, due))?;
                self.lose((from, to), reason, by, out);
                to
            }
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
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) -> Result<(), Option<Time>> {
        let bound = front.unwrap_or(self.shown).min(self.shown);
        if self.next >= bound {
            return Err(None);
        }
        let mut passed = self.passed(self.next, bound, counters);
        let all = passed.end_at(self.next).is_some_and(|end| end >= bound);
        if all && !self.plain && self.shows_a_gap(bound) {
            // All is passed up to a commit that says that it should not be.
            counters.void_marks += 1;
            self.passed.remove(self.next, bound);
            passed = Ranges::default();
        }
        let end = passed.end_at(self.next);
        // How an epoch ended is for a tip to say: nothing else passes its end.
        let within = end.and_then(|to| match to.epoch == self.next.epoch {
            true => Some(to),
            false => self.end_of_epoch().filter(|end| *end > self.next),
        });
        if let Some(to) = within {
            self.skipped = to;
            self.move_to(to);
            out.push(Output::Passed { key: self.key, upto: to });
        } else if let Some(to) = end.filter(|_| self.plain && self.clean_end().is_none()) {
            // Over such links a packet passes all before it, with or without a tip.
            let to = Position::new(to.epoch, 0);
            self.lose((self.next, to), Reason::UncleanEnd, None, out);
            self.move_to(to);
        } else if let Some((following, tip)) =
            self.clean_end().filter(|(following, _)| *following <= bound.epoch)
        {
            let (key, at, tip) = (self.key, Position::new(following, 0), tip.clone());
            self.move_to(at);
            out.push(Output::Passed { key, upto: at });
            out.push(Output::Evidence { key, at, tip });
        } else {
            let hole = passed.start_above(self.next).unwrap_or(bound);
            let (to, reason, by) = self.close(now, self.next, hole)?;
            self.lose((self.next, to), reason, by, out);
            self.move_to(to);
        }
        Ok(())
    }

    /// What MARKs pass in `from..upto`. What signed words contradict is taken back first: the other
    /// links may have it.
    fn passed(&mut self, from: Position, upto: Position, counters: &mut Counters) -> Ranges {
        let mut passed = self.passed.clone_within(from, upto);
        if let Some((start, end)) = self.denied {
            passed.remove(start, end);
        }
        if self.plain {
            return passed;
        }
        for at in self.withheld(from, upto) {
            counters.void_marks += u64::from(passed.end_at(at).is_some());
            self.passed.remove(at, at.after());
            passed.remove(at, at.after());
        }
        passed
    }

    fn deliver(&mut self, out: &mut Vec<Output>) {
        let from = self.next;
        let Some(commit) = self.take_front() else { return };
        let passed = || self.passed.clone_within(from, commit.header.end());
        if !commit.is_whole() && !passed().is_empty() {
            self.skipped = commit.header.end();
        }
        self.hear(&commit, out);
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
            self.heard = Heard::starting(next);
            self.ends = self.ends.split_off(&next.epoch);
        }
        self.next = next;
        self.shown = self.shown.max(next);
        self.passed.forget_below(next);
        self.denied.take_if(|(_, upto)| *upto <= next);
    }

    pub(super) fn lose(
        &mut self,
        (from, to): (Position, Position),
        reason: Reason,
        by: Option<Trusted>,
        out: &mut Vec<Output>,
    ) {
        if reason != Reason::Gap {
            self.lost = self.lost.max(to);
        }
        let publisher = self.publisher.clone();
        if from == Position::default() {
            // Nothing was lost: this is the oldest that anyone holds.
            out.push(Output::Started { key: self.key, publisher, at: to });
            return;
        }
        let key = self.key;
        out.push(Output::Lost(Lost { key, publisher, from, to, reason }));
        out.extend(by.map(|tip| Output::Evidence { key, at: to, tip }));
    }

    /// Whether the hole `from..to` may be closed now, how far, why, and on whose word; else when to
    /// ask again.
    ///
    /// A tip says what its publisher no longer holds; a link that was asked and has not come as far
    /// may still bring it. One that does not move for [`HOLE_PATIENCE`] is as good as none, unless
    /// what links hold is the only evidence.
    fn close(
        &mut self,
        now: Time,
        from: Position,
        to: Position,
    ) -> Result<(Position, Reason, Option<Trusted>), Option<Time>> {
        let Evidence { upto, reason, signed, by } = self.evidence(from).ok_or(None)?;
        let to = to.min(upto);
        if !signed && self.links.is_empty() {
            return Err(None);
        }
        // Where nothing is known of a stream, other links may yet come up and know more.
        let begins = !signed && from == Position::default();
        let behind = |link: &&Link| link.asked || link.shown < to || begins;
        if let Some(moved) = self.links.values().filter(behind).map(|link| link.moved).max() {
            let (below, since) =
                self.waiting.filter(|(below, _)| to <= *below).unwrap_or((self.shown, now));
            self.waiting = Some((below, since));
            let due = since.max(moved) + HOLE_PATIENCE;
            let ends = signed || begins; // a stream that begins loses nothing
            if !ends || now < due {
                return Err(ends.then_some(due));
            }
        }
        Ok((to, reason, by))
    }

    /// The key is gone: everything that was shown and did not come is lost, what waits is handed
    /// over unless the key was `revoked`.
    pub fn abandon(mut self, revoked: bool, out: &mut Vec<Output>) {
        while !revoked && let Some((start, _)) = self.pending.first_key_value() {
            let start = *start;
            if start > self.next {
                self.lose((self.next, start), Reason::Removed, None, out);
                self.move_to(start);
            }
            while let Some(mut commit) = self.pending.first_entry()
                && let Some((from, to)) = commit.get().missing(self.next, &self.passed)
            {
                commit.get_mut().settled = to;
                self.lose((from, to), Reason::Removed, None, out);
            }
            self.deliver(out);
        }
        if self.next < self.shown {
            self.lose((self.next, self.shown), Reason::Removed, None, out);
        }
    }
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    [a, b].into_iter().flatten().min()
}
