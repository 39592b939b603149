//! What a history is about: who there is, who dials whom, and what goes wrong. All from its seed.

mod routes;

use std::fmt;

use selvedge_journal::disk::Sim;

use crate::link::Route;
use crate::node::{First, Kind, Lies, Node, Publisher, identity};
use crate::random::Random;
use crate::store::Room;

/// What may go wrong. Nothing does in a plan without any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Links are cut, at any byte, and dialled again.
    pub cuts: bool,
    /// Nothing passes some links for a while, in one direction or both.
    pub partitions: bool,
    /// Queues are small, and bursts are large.
    pub overflow: bool,
    /// Publishers are killed, or end, and start again.
    pub kills: bool,
    /// A publisher goes for good, and archives answer for it.
    pub retires: bool,
    /// Relays are killed and start again, with what they keep.
    pub relay_kills: bool,
    /// Subscribers are killed and start again at their cursors.
    pub reader_kills: bool,
    /// The power fails under nodes that keep something.
    pub power: bool,
    /// Disks are full for a while.
    pub full: bool,
    /// An fdatasync fails.
    pub syncs: bool,
    /// A bit of a journal is turned over.
    pub flips: bool,
    /// Journals are small, and let go of what is old.
    pub retention: bool,
    /// Wall clocks jump.
    pub clocks: bool,
    /// Subscribers handle nothing for a while.
    pub naps: bool,
    /// One relay lies.
    pub lies: Lies,
    /// Some links carry no MARK.
    pub unmarked: bool,
}

impl Faults {
    pub fn any(&self) -> bool {
        self.bits().iter().any(|(_, on)| *on)
    }

    /// Publishers begin new epochs, or clocks say so: what comes late may look like a second one.
    pub fn restarts(&self) -> bool {
        self.kills || self.power || self.clocks
    }

    fn bits(&self) -> [(&'static str, bool); 16] {
        [
            ("cuts", self.cuts),
            ("partitions", self.partitions),
            ("overflow", self.overflow),
            ("kills", self.kills),
            ("a publisher retires", self.retires),
            ("relay kills", self.relay_kills),
            ("reader kills", self.reader_kills),
            ("power cuts", self.power),
            ("full disks", self.full),
            ("failing syncs", self.syncs),
            ("flipped bits", self.flips),
            ("retention", self.retention),
            ("clock jumps", self.clocks),
            ("naps", self.naps),
            ("lies", self.lies != Lies::Never),
            ("no MARKs", self.unmarked),
        ]
    }
}

/// What makes a rule fail, to see that a rule is one. Never in the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knobs {
    /// Publishers send no tip.
    pub no_tips: bool,
    /// A MARK is believed without anything signed: it is taken to reach back to the beginning.
    pub blind_marks: bool,
    /// A commit is handed to the fan-out before it is in the journal.
    pub send_before_append: bool,
    /// The cursor moves before the handler has run.
    pub cursor_before_handler: bool,
    /// A receipt is given before fdatasync.
    pub receipt_before_sync: bool,
    /// A publisher that starts again goes on in its old epoch.
    pub same_epoch: bool,
    /// Archives keep no tips.
    pub no_notes: bool,
}

pub struct Plan {
    pub faults: Faults,
    pub knobs: Knobs,
    /// Whether journals and cursors are kept; else there are live links only.
    pub keeps: bool,
    pub nodes: Vec<Node>,
    pub routes: Vec<Route>,
    pub queue_bytes: usize,
    pub room: Room,
    /// Microseconds in which something is said, and things go wrong.
    pub busy: u64,
    /// Most messages said at once.
    pub burst: u64,
    /// Longest pause between two bursts of a publisher, in microseconds.
    pub pause: u64,
    /// Longest time that an application handles one batch.
    pub handling: u64,
}

const TOPICS: [&str; 6] = ["a.x", "a.y", "a.b.x", "b", "b.x", "c.x.y"];
const WANTED: [&[&str]; 8] = [
    &["#"],
    &["a.#"],
    &["a.*"],
    &["b", "c.#"],
    &["*.x"],
    &["a.x"],
    &["a.x", "a.y", "b.x"],
    &["c.*.y", "b.#"],
];

/// A topic that some publisher speaks about.
pub fn topic(random: &mut Random) -> &'static str {
    random.pick::<&str>(&TOPICS)
}

