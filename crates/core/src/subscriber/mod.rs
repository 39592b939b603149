//! The subscriber: trusted packets → order, positions, duplicates, `Lost`.
//!
//! Each key is a stream with one position: everything before it was delivered, passed by a MARK, or
//! declared lost. A commit is handed over once every number of it has come or is passed. A hole is
//! a number that neither came nor lies in a MARK. Every link that carries the stream is asked for
//! what is wanted next, when it comes up and while a hole stays; the hole is closed only by signed
//! evidence (a tip), never by time alone, and never by a MARK without a packet or tip that has
//! shown a number beyond it.

mod evidence;
mod heard;
mod numbers;
mod pending;
mod ranges;
mod stream;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::limits::AGE;
use crate::open::Trusted;
use crate::topic::{Name, Pattern};
use crate::wire::{Ask, Mark};
use crate::{KeyId, Now, Position, Time};
use stream::Stream;

pub use pending::{Delivery, Order};

/// The caller's name for a connection that packets come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What happens to a subscriber.
#[derive(Debug)]
pub enum Input {
    /// A link is up; `selvedge` if its READY says `X-Selvedge`, that is, if it sends MARKs.
    LinkUp {
        /// Never used before.
        link: LinkId,
        /// Whether it sends MARKs.
        selvedge: bool,
    },
    /// The streams that the link can bring, as far as the directory tells: all of them, each time.
    Carries {
        /// Which link.
        link: LinkId,
        /// Their keys.
        keys: BTreeSet<KeyId>,
    },
    /// The link is gone.
    LinkDown(LinkId),
    /// A stream is wanted from a place on: a cursor's, or (0, 0) for the oldest that anyone holds.
    /// One that is heard already stays where it is.
    Begin {
        /// The stream.
        key: KeyId,
        /// Its publisher.
        publisher: Name,
        /// The first number wanted.
        at: Position,
    },
    /// A packet came through the door.
    Packet {
        /// Over which link.
        link: LinkId,
        /// The packet.
        trusted: Trusted,
    },
    /// A MARK came. The caller drops those of relays that do not carry all that is wanted here.
    Mark {
        /// Over which link.
        link: LinkId,
        /// What it says.
        mark: Mark,
    },
    /// The directory no longer lists a key.
    Removed {
        /// The stream.
        key: KeyId,
        /// Whether it was revoked: what waits is not handed over then.
        revoked: bool,
    },
    /// The deadline passed.
    Tick,
}

/// What a subscriber wants done, in the order of the stream.
#[derive(Debug)]
pub enum Output {
    /// Hand these messages over.
    Deliver(Delivery),
    /// Numbers below `upto` that did not come match nothing that is wanted here.
    Passed {
        /// The stream.
        key: KeyId,
        /// The new position.
        upto: Position,
    },
    /// These numbers will not come.
    Lost(Lost),
    /// A stream begins here: what was said before is not asked for.
    Started {
        /// The stream.
        key: KeyId,
        /// Its publisher.
        publisher: Name,
        /// Its first position.
        at: Position,
    },
    /// The newest tip of its stream, once everything before it was handed over, passed or declared
    /// lost: a relay sends it on.
    Tip(Trusted),
    /// On this tip's word the stream has gone on at `at`, over a hole or the end of an epoch: who
    /// keeps what comes keeps that there, for those who read it once its publisher is gone.
    Evidence {
        /// The stream.
        key: KeyId,
        /// Where it goes on; told before what follows.
        at: Position,
        /// Perhaps one of which not all is here that comes before it.
        tip: Trusted,
    },
    /// Ask this link for what is wanted.
    Ask {
        /// Which link.
        link: LinkId,
        /// What to ask.
        ask: Ask,
    },
    /// A packet of an earlier epoch than the position's: two processes share one key.
    Superseded {
        /// The stream.
        key: KeyId,
        /// Its publisher.
        publisher: Name,
        /// Of the packet.
        epoch: u64,
    },
}

/// Numbers `from..to` of a stream of which those that did not come will not be delivered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The stream.
    pub key: KeyId,
    /// Its publisher.
    pub publisher: Name,
    /// The first lost number.
    pub from: Position,
    /// The first number after it that is not lost; its epoch may be a later one.
    pub to: Position,
    /// On what evidence.
    pub reason: Reason,
}

/// The evidence on which a hole is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The publisher's tip says that it no longer holds them, and no link had them.
    NotHeld,
    /// The publisher's tip says that these numbers will never come.
    Void,
    /// The epoch ended uncleanly: messages may have been sent that nobody can list.
    UncleanEnd,
    /// The topic's own numbers show a step where nobody can tell more: over links without MARKs,
    /// or in numbers that a MARK passed wrongly before.
    Gap,
    /// The directory no longer lists the key.
    Removed,
}

impl Reason {
    /// The label under which it is counted and shown.
    pub fn label(self) -> &'static str {
        match self {
            Reason::NotHeld => "not_held",
            Reason::Void => "void",
            Reason::UncleanEnd => "unclean_end",
            Reason::Gap => "gap",
            Reason::Removed => "removed",
        }
    }
}

/// What was not handed over, and why; all only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets whose numbers were handed over or declared lost before.
    pub duplicates: u64,
    /// Packets of keys without a position whose seal is over 30 s from now.
    pub stale: u64,
    /// Packets of an epoch before the position's.
    pub superseded: u64,
    /// Packets not held because 4 MiB of their stream wait for a hole: they will be `Lost`.
    pub held_full: u64,
    /// Tips whose body is no tip.
    pub bad_tips: u64,
    /// MARKs that a tseq step or a tip contradicts.
    pub void_marks: u64,
    /// Packets of a commit whose numbers another commit has: two processes share one key.
    pub conflicts: u64,
    /// ASKs that were sent.
    pub asks: u64,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Subscriber {
    wanted: Vec<Pattern>,
    links: BTreeMap<LinkId, Link>,
    streams: BTreeMap<KeyId, Stream>,
    timers: BTreeSet<(Time, KeyId)>,
    counters: Counters,
}

