//! What signed words say about numbers that did not come.
//!
//! A tip tells what its publisher still holds and how its epochs ended. Its list of topics, and the
//! numbers of each topic, tell of messages that were left out, whatever a MARK says: where that
//! shows in time the MARK is void, and where it shows too late the step is `Lost`.

use alloc::vec::Vec;

use super::heard::Gap;
use super::pending::Pending;
use super::stream::Stream;
use super::{Output, Reason};
use crate::limits::EPOCHS_AHEAD;
use crate::open::Trusted;
use crate::seal::{Header, Packet, Tip};
use crate::topic::{Pattern, Topic};
use crate::{Position, Wall};

/// The newest tip of a stream.
#[derive(Debug)]
pub struct NewestTip {
    epoch: u64,
    commit: u64,
    /// When it was sealed.
    time: Wall,
    tip: Tip,
    trusted: Trusted,
}

/// How an epoch ended, as a tip of a later one says.
#[derive(Debug)]
pub struct Ended {
    end: u64,
    clean: bool,
    /// The epoch that came after it.
    following: u64,
    by: Trusted,
}

/// Why a hole may be closed.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// How far.
    pub upto: Position,
    pub reason: Reason,
    /// Whether the tip says so by itself; else it is so if no link holds what lies there.
    pub signed: bool,
    pub by: Option<Trusted>,
}

