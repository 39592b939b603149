//! Publishing: one socket, signed messages, nobody waited for.

mod intake;
mod node;
mod way;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use selvedge_core::directory::{Directory, Durability, OutsideScheme, Scheme};
use selvedge_core::fanout;
use selvedge_core::limits::{BODY_BYTES, BODY_BYTES_HARD, HOLD_BYTES, INTAKE_BYTES};
use selvedge_core::seal::{Draft, Identity, SecretKey};
use selvedge_core::topic::{Name, Pattern, Topic};
use selvedge_core::{KeyId, Position};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::wall;
use crate::counters::PeerCounters;
use crate::courier::Courier;
use crate::fork;
use crate::journal::{self, Journal};
use crate::message::{BadMessage, Outgoing};
use crate::net::Listener;
use crate::outlet::{self, Outlet};
use crate::state;
use crate::voice::{self, Voice};
use intake::{Intake, NotTaken};
use node::{Command, Node, Sent};
use way::Way;

pub use crate::voice::StartError;

/// How a publisher is to be. `Options::new` has what must be said; the rest has defaults.
#[derive(Debug)]
pub struct Options {
    /// The service's name in the directory.
    pub name: Name,
    /// Its private key; the directory has the public half.
    pub key: SecretKey,
    /// The folder of its state; [`state::default_folder`] unless set.
    pub state: PathBuf,
    /// A listener bound already, instead of the directory's `bind` or `endpoint`.
    pub listener: Option<Listener>,
    /// Bind nothing, and offer what is said to the first of these relays that can be reached:
    /// [`Receipt::sent`] then waits until that has it on its disk.
    pub via: Vec<Name>,
    /// The folder of its journal, instead of what the directory says.
    pub journal: Option<PathBuf>,
    /// Bytes accepted and not yet signed at most; with `hold`, no more than 4 MiB.
    pub intake_bytes: usize,
    /// Largest body, up to 16 MiB. Subscribers accept 1 MiB unless told otherwise.
    pub body_bytes: usize,
    /// Bounds of the queues for peers.
    pub queues: fanout::Config,
    /// Whether to sign no more while 4 MiB wait for peers. [`Publisher::publish`] is then `Full` at
    /// the pace of the slowest peer, instead of that peer missing messages: for batch jobs. A peer
    /// that hangs is cut off after ten seconds either way.
    pub hold: bool,
}

impl Options {
    /// With defaults for all but name and key.
    pub fn new(name: Name, key: SecretKey) -> Options {
        Options {
            name,
            key,
            state: state::default_folder(),
            listener: None,
            via: Vec::new(),
            journal: None,
            intake_bytes: INTAKE_BYTES,
            body_bytes: BODY_BYTES,
            queues: fanout::Config::default(),
            hold: false,
        }
    }
}

/// Why a message was not accepted. Nothing of it was or will be sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The message cannot be made.
    #[error(transparent)]
    Message(#[from] BadMessage),
    /// Topics that start with `$` are the fabric's own.
    #[error("{0} starts with $: such topics are the fabric's own")]
    Reserved(Topic),
    /// The directory does not allow the service this topic; no subscriber would believe it.
    #[error("the directory does not allow {name} the topic {topic}; it may say {allowed}")]
    Denied {
        /// The service.
        name: Name,
        /// The topic.
        topic: Topic,
        /// Its patterns.
        allowed: String,
    },
    /// The topic is not of the directory's scheme.
    #[error(transparent)]
    Scheme(#[from] OutsideScheme),
    /// The body is larger than this publisher allows.
    #[error("a body of {bytes} bytes; this publisher allows {limit}")]
    BodyTooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Too much is waiting to be signed; wait with [`Publisher::ready`].
    #[error("the intake is full; wait until it is ready")]
    Full,
    /// The message is to be on the disk before it is sent, and the service keeps no journal.
    #[error("{0} keeps no journal; set journal = true in its entry of the directory")]
    NoJournal(Name),
    /// The publisher was closed, or its runtime is gone.
    #[error("the publisher is closed")]
    Closed,
    /// This process was forked after the publisher was made; the parent has its socket and task.
    #[error("this process was forked: make a publisher of its own in the child")]
    Forked,
}

/// Why a message that was accepted was not sent, and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The journal did not take it; the log says why. Subscribers are told that its number is void.
    #[error("the journal did not take the message: it was not sent")]
    NotKept,
    /// The publisher was closed before.
    #[error("the publisher was closed before the message was sent")]
    Closed,
}

