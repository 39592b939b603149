//! The publisher's task: intake → author → seal → journal → way out, and what the application asks
//! for.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use selvedge_core::Position;
use selvedge_core::author::Input;
use selvedge_core::limits::{HOLD_BYTES, SIGN_BYTES, UNWRITTEN_BYTES};
use selvedge_core::topic::Topic;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Unsent;
use super::intake::{Outtake, Taken};
use super::way::Way;
use crate::voice::{Turn, Voice};

/// What became of messages.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The number after the last one that arrived where it is sent, or failed.
    pub next: u64,
    /// Numbers that the journal did not take, the newest [`FAILED`] ranges.
    failed: Arc<Vec<Range<u64>>>,
    /// Numbers below may have failed, too.
    forgotten: u64,
    /// How many numbers that were in all.
    pub unkept: u64,
}

/// Ranges of failed numbers that are remembered: a receipt is asked about soon.
const FAILED: usize = 1_024;

impl Sent {
    /// Whether this number failed, or nobody knows any more that it did not.
    pub fn has_failed(&self, number: u64) -> bool {
        number < self.forgotten || self.failed.iter().any(|numbers| numbers.contains(&number))
    }

    fn fail(&mut self, failed: Vec<Range<u64>>) {
        self.unkept += failed.iter().map(|numbers| numbers.end - numbers.start).sum::<u64>();
        let known = Arc::make_mut(&mut self.failed);
        for numbers in failed {
            match known.last_mut().filter(|last| last.end == numbers.start) {
                Some(last) => last.end = numbers.end,
                None => known.push(numbers),
            }
        }
        let mut old = known.drain(..known.len().saturating_sub(FAILED));
        self.forgotten = old.next_back().map_or(self.forgotten, |numbers| numbers.end);
    }
}

/// What the application asks of the task.
#[derive(Debug)]
pub enum Command {
    /// Answer once somebody listens.
    Listeners(Topic, oneshot::Sender<usize>),
    /// Answer once all is written, or at the deadline.
    Flush(Duration, oneshot::Sender<Result<(), Unsent>>),
    /// The same, and then end.
    Close(Duration, oneshot::Sender<Result<(), Unsent>>),
}

#[derive(Debug)]
pub struct Node {
    voice: Voice,
    way: Way,
    outtake: Outtake,
    orders: mpsc::UnboundedReceiver<Command>,
    /// What became of messages.
    sent: watch::Sender<Sent>,
    /// Bytes waiting for peers beyond which nothing more is taken in.
    most_queued: usize,
    waiting: Vec<Waiting>,
    listening: Vec<(Topic, oneshot::Sender<usize>)>,
}

/// Somebody who wants to know when all is written.
#[derive(Debug)]
struct Waiting {
    upto: u64,
    deadline: Instant,
    reply: oneshot::Sender<Result<(), Unsent>>,
    close: bool,
}

impl Node {
    pub fn new(
        voice: Voice,
        way: Way,
        outtake: Outtake,
        orders: mpsc::UnboundedReceiver<Command>,
        sent: watch::Sender<Sent>,
        hold: bool,
    ) -> Node {
        let most_queued = if hold { HOLD_BYTES } else { usize::MAX };
        let (waiting, listening) = (Vec::new(), Vec::new());
        Node { voice, way, outtake, orders, sent, most_queued, waiting, listening }
    }

    /// Until it is closed, or nobody can publish any more.
    pub async fn run(mut self) {
        self.author(Input::Tick); // the first tip
        let mut open = true;
        loop {
            let deadline = self.waiting.iter().map(|waiting| waiting.deadline).min();
            let room = self.way.queued_bytes() < self.most_queued
                && self.voice.unwritten_bytes() < UNWRITTEN_BYTES;
            let hungry = room && self.voice.queued() < SIGN_BYTES;
            tokio::select! {
                drafts = self.outtake.take(), if open && hungry => match drafts {
                    Some(taken) => self.take(taken),
                    None => {
                        open = false;
                        self.author(Input::Close);
                    }
                },
                () = self.way.turn() => self.turned(),
                turn = self.voice.turn() => self.turn(turn),
                Some(order) = self.orders.recv() => self.order(order),
                () = at(deadline), if deadline.is_some() => {}
            }
            if self.way.tip_wanted() {
                self.author(Input::TipWanted);
            }
            self.answer_listening();
            if let Some(last) = self.answer_waiting() {
                return self.end(Some(last)).await;
            }
            if !open && self.voice.is_closed() {
                return self.end(None).await;
            }
        }
    }

    fn take(&mut self, taken: Taken) {
        taken.durable.into_iter().for_each(|numbers| self.voice.durable(numbers));
        self.author(Input::Drafts(taken.drafts));
    }

