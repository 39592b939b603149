//! From the application's threads to the publisher's task: no lock and no allocation a message.
//!
//! A draft's ticket is the number that its message will have. Two threads may put their drafts into
//! the queue in another order than they drew tickets; [`Outtake`] restores it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use selvedge_core::seal::Draft;
use tokio::sync::{Notify, mpsc};

/// Drafts taken at once: two commits of the most that is signed together.
const BATCH: usize = 1_024;

#[derive(Debug)]
pub struct Intake {
    queue: mpsc::UnboundedSender<Ticketed>,
    level: Arc<Level>,
}

/// What waits: the number that it will have, and whether it has to be on the disk to be sent.
type Ticketed = (u64, Draft, bool);

/// Drafts that follow each other.
#[derive(Debug, Default)]
pub struct Taken {
    pub drafts: Vec<Draft>,
    /// The numbers of those that have to be on the disk.
    pub durable: Vec<Range<u64>>,
}

/// What both ends share.
#[derive(Debug)]
pub struct Level {
    tickets: AtomicU64,
    bytes: AtomicUsize,
    limit: usize,
    closed: AtomicBool,
    room: Notify,
    waiting: AtomicUsize,
    /// What the last draft that was refused would have taken.
    refused: AtomicUsize,
}

/// Why a draft was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    Full,
    Closed,
}

#[derive(Debug)]
pub struct Outtake {
    queue: mpsc::UnboundedReceiver<Ticketed>,
    level: Arc<Level>,
    next: u64,
    early: BTreeMap<u64, (Draft, bool)>,
    batch: Vec<Ticketed>,
}

/// A queue for `limit` bytes of drafts; one larger draft is taken alone.
pub fn intake(limit: usize) -> (Intake, Outtake) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let level = Arc::new(Level {
        tickets: AtomicU64::new(0),
        bytes: AtomicUsize::new(0),
        limit,
        closed: AtomicBool::new(false),
        room: Notify::new(),
        waiting: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
    });
    let outtake = Outtake {
        queue: receiver,
        level: level.clone(),
        next: 0,
        early: BTreeMap::new(),
        batch: Vec::new(),
    };
    (Intake { queue: sender, level }, outtake)
}

impl Intake {
    /// Takes a draft and gives its ticket. Never waits.
    pub fn put(&self, draft: Draft, durable: bool) -> Result<u64, NotTaken> {
        if self.level.closed.load(Ordering::Acquire) {
            return Err(NotTaken::Closed);
        }
        let cost = draft.cost();
        let before = self.level.bytes.fetch_add(cost, Ordering::AcqRel);
        if before > 0 && before + cost > self.level.limit {
            self.level.refused.store(cost, Ordering::Release);
            self.level.give_back(cost);
            return Err(NotTaken::Full);
        }
        let ticket = self.level.tickets.fetch_add(1, Ordering::AcqRel);
        // Fails only once the task is gone: what is accepted then is counted as not sent.
        self.queue.send((ticket, draft, durable)).map_err(|_| NotTaken::Closed)?;
        Ok(ticket)
    }

    /// Waits until there is room for what was refused last, or no use in waiting.
    pub async fn ready(&self) {
        let level = &self.level;
        level.waiting.fetch_add(1, Ordering::AcqRel);
        let mut room = std::pin::pin!(level.room.notified());
        loop {
            room.as_mut().enable(); // before looking, so that no wake-up is missed
            if level.has_room() || level.closed.load(Ordering::Acquire) {
                break;
            }
            room.as_mut().await;
            room.set(level.room.notified());
        }
        level.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Tickets given so far.
    pub fn tickets(&self) -> u64 {
        self.level.tickets.load(Ordering::Acquire)
    }

    /// Takes no draft any more.
    pub fn close(&self) {
        self.level.closed.store(true, Ordering::Release);
        self.level.room.notify_waiters();
    }
}

impl Level {
    fn has_room(&self) -> bool {
        let bytes = self.bytes.load(Ordering::Acquire);
        let wanted = self.refused.load(Ordering::Acquire);
        bytes == 0 || bytes < self.limit && bytes + wanted <= self.limit
    }

