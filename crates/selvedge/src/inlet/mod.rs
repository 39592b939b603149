//! What hears publishers: a link to each that matters, the door, and the core's subscriber.
//!
//! A subscriber and a relay have one each. Links verify on their own tasks; only what passed the
//! door reaches the machine. A full application is felt by the sockets: nothing is read on while
//! nobody takes what was read.

mod door;
mod gather;
mod link;
mod notice;
mod plan;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use selvedge_core::directory::Directory;
use selvedge_core::limits::BODY_BYTES;
use selvedge_core::open::{Budget, Refusal, Trusted};
use selvedge_core::seal::{Packet, Tip};
use selvedge_core::subscriber::{self, Input, LinkId, Output};
use selvedge_core::topic::{Name, Pattern};
use selvedge_core::wire::{Ask, Frames, Mark};
use selvedge_core::{KeyId, Position};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::counters::LinkCounters;
use door::{Door, Refused};
use gather::{Gathering, has_room};
pub use notice::{Notice, Notices};
use plan::Plan;
pub use reach::Reach;

/// Links that are peers of an outlet: their names do not meet those of links that were dialled.
pub const OFFERING: u64 = 1 << 63;

/// Batches from links that may wait for the inlet, one of each link. Few, so that what was hashed
/// is still in the processor's cache when it is handed over.
const BATCHES: usize = 8;

/// What to hear, and from whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topics that are wanted; nothing else is delivered.
    pub patterns: Vec<Pattern>,
    /// Only these services; empty: all whose topics can match.
    pub from: Vec<Name>,
    /// Hear services through these relays.
    pub via: Vec<Name>,
    /// Connect to services themselves. Without it, `via` is the only way.
    pub direct: bool,
    /// Where streams begin that are not heard yet.
    pub begin: BTreeMap<KeyId, Start>,
    /// Where all others begin.
    pub others: Start,
    /// Nothing is taken until all links have come up or failed once, or so long has passed: else a
    /// stream begins with the oldest that the first of them holds.
    pub gather: Duration,
    /// A relay's own name: it does not connect to itself.
    pub myself: Option<Name>,
    /// Largest body that is accepted, up to 16 MiB.
    pub body_bytes: usize,
    /// Told what happens to links.
    pub notices: Notices,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            patterns: vec![Pattern::all()],
            from: Vec::new(),
            via: Vec::new(),
            direct: true,
            begin: BTreeMap::new(),
            others: Start::Now,
            gather: Duration::ZERO,
            myself: None,
            body_bytes: BODY_BYTES,
            notices: Notices::default(),
        }
    }
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is said from now on.
    #[default]
    Now,
    /// With the oldest that anyone holds.
    Oldest,
    /// At this place: all before it was handled.
    At(Position),
}

/// What an offered packet is part of: a commit with the numbers `from..upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The stream.
    pub key: KeyId,
    /// The first number.
    pub from: Position,
    /// The first number after it.
    pub upto: Position,
    /// If it is a tip: the oldest that its publisher holds.
    pub oldest: Option<Position>,
}

/// What a link tells the inlet, in the order in which it came.
#[derive(Debug)]
enum Said {
    Up {
        selvedge: bool,
    },
    /// What was read at once, judged by this directory. The link brings no more until this is
    /// dropped.
    Arrived {
        items: Vec<Item>,
        directory: Arc<Directory>,
        _turn: OwnedSemaphorePermit,
    },
    Down,
    /// None of its addresses answers; it is tried again.
    Unreachable,
}

#[derive(Debug)]
enum Item {
    Packet(Trusted),
    Mark(Mark),
}

/// A link that is kept up.
#[derive(Debug)]
struct Link {
    plan: watch::Sender<Plan>,
    asks: mpsc::UnboundedSender<(LinkId, Ask)>,
    _task: AbortOnDropHandle<()>,
    current: Option<LinkId>,
    /// Whether it sends MARKs.
    selvedge: bool,
    /// How far each stream went when this link first said that it had told all.
    told: BTreeMap<KeyId, Position>,
}

/// See the module.
#[derive(Debug)]
pub struct Inlet {
    options: Options,
    machine: subscriber::Subscriber,
    clock: Clock,
    directories: watch::Receiver<Arc<Directory>>,
    directory: Arc<Directory>,
    door: Arc<Door>,
    links: BTreeMap<Name, Link>,
    said: mpsc::Sender<(Name, LinkId, Said)>,
    events: mpsc::Receiver<(Name, LinkId, Said)>,
    counters: Arc<LinkCounters>,
    /// Peers of the outlet that offer packets.
    offering: BTreeSet<LinkId>,
    /// The links were changed; the machine does not know yet.
    stale: bool,
    gathering: Option<Gathering>,
}

