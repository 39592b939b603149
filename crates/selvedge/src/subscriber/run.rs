//! Running a handler: retries in order, dead letters, and a clean end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::time::Duration;

use selvedge_core::KeyId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Ticket;
use super::{Acks, Event, Subscriber};
use crate::cursor::CursorError;
use crate::dead::LetterError;

/// Events that may wait behind one that is tried again, in all streams together; then no more are
/// taken until it is done with.
const BEHIND: usize = 1_024;

/// Longest time between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Tries after the first, and the wait before them, of a handler's plain `Err`.
const RETRIES: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(100);

/// What a handler made of an event.
///
/// A `Result` converts: `Ok` is [`Outcome::Ack`], and `Err` five more tries from 100 ms on, then a
/// dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled.
    Ack,
    /// Not now. Its stream waits; other streams go on.
    Retry {
        /// Why, for logs and for the dead letter.
        why: String,
        /// Tries after the first.
        times: u32,
        /// Before the second try; doubles with each, up to a minute.
        backoff: Duration,
        /// What then.
        then: Exhausted,
    },
    /// Never: put it aside ([`crate::dead`]) and go on.
    DeadLetter {
        /// Why; the first 1,024 characters are kept.
        why: String,
    },
    /// Nothing goes on until somebody has looked: [`Subscriber::run`] ends, and begins with this
    /// event next time.
    Halt {
        /// Why.
        why: String,
    },
}

/// What becomes of an event that was tried in vain as often as was wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// As [`Outcome::DeadLetter`].
    #[default]
    DeadLetter,
    /// As [`Outcome::Halt`].
    Halt,
}

impl<E: fmt::Display> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Outcome {
        match result {
            Ok(()) => Outcome::Ack,
            Err(why) => Outcome::Retry {
                why: why.to_string(),
                times: RETRIES,
                backoff: BACKOFF,
                then: Exhausted::DeadLetter,
            },
        }
    }
}

