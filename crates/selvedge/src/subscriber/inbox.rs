//! What was heard and waits for the application.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use selvedge_core::limits::{INBOX_BYTES, INBOX_TURN, INBOX_WARM_BYTES};
use selvedge_core::subscriber::{Delivery, Lost, Output};
use selvedge_core::topic::Pattern;
use selvedge_core::{KeyId, Position};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::counters::LinkCounters;
use crate::cursor::{Handle, Place};
use crate::inlet::Inlet;

/// What a packet that waits is charged beside its bytes: about what is noted about it, which is
/// several times more than a small one.
const NOTED: usize = 1_024;

/// What an item without a packet is charged.
const SMALL: usize = 128;

/// What one turn of the inlet brought.
#[derive(Debug, Default)]
pub struct Batch {
    pub items: Vec<Item>,
    pub bytes: usize,
}

/// In the order of its stream.
#[derive(Debug)]
pub enum Item {
    Delivery(Delivery),
    Lost(Lost),
    /// Nothing before it is for the application.
    Passed(KeyId, Position),
}

/// How much waits.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: AtomicUsize,
    taken: Notify,
}

impl Inbox {
    fn charge(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The application took so much.
    pub fn give_back(&self, bytes: usize) {
        if bytes > 0 && self.bytes.fetch_sub(bytes, Ordering::AcqRel) >= INBOX_WARM_BYTES {
            self.taken.notify_one(); // one permit is kept, so none is missed
        }
    }

    /// Waits until there is room; a little longer if the application takes what is there.
    async fn room(&self) {
        let warm = async {
            while self.bytes.load(Ordering::Acquire) >= INBOX_WARM_BYTES {
                self.taken.notified().await;
            }
        };
        if timeout(INBOX_TURN, warm).await.is_ok() {
            return;
        }
        while self.bytes.load(Ordering::Acquire) >= INBOX_BYTES {
            self.taken.notified().await;
        }
    }
}

/// Turns an inlet and hands on what is wanted.
#[derive(Debug)]
pub struct Feeder {
    pub inlet: Inlet,
    pub patterns: Vec<Pattern>,
    /// Whether somebody wants to know what is passed.
    pub passed_too: bool,
    /// Where a stream that begins now has to be noted before any of it is handed over: it would
    /// begin later still after a crash.
    pub places: Option<Handle>,
    pub batches: mpsc::UnboundedSender<Batch>,
    pub inbox: Arc<Inbox>,
    pub counters: Arc<LinkCounters>,
}

impl Feeder {
    /// Runs until nobody listens.
    pub async fn run(mut self) {
        let mut outputs = Vec::new();
        loop {
            self.inbox.room().await;
            self.inlet.turn(&mut outputs).await;
            self.note_beginnings(&outputs).await;
            let mut batch = Batch::default();
            outputs.drain(..).for_each(|output| self.sort(output, &mut batch));
            if batch.items.is_empty() {
                continue;
            }
            self.inbox.charge(batch.bytes);
            if self.batches.send(batch).is_err() {
                return;
            }
        }
    }

    async fn note_beginnings(&self, outputs: &[Output]) {
        let Some(places) = &self.places else { return };
        let mut noted = false;
        for output in outputs {
            if let Output::Started { key, at, .. } = output
                && places.begins_now(*key)
            {
                places.set(*key, Place::At(*at));
                noted = true;
            }
        }
        if noted {
            // If it fails, that was logged, and is tried again.
            let _ = places.flush().await;
        }
    }

    fn sort(&self, output: Output, batch: &mut Batch) {
        match output {
            Output::Deliver(mut delivery) => {
                let bytes = keep_wanted(&mut delivery, &self.patterns, &self.counters);
                if delivery.packets.is_empty() {
                    return self.pass(delivery.key, delivery.header.end(), batch);
                }
                batch.bytes += bytes;
                batch.items.push(Item::Delivery(delivery));
            }
            Output::Lost(lost) => {
                batch.bytes += SMALL;
                batch.items.push(Item::Lost(lost));
            }
            Output::Passed { key, upto } => self.pass(key, upto, batch),
            Output::Started { key, at, .. } => self.pass(key, at, batch),
            Output::Tip(_)
            | Output::Evidence { .. }
            | Output::Ask { .. }
            | Output::Superseded { .. } => {}
        }
    }

    fn pass(&self, key: KeyId, upto: Position, batch: &mut Batch) {
        match batch.items.last_mut() {
            _ if !self.passed_too => {}
            Some(Item::Passed(same, before)) if *same == key => *before = upto,
            _ => {
                batch.bytes += SMALL;
                batch.items.push(Item::Passed(key, upto));
            }
        }
    }
}

/// The wire matches by bytes; the application asked by segments. Returns what the packets that
/// stay are charged.
fn keep_wanted(delivery: &mut Delivery, wanted: &[Pattern], counters: &LinkCounters) -> usize {
    let (mut bytes, mut messages) = (0, 0);
    delivery.packets.retain(|trusted| {
        let packet = trusted.packet();
        let keep = wanted.iter().any(|pattern| pattern.matches(packet.topic()));
        if keep {
            bytes += packet.wire().len() + NOTED;
            messages += u64::from(packet.count());
        }
        keep
    });
    counters.delivered(messages);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, Instant, advance};

    /// How long it takes until there is room, if the application takes something after so long.
    async fn wait(waiting: usize, takes_after: Option<Duration>) -> Duration {
        let (inbox, start) = (Inbox::default(), Instant::now());
        inbox.charge(waiting);
        let room = async {
            inbox.room().await;
            start.elapsed()
        };
        let application = async {
            if let Some(time) = takes_after {
                advance(time).await;
                inbox.give_back(1);
            }
        };
        tokio::join!(room, application).0
    }

    #[tokio::test(start_paused = true)]
    async fn where_little_waits_there_is_room() {
        assert_eq!(wait(INBOX_WARM_BYTES - 1, None).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_that_takes_goes_first() {
        let soon = INBOX_TURN / 2;
        assert_eq!(wait(INBOX_WARM_BYTES, Some(soon)).await, soon);
    }

    #[tokio::test(start_paused = true)]
    async fn for_one_that_does_not_take_more_is_kept() {
        let waited = wait(INBOX_BYTES - 1, None).await;
        assert!((INBOX_TURN..INBOX_TURN * 3).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn but_never_more_than_the_bound() {
        let late = Duration::from_secs(1);
        assert_eq!(wait(INBOX_BYTES, Some(late)).await, late);
    }
}
