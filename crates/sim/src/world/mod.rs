//! The world: one loop over events, which moves bytes between nodes and does what machines want.

mod faults;
mod hear;
mod judge;
mod links;
mod speak;

use std::collections::BTreeMap;

use selvedge_core::directory::Directory;
use selvedge_core::fanout::{self, PeerId};
use selvedge_core::open::Cache;
use selvedge_core::seal::Commit;
use selvedge_core::{KeyId, Now, Position, Time, Wall, author, subscriber};

use crate::ledger::Ledger;
use crate::link::Conn;
use crate::node::{Kind, Lies, Node};
use crate::plan::Plan;
use crate::random::Random;
use crate::store::Step;

pub use faults::Fault;

/// When a world begins, on its wall clock.
const BEGIN: u64 = 1_764_000_000_000_000;
/// How long after the last fault everything has to be settled: tips, patience at each hop, and
/// links that are asked again.
const SETTLE: u64 = 150_000_000;
/// How long a settled world goes on: one more tip of everybody.
const QUIET: u64 = 13_000_000;
/// How often it is looked whether all is settled.
const LOOK: u64 = 1_000_000;

enum Event {
    /// Bytes arrive.
    Move {
        link: usize,
        conn: u64,
        down: bool,
    },
    Dial(usize),
    /// A node notices that a peer is gone.
    Noticed {
        node: usize,
        life: u32,
        peer: PeerId,
    },
    Say {
        node: usize,
        life: u32,
    },
    Sealed {
        node: usize,
        life: u32,
        commit: Commit,
    },
    /// The journal's thread takes what waits.
    Write {
        node: usize,
        life: u32,
    },
    /// It syncs, and is done with a batch.
    Sync {
        node: usize,
        life: u32,
        batch: Vec<Step>,
        written: bool,
    },
    Written {
        node: usize,
        life: u32,
        batch: Vec<Step>,
        written: bool,
    },
    Read {
        node: usize,
        life: u32,
        peer: PeerId,
        key: KeyId,
        from: Position,
        upto: Position,
    },
    /// The application handles some of what waits for it.
    Handle {
        node: usize,
        life: u32,
    },
    /// The cursor is written, and then synced.
    Save {
        node: usize,
        life: u32,
    },
    Saved {
        node: usize,
        life: u32,
    },
    Gone {
        node: usize,
        life: u32,
    },
    Start(usize),
    Fault(Fault),
    /// Nothing goes wrong any more.
    Heal,
    Look,
}

