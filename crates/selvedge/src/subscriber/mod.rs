//! Subscribing: a stream of verified messages and of what was lost.

mod builder;
mod inbox;
mod progress;
mod run;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use selvedge_core::directory::Directory;
use selvedge_core::subscriber::Lost;
use selvedge_core::{KeyId, Position};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::counters::LinkCounters;
use crate::cursor::CursorError;
use crate::dead::{Again, LetterError, Letters};
use crate::message::{Event, Message, Messages};
pub use builder::{Builder, ConnectError, Start};
use inbox::{Batch, Inbox, Item};
use progress::{Progress, Ticket};
pub use run::{Exhausted, Outcome, RunError};

/// A stream of [`Event`]s: messages, each once and in the order of its publisher, and what was
/// lost. No order holds between publishers.
///
/// While nobody takes events, up to 64 MiB wait here; beyond that nothing more is read, and
/// publishers queue, then drop and count. Dropping it closes its connections.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use selvedge::{Event, Publisher, Subscriber, keys, publisher};
/// # let key = keys::generate()?;
/// # let text = format!(r#"
/// #     format = 1
/// #     fabric = "doc"
/// #     [services.web]
/// #     endpoint = "ipc://@doc-subscriber"
/// #     key = "{}"
/// #     topics = ["org.example.#"]
/// # "#, key.public());
/// # let directory = selvedge::directory::Directory::from_text("endpoints.toml", &text)
/// #     .map_err(|problems| format!("{problems:?}"))?;
/// # let directory = tokio::sync::watch::channel(std::sync::Arc::new(directory)).1;
/// # let state = tempfile::tempdir()?;
/// # let mut options = publisher::Options::new("web".parse()?, key);
/// # options.state = state.path().into();
/// # let publisher = Publisher::start(directory.clone(), options)?;
/// let mut subscriber = Subscriber::to(directory).pattern("org.example.#".parse()?).connect()?;
/// # publisher.listeners(&"org.example.web.login".parse()?).await;
/// # publisher.publish("org.example.web.login", &("amy", 7))?;
/// if let Some(Event::Message(message)) = subscriber.next().await {
///     let (user, attempts): (String, u32) = message.decode()?;
///     println!("{}: {user} {attempts}", message.topic());
/// #   assert_eq!((user.as_str(), attempts), ("amy", 7));
/// }
/// # Ok(())
/// # }
/// ```
///
/// # With a name
///
/// A subscriber with a [name](Builder::name) goes on where it was, after restarts and crashes. An
/// event counts as handled when the next one is asked for, or, with
/// [explicit acks](Builder::explicit_acks), when [`Subscriber::ack`] says so; what was not handled
/// comes again at the next start. How far it has come is written about every 100 ms, so a crash
/// repeats what was handled just before. [`Subscriber::run`] does all this around a handler.
#[derive(Debug)]
pub struct Subscriber {
    batches: mpsc::UnboundedReceiver<Batch>,
    ready: VecDeque<Ready>,
    /// What `ready` was charged.
    charged: usize,
    inbox: Arc<Inbox>,
    counters: Arc<LinkCounters>,
    acks: Acks,
    /// Handled as soon as the next event is asked for.
    taken: Option<Ticket>,
    /// Of a subscriber that keeps account of what was handled.
    progress: Option<Progress>,
    /// Of one with a name.
    letters: Option<Letters>,
    again: Option<Again>,
    _task: AbortOnDropHandle<()>,
}

/// When an event is handled.
#[derive(Clone, Copy, Debug)]
enum Acks {
    /// When the next one is asked for.
    OnNext,
    /// When the application says so; so many may be handed out before.
    Explicit { most: usize },
}

#[derive(Debug)]
enum Ready {
    Messages(Messages),
    Lost(Lost),
    Passed(KeyId, Position),
}

impl Subscriber {
    /// Begins to say what to hear from the services in this directory.
    pub fn to(directory: watch::Receiver<Arc<Directory>>) -> Builder {
        Builder::new(directory)
    }

    /// The next event; `None` only if the runtime is shutting down. Cancel safe.
    #[inline]
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// A message was handled. Only one that was taken from this subscriber, and once, counts.
    pub fn ack(&mut self, message: &Message) {
        self.handled(Ticket::of(message.key, message.position));
    }

