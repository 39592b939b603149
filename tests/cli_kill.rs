//! Is anything lost when publisher, relays and subscribers are killed at any moment?
//!
//! `ROUNDS=200 cargo test --test cli_kill -- --nocapture` makes it long and prints what was
//! counted;
//! `SEED` says which history. Everything said has a number of its own; at the end, with everything
//! up again, what was acknowledged must have been delivered to everybody who wanted it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/cli.rs"]
mod cli;
#[path = "../crates/sim/src/random.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cli::{Fabric, LONG, Running, succeeds, text};
use random::Random;
use rustix::process::Signal;
use serde_json::Value;

/// A number in a stream: epoch and seq.
type Place = (u64, u64);

const TOPICS: [&str; 3] = ["org.example.a", "org.example.b", "org.example.b.c"];

/// After so many rounds everybody hears all: a publisher's tip tells how its last sixteen epochs
/// ended, and whoever is further behind is told of ends that nobody knows.
const MAY_LAG: u64 = 12;

#[test]
fn with_receipts_that_wait_for_the_disk() {
    let journal = "journal = true\ndurability = \"log\"";
    History::new(
        "log",
        journal,
        false,
        &[
            ("direct", &[]),
            ("relayed", &["--via", "edge"]),
            ("twice", &["--via", "edge", "--via", "far"]),
            ("some", &["org.example.b.#"]),
        ],
    )
    .run();
}

#[test]
fn with_receipts_that_do_not() {
    let journal = "journal = true\ndurability = \"buffered\"";
    History::new(
        "buffered",
        journal,
        false,
        &[
            ("direct", &[]),
            ("twice", &["--via", "edge", "--via", "far"]),
            ("some", &["org.example.b.#", "--via", "far"]),
        ],
    )
    .run();
}

#[test]
fn with_a_publisher_that_nobody_can_dial() {
    History::new(
        "offered",
        "",
        true,
        &[("relayed", &["--via", "edge"]), ("twice", &["--via", "edge", "--via", "far"])],
    )
    .run();
}

fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// A fabric whose processes come and go, and what is known of it.
struct History {
    name: &'static str,
    random: Random,
    nodes: Vec<Node>,
    /// By number; what is not there was not said.
    topics: Vec<&'static str>,
    /// What was acknowledged, and as what.
    acknowledged: BTreeMap<u64, Place>,
    /// Every place that anybody told of, and what it holds.
    places: BTreeMap<Place, u64>,
    fabric: Fabric,
}

/// A process, or where it should be.
struct Node {
    name: &'static str,
    args: Vec<String>,
    role: Role,
    running: Option<Running>,
    kills: u64,
    /// What the last run that has ended had on its standard error.
    said: String,
}

enum Role {
    /// The numbers that this run was given and has not acknowledged.
    Publisher {
        given: VecDeque<u64>,
    },
    Relay,
    Subscriber(Heard),
}

/// What a subscriber was given.
#[derive(Default)]
struct Heard {
    numbers: BTreeSet<u64>,
    /// The highest place in all runs, and in this one.
    highest: Option<Place>,
    last: Option<Place>,
    again: u64,
    lost: Vec<String>,
}