    fn give_back(&self, cost: usize) {
        self.bytes.fetch_sub(cost, Ordering::AcqRel);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.room.notify_waiters();
        }
    }
}

impl Taken {
    fn push(&mut self, number: u64, draft: Draft, durable: bool) {
        self.drafts.push(draft);
        match self.durable.last_mut() {
            _ if !durable => {}
            Some(last) if last.end == number => last.end += 1,
            _ => self.durable.push(number..number + 1),
        }
    }
}

impl Outtake {
    /// Waits for drafts and returns some, in order of their tickets; `None` once all intakes are
    /// gone. Cancel safe.
    pub async fn take(&mut self) -> Option<Taken> {
        if self.batch.is_empty() && self.queue.recv_many(&mut self.batch, BATCH).await == 0 {
            return None;
        }
        let mut taken = Taken::default();
        taken.drafts.reserve(self.batch.len());
        for (ticket, draft, durable) in self.batch.drain(..) {
            if ticket != self.next {
                self.early.insert(ticket, (draft, durable));
                continue;
            }
            taken.push(ticket, draft, durable);
            self.next += 1;
            while let Some((draft, durable)) = self.early.remove(&self.next) {
                taken.push(self.next, draft, durable);
                self.next += 1;
            }
        }
        self.level.give_back(taken.drafts.iter().map(Draft::cost).sum());
        Some(taken)
    }

    /// Tickets given so far.
    pub fn tickets(&self) -> u64 {
        self.level.tickets.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use selvedge_core::Wall;
    use selvedge_core::seal::ContentType;

    fn draft(body: Vec<u8>) -> Draft {
        Draft {
            topic: "a".parse().unwrap(),
            ctype: ContentType::BYTES,
            time: Wall(0),
            extension: Bytes::new(),
            body: body.into(),
        }
    }

    #[tokio::test]
    async fn drafts_of_many_threads_come_out_in_the_order_of_their_tickets() {
        let (intake, mut outtake) = intake(usize::MAX);
        let threads: Vec<_> = std::thread::scope(|scope| {
            let puts = (0..4u8).map(|thread| {
                let intake = &intake;
                scope.spawn(move || {
                    let put = |i: u8| intake.put(draft(vec![thread, i]), false).unwrap();
                    (0..200u8).map(|i| (put(i), vec![thread, i])).collect::<Vec<_>>()
                })
            });
            let puts: Vec<_> = puts.collect();
            puts.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        drop(intake);
        let mut bodies = Vec::new();
        while let Some(drafts) = outtake.take().await {
            bodies.extend(drafts.drafts.into_iter().map(|draft| draft.body));
        }
        assert_eq!(bodies.len(), 800);
        assert!(threads.iter().all(|(ticket, body)| bodies[*ticket as usize] == body[..]));
    }

    #[tokio::test]
    async fn a_full_intake_says_so_and_tells_when_there_is_room() {
        let (intake, mut outtake) = intake(100);
        assert_eq!(intake.put(draft(vec![0; 500]), false), Ok(0)); // alone, any size
        assert_eq!(intake.put(draft(vec![]), false), Err(NotTaken::Full));
        let (_, drafts) = tokio::join!(intake.ready(), outtake.take());
        assert_eq!(drafts.unwrap().drafts.len(), 1);
        assert_eq!(intake.put(draft(vec![]), false), Ok(1));
    }

    #[tokio::test]
    async fn room_means_room_for_what_was_refused() {
        let (intake, mut outtake) = intake(1_000);
        assert_eq!(intake.put(draft(vec![0; 100]), false), Ok(0));
        assert_eq!(intake.put(draft(vec![0; 890]), false), Err(NotTaken::Full));
        tokio::select! {
            biased;
            () = intake.ready() => panic!("there is no room yet"),
            () = std::future::ready(()) => {}
        }
        let (_, drafts) = tokio::join!(intake.ready(), outtake.take());
        assert_eq!(drafts.unwrap().drafts.len(), 1);
        assert_eq!(intake.put(draft(vec![0; 890]), false), Ok(1));
    }
}