    /// Puts a message aside that cannot be handled, with the reason and how often it was tried; it
    /// counts as handled then. See [`crate::dead`].
    ///
    /// # Errors
    /// If it cannot be kept, or the subscriber has no name: the message is not handled then.
    pub fn dead_letter(
        &mut self,
        message: &Message,
        tries: u32,
        why: &str,
    ) -> Result<(), LetterError> {
        self.letters.as_ref().ok_or(LetterError::NoName)?.keep(message, tries, why)?;
        self.ack(message);
        Ok(())
    }

    /// Waits until what was handled so far is on disk; without a name there is nothing to write.
    ///
    /// # Errors
    /// If the disk does not take it. It is tried again as long as the subscriber lives.
    pub async fn flush(&mut self) -> Result<(), CursorError> {
        match &self.progress {
            Some(progress) => progress.flush().await,
            None => Ok(()),
        }
    }

    /// What happened on links so far.
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(ticket) = self.taken.take() {
            self.handled(ticket);
        }
        let Some((event, ticket)) = ready!(self.poll_taken(cx)) else { return Poll::Ready(None) };
        self.taken = match (self.acks, &event) {
            (Acks::Explicit { .. }, Event::Message(_)) => None,
            _ => ticket,
        };
        Poll::Ready(Some(event))
    }

    /// The next event, and what to say once it was handled.
    #[inline]
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Event, Option<Ticket>)>> {
        if self.is_full() {
            return Poll::Pending; // ack() needs us mutably: whoever calls it asks again
        }
        if let Some(message) = self.again.as_mut().and_then(Again::next) {
            let ticket = Ticket::of(message.key, message.position);
            return Poll::Ready(Some((Event::Message(message), Some(ticket))));
        }
        loop {
            while let Some(item) = self.ready.front_mut() {
                let event = match item {
                    Ready::Messages(messages) => messages.next().map(Event::Message),
                    Ready::Lost(lost) => Some(Event::Lost(lost.clone())),
                    Ready::Passed(key, upto) => {
                        let progress = self.progress.iter_mut();
                        progress.for_each(|progress| progress.pass(*key, *upto));
                        None
                    }
                };
                if !matches!(item, Ready::Messages(_)) || event.is_none() {
                    self.ready.pop_front();
                }
                let Some(event) = event else { continue };
                // Its publisher's fault; the body is good, so it is handed over.
                let is_bad = |m: &Message| !m.extension.is_empty() && m.headers().is_err();
                if matches!(&event, Event::Message(message) if is_bad(message)) {
                    self.counters.bad_extension();
                }
                let ticket = self.progress.as_mut().map(|progress| take(progress, &event));
                return Poll::Ready(Some((event, ticket)));
            }
            self.inbox.give_back(std::mem::take(&mut self.charged));
            match ready!(self.batches.poll_recv(cx)) {
                Some(batch) => self.open(batch),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_full(&self) -> bool {
        match (self.acks, &self.progress) {
            (Acks::Explicit { most }, Some(progress)) => progress.waiting() >= most,
            _ => false,
        }
    }

    fn handled(&mut self, ticket: Ticket) {
        if self.again.as_mut().is_some_and(|again| again.done(ticket.place())) {
            return;
        }
        if let Some(progress) = &mut self.progress {
            progress.done(ticket);
        }
    }

    fn open(&mut self, batch: Batch) {
        self.charged = batch.bytes;
        for item in batch.items {
            match item {
                Item::Delivery(delivery) => {
                    let old = |progress: &mut Progress| progress.is_too_old(&delivery);
                    let (key, end) = (delivery.key, delivery.header.end());
                    if !self.progress.as_mut().is_some_and(old) {
                        self.ready.push_back(Ready::Messages(Message::all(delivery)));
                    }
                    if self.progress.is_some() {
                        self.ready.push_back(Ready::Passed(key, end));
                    }
                }
                Item::Lost(lost) => self.ready.push_back(Ready::Lost(lost)),
                Item::Passed(key, upto) => self.ready.push_back(Ready::Passed(key, upto)),
            }
        }
    }
}

fn take(progress: &mut Progress, event: &Event) -> Ticket {
    match event {
        Event::Message(message) => progress.take(message.key, message.position),
        Event::Lost(lost) => progress.take_lost(lost),
    }
}

impl Stream for Subscriber {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}