/// A link that is up.
#[derive(Debug)]
struct Link {
    selvedge: bool,
    carries: BTreeSet<KeyId>,
}

impl Subscriber {
    /// A subscriber that wants the topics of these patterns.
    pub fn new(wanted: Vec<Pattern>) -> Subscriber {
        Subscriber {
            wanted,
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            timers: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// From now on wants the topics of these patterns.
    pub fn want(&mut self, patterns: Vec<Pattern>) {
        self.streams.values_mut().for_each(|stream| stream.wanted.clone_from(&patterns));
        self.wanted = patterns;
    }

    /// Takes one input; effects are pushed to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::LinkUp { link, selvedge } => {
                self.links.insert(link, Link { selvedge, carries: BTreeSet::new() });
            }
            Input::Carries { link, keys } => self.carries(now, link, keys, out),
            Input::Begin { key, publisher, at } => {
                if !self.streams.contains_key(&key) {
                    self.begin(now, key, publisher, at);
                    self.with(key, now, out, |stream, counters, out| {
                        stream.ask_all(now.time, counters, out);
                    });
                }
            }
            Input::LinkDown(link) => self.link_down(now, link, out),
            Input::Packet { link, trusted } => self.packet(now, link, trusted, out),
            Input::Mark { link, mark } => {
                self.with(mark.key, now, out, |stream, _, _| stream.mark(now.time, link, &mark));
            }
            Input::Removed { key, revoked } => self.removed(key, revoked, out),
            Input::Tick => self.tick(now, out),
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The next number wanted of a stream: its horizon.
    pub fn position(&self, key: KeyId) -> Option<Position> {
        self.streams.get(&key).map(Stream::next)
    }

    /// All streams and their positions.
    pub fn positions(&self) -> impl Iterator<Item = (KeyId, Position)> {
        self.streams.iter().map(|(key, stream)| (*key, stream.next()))
    }

    /// What was not handed over so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn packet(&mut self, now: Now, link: LinkId, trusted: Trusted, out: &mut Vec<Output>) {
        let Some(&Link { selvedge, .. }) = self.links.get(&link) else { return };
        let header = *trusted.packet().header();
        if !self.streams.contains_key(&header.key) {
            // Numbers cannot judge a stream without a position: its age has to.
            if now.wall.distance(header.time) > AGE {
                self.counters.stale += 1;
                return;
            }
            let publisher = trusted.publisher().clone();
            let (key, at) = (header.key, header.start());
            out.push(Output::Started { key, publisher: publisher.clone(), at });
            self.begin(now, key, publisher, at);
        }
        self.with(header.key, now, out, |stream, counters, out| {
            stream.link(now.time, link, selvedge);
            stream.packet(now.time, link, trusted, counters, out);
        });
    }

    fn begin(&mut self, now: Now, key: KeyId, publisher: Name, at: Position) {
        let mut stream = Stream::new(key, publisher, at, self.wanted.clone());
        for (id, link) in self.links.iter().filter(|(_, link)| link.carries.contains(&key)) {
            stream.link(now.time, *id, link.selvedge);
        }
        self.streams.insert(key, stream);
    }

    /// A link that can bring a stream is asked for it.
    fn carries(&mut self, now: Now, id: LinkId, keys: BTreeSet<KeyId>, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (selvedge, before) = (link.selvedge, core::mem::replace(&mut link.carries, keys));
        let added: Vec<KeyId> = link.carries.difference(&before).copied().collect();
        let gone: Vec<KeyId> = before.difference(&link.carries).copied().collect();
        for key in gone {
            self.with(key, now, out, |stream, _, _| stream.unlink(id));
        }
        for key in added {
            self.with(key, now, out, |stream, counters, out| {
                stream.link(now.time, id, selvedge);
                stream.ask(id, counters, out);
            });
        }
    }

    fn link_down(&mut self, now: Now, link: LinkId, out: &mut Vec<Output>) {
        self.links.remove(&link);
        let keys: Vec<KeyId> = self.streams.keys().copied().collect();
        for key in keys {
            self.with(key, now, out, |stream, _, _| stream.unlink(link));
        }
    }

    fn removed(&mut self, key: KeyId, revoked: bool, out: &mut Vec<Output>) {
        if let Some(stream) = self.streams.remove(&key) {
            self.timers.remove(&(stream.timer.unwrap_or_default(), key));
            stream.abandon(revoked, out);
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some((due, key)) =
            self.timers.first().copied().filter(|(due, _)| *due <= now.time)
        {
            self.timers.remove(&(due, key));
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.timer = None;
            }
            self.with(key, now, out, |_, _, _| ());
        }
    }

    /// Changes a stream, moves it on as far as it goes, and keeps its timer.
    fn with(
        &mut self,
        key: KeyId,
        now: Now,
        out: &mut Vec<Output>,
        change: impl FnOnce(&mut Stream, &mut Counters, &mut Vec<Output>),
    ) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        change(stream, &mut self.counters, out);
        let due = stream.advance(now.time, &mut self.counters, out);
        if due != stream.timer {
            if let Some(before) = stream.timer.take() {
                self.timers.remove(&(before, key));
            }
            stream.timer = due;
            self.timers.extend(due.map(|due| (due, key)));
        }
    }
}