/// Messages that were accepted and not written to every matching subscriber in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{unsigned} messages not signed yet, {unwritten} not written to a subscriber, {unkept} not \
     taken by the journal"
)]
pub struct Unsent {
    /// Accepted and not signed.
    pub unsigned: u64,
    /// Signed and waiting for a peer, once for each peer.
    pub unwritten: u64,
    /// Not taken by the journal, since the publisher started: they are never sent.
    pub unkept: u64,
}

/// Publishes signed messages. Cheap to clone; all clones speak on one stream, and the messages of
/// one thread keep their order. The socket closes with the last clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use selvedge::{Publisher, keys, publisher};
/// # let key = keys::generate()?;
/// # let text = format!(r#"
/// #     format = 1
/// #     fabric = "doc"
/// #     [services.web]
/// #     endpoint = "ipc://@doc-publisher"
/// #     key = "{}"
/// #     topics = ["org.example.#"]
/// # "#, key.public());
/// # let directory = selvedge::directory::Directory::from_text("endpoints.toml", &text)
/// #     .map_err(|problems| format!("{problems:?}"))?;
/// # let directory = tokio::sync::watch::channel(std::sync::Arc::new(directory)).1;
/// # let state = tempfile::tempdir()?;
/// let mut options = publisher::Options::new("web".parse()?, key);
/// # options.state = state.path().into();
/// let publisher = Publisher::start(directory, options)?;
/// publisher.publish("org.example.web.login", &("amy", 7))?;
/// publisher.close(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    intake: Intake,
    commands: mpsc::UnboundedSender<Command>,
    permitted: ArcSwap<Permitted>,
    sent: watch::Receiver<Sent>,
    counters: Arc<PeerCounters>,
    epoch: u64,
    name: Name,
    key: KeyId,
    /// Unless a message says otherwise; none: there is no journal.
    durability: Option<Durability>,
    body_bytes: usize,
    forks: u32,
    local_addr: Option<std::net::SocketAddr>,
}

/// What the directory lets this service say now.
#[derive(Debug)]
struct Permitted {
    topics: Arc<[Pattern]>,
    scheme: Option<Scheme>,
}

