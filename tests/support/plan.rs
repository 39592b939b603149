//! What a history is about: who there is, who dials whom, and what goes wrong. All from its seed.

use std::collections::BTreeSet;

use super::link::Route;
use super::node::{Kind, Lies, Node, Publisher, identity};
use super::random::Random;

/// What may go wrong. Nothing does in a plan without any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Links are cut, at any byte, and dialled again.
    pub cuts: bool,
    /// Queues are small, and bursts are large.
    pub overflow: bool,
    /// Publishers are killed, or end, and start again.
    pub kills: bool,
    /// Relays are killed and start again without memory.
    pub relay_kills: bool,
    /// One relay lies.
    pub lies: Lies,
    /// Some links carry no MARK.
    pub unmarked: bool,
}

impl Faults {
    pub fn any(&self) -> bool {
        let lies = self.lies != Lies::Never;
        self.cuts || self.overflow || self.kills || self.relay_kills || lies || self.unmarked
    }
}

/// What makes a rule fail, to see that a rule is one. Never in the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knobs {
    /// Publishers send no tip.
    pub no_tips: bool,
    /// Each MARK is taken to reach back to the beginning.
    pub blind_marks: bool,
}

pub struct Plan {
    pub faults: Faults,
    pub knobs: Knobs,
    pub nodes: Vec<Node>,
    pub routes: Vec<Route>,
    pub queue_bytes: usize,
    /// Microseconds in which something is said, and things go wrong.
    pub busy: u64,
    /// Most messages said at once.
    pub burst: u64,
    /// Longest pause between two bursts of a publisher, in microseconds.
    pub pause: u64,
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
        let faults = match seed % 4 {
            0 => Faults::default(),
            _ => some_faults(&mut random),
        };
        let (publishers, relays) = (random.within(1, 3), random.below(4));
        let subscribers = random.within(1, 3);
        let mut nodes = Vec::new();
        for i in 0..publishers {
            nodes.push(publisher(&format!("p{i}"), i as u8 + 1, &mut random));
        }
        for i in 0..relays {
            let lies = if i == 0 { faults.lies } else { Lies::Never };
            nodes.push(Node::new(&format!("r{i}"), Kind::Relay { lies }));
        }
        for i in 0..subscribers {
            let wanted = random.pick(&WANTED).iter().map(|text| text.parse().unwrap()).collect();
            nodes.push(Node::new(&format!("s{i}"), Kind::Subscriber { wanted }));
        }
        let routes = routes(&nodes, &faults, &mut random);
        let queue_bytes = match faults.overflow {
            true => random.within(1_000, 20_000) as usize,
            false => 64 << 20,
        };
        Plan {
            faults,
            knobs,
            nodes,
            routes,
            queue_bytes,
            busy: random.within(1_000, 4_000_000),
            burst: *random.pick(&[1, 3, 20, 60]),
            pause: *random.pick(&[3_000, 100_000, 1_000_000]),
        }
    }
}

fn some_faults(random: &mut Random) -> Faults {
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
        lies,
        unmarked: random.percent(15),
    }
}

fn publisher(name: &str, seed: u8, random: &mut Random) -> Node {
    let pack = *random.pick(&[1, 2, 1_024]);
    let identity = identity(name, seed);
    Node::new(name, Kind::Publisher(Publisher { identity, epoch: 0, ends: Vec::new(), pack }))
}

/// Every subscriber reaches every publisher, directly or over relays; relays may form a ring.
fn routes(nodes: &[Node], faults: &Faults, random: &mut Random) -> Vec<Route> {
    let is = |want: fn(&Kind) -> bool| move |at: &usize| want(&nodes[*at].kind);
    let all = 0..nodes.len();
    let publishers: Vec<usize> =
        all.clone().filter(is(|k| matches!(k, Kind::Publisher(_)))).collect();
    let relays: Vec<usize> = all.clone().filter(is(|k| matches!(k, Kind::Relay { .. }))).collect();
    let subscribers: Vec<usize> =
        all.filter(is(|k| matches!(k, Kind::Subscriber { .. }))).collect();
    let mut pairs = Vec::new();
    let ring = relays.len() > 1 && random.percent(60);
    for (i, relay) in relays.iter().enumerate() {
        let all = i == 0 || !ring || random.percent(40);
        pairs.extend(publishers.iter().filter(|_| all).map(|publisher| (*relay, *publisher)));
        if ring {
            // Each dials the one before it; the first closes the ring.
            pairs.push((*relay, relays[(i + relays.len() - 1) % relays.len()]));
        }
    }
    for subscriber in subscribers {
        let over = random.below(3); // directly, over relays, both
        if over != 1 || relays.is_empty() {
            pairs.extend(publishers.iter().map(|publisher| (subscriber, *publisher)));
        }
        if over != 0 {
            let some = random.within(1, 2) as usize;
            pairs.extend(relays.iter().rev().take(some).map(|relay| (subscriber, *relay)));
        }
    }
    // Slow links lose nothing; they only make queues overflow where these are small.
    // Without faults they are quicker than the patience with which a hole is looked at.
    let (steps, pieces): (&[u64], &[u64]) = match faults.any() {
        true => (&[50, 300, 2_000, 9_000], &[100, 1_500, 40_000]),
        false => (&[50, 300, 2_000], &[1_500, 40_000]),
    };
    // A node hears MARKs on all of its links or on none: where both kinds carry a stream, numbers
    // that only the plain one could pass are told as `Lost`, whether or not they matter.
    let deaf: BTreeSet<usize> = pairs
        .iter()
        .map(|(dialer, _)| *dialer)
        .filter(|_| random.percent(8) && faults.lies == Lies::Never)
        .collect();
    let route = |(dialer, listener)| {
        let plain = deaf.contains(&dialer);
        // Without MARKs it is a matter of milliseconds what a commit is.
        let quick = plain;
        let (step, piece) = (*random.pick(steps), *random.pick(pieces));
        Route {
            dialer,
            listener,
            plain,
            unmarked: faults.unmarked && random.percent(50),
            step: if quick { 50 } else { step },
            piece: if quick { 40_000 } else { piece },
        }
    };
    pairs.into_iter().map(route).collect()
}
