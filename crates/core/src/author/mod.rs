//! The author: drafts → numbers → commits, and tips in between.
//!
//! Sealing is an effect: [`Output::Seal`] goes out, the caller hashes and signs where it likes, and
//! hands the commit back as [`Input::Sealed`]. Commits leave in order; at most two are in flight.

mod grouping;
mod pacing;
mod topics;
mod voids;

pub use voids::voids;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Range;
use core::time::Duration;

use crate::limits::{SIGN_BYTES, SIGN_MESSAGES};
use crate::seal::{
    Commit, ContentType, Draft, EpochEnd, Group, Header, TIP_OFF, Tip, Unsealed, VOIDS, Void,
};
use crate::topic::{Name, Topic};
use crate::{KeyId, Now, Position, Time};
use pacing::Pacing;
use topics::Topics;

/// Commits sealed at the same time at most.
const IN_FLIGHT: usize = 2;
/// A tip follows the last commit after this long: the loss of the last message shows (G8).
const TIP_AFTER_COMMIT: Duration = Duration::from_millis(100);
/// While commits follow each other closer than that, a tip is still sent this often: until one
/// comes, a hole in a busy stream holds up what follows it.
const TIP_WHILE_BUSY: Duration = Duration::from_millis(500);
/// Tips that are asked for are at least this far apart: peers come and go as they like.
const TIP_PAUSE: Duration = Duration::from_millis(100);
/// A tip is sent at least this often, ± 20 %.
const TIP_INTERVAL: Duration = Duration::from_secs(10);

/// Who speaks, and from where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stream.
    pub key: KeyId,
    /// The publisher's name in the directory.
    pub publisher: Name,
    /// This start's epoch, already durable, above every earlier one.
    pub epoch: u64,
    /// How earlier epochs ended, newest first.
    pub earlier: Vec<EpochEnd>,
    /// With a journal, the oldest that it holds, or this epoch's first number.
    pub oldest: Option<Position>,
    /// Numbers of earlier epochs that the journal should have and has not.
    pub voids: Vec<Void>,
    /// Bodies in one packet at most, 1 to 1,024: 1 for clients that read only frame 2.
    pub pack: usize,
    /// Any number; it spreads the tips of many publishers over time.
    pub jitter: u64,
}

/// What happens to an author.
#[derive(Debug)]
pub enum Input {
    /// The application said these, in this order. Their numbers follow each other. After
    /// [`Input::Close`] they are dropped.
    Drafts(Vec<Draft>),
    /// A commit that [`Output::Seal`] asked for.
    Sealed(Commit),
    /// The oldest that the journal holds now.
    Oldest(Position),
    /// These numbers of this epoch will never be sent: the journal did not take them.
    Void(Range<u64>),
    /// Somebody joined and would like to know where the stream stands.
    TipWanted,
    /// The deadline passed.
    Tick,
    /// The application is done: seal what waits, without pacing, then a last tip.
    Close,
}

/// What an author wants done.
#[derive(Debug)]
pub enum Output {
    /// Hash, sign, and hand back.
    Seal(Unsealed),
    /// Hand to the fan-out: the next commit, in order.
    Send(Commit),
    /// After [`Input::Close`]: everything was sent, the last tip too.
    Closed,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Author {
    config: Config,
    tip_topic: Topic,
    queue: VecDeque<Draft>,
    queued: usize,
    next: u64,
    commit: u64,
    pacing: Pacing,
    topics: Topics,
    in_flight: VecDeque<(u64, Option<Commit>)>,
    tip: TipClock,
    closing: Closing,
}

/// When the next tip is due.
#[derive(Debug)]
struct TipClock {
    /// Some once there was a commit since the last tip.
    after_commit: Option<Time>,
    latest: Time,
    /// When another one may be asked for.
    pause: Time,
    state: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Closing {
    No,
    Asked,
    TipMade,
    Done,
}

impl Author {
    /// An author at the start of its epoch; a tip is due at once.
    pub fn new(config: Config) -> Author {
        Author {
            tip_topic: Topic::tip(&config.publisher),
            tip: TipClock {
                after_commit: None,
                latest: Time(0),
                pause: Time(0),
                state: config.jitter,
            },
            config,
            queue: VecDeque::new(),
            queued: 0,
            next: 0,
            commit: 0,
            pacing: Pacing::new(),
            topics: Topics::default(),
            in_flight: VecDeque::new(),
            closing: Closing::No,
        }
    }

    /// The place that the next numbered message will have.
    pub fn next(&self) -> Position {
        Position::new(self.config.epoch, self.next)
    }

    /// Bytes waiting for a number. Beyond [`SIGN_BYTES`] the caller should hold drafts back.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Takes one input; effects are pushed to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Drafts(_) if self.closing != Closing::No => {}
            Input::Drafts(drafts) => {
                self.queued += drafts.iter().map(Draft::cost).sum::<usize>();
                match self.queue.is_empty() {
                    true => self.queue = drafts.into(),
                    false => self.queue.extend(drafts),
                }
            }
            Input::Sealed(commit) => self.sealed(now, commit, out),
            Input::Oldest(oldest) => self.config.oldest = Some(oldest),
            Input::Void(numbers) => self.void(numbers),
            Input::TipWanted => self.tip.wanted(),
            Input::Tick => {}
            Input::Close if self.closing == Closing::No => self.closing = Closing::Asked,
            Input::Close => {}
        }
        self.advance(now, out);
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        if self.in_flight.len() >= IN_FLIGHT || self.closing == Closing::Done {
            return None;
        }
        let tip = self.tip.deadline();
        let paced = |due: Time| self.pacing.next_token().map_or(due, |token| token.max(due));
        match self.queue.is_empty() {
            true => Some(paced(tip)),
            false => Some(paced(Time(0))),
        }
    }