impl History {
    fn new(
        name: &'static str,
        service: &str,
        offers: bool,
        subscribers: &[(&'static str, &[&str])],
    ) -> History {
        let fabric = fabric(service, offers);
        let mut publish = vec!["publish", "--jsonl", "--receipts", "--name", "web"];
        let spool = fabric.path("spool");
        if offers {
            publish.extend(["--via", "edge", "--wait", "60", "--spool", text(&spool)]);
        }
        let publisher = Role::Publisher { given: VecDeque::new() };
        let mut nodes = vec![
            Node::new("web", publisher, &publish),
            Node::new("edge", Role::Relay, &["relay", "--name", "edge"]),
            Node::new("far", Role::Relay, &["relay", "--name", "far", "--via", "edge"]),
        ];
        for (name, rest) in subscribers {
            let tail = ["tail", "--json", "--start", "oldest", "--name", name];
            let heard = Role::Subscriber(Heard::default());
            nodes.push(Node::new(name, heard, &[&tail, *rest].concat()));
        }
        let random = Random::new(number_of("SEED", 1));
        let (topics, acknowledged, places) = Default::default();
        History { name, random, nodes, topics, acknowledged, places, fabric }
    }

    fn run(mut self) {
        let rounds = number_of("ROUNDS", 6);
        for round in 0..rounds {
            self.round();
            if round % MAY_LAG == MAY_LAG - 1 {
                self.all_come();
            }
        }
        self.all_come();
        for node in 0..self.nodes.len() {
            self.end(node, Signal::TERM);
        }
        self.report(rounds);
        self.judge();
    }

    /// Starts everything, and waits until everybody has heard all.
    fn all_come(&mut self) {
        self.everything_is_up(100);
        let last = self.say();
        self.wait(|history| history.has_come(last));
    }

    /// Something is said, and some are killed meanwhile.
    fn round(&mut self) {
        self.everything_is_up(40);
        for _ in 0..self.random.within(1, 400) {
            self.say();
        }
        let victims: Vec<usize> =
            (0..self.nodes.len()).filter(|_| self.random.percent(35)).collect();
        for victim in victims {
            let moment = Duration::from_micros(self.random.below(60_000));
            let deadline = Instant::now() + moment;
            while let Some(line) = self.nodes[0].line_before(deadline) {
                self.take(0, &line);
            }
            if self.nodes[victim].running.is_some() {
                self.end(victim, Signal::KILL);
                self.nodes[victim].kills += 1;
            }
        }
    }

    /// Starts the publisher if it is down, and of the others some.
    fn everything_is_up(&mut self, chance: u64) {
        for node in &mut self.nodes {
            let wanted = matches!(node.role, Role::Publisher { .. }) || self.random.percent(chance);
            if wanted && node.running.is_none() {
                let args: Vec<&str> = node.args.iter().map(String::as_str).collect();
                node.running = Some(self.fabric.start(&args));
            }
        }
    }

    /// Gives the publisher a message.
    fn say(&mut self) -> u64 {
        let number = self.topics.len() as u64;
        let topic = *self.random.pick(&TOPICS);
        let padding = "x".repeat(self.random.below(1_500) as usize);
        self.topics.push(topic);
        let line = format!("{{\"topic\":{topic:?},\"body\":[{number},{padding:?}]}}\n");
        let Node { running: Some(running), role: Role::Publisher { given }, .. } =
            &mut self.nodes[0]
        else {
            panic!("the publisher is up")
        };
        running.write(line.as_bytes());
        given.push_back(number);
        number
    }

    /// Kills or ends a process; what it had said counts.
    fn end(&mut self, node: usize, signal: Signal) {
        let mut running = self.nodes[node].running.take().unwrap();
        running.close_input();
        running.signal(signal);
        let output = running.output();
        assert!(signal == Signal::KILL || output.status.success(), "{output:?}");
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            self.take(node, line);
        }
        let node = &mut self.nodes[node];
        node.said = String::from_utf8(output.stderr).unwrap();
        match &mut node.role {
            Role::Publisher { given } => given.clear(),
            Role::Relay => {}
            Role::Subscriber(heard) => {
                let lost = node.said.lines().filter(|line| line.contains("lost: "));
                heard.lost.extend(lost.map(str::to_owned));
                heard.last = None;
            }
        }
    }

    /// A line that a process printed.
    fn take(&mut self, node: usize, line: &str) {
        let (place, number) = match &mut self.nodes[node].role {
            Role::Publisher { given } => {
                let number = given.pop_front().expect("one receipt a message");
                assert_ne!(line, "-", "{number} was not taken");
                let place = place(line);
                self.acknowledged.insert(number, place);
                (place, number)
            }
            Role::Relay => return,
            Role::Subscriber(heard) => heard.take(line),
        };
        let before = *self.places.entry(place).or_insert(number);
        assert_eq!(before, number, "two messages have the number {place:?}");
        assert!(number < self.topics.len() as u64, "nobody said {number}");
    }

    /// Waits until all that runs together makes `done` true.
    fn wait(&mut self, done: impl Fn(&History) -> bool) {
        let deadline = Instant::now() + LONG;
        while !done(self) {
            if Instant::now() > deadline {
                (0..self.nodes.len()).for_each(|node| self.end(node, Signal::KILL));
                let said: Vec<_> = self.nodes.iter().map(|node| (node.name, &node.said)).collect();
                panic!("it does not come to an end: {said:#?}");
            }
            for node in 0..self.nodes.len() {
                let soon = Instant::now() + Duration::from_millis(5);
                while let Some(line) = self.nodes[node].line_before(soon) {
                    self.take(node, &line);
                }
            }
        }
    }

    /// Whether everybody who wants it has heard this.
    fn has_come(&self, number: u64) -> bool {
        self.acknowledged.contains_key(&number)
            && self
                .heard()
                .all(|(node, heard)| !self.wants(node, number) || heard.numbers.contains(&number))
    }

    fn heard(&self) -> impl Iterator<Item = (&Node, &Heard)> {
        self.nodes.iter().filter_map(|node| match &node.role {
            Role::Subscriber(heard) => Some((node, heard)),
            _ => None,
        })
    }

    fn wants(&self, node: &Node, number: u64) -> bool {
        let some = node.args.iter().any(|arg| arg == "org.example.b.#");
        !some || self.topics[number as usize] != "org.example.a"
    }

    fn missing(&self, node: &Node, heard: &Heard) -> Vec<(u64, Place)> {
        let missed = |number: &u64| self.wants(node, *number) && !heard.numbers.contains(number);
        let missing = self.acknowledged.iter().filter(|(number, _)| missed(number));
        missing.map(|(number, place)| (*number, *place)).collect()
    }

    fn report(&self, rounds: u64) {
        let (said, acknowledged) = (self.topics.len(), self.acknowledged.len());
        println!("{}: {rounds} rounds, {said} said, {acknowledged} acknowledged", self.name);
        for node in &self.nodes {
            println!("  {}: killed {} times", node.name, node.kills);
        }
        for (node, heard) in self.heard() {
            println!(
                "  {}: {} delivered, {} again after a crash, {} missing, {} told as lost",
                node.name,
                heard.numbers.len(),
                heard.again,
                self.missing(node, heard).len(),
                heard.lost.len(),
            );
        }
    }

    fn judge(&self) {
        for (node, heard) in self.heard() {
            let missing = self.missing(node, heard);
            assert!(missing.is_empty(), "{} misses {missing:?}", node.name);
            assert!(heard.lost.is_empty(), "{} was told {:?}", node.name, heard.lost);
        }
    }
}

impl Node {
    fn new(name: &'static str, role: Role, args: &[&str]) -> Node {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Node { name, args, role, running: None, kills: 0, said: String::new() }
    }

