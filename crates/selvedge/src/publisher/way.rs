//! The way that commits take: to whoever connects, or to relays that are dialled.

use std::sync::Arc;

use selvedge_core::topic::Topic;

use crate::counters::PeerCounters;
use crate::courier::Courier;
use crate::journal::Step;
use crate::outlet::Outlet;

/// See the module.
#[derive(Debug)]
pub enum Way {
    /// A socket is bound.
    Outlet(Outlet),
    /// Relays are offered everything.
    Courier(Courier),
}

impl Way {
    pub fn step(&mut self, step: Step) {
        match self {
            Way::Outlet(outlet) => outlet.step(&step),
            Way::Courier(courier) => courier.step(step),
        }
    }

    /// Waits for peers or a deadline, and does what they ask for. Cancel safe.
    pub async fn turn(&mut self) {
        match self {
            Way::Outlet(outlet) => outlet.turn().await,
            Way::Courier(courier) => courier.turn().await,
        }
    }

    /// The number before which everything arrived that was `sent`: at a peer's queue, or in a
    /// relay's journal.
    pub fn arrived(&self, sent: u64) -> u64 {
        match self {
            Way::Outlet(_) => sent,
            Way::Courier(courier) => courier.confirmed().min(sent),
        }
    }

    /// The oldest number that is kept here until it is confirmed, if that is how it is.
    pub fn holds(&self) -> Option<u64> {
        match self {
            Way::Outlet(_) => None,
            Way::Courier(courier) => courier.holds(),
        }
    }

    /// Messages that wait for somebody.
    pub fn waiting(&self) -> u64 {
        match self {
            Way::Outlet(outlet) => outlet.waiting(),
            Way::Courier(courier) => courier.waiting(),
        }
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        match self {
            Way::Outlet(outlet) => outlet.queued_bytes(),
            Way::Courier(courier) => courier.queued_bytes(),
        }
    }

    /// Whether somebody would like to know where the stream stands.
    pub fn tip_wanted(&mut self) -> bool {
        match self {
            Way::Outlet(outlet) => outlet.tips_wanted().count() > 0,
            Way::Courier(_) => false,
        }
    }

    /// Who would get a message of `topic` now.
    pub fn listeners(&self, topic: &Topic) -> usize {
        match self {
            Way::Outlet(outlet) => outlet.listeners(topic),
            Way::Courier(courier) => usize::from(courier.is_connected()),
        }
    }

    pub fn counters(&self) -> Arc<PeerCounters> {
        match self {
            Way::Outlet(outlet) => outlet.counters(),
            Way::Courier(_) => Arc::default(),
        }
    }

    /// Ends all connections after what was written.
    pub async fn close(self) {
        match self {
            Way::Outlet(outlet) => outlet.close().await,
            Way::Courier(courier) => drop(courier),
        }
    }
}