    fn advance(&mut self, now: Now, out: &mut Vec<Output>) {
        while self.in_flight.len() < IN_FLIGHT && self.may_sign(now.time) {
            let unsealed = self.cut(now);
            self.start(unsealed, out);
        }
        let tip_due = self.closing == Closing::Asked && self.queue.is_empty()
            || self.closing == Closing::No && self.tip.deadline() <= now.time;
        if tip_due && self.in_flight.len() < IN_FLIGHT {
            let paced = self.closing == Closing::No;
            if !paced || self.pacing.take(now.time) {
                let unsealed = self.make_tip(now);
                self.start(unsealed, out);
            }
        }
        if self.closing == Closing::TipMade && self.in_flight.is_empty() {
            self.closing = Closing::Done;
            out.push(Output::Closed);
        }
    }

    /// A full commit goes at once, a smaller one takes a token.
    fn may_sign(&mut self, now: Time) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let full = self.queue.len() >= SIGN_MESSAGES || self.queued >= SIGN_BYTES;
        full || self.closing != Closing::No || self.pacing.take(now)
    }

    /// The next commit: what has queued, up to the bounds of one signature.
    fn cut(&mut self, now: Now) -> Unsealed {
        let (mut taken, mut bytes) = (0, 0);
        for draft in self.queue.iter().take(SIGN_MESSAGES) {
            if taken > 0 && bytes + draft.body.len() > SIGN_BYTES {
                break;
            }
            (taken, bytes) = (taken + 1, bytes + draft.body.len());
            self.queued -= draft.cost();
        }
        let drafts = self.queue.drain(..taken);
        let groups = grouping::by_topic(drafts, self.config.pack, self.next, &mut self.topics);
        self.topics.forget();
        self.tip.committed(now.time);
        self.header(now, taken as u16, groups) // at most SIGN_MESSAGES
    }

    /// Tips tell the newest voids first to last; those beyond a tip's room are forgotten.
    fn void(&mut self, numbers: Range<u64>) {
        let Range { start: from, end: to } = numbers;
        let epoch = self.config.epoch;
        match self.config.voids.last_mut() {
            Some(last) if last.epoch == epoch && last.to == from => last.to = to,
            _ => self.config.voids.push(Void { epoch, from, to }),
        }
        let beyond = self.config.voids.len().saturating_sub(VOIDS);
        self.config.voids.drain(..beyond);
    }

    fn make_tip(&mut self, now: Now) -> Unsealed {
        let (recent, more) = self.topics.recent();
        let tip = Tip {
            next: self.next,
            oldest: self.config.oldest.unwrap_or(self.next()),
            epochs: self.config.earlier.clone(),
            voids: self.config.voids.clone(),
            recent,
            more,
        };
        let draft = Draft {
            topic: self.tip_topic.clone(),
            ctype: ContentType::TIP,
            time: now.wall,
            extension: Bytes::new(),
            body: tip.encode().into(),
        };
        let messages = Vec::from([(TIP_OFF, draft)]);
        let group = Group { topic: self.tip_topic.clone(), tseq: 0, messages };
        self.tip.made(now.time);
        if self.closing == Closing::Asked {
            self.closing = Closing::TipMade;
        }
        self.header(now, 0, Vec::from([group]))
    }

    fn header(&mut self, now: Now, n: u16, groups: Vec<Group>) -> Unsealed {
        let header = Header {
            key: self.config.key,
            epoch: self.config.epoch,
            commit: self.commit,
            first: self.next,
            time: now.wall,
            n,
            m: groups.len() as u16, // at most one a message
        };
        self.next += u64::from(n);
        self.commit += 1;
        Unsealed { header, groups }
    }

    fn start(&mut self, unsealed: Unsealed, out: &mut Vec<Output>) {
        self.in_flight.push_back((unsealed.header.commit, None));
        out.push(Output::Seal(unsealed));
    }

    fn sealed(&mut self, now: Now, commit: Commit, out: &mut Vec<Output>) {
        let number = commit.header.commit;
        if commit.header.n > 0 {
            self.tip.committed(now.time);
        }
        if let Some(slot) = self.in_flight.iter_mut().find(|(waiting, _)| *waiting == number) {
            slot.1 = Some(commit);
        }
        while let Some((_, Some(_))) = self.in_flight.front() {
            if let Some((_, Some(commit))) = self.in_flight.pop_front() {
                out.push(Output::Send(commit));
            }
        }
    }
}

impl TipClock {
    fn deadline(&self) -> Time {
        self.after_commit.map_or(self.latest, |after| after.min(self.latest))
    }

    fn committed(&mut self, now: Time) {
        if self.after_commit.is_none() {
            self.latest = self.latest.min(now + TIP_WHILE_BUSY);
        }
        self.after_commit = Some(now + TIP_AFTER_COMMIT);
    }

    fn wanted(&mut self) {
        self.latest = self.latest.min(self.pause);
    }

    fn made(&mut self, now: Time) {
        self.after_commit = None;
        self.pause = now + TIP_PAUSE;
        // SplitMix64 (Steele, Lea, Flood 2014): spreads tips, protects nothing.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let percent = 80 + (mixed >> 32) % 41;
        self.latest = now + TIP_INTERVAL * percent as u32 / 100;
    }
}
