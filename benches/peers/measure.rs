//! What a process measures of itself: every message, wall time, CPU time, delay.
//!
//! Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes of a host share. CPU time is
//! that of all threads of the process, in user and kernel mode.
//!
//! Before the first message a publisher sends probes, until every subscriber has had one of every
//! publisher: the way is open then, whatever it is made of. After the last it says how many there
//! were, until every subscriber has heard that.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use std::{io, mem, thread};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::peer::Place;
use crate::process::{Word, say};
use crate::window::{self, Window};

/// Bytes at the start of each body, little-endian: number and time of publication, u64, and
/// publisher and kind, u32.
pub const STAMP: usize = 24;

/// Silence after which a subscriber holds the rest for lost, and a publisher gives up on peers.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Between two probes, and two notices of the end.
const PAUSE: Duration = Duration::from_millis(1);

/// After so many messages a publisher without a rate looks at the clock.
const LOOK: u64 = 64;

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Shows that the way is open.
    Probe = 1,
    /// Is counted.
    Message,
    /// Its number is how many messages there were.
    End,
}

/// What a publisher reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// How many it published.
    pub messages: u64,
    /// CPU time from the first message until all was done.
    pub cpu_ns: u64,
}

/// What a subscriber reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Messages that came.
    pub messages: u64,
    /// Those that came again, or behind a later one of their publisher, or cut.
    pub misplaced: u64,
    /// From the publication of the first to the arrival of the last.
    pub wall_ns: u64,
    /// CPU time from the first arrival to the last.
    pub cpu_ns: u64,
    /// The delay that half of the messages kept; 0 unless the case has a rate.
    pub p50_ns: u64,
    /// The delay that 99 of 100 kept.
    pub p99_ns: u64,
    /// The delay that 999 of 1,000 kept.
    pub p999_ns: u64,
}

/// The bodies to publish, at the pace of the case.
pub struct Publishing {
    case: Case,
    index: usize,
    place: Place,
    /// What is left of probing, messages and end.
    kind: Kind,
    orders: Arc<AtomicU8>,
    body: Vec<u8>,
    window: Option<Window>,
    /// The first message that must not be sent yet.
    end: u64,
    next: u64,
    start: u64,
    cpu: u64,
}

/// What whoever started a publisher tells it: nothing yet, to begin, to end.
const BEGIN: u8 = 1;
const END: u8 = 2;

impl Publishing {
    /// Of publisher `index` of the case. Told on standard input to go on, a line for each step.
    pub fn new(case: Case, index: usize, place: Place, window: Option<Window>) -> Publishing {
        // Pauses end when they are due, not up to 50 us later; if that is refused, later.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let orders = Arc::new(AtomicU8::new(0));
        let told = orders.clone();
        thread::spawn(move || {
            for order in [BEGIN, END] {
                let _ = io::stdin().read_line(&mut String::new()); // its end is an order, too
                told.store(order, Ordering::Release);
            }
        });
        let mut body = vec![b'x'; case.bytes];
        body[16..20].copy_from_slice(&(index as u32).to_le_bytes());
        let end = if window.is_some() { 0 } else { u64::MAX };
        let (kind, next, start, cpu) = (Kind::Probe, 0, 0, 0);
        Publishing { case, index, place, kind, orders, body, window, end, next, start, cpu }
    }

    /// Where to bind, or the server to connect to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Tells the subscribers where to connect.
    pub fn listening(&self, endpoint: &str) -> io::Result<()> {
        say(&Word::Listening(endpoint.to_owned()))
    }

    /// Which of the publishers this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many subscribers there will be.
    pub fn subscribers(&self) -> usize {
        self.case.subscribers
    }

    /// The topics, by their numbers.
    pub fn topics(&self) -> impl Iterator<Item = String> {
        (0..self.case.topics).map(|number| self.case.topic(number))
    }

    /// Whether the message that was got last has to leave at once, because the next one is some
    /// time off.
    pub fn is_paced(&self) -> bool {
        self.case.rate.is_some() || self.kind != Kind::Message
    }

    /// The next topic and body, when they are due; none when everybody has all.
    pub fn next(&mut self) -> Option<(usize, &[u8])> {
        let orders = self.orders.load(Ordering::Acquire);
        match self.kind {
            Kind::Probe if orders == 0 => thread::sleep(PAUSE),
            Kind::Probe => {
                self.kind = Kind::Message;
                (self.start, self.cpu) = (now(), cpu_time());
            }
            Kind::End if orders == END => return None,
            Kind::End => thread::sleep(PAUSE),
            Kind::Message => {}
        }
        if self.kind == Kind::Message && self.next >= self.end {
            self.wait_for_room();
        }
        if self.kind == Kind::Message && self.is_over() {
            self.kind = Kind::End;
        }
        self.body[..8].copy_from_slice(&self.next.to_le_bytes());
        self.body[20..STAMP].copy_from_slice(&(self.kind as u32).to_le_bytes());
        let topic = (self.next % self.case.topics as u64) as usize;
        if self.kind == Kind::Message {
            self.pace();
            self.next += 1;
        }
        Some((topic, &self.body))
    }

    fn is_over(&self) -> bool {
        let length = (self.case.seconds * 1e9) as u64;
        match self.rate() {
            Some(rate) => self.next >= (rate * self.case.seconds) as u64,
            None => self.next > 0 && self.next.is_multiple_of(LOOK) && now() > self.start + length,
        }
    }

