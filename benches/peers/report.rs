//! Medians over the runs, as a table or as JSON.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::case::Case;
use crate::measure::Received;
use crate::peer::Peer;
use crate::process::Outcome;

/// What is written as JSON.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Entry<'a> {
    Row(&'a Row),
    Skipped(&'a Skipped),
}

/// A peer that was not measured.
#[derive(Serialize)]
pub struct Skipped {
    pub peer: &'static str,
    /// The reason.
    pub skipped: String,
}

/// What the runs of one peer in one case amount to: medians; of subscribers, the slowest's.
#[derive(Debug, Serialize)]
pub struct Row {
    pub peer: &'static str,
    /// How reports call the case.
    pub name: String,
    pub case: Case,
    pub runs: usize,
    /// Messages a second that every subscriber got.
    pub messages_per_second: f64,
    /// The same of the slowest and the fastest run.
    pub between: (f64, f64),
    /// Nanoseconds of CPU time for each message: of all publishers together, and of the relay or
    /// server, a message published; of a subscriber, one that it got.
    pub publisher_cpu_ns: f64,
    pub relay_cpu_ns: Option<f64>,
    pub subscriber_cpu_ns: f64,
    /// Delay; only in a case with a rate.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    /// Over all runs and subscribers.
    pub expected: u64,
    pub lost: u64,
    pub misplaced: u64,
    /// Whether the peer may lose some.
    pub drops: bool,
}

impl Row {
    /// Sums up at least one run.
    pub fn new(peer: &Peer, case: &Case, runs: &[Outcome]) -> Row {
        let median = |of: &dyn Fn(&Outcome) -> f64| median(runs.iter().map(of).collect());
        let delay = |of: fn(&Received) -> u64| {
            let slowest = median(&|run| run.subscribers.iter().map(of).max().unwrap_or(0) as f64);
            case.rate.map(|_| slowest / 1e3)
        };
        let relay_cpu_ns = |run: &Outcome| run.relay_cpu_ns.unwrap_or(0) as f64 / run.sent();
        let middle = runs.iter().all(|run| run.relay_cpu_ns.is_some());
        let rates = || runs.iter().map(Outcome::messages_per_second);
        let expected =
            runs.iter().map(|run| run.sent() as u64 * run.subscribers.len() as u64).sum();
        let received = || runs.iter().flat_map(|run| &run.subscribers);
        Row {
            peer: peer.name,
            name: case.to_string(),
            case: case.clone(),
            runs: runs.len(),
            messages_per_second: median(&Outcome::messages_per_second),
            between: (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max)),
            publisher_cpu_ns: median(&Outcome::publisher_cpu_ns),
            relay_cpu_ns: middle.then(|| median(&relay_cpu_ns)),
            subscriber_cpu_ns: median(&Outcome::subscriber_cpu_ns),
            p50_us: delay(|one| one.p50_ns),
            p99_us: delay(|one| one.p99_ns),
            p999_us: delay(|one| one.p999_ns),
            expected,
            lost: expected.saturating_sub(received().map(|one| one.messages).sum()),
            misplaced: received().map(|one| one.misplaced).sum(),
            drops: peer.drops,
        }
    }

    /// Whether every subscriber got every message, in order, as far as the peer lets it.
    pub fn is_complete(&self) -> bool {
        (self.lost == 0 || self.drops) && self.misplaced == 0
    }
}

impl Outcome {
    /// Messages of all publishers.
    fn sent(&self) -> f64 {
        self.publishers.iter().map(|one| one.messages).sum::<u64>() as f64
    }

    /// At the slowest subscriber.
    fn messages_per_second(&self) -> f64 {
        let rate = |one: &Received| one.messages as f64 / one.wall_ns.max(1) as f64 * 1e9;
        self.subscribers.iter().map(rate).fold(f64::MAX, f64::min)
    }

    fn publisher_cpu_ns(&self) -> f64 {
        self.publishers.iter().map(|one| one.cpu_ns).sum::<u64>() as f64 / self.sent()
    }

    fn subscriber_cpu_ns(&self) -> f64 {
        let each = |one: &Received| one.cpu_ns as f64 / one.messages.max(1) as f64;
        self.subscribers.iter().map(each).fold(0.0, f64::max)
    }
}

/// The table of all rows, each case under its name.
pub struct Table<'a>(pub &'a [Row]);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for row in self.0 {
            if last != Some(&row.name) {
                last = Some(&row.name);
                writeln!(f, "\n{}", row.name)?;
                head(f)?;
            }
            line(f, row)?;
        }
        writeln!(
            f,
            "\nmedians of {}; CPU: ns a message; delay: us; lost: % of messages",
            self.0.first().map_or(0, |row| row.runs)
        )
    }
}

fn head(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:14}{:>12}{:>9}{:>12}{:>9}{:>12}{:>10}{:>10}{:>10}{:>8}",
        "peer",
        "messages/s",
        "MB/s",
        "publisher",
        "relay",
        "subscriber",
        "p50",
        "p99",
        "p99.9",
        "lost"
    )
}

fn line(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let some = |value: Option<f64>, digits| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    writeln!(
        f,
        "{:14}{:>12.0}{:>9.1}{:>12.0}{:>9}{:>12.0}{:>10}{:>10}{:>10}{:>8.2}",
        row.peer,
        row.messages_per_second,
        row.messages_per_second * row.case.bytes as f64 / 1e6,
        row.publisher_cpu_ns,
        some(row.relay_cpu_ns, 0),
        row.subscriber_cpu_ns,
        some(row.p50_us, 1),
        some(row.p99_us, 1),
        some(row.p999_us, 1),
        (row.lost + row.misplaced) as f64 / row.expected.max(1) as f64 * 100.0,
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