    fn author(&mut self, input: Input) {
        let mut steps = Vec::new();
        self.voice.say(input, &mut steps);
        steps.into_iter().for_each(|step| self.way.step(step));
        self.tell(Vec::new());
    }

    fn turn(&mut self, turn: Turn) {
        let mut steps = Vec::new();
        let failed = self.voice.take(turn, &mut steps);
        steps.into_iter().for_each(|step| self.way.step(step));
        self.tell(failed);
    }

    /// The way has done something.
    fn turned(&mut self) {
        if let Some(oldest) = self.way.holds() {
            let oldest = Position::new(self.voice.sent().epoch, oldest);
            return self.author(Input::Oldest(oldest));
        }
        self.tell(Vec::new());
    }

    /// Tells those who wait how far it is.
    fn tell(&mut self, failed: Vec<Range<u64>>) {
        let next = self.way.arrived(self.voice.sent().seq);
        self.sent.send_if_modified(|sent| {
            if !failed.is_empty() {
                sent.fail(failed);
            }
            std::mem::replace(&mut sent.next, next) != next
        });
    }

    fn order(&mut self, order: Command) {
        let (after, reply, close) = match order {
            Command::Listeners(topic, reply) => return self.listening.push((topic, reply)),
            Command::Flush(after, reply) => (after, reply, false),
            Command::Close(after, reply) => (after, reply, true),
        };
        let deadline = Instant::now() + after;
        self.waiting.push(Waiting { upto: self.outtake.tickets(), deadline, reply, close });
    }

    fn answer_listening(&mut self) {
        let way = &self.way;
        let still = std::mem::take(&mut self.listening).into_iter();
        let still = still.filter_map(|(topic, reply)| match way.listeners(&topic) {
            0 if reply.is_closed() => None,
            0 => Some((topic, reply)),
            count => {
                let _ = reply.send(count); // whoever asked may be gone
                None
            }
        });
        self.listening = still.collect();
    }

    /// Answers whoever has waited long enough; returns the first close among them, which is
    /// answered last.
    fn answer_waiting(&mut self) -> Option<Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        let signed = |waiting: &Waiting| self.voice.sent().seq >= waiting.upto;
        if !self.voice.is_closed() && self.waiting.iter().any(|w| w.close && signed(w)) {
            self.author(Input::Close);
        }
        let now = Instant::now();
        let written = self.way.waiting() == 0;
        let mut last = None;
        for waiting in std::mem::take(&mut self.waiting) {
            let signed = self.voice.sent().seq >= waiting.upto;
            let done = signed && written && (self.voice.is_closed() || !waiting.close);
            if !done && now < waiting.deadline {
                self.waiting.push(waiting);
            } else if waiting.close {
                last = last.or(Some(waiting));
            } else {
                let _ = waiting.reply.send(self.unsent(waiting.upto)); // it may be gone
            }
        }
        last
    }

    fn unsent(&self, upto: u64) -> Result<(), Unsent> {
        let unsigned = upto.saturating_sub(self.voice.sent().seq);
        let unkept = self.sent.borrow().unkept;
        match (unsigned, self.way.waiting(), unkept) {
            (0, 0, 0) => Ok(()),
            (unsigned, unwritten, unkept) => Err(Unsent { unsigned, unwritten, unkept }),
        }
    }

    /// Notes how the epoch ended, lets peers take what was written, and answers.
    async fn end(mut self, last: Option<Waiting>) {
        let result = last.as_ref().map_or(Ok(()), |last| self.unsent(last.upto));
        if result.is_ok()
            && self.voice.is_closed()
            && let Err(error) = self.voice.end()
        {
            tracing::warn!("cannot note the clean end of the epoch: {error}");
        }
        self.orders.close();
        self.way.close().await;
        drop(self.voice); // its journal is closed in order
        if let Some(last) = last {
            let _ = last.reply.send(result); // whoever asked may be gone
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_forgotten_is_no_receipt() {
        let one = |number: u64| std::iter::once(number..number + 1).collect();
        let mut sent = Sent::default();
        (0..10_000).for_each(|number| sent.fail(one(number)));
        assert!(sent.has_failed(0) && !sent.has_failed(10_000), "one range");
        assert_eq!(sent.forgotten, 0);
        (5_001..10_000).for_each(|half| sent.fail(one(2 * half)));
        assert!(sent.has_failed(0), "long ago");
        assert!(sent.has_failed(19_998) && !sent.has_failed(19_997));
        assert_eq!((sent.unkept, sent.failed.len()), (14_999, FAILED));
    }
}
