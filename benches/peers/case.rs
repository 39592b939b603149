//! What is measured: a case is data.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// What every topic begins with; subscribers want them all.
pub const TOPICS: &str = "org.example.bench.";

/// Who speaks, who hears, and what passes between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub transport: Transport,
    /// Each says its share of the messages.
    pub publishers: usize,
    /// Each gets every message.
    pub subscribers: usize,
    /// Whether a process in between sends them on.
    pub relayed: bool,
    /// Length of a body; at least [`crate::measure::STAMP`].
    pub bytes: usize,
    /// Each publisher takes them in turn.
    pub topics: usize,
    /// Messages a second of all publishers together; none: as fast as they are taken.
    pub rate: Option<u64>,
    /// How long they publish.
    pub seconds: f64,
}

/// What connections are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over the loopback interface.
    Tcp,
    /// Sockets of the file system.
    Ipc,
}

impl Case {
    /// The topic of a message.
    pub fn topic(&self, number: usize) -> String {
        format!("{TOPICS}item{number:02}")
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.publishers, self.subscribers)?;
        f.write_str(if self.relayed { " relayed" } else { "" })?;
        match self.bytes {
            bytes if bytes % 1_024 == 0 => write!(f, ", {} KiB", bytes / 1_024)?,
            bytes => write!(f, ", {bytes} B")?,
        }
        if self.topics > 1 {
            write!(f, ", {} topics", self.topics)?;
        }
        f.write_str(if self.transport == Transport::Ipc { ", ipc" } else { "" })?;
        match self.rate {
            Some(rate) => write!(f, ", {},{:03}/s", rate / 1_000, rate % 1_000),
            None => f.write_str(", saturated"),
        }
    }
}

/// Every case; `seconds` is how long one without a rate publishes. One with a rate takes four times
/// as long, for the sake of its slowest messages.
pub fn all(seconds: f64) -> Vec<Case> {
    let shapes = [(1, 1, false), (1, 8, false), (16, 1, false), (1, 1, true)];
    let case = |(publishers, subscribers, relayed): (usize, usize, bool)| Case {
        transport: Transport::Tcp,
        publishers,
        subscribers,
        relayed,
        bytes: 256,
        topics: 1,
        rate: None,
        seconds,
    };
    let ipc = |case: Case| Case { transport: Transport::Ipc, ..case };
    let paced = |case: Case, rate| Case { rate: Some(rate), seconds: 4.0 * seconds, ..case };
    let mut cases = Vec::new();
    for shape in shapes {
        cases.extend([64, 256, 1_024, 16 * 1_024].map(|bytes| Case { bytes, ..case(shape) }));
        cases.push(Case { topics: 64, ..case(shape) });
        cases.push(ipc(case(shape)));
    }
    for rate in [1_000, 10_000] {
        cases.extend(shapes.map(|shape| paced(case(shape), rate)));
        cases.push(paced(ipc(case(shapes[0])), rate));
    }
    cases
}