impl Publisher {
    /// Binds the service's socket and begins a new epoch. Follows changes of the directory.
    /// Must be called within a tokio runtime, which runs the publisher's one task and one more for
    /// each peer.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub fn start(
        directory: watch::Receiver<Arc<Directory>>,
        options: Options,
    ) -> Result<Publisher, StartError> {
        let now = directory.borrow().clone();
        let unknown = |kind, name: &Name| StartError::Unknown { kind, name: name.clone() };
        let name = options.name.clone();
        let service = now.service(name.as_str()).ok_or_else(|| unknown("service", &name))?;
        voice::entitled(&now, &name, &options.key, &service.keys)?;
        let missing = options.via.iter().find(|relay| now.relay(relay.as_str()).is_none());
        if let Some(relay) = missing {
            return Err(unknown("relay", relay));
        }
        let (given, offers) = (options.listener, !options.via.is_empty());
        let bind = || voice::listener(given, &name, service.bind.as_ref(), &service.endpoints);
        let listener = if offers { None } else { Some(bind()?) };
        let local_addr = listener.as_ref().and_then(Listener::local_addr);
        let fabric = now.fabric().clone();
        let identity = Identity { fabric, publisher: name.clone(), key: options.key };
        let folder = journal::folder(&service.journal, &options.state, &name);
        let folder = options.journal.or(folder);
        let journal = folder.map(|folder| Journal::open(&folder, &identity, &service.retain));
        let journal = journal.transpose()?;
        let kept = journal.is_some().then(|| service.durability.unwrap_or(Durability::Log));
        let reader = journal.as_ref().map(Journal::reader);
        let voice = Voice::begin(identity, &options.state, service.pack, journal, offers)?;
        let (key, next) = (voice.key_id(), voice.sent());
        let way = match listener {
            Some(listener) => {
                let queues = options.queues;
                let serves = outlet::Options { queues, journal: reader, offers: false };
                let mut outlet = Outlet::new(listener, serves);
                outlet.passed(key, next);
                Way::Outlet(outlet)
            }
            None => Way::Courier(Courier::new(directory.clone(), options.via, key, next, reader)),
        };
        // Who is held up is faster than his peers: what waits here only grows stale, and cold.
        let most = if options.hold { HOLD_BYTES } else { usize::MAX };
        let (intake, outtake) = intake::intake(options.intake_bytes.min(most));
        let (commands, orders) = mpsc::unbounded_channel();
        let (progress, sent) = watch::channel(Sent::default());
        let shared = Arc::new(Shared {
            intake,
            commands,
            permitted: ArcSwap::from_pointee(Permitted::now(&now, &name, key)),
            sent,
            counters: way.counters(),
            epoch: next.epoch,
            name,
            key,
            durability: kept,
            body_bytes: options.body_bytes.min(BODY_BYTES_HARD),
            forks: fork::count(),
            local_addr,
        });
        let node = Node::new(voice, way, outtake, orders, progress, options.hold || offers);
        tokio::spawn(node.run());
        tokio::spawn(follow(directory, Arc::downgrade(&shared)));
        Ok(Publisher { shared })
    }

    /// Says `value` on `topic`, as MessagePack. Never waits.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was sent then.
    pub fn publish<T>(&self, topic: T, value: &impl Serialize) -> Result<Receipt, PublishError>
    where
        T: TryInto<Topic>,
        BadMessage: From<T::Error>,
    {
        self.send(Outgoing::value(topic, value)?)
    }

    /// Says a message of any content type, with or without headers. Never waits.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was sent then.
    pub fn send(&self, message: Outgoing) -> Result<Receipt, PublishError> {
        let (draft, durable) = self.draft(message)?;
        match self.shared.intake.put(draft, durable) {
            Ok(seq) => Ok(self.receipt(seq)),
            Err((NotTaken::Full, _)) => Err(PublishError::Full),
            Err((NotTaken::Closed, _)) => Err(PublishError::Closed),
        }
    }

    /// The same, but waits while the intake is full: for whoever has more to say than is taken at
    /// once, as with [`Options::hold`]. Nothing was accepted if it is cancelled.
    ///
    /// # Errors
    /// [`PublishError`], but not `Full`; nothing was sent then.
    pub async fn send_when_ready(&self, message: Outgoing) -> Result<Receipt, PublishError> {
        let (draft, durable) = self.draft(message)?;
        // In a box, so that what need not wait is not kept where it could.
        let mut refused = match self.shared.intake.put(draft, durable) {
            Ok(seq) => return Ok(self.receipt(seq)),
            Err((NotTaken::Full, draft)) => Box::new(draft),
            Err((NotTaken::Closed, _)) => return Err(PublishError::Closed),
        };
        loop {
            self.ready().await;
            *refused = match self.shared.intake.put(*refused, durable) {
                Ok(seq) => return Ok(self.receipt(seq)),
                Err((NotTaken::Full, draft)) => draft,
                Err((NotTaken::Closed, _)) => return Err(PublishError::Closed),
            };
        }
    }

    /// What a message becomes, and whether it has to be on the disk before it is sent.
    #[inline]
    fn draft(&self, message: Outgoing) -> Result<(Draft, bool), PublishError> {
        let shared = &self.shared;
        if fork::count() != shared.forks {
            return Err(PublishError::Forked);
        }
        self.check(&message.topic)?;
        if message.body.len() > shared.body_bytes {
            let (bytes, limit) = (message.body.len(), shared.body_bytes);
            return Err(PublishError::BodyTooLarge { bytes, limit });
        }
        let Outgoing { topic, ctype, body, extension, durability } = message;
        let durability = durability.or(shared.durability);
        if durability == Some(Durability::Log) && shared.durability.is_none() {
            return Err(PublishError::NoJournal(shared.name.clone()));
        }
        let draft = Draft { topic, ctype, time: wall(), extension, body };
        Ok((draft, durability == Some(Durability::Log)))
    }

    fn receipt(&self, seq: u64) -> Receipt {
        Receipt { seq, shared: self.shared.clone() }
    }

    /// Whether this service may say anything on `topic` now, as [`Publisher::send`] would judge.
    ///
    /// # Errors
    /// [`PublishError::Reserved`], [`PublishError::Denied`] or [`PublishError::Scheme`].
    #[inline]
    pub fn check(&self, topic: &Topic) -> Result<(), PublishError> {
        self.shared.permitted.load().check(&self.shared.name, topic)
    }

    /// Whether it keeps a journal.
    pub fn is_journaled(&self) -> bool {
        self.shared.durability.is_some()
    }

    /// Waits until the intake has room for what was refused last.
    pub async fn ready(&self) {
        self.shared.intake.ready().await;
    }

    /// Waits until somebody listens to `topic`; returns how many do. 0: the publisher is closed.
    pub async fn listeners(&self, topic: &Topic) -> usize {
        self.ask(|reply| Command::Listeners(topic.clone(), reply)).await.unwrap_or(0)
    }

    /// Waits until all that was accepted so far is written to the sockets of all matching peers.
    ///
    /// # Errors
    /// [`Unsent`] says what was still waiting at the deadline; it goes on being sent.
    pub async fn flush(&self, deadline: Duration) -> Result<(), Unsent> {
        let flushed = self.ask(|reply| Command::Flush(deadline, reply)).await;
        flushed.unwrap_or(Err(self.lost()))
    }

    /// Accepts nothing more, signs and writes what was accepted, sends a last tip, and closes the
    /// socket, at the deadline in any case.
    ///
    /// # Errors
    /// [`Unsent`] says what was not sent.
    pub async fn close(self, deadline: Duration) -> Result<(), Unsent> {
        self.shared.intake.close();
        let closed = self.ask(|reply| Command::Close(deadline, reply)).await;
        closed.unwrap_or(Ok(())) // closed before, by another clone
    }

    /// What happened to peers so far.
    pub fn counters(&self) -> &PeerCounters {
        &self.shared.counters
    }

    /// Messages accepted so far: the number that the next one will have.
    pub fn accepted(&self) -> u64 {
        self.shared.intake.tickets()
    }

    /// This start's epoch.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The address that TCP is bound to.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.shared.local_addr
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.commands.send(command(reply)).ok()?;
        answer.await.ok()
    }

    /// Everything accepted and not sent, once the task is gone.
    fn lost(&self) -> Unsent {
        let sent = self.shared.sent.borrow();
        let unsigned = self.accepted().saturating_sub(sent.next);
        Unsent { unsigned, unwritten: 0, unkept: sent.unkept }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({}/{})", self.shared.name, self.shared.epoch)
    }
}

