//! The publisher's task: intake → author → seal → outlet, and what the application asks for.

use std::time::Duration;

use selvedge_core::author::{self, Author, Input, Output};
use selvedge_core::limits::SIGN_BYTES;
use selvedge_core::seal::Identity;
use selvedge_core::topic::Topic;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Unsent;
use super::intake::Outtake;
use crate::clock::Clock;
use crate::outlet::Outlet;
use crate::state::Epochs;

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
    author: Author,
    identity: Identity,
    epochs: Epochs,
    outlet: Outlet,
    outtake: Outtake,
    orders: mpsc::UnboundedReceiver<Command>,
    sent: watch::Sender<u64>,
    clock: Clock,
    effects: Vec<Output>,
    waiting: Vec<Waiting>,
    listening: Vec<(Topic, oneshot::Sender<usize>)>,
    closed: bool,
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
        config: author::Config,
        identity: Identity,
        epochs: Epochs,
        outlet: Outlet,
        outtake: Outtake,
        orders: mpsc::UnboundedReceiver<Command>,
        sent: watch::Sender<u64>,
    ) -> Node {
        Node {
            author: Author::new(config),
            identity,
            epochs,
            outlet,
            outtake,
            orders,
            sent,
            clock: Clock::new(),
            effects: Vec::new(),
            waiting: Vec::new(),
            listening: Vec::new(),
            closed: false,
        }
    }

    /// Until it is closed, or nobody can publish any more.
    pub async fn run(mut self) {
        self.author(Input::Tick); // the first tip
        let mut open = true;
        loop {
            let due = self.author.deadline();
            let deadline = self.waiting.iter().map(|waiting| waiting.deadline).min();
            let hungry = self.author.queued() < SIGN_BYTES;
            tokio::select! {
                drafts = self.outtake.take(), if open && hungry => match drafts {
                    Some(drafts) => self.author(Input::Drafts(drafts)),
                    None => {
                        open = false;
                        self.author(Input::Close);
                    }
                },
                () = self.outlet.turn() => {}
                () = self.clock.at(due) => self.author(Input::Tick),
                Some(order) = self.orders.recv() => self.order(order),
                () = at(deadline), if deadline.is_some() => {}
            }
            if self.outlet.tips_wanted().count() > 0 {
                self.author(Input::TipWanted);
            }
            self.answer_listening();
            if let Some(last) = self.answer_waiting() {
                return self.end(Some(last)).await;
            }
            if !open && self.closed {
                return self.end(None).await;
            }
        }
    }

    fn author(&mut self, input: Input) {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        self.author.handle(now, input, &mut effects);
        // Sealing answers at once, and so leads to further effects: first come, first done.
        let mut next = 0;
        while next < effects.len() {
            let effect = std::mem::replace(&mut effects[next], Output::Closed);
            next += 1;
            match effect {
                Output::Seal(unsealed) => {
                    let commit = unsealed.seal(&self.identity);
                    self.author.handle(self.clock.now(), Input::Sealed(commit), &mut effects);
                }
                Output::Send(commit) => {
                    self.outlet.send(&commit);
                    self.sent.send_replace(commit.header.end().seq);
                }
                Output::Closed => self.closed = true,
            }
        }
        effects.clear();
        self.effects = effects;
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
        let outlet = &self.outlet;
        let still = std::mem::take(&mut self.listening).into_iter();
        let still = still.filter_map(|(topic, reply)| match outlet.listeners(&topic) {
            0 if reply.is_closed() => None,
            0 => Some((topic, reply)),
            count => {
                let _ = reply.send(count); // whoever asked may be gone
                None
            }
        });
        self.listening = still.collect();
    }

    /// Answers whoever has waited long enough; returns the answer to a close, which is the last.
    fn answer_waiting(&mut self) -> Option<Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        let sent = self.author.next().seq;
        let (unwritten, now) = (self.outlet.waiting(), Instant::now());
        let mut last = None;
        let mut closing = false;
        for waiting in std::mem::take(&mut self.waiting) {
            let signed = sent >= waiting.upto && *self.sent.borrow() >= waiting.upto;
            closing |= waiting.close && signed;
            let done = signed && unwritten == 0 && (self.closed || !waiting.close);
            if !done && now < waiting.deadline {
                self.waiting.push(waiting);
            } else if waiting.close {
                last = Some(waiting);
            } else {
                let _ = waiting.reply.send(self.unsent(waiting.upto)); // it may be gone
            }
        }
        if closing && !self.closed && last.is_none() {
            self.author(Input::Close);
            return self.answer_waiting_once_closed();
        }
        last
    }

    /// The last tip is made: nothing more comes from the author.
    fn answer_waiting_once_closed(&mut self) -> Option<Waiting> {
        if self.closed { self.answer_waiting() } else { None }
    }

    fn unsent(&self, upto: u64) -> Result<(), Unsent> {
        let unsigned = upto.saturating_sub(*self.sent.borrow());
        match (unsigned, self.outlet.waiting()) {
            (0, 0) => Ok(()),
            (unsigned, unwritten) => Err(Unsent { unsigned, unwritten }),
        }
    }

    /// Notes how the epoch ended, lets peers take what was written, and answers.
    async fn end(mut self, last: Option<Waiting>) {
        let end = self.author.next().seq;
        let result = last.as_ref().map_or(Ok(()), |last| self.unsent(last.upto));
        if result.is_ok()
            && self.closed
            && let Err(error) = self.epochs.end(end)
        {
            tracing::warn!("cannot note the clean end of the epoch: {error}");
        }
        self.orders.close();
        self.outlet.close().await;
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
