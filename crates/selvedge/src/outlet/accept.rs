//! Accepting: who may knock, and how long he may take to say who he is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_core::fanout::PeerId;
use selvedge_core::limits::{HANDSHAKES, HANDSHAKES_PER_ADDRESS};
use selvedge_core::wire::Limits;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::peer::{self, Said};
use crate::counters::PeerCounters;
use crate::net::{Accepted, Listener, Source};

/// How long to wait when the system has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Handshakes in progress, by address.
#[derive(Debug, Default)]
pub(super) struct Doorway(Mutex<BTreeMap<Source, usize>>);

/// A handshake in progress; dropped when it is over.
#[derive(Debug)]
pub(super) struct Slot {
    doorway: Arc<Doorway>,
    source: Source,
}

impl Doorway {
    fn enter(self: &Arc<Self>, source: Source) -> Option<Slot> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let mine = waiting.get(&source).copied().unwrap_or(0);
        if all >= HANDSHAKES || mine >= HANDSHAKES_PER_ADDRESS {
            return None; // and nothing is noted: there are more addresses than memory
        }
        waiting.insert(source, mine + 1);
        Some(Slot { doorway: self.clone(), source })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut waiting = self.doorway.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = waiting.get_mut(&self.source) {
            *mine -= 1;
            if *mine == 0 {
                waiting.remove(&self.source);
            }
        }
    }
}

/// Accepts until it is dropped. A stranger beyond the bounds is turned away at once and counted.
pub(super) async fn run(
    listener: Listener,
    limits: Limits,
    events: mpsc::Sender<(PeerId, Said)>,
    counters: Arc<PeerCounters>,
) {
    let doorway = Arc::new(Doorway::default());
    // Strangers are dropped with this task; whoever shook hands belongs to the outlet.
    let mut strangers = JoinSet::new();
    let mut last = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(Accepted { stream, source }) => {
                    let Some(slot) = doorway.enter(source) else {
                        counters.turned_away();
                        continue;
                    };
                    last += 1;
                    let id = PeerId(last);
                    let (events, counters) = (events.clone(), counters.clone());
                    strangers.spawn(peer::greet(id, stream, slot, limits, events, counters));
                }
                // Out of descriptors or memory: others keep what they have, we try again.
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = strangers.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn whoever_is_turned_away_leaves_nothing_behind() {
        let doorway = Arc::new(Doorway::default());
        let from = |number: u32| Source::Address(IpAddr::V4(Ipv4Addr::from_bits(number)));
        let inside: Vec<Slot> = (0..2_000).filter_map(|n| doorway.enter(from(n))).collect();
        assert_eq!(inside.len(), HANDSHAKES);
        assert_eq!(doorway.0.lock().unwrap().len(), HANDSHAKES);
        drop(inside);
        assert!(doorway.0.lock().unwrap().is_empty());
    }
}
