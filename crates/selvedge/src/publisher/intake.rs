//! From the application's threads to the publisher's task: one short lock a message, and a wake-up
//! only if the task sleeps.
//!
//! A draft's ticket is the number that its message will have: both are given under the lock, so
//! drafts come out in the order of their tickets. The lock is never held for longer than it takes
//! to append one draft: two atomic operations, where a channel without locks needs seven (and
//! numbers of its own beside it).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use selvedge_core::limits::SIGN_MESSAGES;
use selvedge_core::seal::Draft;
use tokio::sync::Notify;

#[derive(Debug)]
pub struct Intake(Arc<Shared>);

#[derive(Debug)]
pub struct Outtake(Arc<Shared>);

/// What both ends share.
#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    limit: usize,
    /// For the task: there are drafts, or no intake any more.
    drafts: Notify,
    /// For applications: there is room.
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// All but the last are full.
    batches: VecDeque<Taken>,
    /// How many drafts the last one had that was taken.
    usual: usize,
    tickets: u64,
    bytes: usize,
    closed: bool,
    /// No intake, or no task, is left.
    ended: bool,
    /// The task sleeps until there is something.
    asleep: bool,
    /// What the last draft that was refused would have taken.
    refused: usize,
    /// Somebody waits for room.
    wanted: bool,
}

/// Drafts that follow each other: of one commit at most.
#[derive(Debug, Default)]
pub struct Taken {
    pub drafts: Vec<Draft>,
    /// The numbers of those that have to be on the disk.
    pub durable: Vec<Range<u64>>,
    bytes: usize,
}

/// Why a draft was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    Full,
    Closed,
}

/// A queue for `limit` bytes of drafts; one larger draft is taken alone.
pub fn intake(limit: usize) -> (Intake, Outtake) {
    let waiting = Mutex::default();
    let shared = Shared { waiting, limit, drafts: Notify::new(), room: Notify::new() };
    let shared = Arc::new(shared);
    (Intake(shared.clone()), Outtake(shared))
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.waiting().ended = true;
        self.drafts.notify_one();
        self.room.notify_waiters();
    }
}

impl Intake {
    /// Takes a draft and gives its ticket, or gives the draft back. Never waits.
    #[inline]
    pub fn put(&self, draft: Draft, durable: bool) -> Result<u64, (NotTaken, Draft)> {
        let cost = draft.cost();
        let mut waiting = self.0.waiting();
        if waiting.closed || waiting.ended {
            return Err((NotTaken::Closed, draft));
        }
        if waiting.bytes > 0 && waiting.bytes + cost > self.0.limit {
            (waiting.refused, waiting.wanted) = (cost, true);
            return Err((NotTaken::Full, draft));
        }
        let ticket = waiting.tickets;
        waiting.tickets += 1;
        waiting.bytes += cost;
        waiting.push(ticket, draft, durable, cost);
        if std::mem::take(&mut waiting.asleep) {
            drop(waiting);
            self.0.drafts.notify_one();
        }
        Ok(ticket)
    }

    /// Waits until there is room for what was refused last, or no use in waiting.
    pub async fn ready(&self) {
        let mut room = std::pin::pin!(self.0.room.notified());
        loop {
            room.as_mut().enable(); // before looking, so that no wake-up is missed
            if self.has_room() {
                return;
            }
            room.as_mut().await;
            room.set(self.0.room.notified());
        }
    }

    fn has_room(&self) -> bool {
        let mut waiting = self.0.waiting();
        let has_room = waiting.closed || waiting.ended || waiting.has_room(self.0.limit);
        waiting.wanted |= !has_room;
        has_room
    }

    /// Tickets given so far.
    pub fn tickets(&self) -> u64 {
        self.0.waiting().tickets
    }

    /// Takes no draft any more.
    pub fn close(&self) {
        self.0.waiting().closed = true;
        self.0.room.notify_waiters();
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Outtake {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Waiting {
    fn has_room(&self, limit: usize) -> bool {
        self.bytes == 0 || self.bytes < limit && self.bytes + self.refused <= limit
    }

    #[inline]
    fn push(&mut self, ticket: u64, draft: Draft, durable: bool, cost: usize) {
        if self.batches.back().is_none_or(|last| last.drafts.len() >= SIGN_MESSAGES) {
            let drafts = Vec::with_capacity(self.usual);
            self.batches.push_back(Taken { drafts, ..Taken::default() });
        }
        if let Some(last) = self.batches.back_mut() {
            last.push(ticket, draft, durable, cost);
        }
    }
}

impl Taken {
    #[inline]
    fn push(&mut self, number: u64, draft: Draft, durable: bool, cost: usize) {
        self.drafts.push(draft);
        self.bytes += cost;
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
        loop {
            {
                let mut waiting = self.0.waiting();
                if let Some(taken) = waiting.batches.pop_front() {
                    waiting.bytes -= taken.bytes;
                    waiting.usual = taken.drafts.len();
                    if waiting.wanted && waiting.has_room(self.0.limit) {
                        waiting.wanted = false;
                        self.0.room.notify_waiters();
                    }
                    return Some(taken);
                }
                if waiting.ended {
                    return None;
                }
                waiting.asleep = true;
            }
            self.0.drafts.notified().await; // one permit is kept, so none is missed
        }
    }

    /// Tickets given so far.
    pub fn tickets(&self) -> u64 {
        self.0.waiting().tickets
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

    fn put(intake: &Intake, bytes: usize) -> Result<u64, NotTaken> {
        intake.put(draft(vec![0; bytes]), false).map_err(|(why, _)| why)
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
        assert_eq!(put(&intake, 500), Ok(0)); // alone, any size
        assert_eq!(put(&intake, 0), Err(NotTaken::Full));
        let (_, drafts) = tokio::join!(intake.ready(), outtake.take());
        assert_eq!(drafts.unwrap().drafts.len(), 1);
        assert_eq!(put(&intake, 0), Ok(1));
    }

    #[tokio::test]
    async fn room_means_room_for_what_was_refused() {
        let (intake, mut outtake) = intake(1_000);
        assert_eq!(put(&intake, 100), Ok(0));
        assert_eq!(put(&intake, 890), Err(NotTaken::Full));
        tokio::select! {
            biased;
            () = intake.ready() => panic!("there is no room yet"),
            () = std::future::ready(()) => {}
        }
        let (_, drafts) = tokio::join!(intake.ready(), outtake.take());
        assert_eq!(drafts.unwrap().drafts.len(), 1);
        assert_eq!(put(&intake, 890), Ok(1));
    }
}
