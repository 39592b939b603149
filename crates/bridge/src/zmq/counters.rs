//! What happened, by name; all counters only rise and may be read at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// How often a kind of drop is logged at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Why a foreign message did not enter the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It has no topic, and there is no prefix to be one.
    NoTopic,
    /// Its topic, mapped, is outside the grammar or the fabric's own.
    BadTopic,
    /// It does not begin with what the prefix replaces.
    OutsidePrefix,
    /// The directory does not allow this bridge the topic, or its scheme has no such topic.
    Denied,
    /// It is larger than the publisher takes.
    TooLarge,
    /// It was in a fabric before: it carries a message's id, or a seal.
    Returned,
}

impl Dropped {
    const ALL: [Dropped; 6] = [
        Dropped::NoTopic,
        Dropped::BadTopic,
        Dropped::OutsidePrefix,
        Dropped::Denied,
        Dropped::TooLarge,
        Dropped::Returned,
    ];

    /// The counter's name.
    pub const fn label(self) -> &'static str {
        match self {
            Dropped::NoTopic => "dropped_no_topic",
            Dropped::BadTopic => "dropped_bad_topic",
            Dropped::OutsidePrefix => "dropped_outside_prefix",
            Dropped::Denied => "dropped_denied",
            Dropped::TooLarge => "dropped_too_large",
            Dropped::Returned => "dropped_returned",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Dropped::NoTopic => "it has no topic; give it one with a prefix",
            Dropped::BadTopic => "its topic is none of the fabric's grammar",
            Dropped::OutsidePrefix => "its topic does not begin with what the prefix replaces",
            Dropped::Denied => "the directory does not allow this service such a topic",
            Dropped::TooLarge => "it is larger than the publisher takes",
            Dropped::Returned => "it was in a fabric before",
        }
    }
}

/// Of a bridge that reads a foreign side: connections that came and went; messages `received` from
/// there, and `published` (accepted by the publisher) or dropped of what was in them; of the
/// published, those with headers left out.
#[derive(Debug, Default)]
pub struct FromCounters {
    pub(super) connected: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) headers_left_out: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl FromCounters {
    pub(super) fn dropped(&self, why: Dropped) {
        self.dropped[why as usize].fetch_add(1, Relaxed);
    }

    /// Every counter with its name.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        let dropped = Dropped::ALL.map(|why| (why.label(), &self.dropped[why as usize]));
        [
            ("connected", &self.connected),
            ("disconnected", &self.disconnected),
            ("received", &self.received),
            ("published", &self.published),
            ("headers_left_out", &self.headers_left_out),
        ]
        .into_iter()
        .chain(dropped)
        .map(|(name, counter)| (name, counter.load(Relaxed)))
        .collect()
    }
}

/// Of a bridge that feeds a foreign side: messages put out, messages left out for their origin,
/// and ranges that the fabric lost.
#[derive(Debug, Default)]
pub struct ToCounters {
    pub(super) put_out: AtomicU64,
    pub(super) left_out: AtomicU64,
    pub(super) lost_ranges: AtomicU64,
}

impl ToCounters {
    /// Every counter with its name.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        [
            ("put_out", &self.put_out),
            ("left_out", &self.left_out),
            ("lost_ranges", &self.lost_ranges),
        ]
        .into_iter()
        .map(|(name, counter)| (name, counter.load(Relaxed)))
        .collect()
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Logs drops, each kind at most once a second.
#[derive(Debug, Default)]
pub(super) struct Log([Option<Instant>; Dropped::ALL.len()], [u64; Dropped::ALL.len()]);

impl Log {
    /// Tells of a message on `topic`, as the foreign side wrote it.
    pub fn tell(&mut self, why: Dropped, topic: &[u8]) {
        let (last, times) = (&mut self.0[why as usize], &mut self.1[why as usize]);
        *times += 1;
        let now = Instant::now();
        if last.is_none_or(|last| now - last >= TOLD_EVERY) {
            let topic = topic[..topic.len().min(64)].escape_ascii().to_string();
            tracing::warn!(topic, times = *times, "a message was dropped: {}", why.reason());
            (*last, *times) = (Some(now), 0);
        }
    }
}