impl NewestTip {
    /// Reads a trusted tip; `None` if its body is none, or contradicts its seal.
    pub fn read(trusted: &Trusted) -> Option<NewestTip> {
        let packet = trusted.packet();
        let header = packet.header();
        let tip = Tip::parse(&packet.body(0)).ok()?;
        (tip.next == header.end().seq).then_some(NewestTip {
            epoch: header.epoch,
            commit: header.commit,
            time: header.time,
            tip,
            trusted: trusted.clone(),
        })
    }

    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Whether this was sealed after it, although it is of an earlier epoch: two processes have one
    /// key.
    pub fn is_followed_by(&self, header: &Header) -> bool {
        header.epoch < self.epoch && header.time > self.time
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
    /// Notes how epochs ended, from where this stream stands on; whether that says anything new. An
    /// older tip may know of one that newer ones do not list any more.
    pub(super) fn learn(&mut self, known: &NewestTip, is_newest: bool) -> bool {
        let ahead = known.tip.epochs.iter().filter(|end| end.epoch >= self.next.epoch);
        let (mut learned, by) = (false, &known.trusted);
        for end in ahead.filter(|end| end.epoch < known.epoch) {
            let following = known.following(end.epoch);
            let ended = Ended { end: end.end, clean: end.clean, following, by: by.clone() };
            if is_newest || !self.ends.contains_key(&end.epoch) {
                self.ends.insert(end.epoch, ended);
                learned = true;
            }
        }
        while self.ends.len() > EPOCHS_AHEAD {
            self.ends.pop_last();
        }
        learned
    }

    /// The last messages of wanted topics, as the newest tip lists them, that lie in `from..upto`
    /// and did not come: no MARK passes those.
    pub(super) fn withheld(&self, from: Position, upto: Position) -> Vec<Position> {
        let Some(newest) = &self.tip else { return Vec::new() };
        let said = newest.tip.recent.iter().filter(|said| self.wants(&said.topic));
        let places = said.map(|said| Position::new(newest.epoch, said.seq));
        places.filter(|at| from <= *at && *at < upto && !self.holds(*at)).collect()
    }

    /// Whether the commit that begins at `start` shows that a message before it is missing for
    /// which nothing was declared lost.
    pub(super) fn shows_a_gap(&self, start: Position) -> bool {
        let Some(commit) = self.pending.get(&start) else { return false };
        let packets = || commit.packets.iter().map(Trusted::packet);
        // What lies between two packets of a commit is not before it.
        let is_first = |packet: &&Packet| {
            let same = packets().filter(|other| other.topic() == packet.topic());
            same.map(Packet::tseq).min() == Some(packet.tseq())
        };
        let mut gaps = packets().filter(is_first).filter_map(|packet| self.gap(packet));
        gaps.any(|gap| gap.from >= self.lost)
    }

    /// Whether the message at `at` waits to be handed over.
    fn holds(&self, at: Position) -> bool {
        let commit = self.pending.range(..=at).next_back();
        commit.is_some_and(|(_, commit)| commit.has(at))
    }

    /// Where messages are missing before a packet, if its topic is wanted: on the wire a prefix may
    /// bring others too.
    fn gap(&self, packet: &Packet) -> Option<Gap> {
        self.heard.gap(packet).filter(|_| self.wants(packet.topic()))
    }

    /// Whether it is known already: nothing was passed there, so what did not come was lost.
    fn is_told(&self, gap: &Gap) -> bool {
        self.skipped <= gap.from
    }

    fn wants(&self, topic: &Topic) -> bool {
        let matches = |pattern: &Pattern| pattern.matches(topic);
        self.wanted.iter().any(matches) && self.allowed.iter().any(matches)
    }

    /// Notes what is handed over. A step in a topic's numbers where something was passed may be a
    /// message that should not have been.
    pub(super) fn hear(&mut self, commit: &Pending, out: &mut Vec<Output>) {
        let mut packets: Vec<&Packet> = commit.packets.iter().map(Trusted::packet).collect();
        packets.sort_unstable_by_key(|packet| packet.start());
        for packet in packets {
            if let Some(gap) = self.gap(packet).filter(|gap| !self.is_told(gap)) {
                self.lose((gap.from, gap.upto), Reason::Gap, None, out);
            }
            self.heard.note(packet);
        }
    }

    /// The position has reached the newest tip: the last message of each wanted topic must have
    /// come, or have been declared lost.
    pub(super) fn compare(&mut self, out: &mut Vec<Output>) {
        let Some(newest) = &self.tip else { return };
        let next = Position::new(newest.epoch, newest.tip.next);
        if next < self.heard.since() {
            return; // from before this stream began: it tells nothing of what came since
        }
        let all = !newest.tip.more;
        let recent = newest.tip.recent.iter().filter(|said| self.wants(&said.topic));
        for said in recent.cloned().collect::<Vec<_>>() {
            if let Some(gap) = self.heard.missed(&said, next.epoch).filter(|gap| !self.is_told(gap))
            {
                self.lose((gap.from, gap.upto), Reason::Gap, None, out);
            }
            self.heard.note_last(&said, next);
        }
        if all {
            self.heard.listed_all(next);
        }
    }

    /// How far, and why, a hole at `at` may be closed by the newest tip.
    pub(super) fn evidence(&self, at: Position) -> Option<Evidence> {
        let Some(newest) = &self.tip else {
            // The oldest that anyone holds is where all links begin.
            let (upto, reason) = (self.shown, Reason::NotHeld);
            let oldest = Evidence { upto, reason, signed: false, by: None };
            return (at == Position::default()).then_some(oldest);
        };
        let tip = &newest.tip;
        let by = |trusted: &Trusted| Some(trusted.clone());
        let signed =
            |upto, reason| Some(Evidence { upto, reason, signed: true, by: by(&newest.trusted) });
        let not_held = |upto| (tip.oldest > at).then_some(upto);
        let void =
            tip.voids.iter().find(|v| v.epoch == at.epoch && (v.from..v.to).contains(&at.seq));
        if let Some(void) = void {
            return signed(Position::new(void.epoch, void.to), Reason::Void);
        }
        if at.epoch > newest.epoch {
            return None;
        }
        if at.epoch == newest.epoch || at == Position::default() {
            return signed(not_held(tip.oldest)?, Reason::NotHeld);
        }
        match self.ends.get(&at.epoch) {
            Some(ended) if at.seq < ended.end => {
                let end = Position::new(at.epoch, ended.end);
                signed(not_held(tip.oldest.min(end))?, Reason::NotHeld)
            }
            Some(ended) => {
                let reason = if ended.clean { Reason::NotHeld } else { Reason::UncleanEnd };
                let upto = Position::new(ended.following, 0);
                Some(Evidence { upto, reason, signed: true, by: by(&ended.by) })
            }
            // It ended at what is held.
            None => {
                let mut later = self.ends.range(at.epoch..).map(|(epoch, _)| *epoch);
                let following = later.next().unwrap_or(newest.epoch).min(newest.epoch);
                let (upto, reason) = (Position::new(following, 0), Reason::UncleanEnd);
                let signed = not_held(upto).is_some();
                Some(Evidence { upto, reason, signed, by: by(&newest.trusted) })
            }
        }
    }

    /// Where the epoch of `next` ended, if a tip says so.
    pub(super) fn end_of_epoch(&self) -> Option<Position> {
        let ended = self.ends.get(&self.next.epoch)?;
        Some(Position::new(self.next.epoch, ended.end))
    }

    /// The epoch after `next`'s, if that ended cleanly right there, and who says so.
    pub(super) fn clean_end(&self) -> Option<(u64, &Trusted)> {
        let ended = self.ends.get(&self.next.epoch)?;
        let over = ended.clean && self.next.seq >= ended.end;
        over.then_some((ended.following, &ended.by))
    }
}