/// Why [`Subscriber::run`] ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The handler wants it so, or could not take a loss. The cursor stands before this event.
    #[error("stopped before {event}: {why}")]
    Halted {
        /// The message's id, or which messages were lost.
        event: String,
        /// What the handler said.
        why: String,
    },
    /// A message could not be put aside. The cursor stands before it.
    #[error("a dead letter was not kept: {0}")]
    Letter(#[from] LetterError),
    /// What was handled could not be written.
    #[error("what was handled was not written: {0}")]
    Cursor(#[from] CursorError),
}

/// A stream with an event that is tried again, and what waits behind it.
#[derive(Debug)]
struct Lane {
    queue: VecDeque<(Event, Option<Ticket>)>,
    /// How often the first was tried.
    tries: u32,
    due: Instant,
}

impl Subscriber {
    /// Hands each event to `handler`, one at a time, until `shutdown`; what the handler is at is
    /// finished first. A message counts as handled as its [`Outcome`] says, and when this returns
    /// that is on disk.
    ///
    /// A loss is an event like a message, except that it cannot be put aside: instead of a dead
    /// letter it ends the run.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use selvedge::{Event, Start, Subscriber};
    /// # use selvedge::{Publisher, keys, publisher};
    /// # let key = keys::generate()?;
    /// # let text = format!(r#"
    /// #     format = 1
    /// #     fabric = "doc"
    /// #     [services.web]
    /// #     endpoint = "ipc://@doc-run"
    /// #     key = "{}"
    /// #     topics = ["org.example.#"]
    /// # "#, key.public());
    /// # let directory = selvedge::directory::Directory::from_text("endpoints.toml", &text)
    /// #     .map_err(|problems| format!("{problems:?}"))?;
    /// # let directory = tokio::sync::watch::channel(std::sync::Arc::new(directory)).1;
    /// # let folder = tempfile::tempdir()?;
    /// # let state = folder.path();
    /// # let mut options = publisher::Options::new("web".parse()?, key);
    /// # options.state = state.into();
    /// # let publisher = Publisher::start(directory.clone(), options)?;
    /// # let shutdown = tokio_util::sync::CancellationToken::new();
    /// # let stop = shutdown.clone();
    /// async fn index(event: Event) -> Result<(), Box<dyn std::error::Error>> {
    ///     match event {
    ///         Event::Message(message) => {
    ///             let (user, attempts): (String, u32) = message.decode()?;
    ///             println!("{}: {user} {attempts}", message.topic());
    ///         }
    ///         Event::Lost(lost) => eprintln!("{} to {} are lost", lost.from, lost.to),
    ///     }
    ///     Ok(())
    /// }
    /// let subscriber = Subscriber::to(directory)
    ///     .name("indexer".parse()?)
    ///     .state(state)
    ///     .start(Start::Oldest)
    ///     .connect()?;
    /// # tokio::spawn(async move {
    /// #     publisher.listeners(&"org.example.web.login".parse().unwrap()).await;
    /// #     publisher.publish("org.example.web.login", &("amy", 7)).unwrap();
    /// #     std::future::pending::<()>().await;
    /// # });
    /// # let index = |event| { stop.cancel(); index(event) };
    /// subscriber.run(index, shutdown).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run<H, F>(
        mut self,
        mut handler: H,
        shutdown: CancellationToken,
    ) -> Result<(), RunError>
    where
        H: FnMut(Event) -> F,
        F: Future,
        F::Output: Into<Outcome>,
    {
        self.acks = Acks::OnNext; // here it is known better what was handled
        self.taken.take().into_iter().for_each(|ticket| self.handled(ticket));
        let ended = self.each(&mut handler, &shutdown).await;
        let flushed = self.flush().await;
        ended?;
        Ok(flushed?)
    }

    async fn each<H, F>(
        &mut self,
        handler: &mut H,
        shutdown: &CancellationToken,
    ) -> Result<(), RunError>
    where
        H: FnMut(Event) -> F,
        F: Future,
        F::Output: Into<Outcome>,
    {
        let mut lanes: BTreeMap<KeyId, Lane> = BTreeMap::new();
        loop {
            let due = lanes.iter().map(|(key, lane)| (lane.due, *key)).min();
            let behind: usize = lanes.values().map(|lane| lane.queue.len()).sum();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = at(due) => {}
                taken = poll_fn(|cx| self.poll_taken(cx)), if behind < BEHIND => {
                    let Some((event, ticket)) = taken else { return Ok(()) };
                    let key = key_of(&event);
                    if let Some(lane) = lanes.get_mut(&key) {
                        lane.queue.push_back((event, ticket));
                        continue;
                    }
                    let outcome = handler(event.clone()).await.into();
                    if let Some(due) = self.settle(&event, ticket, 1, outcome)? {
                        let queue = VecDeque::from([(event, ticket)]);
                        lanes.insert(key, Lane { queue, tries: 1, due });
                    }
                    continue;
                }
            }
            let Some(mut lane) = due.and_then(|(_, key)| lanes.remove(&key)) else { continue };
            let Some((event, ticket)) = lane.queue.pop_front() else { continue };
            lane.tries += 1;
            let outcome = handler(event.clone()).await.into();
            let key = key_of(&event);
            match self.settle(&event, ticket, lane.tries, outcome)? {
                Some(due) => {
                    lane.queue.push_front((event, ticket));
                    lane.due = due;
                }
                // The next one's turn, at once.
                None => lane.tries = 0,
            }
            if !lane.queue.is_empty() {
                lanes.insert(key, lane);
            }
        }
    }

    /// Does what the handler says after its try number `tries`; returns when to try again.
    fn settle(
        &mut self,
        event: &Event,
        ticket: Option<Ticket>,
        tries: u32,
        outcome: Outcome,
    ) -> Result<Option<Instant>, RunError> {
        let halted = |why| Err(RunError::Halted { event: describe(event), why });
        let (why, then) = match outcome {
            Outcome::Ack => {
                ticket.into_iter().for_each(|ticket| self.handled(ticket));
                return Ok(None);
            }
            Outcome::Retry { why, times, backoff, .. } if tries <= times => {
                tracing::warn!(event = describe(event), tries, why, "tried again later");
                let doublings = 1_u32.checked_shl(tries - 1).unwrap_or(u32::MAX);
                let wait = backoff.saturating_mul(doublings).min(BACKOFF_MAX);
                return Ok(Some(Instant::now() + wait));
            }
            Outcome::Retry { why, then, .. } => (why, then),
            Outcome::DeadLetter { why } => (why, Exhausted::DeadLetter),
            Outcome::Halt { why } => (why, Exhausted::Halt),
        };
        match (then, event) {
            (Exhausted::DeadLetter, Event::Message(message)) => {
                tracing::warn!(event = describe(event), tries, why, "dead letter");
                self.dead_letter(message, tries, &why)?;
                Ok(None)
            }
            _ => halted(why),
        }
    }
}

fn key_of(event: &Event) -> KeyId {
    match event {
        Event::Message(message) => message.key,
        Event::Lost(lost) => lost.key,
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Message(message) => message.id(),
        Event::Lost(lost) => {
            let name = &lost.publisher;
            format!("the loss of {name}/{} up to {name}/{}", lost.from, lost.to)
        }
    }
}

async fn at(due: Option<(Instant, KeyId)>) {
    match due {
        Some((due, _)) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
