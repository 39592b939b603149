//! Medians over the runs, as a table or as JSON.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::case::Case;
use crate::process::Outcome;

/// What the runs of one peer in one case amount to: medians; of subscribers, the slowest's.
#[derive(Debug, Serialize)]
pub struct Row {
    pub peer: &'static str,
    pub case: Case,
    pub runs: usize,
    /// Messages a second that every subscriber got.
    pub messages_per_second: f64,
    /// Nanoseconds for each message published, or received by each subscriber.
    pub publisher_wall_ns: f64,
    pub publisher_cpu_ns: f64,
    pub subscriber_wall_ns: f64,
    pub subscriber_cpu_ns: f64,
    /// Delay; only in a case with a rate.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    /// Over all runs and subscribers.
    pub expected: u64,
    pub lost: u64,
    pub misplaced: u64,
}

impl Row {
    /// Sums up at least one run.
    pub fn new(peer: &'static str, case: &Case, runs: &[Outcome]) -> Row {
        let each = case.messages as f64;
        let received = || runs.iter().flat_map(|run| &run.subscribers);
        let slowest = |of: fn(&crate::measure::Received) -> u64| {
            median(runs.iter().map(|run| run.subscribers.iter().map(of).max().unwrap_or(0) as f64))
        };
        let delay = |ns: f64| case.rate.map(|_| ns / 1e3);
        let wall = slowest(|one| one.wall_ns);
        let expected = case.messages * case.subscribers as u64 * runs.len() as u64;
        Row {
            peer,
            case: case.clone(),
            runs: runs.len(),
            messages_per_second: each / wall * 1e9,
            publisher_wall_ns: median(runs.iter().map(|run| run.publisher.wall_ns as f64)) / each,
            publisher_cpu_ns: median(runs.iter().map(|run| run.publisher.cpu_ns as f64)) / each,
            subscriber_wall_ns: wall / each,
            subscriber_cpu_ns: slowest(|one| one.cpu_ns) / each,
            p50_us: delay(slowest(|one| one.p50_ns)),
            p99_us: delay(slowest(|one| one.p99_ns)),
            expected,
            lost: expected.saturating_sub(received().map(|one| one.messages).sum()),
            misplaced: received().map(|one| one.misplaced).sum(),
        }
    }

    /// Whether every subscriber got every message, in order.
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && self.misplaced == 0
    }
}

/// The table of all rows, each case under its name.
pub struct Table<'a>(pub &'a [Row]);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for row in self.0 {
            if last != Some(&row.case.name) {
                let Case { name, bytes, messages, .. } = &row.case;
                writeln!(f, "\n{name}: {messages} messages of {bytes} B, median of {}", row.runs)?;
                writeln!(
                    f,
                    "{:12}{:>12}{:>24}{:>24}{:>20}{:>12}",
                    "", "", "publisher", "subscriber", "delay", ""
                )?;
                writeln!(
                    f,
                    "{:12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>10}{:>10}{:>12}",
                    "peer",
                    "messages/s",
                    "wall ns",
                    "CPU ns",
                    "wall ns",
                    "CPU ns",
                    "p50 us",
                    "p99 us",
                    "lost"
                )?;
                last = Some(&row.case.name);
            }
            writeln!(
                f,
                "{:12}{:>12.0}{:>12.0}{:>12.0}{:>12.0}{:>12.0}{:>10}{:>10}{:>12}",
                row.peer,
                row.messages_per_second,
                row.publisher_wall_ns,
                row.publisher_cpu_ns,
                row.subscriber_wall_ns,
                row.subscriber_cpu_ns,
                row.p50_us.map_or("-".to_owned(), |us| format!("{us:.1}")),
                row.p99_us.map_or("-".to_owned(), |us| format!("{us:.1}")),
                format!("{}+{}", row.lost, row.misplaced),
            )?;
        }
        writeln!(f, "\nns for each message; lost: messages missing + messages out of place")
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
