//! Subscribing: a stream of verified messages and of what was lost.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use selvedge_core::directory::Directory;
use selvedge_core::limits::INBOX_BYTES;
use selvedge_core::subscriber::{Delivery, Lost, Output};
use selvedge_core::topic::{Name, Pattern};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::counters::LinkCounters;
use crate::inlet::{self, Inlet, Notices};
use crate::message::{Event, Message};

/// What a packet that waits is charged beside its bytes: about what is noted about it, which is
/// several times more than a small one.
const NOTED: usize = 1_024;

/// What to hear. Start with [`Subscriber::to`].
#[derive(Debug)]
pub struct Builder {
    directory: watch::Receiver<Arc<Directory>>,
    options: inlet::Options,
}

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
/// let mut subscriber = Subscriber::to(directory).pattern("org.example.#".parse()?).connect();
/// # publisher.listeners(&"org.example.web.login".parse()?).await;
/// # publisher.publish("org.example.web.login", &("amy", 7))?;
/// if let Some(Event::Message(message)) = subscriber.next().await {
///     let (user, attempts): (String, u32) = message.decode()?;
///     println!("{}: {user} {attempts}", message.topic);
/// #   assert_eq!((user.as_str(), attempts), ("amy", 7));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscriber {
    batches: mpsc::UnboundedReceiver<Batch>,
    ready: VecDeque<Event>,
    /// What the events in `ready` were charged.
    charged: usize,
    inbox: Arc<Inbox>,
    counters: Arc<LinkCounters>,
    _task: AbortOnDropHandle<()>,
}

/// What one turn of the inlet brought.
#[derive(Debug)]
struct Batch {
    items: Vec<Item>,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Delivery(Delivery),
    Lost(Lost),
}

/// How much waits for the application.
#[derive(Debug, Default)]
struct Inbox {
    bytes: AtomicUsize,
    taken: Notify,
}

impl Builder {
    /// Also the topics that this pattern matches. Without any, all topics.
    pub fn pattern(mut self, pattern: Pattern) -> Builder {
        self.options.patterns.push(pattern);
        self
    }

    /// Only what these services say; may be said several times.
    pub fn from(mut self, service: Name) -> Builder {
        self.options.from.push(service);
        self
    }

    /// Through this relay instead of directly; may be said several times.
    pub fn via(mut self, relay: Name) -> Builder {
        self.options.via.push(relay);
        self.options.direct = false;
        self
    }

    /// Tell what happens to links.
    pub fn notices(mut self, notices: Notices) -> Builder {
        self.options.notices = notices;
        self
    }

    /// The largest body to accept, up to 16 MiB; 1 MiB unless said.
    pub fn body_bytes(mut self, bytes: usize) -> Builder {
        self.options.body_bytes = bytes;
        self
    }

    /// Connects to all that may say what is wanted, now and as the directory changes. Must be
    /// called within a tokio runtime.
    pub fn connect(mut self) -> Subscriber {
        if self.options.patterns.is_empty() {
            self.options.patterns.push(Pattern::all());
        }
        let patterns = self.options.patterns.clone();
        let inlet = Inlet::new(self.directory, self.options);
        let (sender, batches) = mpsc::unbounded_channel();
        let inbox = Arc::new(Inbox::default());
        let counters = inlet.counters();
        let task = tokio::spawn(run(inlet, patterns, sender, inbox.clone(), counters.clone()));
        Subscriber {
            batches,
            ready: VecDeque::new(),
            charged: 0,
            inbox,
            counters,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl Subscriber {
    /// Begins to say what to hear from the services in this directory.
    pub fn to(directory: watch::Receiver<Arc<Directory>>) -> Builder {
        let options = inlet::Options { patterns: Vec::new(), ..inlet::Options::default() };
        Builder { directory, options }
    }

    /// The next event; `None` only if the runtime is shutting down. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// What happened on links so far.
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            self.inbox.give_back(std::mem::take(&mut self.charged));
            match self.batches.poll_recv(cx) {
                Poll::Ready(Some(batch)) => self.open(batch),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn open(&mut self, batch: Batch) {
        self.charged = batch.bytes;
        for item in batch.items {
            match item {
                Item::Delivery(delivery) => {
                    for message in Message::all(&delivery) {
                        // Its publisher's fault; the body is good, so it is handed over.
                        if message.headers().is_err() {
                            self.counters.bad_extension();
                        }
                        self.ready.push_back(Event::Message(message));
                    }
                }
                Item::Lost(lost) => self.ready.push_back(Event::Lost(lost)),
            }
        }
    }
}

impl Stream for Subscriber {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}

impl Inbox {
    fn charge(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 && self.bytes.fetch_sub(bytes, Ordering::AcqRel) >= INBOX_BYTES {
            self.taken.notify_one();
        }
    }

    async fn room(&self) {
        while self.bytes.load(Ordering::Acquire) >= INBOX_BYTES {
            self.taken.notified().await; // one permit is kept, so none is missed
        }
    }
}

/// Turns the inlet and hands on what is wanted, until nobody listens.
async fn run(
    mut inlet: Inlet,
    patterns: Vec<Pattern>,
    batches: mpsc::UnboundedSender<Batch>,
    inbox: Arc<Inbox>,
    counters: Arc<LinkCounters>,
) {
    let mut outputs = Vec::new();
    loop {
        inbox.room().await;
        inlet.turn(&mut outputs).await;
        let mut batch = Batch { items: Vec::new(), bytes: 0 };
        for output in outputs.drain(..) {
            match output {
                Output::Deliver(mut delivery) => {
                    let bytes = keep_wanted(&mut delivery, &patterns, &counters);
                    if !delivery.packets.is_empty() {
                        batch.bytes += bytes;
                        batch.items.push(Item::Delivery(delivery));
                    }
                }
                Output::Lost(lost) => {
                    batch.bytes += 64;
                    batch.items.push(Item::Lost(lost));
                }
                Output::Passed { .. }
                | Output::Started { .. }
                | Output::Tip(_)
                | Output::Ask { .. }
                | Output::Superseded { .. } => {}
            }
        }
        if batch.items.is_empty() {
            continue;
        }
        inbox.charge(batch.bytes);
        if batches.send(batch).is_err() {
            return;
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