impl Inlet {
    /// Connects to whom it must, and follows the directory. Must be called within a tokio runtime.
    pub fn new(mut directories: watch::Receiver<Arc<Directory>>, options: Options) -> Inlet {
        let directory = directories.borrow_and_update().clone();
        let (said, events) = mpsc::channel(BATCHES);
        let counters = Arc::new(LinkCounters::default());
        let mut inlet = Inlet {
            machine: subscriber::Subscriber::new(options.patterns.clone()),
            clock: Clock::new(),
            door: Arc::new(Door::new(directory.clone(), counters.clone())),
            options,
            directories,
            directory,
            links: BTreeMap::new(),
            said,
            events,
            counters,
            offering: BTreeSet::new(),
            stale: false,
            gathering: None,
        };
        inlet.gathering = Gathering::new(inlet.options.gather);
        inlet.connect();
        inlet.begin(&mut Vec::new()); // no link is up that could be asked
        inlet
    }

    /// Waits for links, the directory or a deadline, and pushes what the machine makes of it.
    /// Cancel safe.
    pub async fn turn(&mut self, out: &mut Vec<Output>) {
        if std::mem::take(&mut self.stale) {
            self.replan(out);
            return self.learn(out);
        }
        let deadline = self.machine.deadline();
        let (mut batch, mut due) = (Vec::new(), false);
        tokio::select! {
            Ok(()) = self.directories.changed() => self.directory_changed(out),
            _ = self.events.recv_many(&mut batch, BATCHES), if has_room(&self.gathering) => {}
            () = self.clock.at(deadline) => due = true,
            () = gather::over(&self.gathering) => {}
        }
        if due {
            // What the deadline waited for may be here, on a host too busy to have looked.
            tokio::task::yield_now().await;
            while batch.len() < BATCHES
                && let Ok(said) = self.events.try_recv()
            {
                batch.push(said);
            }
        }
        // What came is judged by the newest directory, even if both came at once.
        if self.directories.has_changed().unwrap_or(false) {
            self.directory_changed(out);
        }
        for (name, link, said) in self.gathered(batch) {
            self.said(name, link, said, out);
        }
        if due {
            self.machine.handle(self.clock.now(), Input::Tick, out);
        }
        self.learn(out);
    }

    /// Takes a packet that a peer offers, through the same door and the same machine as any other.
    ///
    /// # Errors
    /// [`Refusal`]; what was delivered before is no error.
    pub fn offer(
        &mut self,
        link: LinkId,
        frames: Frames,
        out: &mut Vec<Output>,
    ) -> Result<Offered, Refusal> {
        let now = self.clock.now();
        if self.offering.insert(link) {
            self.machine.handle(now, Input::LinkUp { link, selvedge: true }, out);
        }
        let packet = Packet::parse(frames.clone())?;
        let header = *packet.header();
        let (key, from, upto) = (header.key, header.start(), header.end());
        let tip = packet.is_tip().then(|| Tip::parse(&packet.body(0)).ok()).flatten();
        let offered = Offered { key, from, upto, oldest: tip.map(|tip| tip.oldest) };
        let mut budget = Budget::default();
        let opened = self.door.open(vec![frames], &self.directory, &mut budget, now.time);
        let trusted = match opened.into_iter().next() {
            Some(Ok((trusted, _))) => trusted,
            Some(Err(Refused { why: Refusal::Duplicate, .. })) | None => return Ok(offered),
            Some(Err(refused)) => return Err(refused.why),
        };
        let is_tip = trusted.packet().is_tip();
        let before = self.machine.position(header.key).is_some_and(|at| at >= header.end());
        if before && !is_tip {
            return Ok(offered); // of an earlier run, and offered again
        }
        let publisher = trusted.publisher().clone();
        // It is offered by who said it: its age does not matter.
        self.begin_at(header.key, &publisher, Start::Oldest, out);
        self.machine.handle(now, Input::Packet { link, trusted }, out);
        if is_tip {
            // What lies before its oldest does not come over this connection.
            let (key, upto) = (header.key, header.end());
            let mark = Mark { key, from: upto, upto, flags: 0 };
            self.machine.handle(now, Input::Mark { link, mark }, out);
        }
        self.learn(out);
        Ok(offered)
    }

