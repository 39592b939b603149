//! The world: one loop over events, which moves bytes between nodes and does what machines want.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use selvedge_core::directory::Directory;
use selvedge_core::fanout;
use selvedge_core::open::{Cache, CommitId, Context, Refusal, open};
use selvedge_core::seal::{Commit, ContentType, Draft, EpochEnd, Packet};
use selvedge_core::wire::{Event as Heard, Frames, Role, ready, subscribe};
use selvedge_core::{KeyId, Now, Position, Time, Wall, author, subscriber};

use super::ledger::Ledger;
use super::link::{Conn, Route, plain_ready};
use super::node::{Kind, Lies, Node};
use super::plan::{Plan, topic};
use super::random::Random;

/// When a world begins, on its wall clock.
const BEGIN: u64 = 1_764_000_000_000_000;
/// How long after the last fault everything has to be settled: two tips, and patience at each hop.
const SETTLE: u64 = 40_000_000;
/// Messages of one publisher in one history.
const MESSAGES: u64 = 150;
/// Bytes that a fan-out may hold for one peer above its bound: `CONTROL_ROOM` and a commit.
const ABOVE_BOUND: usize = (1 << 20) + 64 * 1_024;

enum Event {
    Move { link: usize, conn: u64, down: bool },
    Dial(usize),
    Cut(usize),
    Say(usize),
    Sealed { node: usize, epoch: u64, commit: Commit },
    Stop { node: usize, clean: bool },
    Gone { node: usize, epoch: u64 },
    Start(usize),
}