pub struct World {
    now: u64,
    random: Random,
    plan: Plan,
    conns: Vec<Option<Conn>>,
    /// Until when nothing passes each link: down, and up.
    blocked: Vec<[u64; 2]>,
    said: BTreeMap<usize, u64>,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    directory: Directory,
    cache: Cache,
    /// Since when all is settled.
    settled: Option<u64>,
    healed: bool,
    pub ledger: Ledger,
    /// What happened, if anyone wants to know.
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, plan: Plan, traced: bool) -> World {
        let links = plan.routes.len();
        let mut world = World {
            now: 0,
            random: Random::new(!seed),
            conns: (0..links).map(|_| None).collect(),
            blocked: vec![[0; 2]; links],
            said: BTreeMap::new(),
            events: BTreeMap::new(),
            serial: 0,
            directory: directory(&plan.nodes),
            cache: Cache::default(),
            settled: None,
            healed: false,
            ledger: Ledger::default(),
            trace: traced.then(Vec::new),
            plan,
        };
        if world.plan.faults.lies != Lies::Never || world.plan.faults.overflow {
            // Links are slow then, and may bring what is in a hole after the patience with it.
            (0..world.plan.nodes.len()).for_each(|node| world.harm(node));
        }
        if world.plan.keeps {
            // Of who keeps no journal, nobody gets what was said before he came.
            (0..world.plan.nodes.len()).for_each(|node| world.harm(node));
        }
        world.begin();
        world
    }

    /// Runs to the end, and judges.
    pub fn run(&mut self) {
        let end = self.plan.busy + SETTLE;
        let mut steps = 0;
        while self.now < end && self.ledger.problems.is_empty() {
            if self.settled.is_some_and(|since| self.now >= since + QUIET) {
                break;
            }
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.plan.nodes.iter().filter_map(Node::deadline).min().map(|at| at.0);
            let Some(next) = [event, deadline].into_iter().flatten().min() else { break };
            self.now = self.now.max(next);
            match self.events.first_entry().filter(|first| first.key().0 <= self.now) {
                Some(first) => {
                    let event = first.remove();
                    self.event(event);
                }
                None => self.tick(),
            }
            self.check_memory();
            steps += 1;
            if steps > 3_000_000 {
                return self.ledger.problem("it never becomes quiet".into());
            }
        }
        if self.ledger.problems.is_empty() {
            self.judge();
        }
    }

    // ---- events --------------------------------------------------------------------------------

    fn begin(&mut self) {
        for node in 0..self.plan.nodes.len() {
            let soon = self.random.percent(70) && self.plan.nodes[node].listed;
            let late = self.plan.faults.retires && self.random.percent(40);
            let at = match self.plan.nodes[node].kind {
                Kind::Subscriber { .. } if late => self.plan.busy + self.random.below(LOOK),
                _ if soon => 0,
                _ => self.random.below(self.plan.busy),
            };
            self.at(at, Event::Start(node));
        }
        for link in 0..self.plan.routes.len() {
            let at = if self.random.percent(70) { 1 } else { self.random.below(self.plan.busy) };
            self.at(at, Event::Dial(link));
        }
        self.schedule_faults();
        self.at(self.plan.busy, Event::Heal);
        self.at(self.plan.busy + LOOK, Event::Look);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.events.insert((at.max(self.now), self.serial), event);
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.at(self.now + wait, event);
    }

    /// Something to happen within `most` microseconds.
    fn soon(&mut self, most: u64, event: Event) {
        let wait = self.random.below(most);
        self.after(wait, event);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Move { link, conn, down } => self.step(link, conn, down),
            Event::Dial(link) => self.dial(link),
            Event::Noticed { node, life, peer } if self.lives(node, life) => {
                self.fanout(node, fanout::Input::Disconnected(peer));
            }
            Event::Say { node, life } if self.lives(node, life) => self.say(node),
            Event::Sealed { node, life, commit } if self.lives(node, life) => {
                self.author(node, author::Input::Sealed(commit));
            }
            Event::Write { node, life } if self.lives(node, life) => self.write(node),
            Event::Sync { node, life, batch, written } if self.lives(node, life) => {
                self.sync(node, batch, written);
            }
            Event::Written { node, life, batch, written } if self.lives(node, life) => {
                self.written(node, batch, written);
            }
            Event::Read { node, life, peer, key, from, upto } if self.lives(node, life) => {
                self.read(node, (peer, key, from, upto));
            }
            Event::Handle { node, life } if self.lives(node, life) => self.handle(node),
            Event::Save { node, life } if self.lives(node, life) => self.save(node),
            Event::Saved { node, life } if self.lives(node, life) => self.saved(node),
            Event::Gone { node, life } if self.lives(node, life) => self.close(node),
            Event::Start(node) => self.start(node),
            Event::Fault(fault) => self.fault(fault),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
            _ => {} // of an earlier life
        }
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.plan.nodes[node].up && self.plan.nodes[node].life == life
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10} {}", self.now, what()));
        }
    }

    fn time(&self, node: usize) -> Now {
        Now { time: Time(self.now), wall: Wall(self.wall(node)) }
    }

    fn wall(&self, node: usize) -> u64 {
        (BEGIN + self.now).saturating_add_signed(self.plan.nodes[node].offset)
    }

    fn tick(&mut self) {
        for node in 0..self.plan.nodes.len() {
            if self.plan.nodes[node].deadline().is_some_and(|due| due.0 <= self.now) {
                self.turn(node);
                self.subscriber(node, subscriber::Input::Tick);
                self.fanout(node, fanout::Input::Tick);
            }
        }
    }

    // ---- nodes ---------------------------------------------------------------------------------

    fn start(&mut self, node: usize) {
        if self.plan.nodes[node].up || self.plan.nodes[node].retired {
            return;
        }
        if !self.plan.nodes[node].listed {
            self.list(node);
        }
        let (room, queue_bytes) = (self.plan.room, self.plan.queue_bytes);
        let (wall, reuses) = (self.wall(node), self.plan.knobs.same_epoch);
        let this = &mut self.plan.nodes[node];
        if let Err(error) = this.start(room, queue_bytes, wall, reuses) {
            this.epochs.doubt(); // what could not be made durable is cut off
            self.note(|| format!("node {node} cannot start: {error}"));
            self.damaged(node);
            return self.after(100_000, Event::Start(node));
        }
        self.note(|| format!("node {node} starts"));
        if let Some(store) = self.plan.nodes[node].store.as_ref().filter(|store| !store.is_sound())
        {
            let what = format!("node {node} finds {:?}", store.damages());
            self.note(|| what);
        }
        let (life, remembers) = (self.plan.nodes[node].life, self.plan.nodes[node].remembers());
        self.ledger.lives(node, remembers.is_some());
        match self.plan.nodes[node].kind {
            Kind::Publisher(_) => {
                self.check_receipts(node);
                self.turn(node);
                self.after(1, Event::Say { node, life });
            }
            Kind::Relay { .. } => {
                for (key, upto) in self.plan.nodes[node].since.clone() {
                    self.fanout(node, fanout::Input::Passed { key, upto });
                }
                self.begin_streams(node, life == 1);
            }
            Kind::Subscriber { .. } => {
                self.begin_streams(node, life == 1);
                if remembers.is_some() {
                    self.after(1, Event::Handle { node, life });
                    self.soon(100_000, Event::Save { node, life });
                }
            }
        }
    }

    /// What must be held by a publisher's journal is.
    fn check_receipts(&mut self, node: usize) {
        let this = &self.plan.nodes[node];
        let (Some(key), Some(store)) = (this.key(), &this.store) else { return };
        if this.ailing && self.plan.faults.flips {
            return;
        }
        let held = store.held(key);
        let has = |at: Position| held.iter().any(|(from, to)| *from <= at && at < *to);
        let from = this.kept_from;
        self.ledger.reopened(key, from, has);
    }

    /// The directory lists one publisher more.
    fn list(&mut self, node: usize) {
        self.note(|| format!("node {node} is listed"));
        self.plan.nodes[node].listed = true;
        self.directory = directory(&self.plan.nodes);
        for other in 0..self.plan.nodes.len() {
            self.begin_streams(other, false);
        }
        for link in 0..self.plan.routes.len() {
            let dialer = self.plan.routes[link].dialer;
            let Some(conn) = &self.conns[link] else { continue };
            if conn.ready {
                let (link, keys) = (conn.link(), self.carried(link));
                self.subscriber(dialer, subscriber::Input::Carries { link, keys });
            }
        }
    }

    /// A node goes down, and comes up later. Its disk is as it was left.
    fn down(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        this.up = false;
        (this.author, this.subscriber, this.store) = (None, None, None);
        for link in 0..self.plan.routes.len() {
            let route = self.plan.routes[link];
            if route.dialer == node || route.listener == node {
                self.cut(link);
            }
        }
        let wait = match self.random.percent(80) {
            true => self.random.within(1, 800_000),
            false => self.random.within(1, 6_000_000),
        };
        self.after(wait, Event::Start(node));
    }

    fn fanout(&mut self, node: usize, input: fanout::Input<'_>) {
        if !self.plan.nodes[node].up {
            return;
        }
        let mut out = Vec::new();
        let fanout = &mut self.plan.nodes[node].fanout;
        let drops = |c: fanout::Counters| c.dropped_all_full + c.dropped_peer_full;
        let before = drops(fanout.counters());
        fanout.handle(Time(self.now), input, &mut out);
        if drops(fanout.counters()) > before {
            self.note(|| format!("node {node} drops"));
            self.harm(node);
        }
        let life = self.plan.nodes[node].life;
        for output in out {
            match output {
                fanout::Output::Write { peer, slices } => {
                    if let Some(link) = self.link_of(peer.0) {
                        if let Some(conn) = &mut self.conns[link] {
                            conn.down.write(&slices);
                        }
                        self.wake(link, true);
                    }
                }
                fanout::Output::Close { peer, why } => {
                    self.note(|| format!("node {node} closes {peer:?}: {why}"));
                    if let Some(link) = self.link_of(peer.0) {
                        self.cut(link);
                    }
                }
                fanout::Output::Read { peer, key, from, upto } => {
                    self.note(|| format!("node {node} reads {from}..{upto} of {key} for {peer:?}"));
                    self.soon(3_000, Event::Read { node, life, peer, key, from, upto });
                }
                fanout::Output::TipWanted(key) => {
                    if self.plan.nodes[node].key() == Some(key) {
                        self.author(node, author::Input::TipWanted);
                    }
                }
            }
        }
    }

    /// Reads for a peer what it missed.
    fn read(&mut self, node: usize, what: (PeerId, KeyId, Position, Position)) {
        let (peer, key, from, upto) = what;
        let Some(store) = &self.plan.nodes[node].store else { return };
        let answer = store.read(peer, key, from, upto);
        self.fanout(node, fanout::Input::Answer(answer));
    }
}

/// The directory that lists these nodes as far as it does.
fn directory(nodes: &[Node]) -> Directory {
    let mut text = String::from("format = 1\nfabric = \"sim\"\n");
    for node in nodes.iter().filter(|node| node.listed) {
        if let Kind::Publisher(publisher) = &node.kind {
            let key = publisher.identity.key.public();
            let name = &node.name;
            text += &format!("[services.{name}]\nkey = \"{key}\"\ntopics = [\"#\"]\n");
        }
    }
    Directory::from_text("sim.toml", &text).unwrap()
}