    fn line_before(&self, deadline: Instant) -> Option<String> {
        self.running.as_ref().and_then(|running| running.line_before(deadline))
    }
}

impl Heard {
    /// In one run every number is higher than the one before; what was not heard in an earlier run
    /// is higher than all that was.
    fn take(&mut self, line: &str) -> (Place, u64) {
        let message: Value = serde_json::from_str(line).unwrap();
        let place = place(message["id"].as_str().unwrap());
        let number = message["body"][0].as_u64().unwrap();
        assert!(self.last < Some(place), "{place:?} after {:?} in one run", self.last);
        self.last = Some(place);
        match self.numbers.insert(number) {
            true => {
                assert!(self.highest < Some(place), "{place:?} after {:?}", self.highest);
                self.highest = Some(place);
            }
            false => self.again += 1,
        }
        (place, number)
    }
}

/// The place that an id names.
fn place(id: &str) -> Place {
    let mut parts = id.strip_prefix("web/").unwrap_or_else(|| panic!("{id:?}")).split('/');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    number().zip(number()).unwrap_or_else(|| panic!("{id:?}"))
}

/// The service has these lines in its entry; `edge` and `far` keep journals.
fn fabric(service: &str, offers: bool) -> Fabric {
    let fabric = Fabric::new();
    let topics = "topics = [\"org.example.#\"]";
    fabric.edit(topics, &format!("{topics}\n{service}"));
    if offers {
        let endpoint = format!("endpoint = \"ipc://{}\"\n", fabric.path("web").display());
        fabric.edit(&endpoint, "");
    }
    let key = fabric.path("far.key");
    let key = succeeds(&fabric.run(&["keygen", "--out", text(&key)]));
    let far = fabric.path("far").display().to_string();
    let far = format!("[relays.far]\nendpoint = \"ipc://{far}\"\n{key}carries = [\"#\"]\n");
    fabric.edit("[relays.edge]", &format!("{far}[relays.edge]"));
    fabric.edit("carries = [\"#\"]", "carries = [\"#\"]\njournal = true");
    fabric
}