pub struct World {
    now: u64,
    random: Random,
    plan: Plan,
    conns: Vec<Option<Conn>>,
    starts: Vec<u32>,
    said: BTreeMap<usize, u64>,
    closing: Vec<bool>,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    directory: Directory,
    cache: Cache,
    pub ledger: Ledger,
    /// What happened, if anyone wants to know.
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, plan: Plan, traced: bool) -> World {
        let mut text = String::from("format = 1\nfabric = \"sim\"\n");
        for node in &plan.nodes {
            if let Kind::Publisher(publisher) = &node.kind {
                let key = publisher.identity.key.public();
                let name = &node.name;
                text += &format!("[services.{name}]\nkey = \"{key}\"\ntopics = [\"#\"]\n");
            }
        }
        let (nodes, links) = (plan.nodes.len(), plan.routes.len());
        let mut world = World {
            now: 0,
            random: Random::new(!seed),
            conns: (0..links).map(|_| None).collect(),
            starts: vec![0; nodes],
            closing: vec![false; nodes],
            said: BTreeMap::new(),
            events: BTreeMap::new(),
            serial: 0,
            directory: Directory::from_text("sim.toml", &text).unwrap(),
            cache: Cache::default(),
            ledger: Ledger::default(),
            trace: traced.then(Vec::new),
            plan,
        };
        if world.plan.faults.lies != Lies::Never || world.plan.faults.overflow {
            // Links are slow then, and may bring what is in a hole after the patience with it.
            let keys = world.plan.nodes.iter().filter_map(Node::key);
            world.ledger.harmed.extend(keys);
        }
        world.begin();
        world
    }

    /// Runs to the end, and judges.
    pub fn run(&mut self) {
        let end = self.plan.busy + SETTLE;
        let mut steps = 0;
        while self.now < end && self.ledger.problems.is_empty() {
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

    fn judge(&mut self) {
        let keys: Vec<KeyId> = self.plan.nodes.iter().filter_map(Node::key).collect();
        let (faults, plain) = (self.plan.faults, self.plan.routes.iter().any(|route| route.plain));
        for (at, node) in self.plan.nodes.iter().enumerate() {
            let Some(subscriber) = &node.subscriber else { continue };
            let deaf = self.plan.routes.iter().any(|route| route.dialer == at && route.plain);
            if deaf && faults.any() {
                continue; // without MARKs, what is lost at the end of an epoch shows to nobody
            }
            let lied = faults.lies != Lies::Never || plain;
            self.ledger.check((at, self.starts[at]), &node.wanted(), &keys, lied);
            let counters = subscriber.counters();
            if counters.bad_tips + counters.conflicts + counters.stale > 0
                || counters.void_marks > 0 && self.ledger.harmed.is_empty() && !lied
            {
                self.ledger.problem(format!("{}: {counters:?}", node.name));
            }
        }
    }

    fn check_memory(&mut self) {
        let bound = self.plan.queue_bytes;
        for (at, node) in self.plan.nodes.iter().enumerate() {
            let peers = node.fanout.peers();
            if node.fanout.queued_bytes() > peers * (bound + ABOVE_BOUND) {
                self.ledger.problem(format!("node {at} holds too much for its peers"));
            }
        }
    }

    // ---- events --------------------------------------------------------------------------------

    fn begin(&mut self) {
        for node in 0..self.plan.nodes.len() {
            let at = if self.random.percent(70) { 0 } else { self.random.below(self.plan.busy) };
            self.at(at, Event::Start(node));
            if let Kind::Publisher(_) = self.plan.nodes[node].kind {
                self.at(at + 1, Event::Say(node));
            }
        }
        for link in 0..self.plan.routes.len() {
            let at = if self.random.percent(70) { 1 } else { self.random.below(self.plan.busy) };
            self.at(at, Event::Dial(link));
        }
        let faults = self.plan.faults;
        for route in self.plan.routes.clone() {
            // What comes late over a link without MARKs is lost, and over relays some is late; what
            // is never MARKed is lost, too.
            let relayed = matches!(self.plan.nodes[route.listener].kind, Kind::Relay { .. });
            if route.unmarked || route.plain && (faults.any() || relayed) {
                self.harm(route.listener);
            }
        }
        for _ in 0..self.random.below(4) {
            let at = self.random.below(self.plan.busy);
            let node = self.random.below(self.plan.nodes.len() as u64) as usize;
            let link = self.random.below(self.plan.routes.len() as u64) as usize;
            if faults.cuts {
                self.at(at, Event::Cut(link));
            }
            match self.plan.nodes[node].kind {
                Kind::Publisher(_) if faults.kills => {
                    let clean = self.random.percent(50);
                    self.at(at, Event::Stop { node, clean });
                }
                Kind::Relay { .. } if faults.relay_kills => {
                    self.at(at, Event::Stop { node, clean: false });
                }
                _ => {}
            }
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.events.insert((at.max(self.now), self.serial), event);
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.at(self.now + wait, event);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Move { link, conn, down } => self.step(link, conn, down),
            Event::Dial(link) => self.dial(link),
            Event::Cut(link) => self.cut(link),
            Event::Say(node) => self.say(node),
            Event::Sealed { node, epoch, commit } => {
                if self.epoch(node) == Some(epoch) {
                    self.author(node, author::Input::Sealed(commit));
                }
            }
            Event::Stop { node, clean } => self.stop(node, clean),
            Event::Gone { node, epoch } => {
                if self.epoch(node) == Some(epoch) {
                    self.down(node, true);
                }
            }
            Event::Start(node) => self.start(node),
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10} {}", self.now, what()));
        }
    }

    fn time(&self) -> Now {
        Now { time: Time(self.now), wall: Wall(BEGIN + self.now) }
    }

    fn tick(&mut self) {
        for node in 0..self.plan.nodes.len() {
            if self.plan.nodes[node].deadline().is_some_and(|due| due.0 <= self.now) {
                self.author(node, author::Input::Tick);
                self.subscriber(node, subscriber::Input::Tick);
                self.fanout(node, fanout::Input::Tick);
            }
        }
    }

    // ---- nodes ---------------------------------------------------------------------------------

    fn epoch(&self, node: usize) -> Option<u64> {
        match &self.plan.nodes[node].kind {
            Kind::Publisher(publisher) if self.plan.nodes[node].up => Some(publisher.epoch),
            _ => None,
        }
    }

    fn start(&mut self, node: usize) {
        if self.plan.nodes[node].up {
            return;
        }
        if let Kind::Publisher(publisher) = &mut self.plan.nodes[node].kind {
            publisher.epoch = BEGIN + self.now;
        }
        self.starts[node] += 1;
        self.closing[node] = false;
        let jitter = self.random.next();
        self.plan.nodes[node].start(self.plan.queue_bytes, jitter);
        self.note(|| format!("node {node} starts"));
        self.author(node, author::Input::Tick);
    }

    fn stop(&mut self, node: usize, clean: bool) {
        if !self.plan.nodes[node].up {
            return;
        }
        self.harm(node);
        if clean {
            self.note(|| format!("node {node} closes"));
            self.closing[node] = true;
            return self.author(node, author::Input::Close);
        }
        self.down(node, false);
    }

    fn down(&mut self, node: usize, clean: bool) {
        self.note(|| format!("node {node} goes down, clean: {clean}"));
        let chance = self.random.below(3);
        let less = self.random.below(3);
        let this = &mut self.plan.nodes[node];
        this.up = false;
        if let (Kind::Publisher(publisher), Some(author)) = (&mut this.kind, this.author.take()) {
            let Position { epoch, seq } = author.next();
            match chance {
                _ if clean => publisher.ends.insert(0, EpochEnd { epoch, end: seq, clean }),
                0 => {} // nobody knows of this epoch
                _ => {
                    let end = seq.saturating_sub(less);
                    publisher.ends.insert(0, EpochEnd { epoch, end, clean });
                }
            }
        }
        this.subscriber = None;
        for link in 0..self.plan.routes.len() {
            let Route { dialer, listener, .. } = self.plan.routes[link];
            if dialer == node || listener == node {
                self.cut(link);
            }
        }
        let wait = self.random.within(1, 800_000);
        self.after(wait, Event::Start(node));
        if self.plan.nodes[node].key().is_some() {
            self.after(wait + 1, Event::Say(node));
        }
    }

    /// What this node carries can from now on really be lost.
    fn harm(&mut self, node: usize) {
        let keys = self.plan.nodes.iter().filter_map(Node::key);
        match self.plan.nodes[node].key() {
            Some(key) => self.ledger.harmed.extend([key]),
            None => self.ledger.harmed.extend(keys),
        }
    }

    fn say(&mut self, node: usize) {
        let said = self.said.entry(node).or_default();
        let over = self.now > self.plan.busy || *said >= MESSAGES || self.closing[node];
        if over || !self.plan.nodes[node].up {
            return;
        }
        let count = 1 + self.random.below(self.plan.burst);
        let mut drafts = Vec::new();
        for _ in 0..count {
            *said += 1;
            let topic = topic(&mut self.random).parse().unwrap();
            let long = if self.random.percent(3) { self.random.below(6_000) as usize } else { 0 };
            let body = Bytes::from(format!("{node} {said} {}", ".".repeat(long)));
            let time = Wall(BEGIN + self.now);
            let extension = Bytes::new();
            drafts.push(Draft { topic, ctype: ContentType::TEXT, time, extension, body });
        }
        self.author(node, author::Input::Drafts(drafts));
        let pause = 1 + self.random.below(self.plan.pause);
        self.after(pause, Event::Say(node));
    }

    fn author(&mut self, node: usize, input: author::Input) {
        let now = self.time();
        let mut out = Vec::new();
        let this = &mut self.plan.nodes[node];
        let (true, Some(author)) = (this.up, this.author.as_mut()) else { return };
        author.handle(now, input, &mut out);
        for output in out {
            let Kind::Publisher(publisher) = &self.plan.nodes[node].kind else { return };
            let epoch = publisher.epoch;
            match output {
                author::Output::Seal(unsealed) => {
                    self.ledger.numbered(&unsealed);
                    let commit = unsealed.seal(&publisher.identity);
                    let wait = self.random.below(300);
                    self.after(wait, Event::Sealed { node, epoch, commit });
                }
                author::Output::Send(commit) => {
                    self.note(|| format!("node {node} says {}", describe(&commit)));
                    if self.plan.knobs.no_tips && commit.header.n == 0 {
                        continue;
                    }
                    self.ledger.sent(&commit);
                    self.fanout(node, fanout::Input::Commit(&commit));
                }
                author::Output::Closed => {
                    let linger = self.random.below(500_000);
                    self.after(linger, Event::Gone { node, epoch });
                }
            }
        }
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
                fanout::Output::Read { .. } => unreachable!("there is no journal"),
                fanout::Output::TipWanted(key) => {
                    if self.plan.nodes[node].key() == Some(key) {
                        self.author(node, author::Input::TipWanted);
                    }
                }
            }
        }
    }

    fn subscriber(&mut self, node: usize, input: subscriber::Input) {
        let now = self.time();
        let mut out = Vec::new();
        let id = (node, self.starts[node]);
        let this = &mut self.plan.nodes[node];
        let (true, Some(subscriber)) = (this.up, this.subscriber.as_mut()) else { return };
        subscriber.handle(now, input, &mut out);
        let wanted = this.wanted();
        for output in out {
            self.note(|| format!("node {node}: {}", describe_output(&output)));
            match &output {
                subscriber::Output::Started { key, at, .. } => self.ledger.started(id, *key, *at),
                subscriber::Output::Deliver(delivery) => {
                    self.ledger.delivery(id, &wanted, delivery);
                }
                subscriber::Output::Lost(lost) => self.ledger.lost(id, lost),
                subscriber::Output::Ask { link, ask } => {
                    if let Some(link) = self.link_of(link.0) {
                        if let Some(conn) = &mut self.conns[link] {
                            conn.up.send(&ask.encode());
                        }
                        self.wake(link, false);
                    }
                }
                subscriber::Output::Superseded { .. } if !self.plan.faults.kills => {
                    self.ledger.problem(format!("node {node}: {output:?}"));
                }
                _ => {}
            }
            if let Kind::Relay { lies } = self.plan.nodes[node].kind {
                self.relay(node, lies, output);
            }
        }
    }

    /// What a relay makes of its subscriber's outputs.
    fn relay(&mut self, node: usize, lies: Lies, output: subscriber::Output) {
        match output {
            subscriber::Output::Deliver(delivery) => {
                let mut commit = delivery.to_commit();
                if lies == Lies::Withholds && self.random.percent(20) {
                    self.harm(node);
                    let kept = self.random.below(commit.packets.len() as u64) as usize;
                    let packet = commit.packets.remove(kept);
                    self.note(|| format!("node {node} keeps {} back", packet.topic));
                }
                self.fanout(node, fanout::Input::Commit(&commit));
            }
            subscriber::Output::Passed { key, upto } => {
                let more = if lies == Lies::Anticipates { self.random.below(5) } else { 0 };
                if more > 0 {
                    self.harm(node);
                    self.note(|| format!("node {node} passes {more} more of {key}"));
                }
                let upto = Position::new(upto.epoch, upto.seq + more);
                self.fanout(node, fanout::Input::Passed { key, upto });
            }
            subscriber::Output::Lost(lost) => {
                self.fanout(node, fanout::Input::Gone { key: lost.key, upto: lost.to });
            }
            subscriber::Output::Tip(tip) => {
                self.fanout(node, fanout::Input::Commit(&tip.to_commit()));
            }
            subscriber::Output::Started { .. }
            | subscriber::Output::Ask { .. }
            | subscriber::Output::Superseded { .. } => {}
        }
    }

    // ---- links ---------------------------------------------------------------------------------

    fn link_of(&self, conn: u64) -> Option<usize> {
        self.conns.iter().position(|at| at.as_ref().is_some_and(|at| at.id == conn))
    }

    fn dial(&mut self, link: usize) {
        let Route { dialer, listener, .. } = self.plan.routes[link];
        if self.conns[link].is_some() {
            return;
        }
        if !self.plan.nodes[dialer].up || !self.plan.nodes[listener].up {
            let wait = self.random.within(1_000, 300_000);
            return self.after(wait, Event::Dial(link));
        }
        self.serial += 1;
        self.conns[link] = Some(Conn::new(self.serial));
        self.note(|| format!("link {link}: {dialer} dials {listener}"));
        self.wake(link, true);
        self.wake(link, false);
    }

    fn cut(&mut self, link: usize) {
        let Some(mut conn) = self.conns[link].take() else { return };
        let Route { dialer, listener, .. } = self.plan.routes[link];
        self.note(|| format!("link {link}: cut between {dialer} and {listener}"));
        self.harm(listener);
        // Some of what is on its way still arrives, up to any byte.
        let arrives = self.random.below(conn.down.wire.len() as u64 + 1) as usize;
        let bytes = conn.down.wire.split_to(arrives);
        self.read_down(link, &mut conn, bytes);
        self.fanout(listener, fanout::Input::Disconnected(conn.peer()));
        self.subscriber(dialer, subscriber::Input::LinkDown(conn.link()));
        let wait = self.random.within(1_000, 500_000);
        self.after(wait, Event::Dial(link));
    }

    /// Sees to it that bytes on their way arrive.
    fn wake(&mut self, link: usize, down: bool) {
        let step = 1 + self.random.below(self.plan.routes[link].step);
        let Some(conn) = &mut self.conns[link] else { return };
        let (id, pipe) = (conn.id, if down { &mut conn.down } else { &mut conn.up });
        if !pipe.scheduled && !pipe.is_idle() {
            pipe.scheduled = true;
            self.after(step, Event::Move { link, conn: id, down });
        }
    }

    fn step(&mut self, link: usize, id: u64, down: bool) {
        let Route { listener, piece, .. } = self.plan.routes[link];
        // Subscriptions go out in one write, and are few.
        let piece = if down { 1 + self.random.below(piece) as usize } else { usize::MAX };
        let Some(mut conn) = self.conns[link].take_if(|conn| conn.id == id) else { return };
        let pipe = if down { &mut conn.down } else { &mut conn.up };
        pipe.scheduled = false;
        let (bytes, wrote) = pipe.step(piece);
        let peer = conn.peer();
        match down {
            true => self.read_down(link, &mut conn, bytes),
            false => self.read_up(link, &mut conn, bytes),
        }
        self.conns[link] = Some(conn);
        self.wake(link, true);
        self.wake(link, false);
        if let Some(done) = wrote {
            self.fanout(listener, fanout::Input::Wrote { peer, done });
        }
    }

    /// What the dialer reads.
    fn read_down(&mut self, link: usize, conn: &mut Conn, bytes: BytesMut) {
        let Route { dialer, plain, unmarked, .. } = self.plan.routes[link];
        let mut events = Vec::new();
        conn.dialer.input.unsplit(bytes);
        if let Err(fault) = conn.dialer.engine.handle(&mut conn.dialer.input, &mut events) {
            self.ledger.problem(format!("link {link}: {fault}"));
        }
        for event in events {
            match event {
                Heard::Send(bytes) => conn.up.send(&bytes),
                Heard::Ready(peer) => {
                    assert_eq!(peer.selvedge, !plain);
                    let (id, selvedge) = (conn.link(), peer.selvedge);
                    self.subscriber(dialer, subscriber::Input::LinkUp { link: id, selvedge });
                    let mut prefixes = self.plan.nodes[dialer].prefixes();
                    // As the library does: a stream may begin with its tip.
                    prefixes.sort_by_key(|prefix| prefix.starts_with('$'));
                    for prefix in prefixes {
                        conn.up.send(&subscribe(prefix.as_bytes(), peer.minor));
                    }
                    let keys = self.carried(link);
                    let input = subscriber::Input::Carries { link: id, keys };
                    self.in_world(link, conn, |world| world.subscriber(dialer, input));
                }
                Heard::Message(frames) => self.message(link, conn, frames),
                Heard::Mark(mut mark) if !unmarked => {
                    self.note(|| format!("link {link}: to {dialer} {mark:?}"));
                    if self.plan.knobs.blind_marks {
                        mark.from = Position::default();
                    }
                    self.subscriber(dialer, subscriber::Input::Mark { link: conn.link(), mark });
                }
                _ => {}
            }
        }
    }

    fn message(&mut self, link: usize, conn: &mut Conn, frames: Frames) {
        let node = self.plan.routes[link].dialer;
        let prefixes = self.plan.nodes[node].prefixes();
        let matches =
            |prefix: &String| selvedge_core::wire::matches(prefix.as_bytes(), frames.part(0));
        if !prefixes.iter().any(matches) {
            self.ledger.problem(format!("link {link}: {frames:?} was not subscribed to"));
        }
        let packet = Packet::parse(frames).unwrap();
        let came = conn.came.entry((CommitId::of(&packet), packet.first_off())).or_default();
        *came += 1;
        if *came > 1 && !packet.is_tip() {
            self.ledger.problem(format!("link {link}: {:?} again", packet.header()));
        }
        self.ledger.came(&packet);
        let Some(subscriber) = self.plan.nodes[node].subscriber.as_ref() else { return };
        let key = packet.header().key;
        let context = Context {
            directory: &self.directory,
            horizon: subscriber.position(key),
            cached: self.cache.find(CommitId::of(&packet)),
            now: Time(self.now),
        };
        let (topic, start) = (packet.topic().clone(), packet.start());
        match open(packet, &context, &mut conn.budget) {
            Ok(opened) => {
                self.note(|| format!("link {link}: to {node} {topic} {start} of {key}"));
                if let Some(verified) = opened.verified {
                    self.cache.insert(verified);
                }
                let (link, trusted) = (conn.link(), opened.trusted);
                let announces = trusted.packet().is_tip().then(|| trusted.packet().start());
                self.subscriber(node, subscriber::Input::Packet { link, trusted });
                if let Some(announces) = announces {
                    self.ledger.tip((node, self.starts[node]), key, announces);
                }
            }
            Err(Refusal::Duplicate) => {}
            Err(why) => self.ledger.problem(format!("link {link}: {why}")),
        }
    }

    /// What the listener reads.
    fn read_up(&mut self, link: usize, conn: &mut Conn, bytes: BytesMut) {
        let Route { listener, plain, .. } = self.plan.routes[link];
        let mut events = Vec::new();
        conn.listener.input.unsplit(bytes);
        conn.listener.engine.handle(&mut conn.listener.input, &mut events).unwrap();
        let peer = conn.peer();
        for event in events {
            let input = match event {
                Heard::Send(_) => {
                    let ready = if plain { plain_ready() } else { ready(Role::Publisher) };
                    conn.down.send(&ready);
                    continue;
                }
                Heard::Ready(_) => fanout::Input::Connected { peer, selvedge: !plain },
                Heard::Subscribe(prefix) => fanout::Input::Subscribe { peer, prefix },
                Heard::Ask(ask) => fanout::Input::Ask { peer, ask },
                _ => continue,
            };
            self.in_world(link, conn, |world| world.fanout(listener, input));
        }
    }

    /// Does something that may write to a connection which is in the caller's hands.
    fn in_world(&mut self, link: usize, conn: &mut Conn, act: impl FnOnce(&mut World)) {
        let held = std::mem::replace(conn, Conn::new(conn.id));
        self.conns[link] = Some(held);
        act(self);
        if let Some(held) = self.conns[link].take() {
            *conn = held;
        }
    }

    /// The streams that a link can bring.
    fn carried(&self, link: usize) -> BTreeSet<KeyId> {
        let listener = &self.plan.nodes[self.plan.routes[link].listener];
        match listener.key() {
            Some(key) => BTreeSet::from([key]),
            None => self.plan.nodes.iter().filter_map(Node::key).collect(),
        }
    }
}

fn describe(commit: &Commit) -> String {
    let header = commit.header;
    let topics: Vec<&str> = commit.packets.iter().map(|packet| packet.topic.as_str()).collect();
    format!("commit {} {}+{} {topics:?}", header.commit, header.start(), header.n)
}

fn describe_output(output: &subscriber::Output) -> String {
    match output {
        subscriber::Output::Deliver(delivery) => {
            format!("deliver from {}: {}", delivery.from, describe(&delivery.to_commit()))
        }
        subscriber::Output::Tip(tip) => format!("tip {}", describe(&tip.to_commit())),
        other => format!("{other:?}"),
    }
}