/// The number of an accepted message, and the way to learn that it was sent.
#[derive(Clone)]
pub struct Receipt {
    seq: u64,
    shared: Arc<Shared>,
}

impl Receipt {
    /// The message's place in its publisher's stream.
    pub fn position(&self) -> Position {
        Position::new(self.shared.epoch, self.seq)
    }

    /// `publisher/epoch/seq`: names the message for ever.
    pub fn id(&self) -> String {
        format!("{}/{}", self.shared.name, self.position())
    }

    /// Waits until the message is signed and handed to the queues of all matching peers. Of a
    /// service with a journal, it is kept then: on the disk if its durability is `log`, in the
    /// kernel's hands if it is `buffered`, which survives the end of the process. Of one without,
    /// nothing is promised to subscribers that are not connected. If it is offered to relays, it is
    /// on the disk of one of them.
    ///
    /// # Errors
    /// [`NotSent`]: nobody gets it.
    pub fn sent(&self) -> impl Future<Output = Result<(), NotSent>> + Send + 'static {
        let (seq, mut sent) = (self.seq, self.shared.sent.clone());
        async move {
            let sent = sent.wait_for(|sent| sent.next > seq).await.map_err(|_| NotSent::Closed)?;
            match sent.has_failed(seq) {
                true => Err(NotSent::NotKept),
                false => Ok(()),
            }
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.id())
    }
}

impl Permitted {
    /// Nothing, once the service or its key is gone from the directory, or the key is revoked.
    fn now(directory: &Directory, name: &Name, key: KeyId) -> Permitted {
        let believed = directory.speaker(key).is_ok_and(|speaker| speaker.name == *name);
        let service = directory.service(name.as_str()).filter(|_| believed);
        let topics = service.map_or_else(|| Arc::from([]), |service| service.topics.clone());
        Permitted { topics, scheme: directory.scheme().cloned() }
    }

    fn check(&self, name: &Name, topic: &Topic) -> Result<(), PublishError> {
        if topic.is_reserved() {
            return Err(PublishError::Reserved(topic.clone()));
        }
        if !self.topics.iter().any(|pattern| pattern.matches(topic)) {
            let allowed: Vec<&str> = self.topics.iter().map(Pattern::as_str).collect();
            let allowed = match allowed.is_empty() {
                true => "nothing: its entry is gone, or this key of it".to_owned(),
                false => allowed.join(", "),
            };
            let (name, topic) = (name.clone(), topic.clone());
            return Err(PublishError::Denied { name, topic, allowed });
        }
        match &self.scheme {
            Some(scheme) => Ok(scheme.check(topic)?),
            None => Ok(()),
        }
    }
}

/// Keeps what may be said in line with the directory while the publisher lives.
async fn follow(mut directory: watch::Receiver<Arc<Directory>>, shared: std::sync::Weak<Shared>) {
    while directory.changed().await.is_ok() {
        let now = directory.borrow_and_update().clone();
        let Some(shared) = shared.upgrade() else { return };
        shared.permitted.store(Arc::new(Permitted::now(&now, &shared.name, shared.key)));
    }
}