    /// Until subscribers have more, or for [`SILENCE`]: they have lost some then, and will say so.
    fn wait_for_room(&mut self) {
        let start = now();
        while let Some(window) = &self.window {
            self.end = window.end(self.index).unwrap_or(u64::MAX);
            if self.next < self.end {
                break;
            }
            if now() - start > SILENCE.as_nanos() as u64 {
                self.end = u64::MAX;
                break;
            }
            thread::sleep(window::PAUSE);
        }
    }

    /// This publisher's share, messages a second.
    fn rate(&self) -> Option<f64> {
        self.case.rate.map(|rate| rate as f64 / self.case.publishers as f64)
    }

    fn pace(&mut self) {
        if let Some(rate) = self.rate() {
            let due = self.start + (self.next as f64 / rate * 1e9) as u64;
            thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        }
        // Asking for the time costs as much as some transports do: only where it will be read.
        if self.next == 0 || self.case.rate.is_some() {
            self.body[8..16].copy_from_slice(&now().to_le_bytes());
        }
    }

    /// To be called once the transport has taken everything.
    pub fn report(&self) -> Sent {
        Sent { messages: self.next, cpu_ns: cpu_time() - self.cpu }
    }
}

/// The count of what arrives.
pub struct Subscribing {
    case: Case,
    index: usize,
    window: Option<Window>,
    publishers: Vec<Heard>,
    /// Publishers of which a probe has come.
    probed: usize,
    /// Publishers whose end has come.
    ended: usize,
    start: u64,
    cpu: u64,
    delays: Vec<u64>,
    report: Received,
}

/// What came of one publisher.
#[derive(Clone, Default)]
struct Heard {
    probed: bool,
    ended: bool,
    next: u64,
    noted: u64,
}

impl Subscribing {
    pub fn new(case: Case, index: usize, window: Option<Window>) -> Subscribing {
        Subscribing {
            publishers: vec![Heard::default(); case.publishers],
            case,
            index,
            window,
            probed: 0,
            ended: 0,
            start: 0,
            cpu: 0,
            delays: Vec::new(),
            report: Received::default(),
        }
    }

    /// Itself, for threads that may outlive the caller; to be put back.
    pub fn lend(&mut self) -> Subscribing {
        let (case, index) = (self.case.clone(), self.index);
        mem::replace(self, Subscribing::new(case, index, None))
    }

    /// How many came so far.
    pub fn messages(&self) -> u64 {
        self.report.messages
    }

    /// The topics.
    pub fn topics(&self) -> impl DoubleEndedIterator<Item = String> {
        (0..self.case.topics).map(|number| self.case.topic(number))
    }

    /// How long each topic is.
    pub fn topic_bytes(&self) -> usize {
        self.case.topic(0).len()
    }

    /// Counts one body; whether more are due.
    pub fn take(&mut self, body: &[u8]) -> bool {
        let (number, publisher, kind) = (u64_at(body, 0), u32_at(body, 16), u32_at(body, 20));
        let heard = self.publishers.get_mut(publisher as usize);
        let Some(heard) = heard.filter(|_| body.len() == self.case.bytes) else {
            self.report.misplaced += 1;
            return true;
        };
        if kind == Kind::Message as u32 {
            self.report.misplaced += u64::from(number < heard.next);
            heard.next = number + 1;
            if let Some(window) = &self.window
                && heard.next >= heard.noted + window::NOTE
            {
                heard.noted = heard.next;
                let _ = window.note(publisher as usize, self.index, heard.next); // they wait longer
            }
            self.count(u64_at(body, 8));
        } else if kind == Kind::End as u32 && !heard.ended {
            heard.ended = true;
            self.ended += 1;
            if self.is_done() {
                self.finish();
            }
        } else if kind == Kind::Probe as u32 && !heard.probed {
            heard.probed = true;
            self.probed += 1;
            if self.probed == self.publishers.len() {
                let _ = say(&Word::Ready); // nobody to tell: nothing will come, either
            }
        }
        !self.is_done()
    }

    fn count(&mut self, published: u64) {
        if self.report.messages == 0 {
            (self.start, self.cpu) = (published, cpu_time());
        }
        self.report.messages += 1;
        if self.case.rate.is_some() {
            self.delays.push(now() - published);
        }
    }

    /// Whether every publisher has said its last.
    pub fn is_done(&self) -> bool {
        self.ended == self.publishers.len()
    }

    /// What came, also if something is missing: then the silence at the end is counted too.
    pub fn report(mut self) -> Received {
        if !self.is_done() {
            self.finish();
        }
        self.delays.drain(..self.delays.len() / 10); // connections and caches are warm by then
        self.delays.sort_unstable();
        let at = |of| self.delays.get(self.delays.len() * of / 1_000).copied().unwrap_or(0);
        (self.report.p50_ns, self.report.p99_ns, self.report.p999_ns) = (at(500), at(990), at(999));
        self.report
    }

    fn finish(&mut self) {
        self.report.wall_ns = now() - self.start;
        self.report.cpu_ns = cpu_time() - self.cpu;
    }
}

fn u64_at(body: &[u8], at: usize) -> u64 {
    let bytes = body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u64::MAX / 2, u64::from_le_bytes) // too short: counted as such
}

fn u32_at(body: &[u8], at: usize) -> u32 {
    let bytes = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u32::MAX, u32::from_le_bytes)
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
