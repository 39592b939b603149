//! What a process measures of itself: every message, wall time, CPU time, delay.
//!
//! Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes of a host share. CPU time is
//! that of all threads of the process, in user and kernel mode.

use std::time::Duration;
use std::{io, thread};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::process::{Word, say};

/// Bytes at the start of each body: number and time of publication, both u64, little-endian.
pub const STAMP: usize = 16;

/// Silence after which a subscriber holds the rest for lost, and a publisher gives up on peers.
pub const SILENCE: Duration = Duration::from_secs(5);

/// What a publisher reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// From the first message until the transport had taken the last.
    pub wall_ns: u64,
    /// CPU time in between.
    pub cpu_ns: u64,
}

/// What a subscriber reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Messages that came.
    pub messages: u64,
    /// Those whose number was not the one after the last.
    pub misplaced: u64,
    /// From the publication of the first to the arrival of the last.
    pub wall_ns: u64,
    /// CPU time from the first arrival to the last.
    pub cpu_ns: u64,
    /// The delay that half of the messages kept; 0 unless the case has a rate.
    pub p50_ns: u64,
    /// The delay that 99 of 100 kept; 0 unless the case has a rate.
    pub p99_ns: u64,
}

/// The bodies to publish, at the pace of the case.
pub struct Publishing {
    case: Case,
    body: Vec<u8>,
    next: u64,
    start: u64,
    cpu: u64,
}

impl Publishing {
    pub fn new(case: Case) -> Publishing {
        Publishing { body: vec![b'x'; case.bytes], case, next: 0, start: 0, cpu: 0 }
    }

    /// Tells the subscribers where to connect.
    pub fn listening(&self, endpoint: &str) -> io::Result<()> {
        say(&Word::Listening(endpoint.to_owned()))
    }

    /// How many subscribers to wait for before the first body is asked for.
    pub fn subscribers(&self) -> usize {
        self.case.subscribers
    }

    /// Whether each message has to leave at once, because the next one is some time off.
    pub fn is_paced(&self) -> bool {
        self.case.rate.is_some()
    }

    /// The next body, when it is due; none after the last.
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.next == 0 {
            (self.start, self.cpu) = (now(), cpu_time());
        }
        if self.next == self.case.messages {
            return None;
        }
        if let Some(rate) = self.case.rate {
            let due = self.start + self.next * 1_000_000_000 / rate;
            thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        }
        self.body[..8].copy_from_slice(&self.next.to_le_bytes());
        // Asking for the time costs as much as some transports do: only where it will be read.
        if self.next == 0 || self.is_paced() {
            self.body[8..STAMP].copy_from_slice(&now().to_le_bytes());
        }
        self.next += 1;
        Some(&self.body)
    }

    /// To be called once the transport has taken everything.
    pub fn report(&self) -> Sent {
        Sent { wall_ns: now() - self.start, cpu_ns: cpu_time() - self.cpu }
    }
}

/// The count of what arrives.
pub struct Subscribing {
    case: Case,
    next: u64,
    start: u64,
    cpu: u64,
    delays: Vec<u64>,
    report: Received,
}

impl Subscribing {
    pub fn new(case: Case) -> Subscribing {
        let report = Received::default();
        Subscribing { case, next: 0, start: 0, cpu: 0, delays: Vec::new(), report }
    }

    /// Counts one body; whether more are due.
    pub fn take(&mut self, body: &[u8]) -> bool {
        let (number, published) = (word(body, 0), word(body, 8));
        if self.report.messages == 0 {
            (self.start, self.cpu) = (published, cpu_time());
        }
        if number != self.next || body.len() != self.case.bytes {
            self.report.misplaced += 1;
        }
        self.next = number + 1;
        self.report.messages += 1;
        if self.case.rate.is_some() {
            self.delays.push(now() - published);
        }
        let more = self.report.messages < self.case.messages;
        if !more {
            self.finish();
        }
        more
    }

    /// What came, also if something is missing: then the silence at the end is counted too.
    pub fn report(mut self) -> Received {
        if self.report.messages < self.case.messages {
            self.finish();
        }
        self.delays.drain(..self.delays.len() / 10); // connections and caches are warm by then
        self.delays.sort_unstable();
        let at = |percent| self.delays.get(self.delays.len() * percent / 100).copied();
        self.report.p50_ns = at(50).unwrap_or(0);
        self.report.p99_ns = at(99).unwrap_or(0);
        self.report
    }

    fn finish(&mut self) {
        self.report.wall_ns = now() - self.start;
        self.report.cpu_ns = cpu_time() - self.cpu;
    }
}

fn word(body: &[u8], at: usize) -> u64 {
    let bytes = body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u64::MAX / 2, u64::from_le_bytes) // too short: a number that is never due
}

fn now() -> u64 {
    read(ClockId::Monotonic)
}

fn cpu_time() -> u64 {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