    /// A stream goes on at `start`, before its position: what came from there on could not be kept,
    /// and is asked for again.
    pub fn set_back(&mut self, key: KeyId, start: Start, out: &mut Vec<Output>) {
        let Ok(speaker) = self.directory.speaker(key) else { return }; // it was removed
        let publisher = speaker.name.clone();
        // What waits comes again, too; but not what was offered, unless its peer is told.
        let left = Input::Removed { key, revoked: true };
        self.machine.handle(self.clock.now(), left, &mut Vec::new());
        self.options.begin.insert(key, start);
        self.begin_at(key, &publisher, start, out);
        self.learn(out);
    }

    /// A peer that offered something is gone.
    pub fn offered(&mut self, link: LinkId, out: &mut Vec<Output>) {
        if self.offering.remove(&link) {
            self.machine.handle(self.clock.now(), Input::LinkDown(link), out);
            self.learn(out);
        }
    }

    /// Before which place everything of a stream was handed over, passed or declared lost.
    pub fn position(&self, key: KeyId) -> Option<Position> {
        self.machine.position(key)
    }

    /// From now on wants the topics of these patterns.
    pub fn want(&mut self, patterns: Vec<Pattern>) {
        self.machine.want(patterns.clone());
        self.options.patterns = patterns;
        self.connect();
        // What was not wanted so far begins, and is asked for, with the next turn.
        self.stale = true;
    }

    /// What happened on links so far.
    pub fn counters(&self) -> Arc<LinkCounters> {
        self.counters.clone()
    }

    /// The services and relays that it is, or tries to be, connected to.
    pub fn targets(&self) -> impl Iterator<Item = &Name> {
        self.links.keys()
    }

    /// Brings the links in line with the directory; those whose plan is the same stay untouched.
    fn connect(&mut self) {
        let mut plans = plan::plans(&self.directory, &self.options);
        self.links.retain(|name, link| match plans.remove(name) {
            Some(plan) => {
                link.plan.send_if_modified(|current| {
                    let changed = *current != plan;
                    *current = plan;
                    changed
                });
                true
            }
            None => false,
        });
        for (name, plan) in plans {
            let (sender, plan) = watch::channel(plan);
            let (asks, asked) = mpsc::unbounded_channel();
            let link = link::Runner {
                name: name.clone(),
                plan,
                door: self.door.clone(),
                said: self.said.clone(),
                asks: asked,
                body_bytes: self.options.body_bytes,
                notices: self.options.notices.clone(),
                counters: self.counters.clone(),
            };
            let task = AbortOnDropHandle::new(tokio::spawn(link.run()));
            let (current, selvedge, told) = (None, false, BTreeMap::new());
            let link = Link { plan: sender, asks, _task: task, current, selvedge, told };
            self.links.insert(name, link);
        }
    }

    /// Begins the streams that are to begin elsewhere than now.
    fn begin(&mut self, out: &mut Vec<Output>) {
        let names: BTreeSet<Name> =
            self.links.values().flat_map(|link| link.plan.borrow().brings.clone()).collect();
        for publisher in names {
            for key in self.keys(&publisher) {
                self.begin_at(key, &publisher, self.options.others, out);
            }
        }
    }

    /// Begins a stream, unless it is heard already: where the options say, else at `start`.
    fn begin_at(&mut self, key: KeyId, publisher: &Name, start: Start, out: &mut Vec<Output>) {
        let at = match self.options.begin.get(&key).copied().unwrap_or(start) {
            Start::Now => return,
            Start::Oldest => Position::default(),
            Start::At(at) => at,
        };
        if self.machine.position(key).is_none() {
            let publisher = publisher.clone();
            self.machine.handle(self.clock.now(), Input::Begin { key, publisher, at }, out);
            self.door.learn([(key, Some(at))].into_iter());
        }
    }

    /// Tells the machine what a link can bring.
    fn carries(&mut self, link: &Name, out: &mut Vec<Output>) {
        let Some(link) = self.links.get(link) else { return };
        let Some(id) = link.current else { return };
        let keys = link.plan.borrow().brings.iter().flat_map(|name| self.keys(name)).collect();
        self.machine.handle(self.clock.now(), Input::Carries { link: id, keys }, out);
    }

    /// The directory or the plans have changed.
    fn replan(&mut self, out: &mut Vec<Output>) {
        self.begin(out);
        let names: Vec<Name> = self.links.keys().cloned().collect();
        names.iter().for_each(|name| self.carries(name, out));
    }

    /// The keys that the directory lists for a service.
    fn keys(&self, name: &Name) -> Vec<KeyId> {
        let service = self.directory.service(name.as_str());
        service.map(|s| s.keys.iter().map(|key| key.id()).collect()).unwrap_or_default()
    }