impl Plan {
    pub fn new(seed: u64, knobs: Knobs) -> Plan {
        let mut random = Random::new(seed);
        // One in four keeps nothing: live links, and relays that may lie.
        let keeps = seed % 4 != 3;
        let faults = match seed % 16 {
            0 | 3 => Faults::default(),
            _ if keeps => faults_of_keepers(&mut random),
            _ => faults_of_the_living(&mut random),
        };
        let mut nodes = nodes(keeps, &faults, &mut random);
        for node in &mut nodes {
            node.disk = Sim::new(random.next());
        }
        let routes = routes::routes(&nodes, &faults, keeps, &mut random);
        let queue_bytes = match faults.overflow {
            true => random.within(1_000, 20_000) as usize,
            false => 64 << 20,
        };
        let segment_bytes = *random.pick(&[5_000, 8_000, 20_000, 1 << 20]);
        let room = Room {
            segment_bytes: if faults.retention { segment_bytes.min(8_000) } else { segment_bytes },
            retain_bytes: faults.retention.then(|| random.within(6_000, 40_000)),
        };
        Plan {
            faults,
            knobs,
            keeps,
            nodes,
            routes,
            queue_bytes,
            room,
            busy: random.within(1_000, 4_000_000),
            burst: *random.pick(&[1, 3, 20, 60]),
            pause: *random.pick(&[3_000, 100_000, 1_000_000]),
            handling: *random.pick(&[100, 2_000, 50_000]),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.faults.bits();
        let names: Vec<&str> = bits.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        writeln!(f, "faults: {}; lies: {:?}", names.join(", "), self.faults.lies)?;
        for (at, node) in self.nodes.iter().enumerate() {
            let kind = match &node.kind {
                Kind::Publisher(publisher) => format!("says {}", publisher.identity.key_id()),
                Kind::Relay { lies, .. } => format!("relays, lies: {lies:?}"),
                Kind::Subscriber { wanted, cursor } => {
                    format!("hears {wanted:?}, cursor {cursor:?}")
                }
            };
            let keeps = if node.keeps() { ", keeps a journal" } else { "" };
            writeln!(f, "node {at}, {}: {kind}{keeps}", node.name)?;
        }
        for (at, route) in self.routes.iter().enumerate() {
            writeln!(f, "link {at}: {route:?}")?;
        }
        write!(
            f,
            "{:?}, queues of {} bytes, busy for {} us",
            self.room, self.queue_bytes, self.busy
        )
    }
}

fn faults_of_the_living(random: &mut Random) -> Faults {
    // Where numbers were really lost, one that was kept back may seem to be among them.
    let lies = *random.pick(&[Lies::Never, Lies::Never, Lies::Withholds, Lies::Anticipates]);
    if lies != Lies::Never {
        return Faults { lies, ..Faults::default() };
    }
    Faults {
        cuts: random.percent(40),
        overflow: random.percent(50),
        kills: random.percent(30),
        relay_kills: random.percent(20),
        unmarked: random.percent(15),
        ..Faults::default()
    }
}

fn faults_of_keepers(random: &mut Random) -> Faults {
    // Half of them lose nothing: nothing but links, processes and patience fails.
    let loses = random.percent(50);
    Faults {
        cuts: random.percent(40),
        partitions: random.percent(30),
        overflow: random.percent(35),
        kills: random.percent(50),
        relay_kills: random.percent(35),
        reader_kills: random.percent(50),
        power: loses && random.percent(50),
        full: loses && random.percent(25),
        syncs: loses && random.percent(25),
        flips: loses && random.percent(15),
        retention: loses && random.percent(35),
        clocks: random.percent(20),
        retires: random.percent(15),
        naps: random.percent(20),
        ..Faults::default()
    }
}

fn nodes(keeps: bool, faults: &Faults, random: &mut Random) -> Vec<Node> {
    let (publishers, relays) = (random.within(1, 3), random.below(4));
    let subscribers = random.within(1, 3);
    let mut nodes = Vec::new();
    for i in 0..publishers {
        let publisher = Publisher {
            identity: identity(&format!("p{i}"), i as u8 + 1),
            pack: *random.pick(&[1, 2, 1_024]),
            keeps: keeps && random.percent(80),
            logs: *random.pick(&[0, 30, 100]),
        };
        let mut node = Node::new(&format!("p{i}"), Kind::Publisher(publisher));
        node.listed = !(keeps && i > 0 && random.percent(25));
        nodes.push(node);
    }
    for i in 0..relays {
        let lies = if i == 0 { faults.lies } else { Lies::Never };
        let keeps = keeps && random.percent(60);
        nodes.push(Node::new(&format!("r{i}"), Kind::Relay { lies, keeps }));
    }
    for i in 0..subscribers {
        let wanted = random.pick(&WANTED).iter().map(|text| text.parse().unwrap()).collect();
        let first = *random.pick(&[First::Oldest, First::Oldest, First::Now]);
        let cursor = (keeps && random.percent(75)).then_some(first);
        nodes.push(Node::new(&format!("s{i}"), Kind::Subscriber { wanted, cursor }));
    }
    nodes
}
