//! Accepting: who may knock, and how long he may take to say who he is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_core::fanout::PeerId;
use selvedge_core::limits::{HANDSHAKES, HANDSHAKES_PER_ADDRESS};
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
        let mine = waiting.entry(source).or_default();
        if all >= HANDSHAKES || *mine >= HANDSHAKES_PER_ADDRESS {
            return None;
        }
        *mine += 1;
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
                    strangers.spawn(peer::greet(id, stream, slot, events, counters));
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
