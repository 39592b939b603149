//! What happened, by reason; all counters only rise and may be read at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use selvedge_core::fanout::{Closed, FanOut};
use selvedge_core::open::Refusal;
use selvedge_core::subscriber::{self, Reason};
use selvedge_core::wire::Ignored;

/// Of the peers of a publisher or relay.
#[derive(Debug, Default)]
pub struct PeerCounters {
    connected: AtomicU64,
    queued: AtomicU64,
    written: AtomicU64,
    queue_bytes: AtomicU64,
    dropped_peer_full: AtomicU64,
    dropped_all_full: AtomicU64,
    dropped_disconnected: AtomicU64,
    fell_behind: AtomicU64,
    replayed: AtomicU64,
    asks: AtomicU64,
    asks_unknown: AtomicU64,
    cut_off_stalled: AtomicU64,
    cut_off_subscriptions: AtomicU64,
    turned_away: AtomicU64,
    handshakes_failed: AtomicU64,
    ignored_unknown_command: AtomicU64,
    ignored_misdirected: AtomicU64,
    ignored_message: AtomicU64,
    ignored_long_prefix: AtomicU64,
}

impl PeerCounters {
    pub(crate) fn store(&self, fan_out: &FanOut) {
        let counted = fan_out.counters();
        self.connected.store(fan_out.peers() as u64, Relaxed);
        self.queue_bytes.store(fan_out.queued_bytes() as u64, Relaxed);
        self.queued.store(counted.queued, Relaxed);
        self.written.store(counted.written, Relaxed);
        self.dropped_peer_full.store(counted.dropped_peer_full, Relaxed);
        self.dropped_all_full.store(counted.dropped_all_full, Relaxed);
        self.dropped_disconnected.store(counted.dropped_disconnected, Relaxed);
        self.fell_behind.store(counted.fell_behind, Relaxed);
        self.replayed.store(counted.replayed, Relaxed);
        self.asks.store(counted.asks, Relaxed);
        self.asks_unknown.store(counted.asks_unknown, Relaxed);
    }

    pub(crate) fn cut_off(&self, why: Closed) {
        match why {
            Closed::Stalled => &self.cut_off_stalled,
            Closed::Subscriptions => &self.cut_off_subscriptions,
        }
        .fetch_add(1, Relaxed);
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn ignored(&self, what: Ignored) {
        match what {
            Ignored::UnknownCommand => &self.ignored_unknown_command,
            Ignored::Misdirected => &self.ignored_misdirected,
            Ignored::UpstreamMessage => &self.ignored_message,
            Ignored::LongPrefix => &self.ignored_long_prefix,
        }
        .fetch_add(1, Relaxed);
    }

    /// Every counter with its name. `peers` and `queue_bytes` are levels: they also fall.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        [
            ("peers", &self.connected),
            ("queue_bytes", &self.queue_bytes),
            ("messages_queued", &self.queued),
            ("messages_written", &self.written),
            ("dropped_peer_full", &self.dropped_peer_full),
            ("dropped_all_full", &self.dropped_all_full),
            ("dropped_disconnected", &self.dropped_disconnected),
            ("fell_behind", &self.fell_behind),
            ("messages_replayed", &self.replayed),
            ("asks", &self.asks),
            ("asks_unknown", &self.asks_unknown),
            ("cut_off_stalled", &self.cut_off_stalled),
            ("cut_off_subscriptions", &self.cut_off_subscriptions),
            ("turned_away", &self.turned_away),
            ("handshakes_failed", &self.handshakes_failed),
            ("ignored_unknown_command", &self.ignored_unknown_command),
            ("ignored_misdirected", &self.ignored_misdirected),
            ("ignored_message", &self.ignored_message),
            ("ignored_long_prefix", &self.ignored_long_prefix),
        ]
        .into_iter()
        .map(|(name, counter)| (name, counter.load(Relaxed)))
        .collect()
    }
}

/// Declares counters by their labels and reads them all.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($label:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name { $($label: AtomicU64),+ }

        impl $name {
            /// Every counter with its name.
            pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
                [$((stringify!($label), self.$label.load(Relaxed))),+].into_iter().collect()
            }

            #[allow(dead_code, reason = "not every set is counted by label")]
            fn labelled(&self, label: &str) -> Option<&AtomicU64> {
                $(if label == stringify!($label) { return Some(&self.$label); })+
                None
            }
        }
    };
}

labelled! {
    /// Of what a subscriber or relay received.
    LinkCounters {
        delivered, lost_ranges, links_up, links_down, marks_ignored, fork_alarms,
        malformed, unknown_key, revoked, topic_denied, duplicate, muted, bad_proof, bad_signature,
        not_held, void, unclean_end, gap, removed,
        stale, superseded, held_full, bad_tips, void_marks, duplicates_after_open, conflicts,
        bad_extensions, asks,
    }
}

impl LinkCounters {
    pub(crate) fn refused(&self, why: Refusal) {
        if let Some(counter) = self.labelled(why.reason()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn lost(&self, why: Reason) {
        self.lost_ranges.fetch_add(1, Relaxed);
        if let Some(counter) = self.labelled(why.label()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// So many messages were handed over, to the application or to a relay's peers.
    pub fn delivered(&self, messages: u64) {
        self.delivered.fetch_add(messages, Relaxed);
    }

    pub(crate) fn bad_extension(&self) {
        self.bad_extensions.fetch_add(1, Relaxed);
    }

    pub(crate) fn link_up(&self) {
        self.links_up.fetch_add(1, Relaxed);
    }

    pub(crate) fn link_down(&self) {
        self.links_down.fetch_add(1, Relaxed);
    }

    pub(crate) fn mark_ignored(&self) {
        self.marks_ignored.fetch_add(1, Relaxed);
    }

    pub(crate) fn fork(&self) {
        self.fork_alarms.fetch_add(1, Relaxed);
    }

    pub(crate) fn store(&self, counted: subscriber::Counters) {
        self.duplicates_after_open.store(counted.duplicates, Relaxed);
        self.stale.store(counted.stale, Relaxed);
        self.superseded.store(counted.superseded, Relaxed);
        self.held_full.store(counted.held_full, Relaxed);
        self.bad_tips.store(counted.bad_tips, Relaxed);
        self.void_marks.store(counted.void_marks, Relaxed);
        self.conflicts.store(counted.conflicts, Relaxed);
        self.asks.store(counted.asks, Relaxed);
    }
}