    fn directory_changed(&mut self, out: &mut Vec<Output>) {
        self.directory = self.directories.borrow_and_update().clone();
        self.door.follow(self.directory.clone());
        let before: Vec<LinkId> = self.links.values().filter_map(|link| link.current).collect();
        self.connect();
        let now = self.clock.now();
        for link in before {
            if !self.links.values().any(|l| l.current == Some(link)) {
                self.machine.handle(now, Input::LinkDown(link), out);
            }
        }
        let streams: Vec<_> = self.machine.positions().collect();
        for (key, at) in streams {
            if let Err(why) = self.directory.speaker(key) {
                let revoked = why == selvedge_core::directory::NoSpeaker::Revoked;
                let before = out.len();
                self.machine.handle(now, Input::Removed { key, revoked }, out);
                self.leave(key, at, &out[before..]);
            }
        }
        self.replan(out);
    }

    /// A stream that was asked for goes on where it was left, should it come back.
    fn leave(&mut self, key: KeyId, at: Position, left: &[Output]) {
        let reached = left.iter().map(|output| match output {
            Output::Deliver(delivery) => delivery.header.end(),
            Output::Lost(lost) => lost.to,
            _ => at,
        });
        let start = Start::At(reached.fold(at, Position::max));
        let begin = &mut self.options.begin;
        if self.options.others != Start::Now || begin.contains_key(&key) {
            begin.insert(key, start);
        }
    }

    fn said(&mut self, name: Name, id: LinkId, said: Said, out: &mut Vec<Output>) {
        let now = self.clock.now();
        let Some(link) = self.links.get_mut(&name) else { return }; // removed in the meantime
        match said {
            Said::Up { selvedge } => {
                (link.current, link.selvedge) = (Some(id), selvedge);
                self.machine.handle(now, Input::LinkUp { link: id, selvedge }, out);
                self.carries(&name, out);
            }
            Said::Down => {
                link.current = None;
                self.machine.handle(now, Input::LinkDown(id), out);
            }
            Said::Unreachable => {}
            Said::Arrived { items, directory, _turn } => {
                // Judged by a directory that has changed since: judge again who may say what.
                let again = !Arc::ptr_eq(&directory, &self.directory);
                for item in items {
                    if let Some((key, upto)) = item.tells_all(link.selvedge) {
                        link.tells(key, upto);
                    }
                    let input = match item {
                        Item::Packet(trusted) if again && !still_may(&self.directory, &trusted) => {
                            continue;
                        }
                        Item::Packet(trusted) => Input::Packet { link: id, trusted },
                        Item::Mark(mark) => Input::Mark { link: id, mark },
                    };
                    self.machine.handle(now, input, out);
                }
            }
        }
    }

    /// Lets the door know how far streams have come, and the application what is wrong.
    fn learn(&mut self, out: &mut Vec<Output>) {
        let mut moved = Vec::new();
        out.retain(|output| {
            match output {
                Output::Deliver(delivery) => moved.push(delivery.key),
                Output::Passed { key, .. } => moved.push(*key),
                Output::Started { key, publisher, at } => {
                    let (publisher, at) = (publisher.clone(), *at);
                    self.options.notices.tell(Notice::Started { publisher, at });
                    moved.push(*key);
                }
                Output::Lost(lost) => {
                    self.counters.lost(lost.reason);
                    moved.push(lost.key);
                }
                Output::Tip(_) | Output::Evidence { .. } => {}
                Output::Ask { link: id, ask } => {
                    let link = self.links.values().find(|link| link.current == Some(*id));
                    if let Some(link) = link {
                        let _ = link.asks.send((*id, *ask)); // it may be gone
                    }
                    return false;
                }
                Output::Superseded { publisher, epoch, .. } => {
                    let (publisher, epoch) = (publisher.clone(), *epoch);
                    self.options.notices.tell(Notice::Superseded { publisher, epoch });
                    return false;
                }
            }
            true
        });
        if !moved.is_empty() {
            moved.dedup();
            let positions = moved.into_iter().map(|key| (key, self.machine.position(key)));
            self.door.learn(positions);
        }
        self.counters.store(self.machine.counters());
    }
}

fn still_may(directory: &Directory, trusted: &Trusted) -> bool {
    let packet = trusted.packet();
    let speaker = directory.speaker(packet.header().key);
    speaker.is_ok_and(|speaker| speaker.may_say(packet.topic()))
}
