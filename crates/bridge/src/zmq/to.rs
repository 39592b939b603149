//! Puts messages of the fabric out on a plain PUB socket: `[topic][JSON]`.
//!
//! For consumers that know nothing of Selvedge. They believe the bridge; a PUB gives them what
//! comes while they are connected, and drops what they do not keep up with, uncounted. What the
//! fabric lost is logged here and counted.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use selvedge::{Event, Message, Subscriber};
use tokio_util::sync::CancellationToken;
use zeromq::{Endpoint, PubSocket, Socket as _, SocketSend as _, ZmqError, ZmqMessage};

use super::counters::count;

pub use super::counters::ToCounters as Counters;

/// Where to put messages out, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to bind.
    pub endpoint: Endpoint,
    /// Messages whose signed header `origin` is this are left out.
    pub origin: Option<String>,
    /// Appends a message as one JSON object. It must have the fields `id`, `publisher`, `epoch` and
    /// `seq` at its top level: they tell [`from`](super::from) that it was in a fabric before.
    pub write: fn(&Message, &mut Vec<u8>),
}

/// The endpoint cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {endpoint}: {error}")]
pub struct BindError {
    /// Which.
    pub endpoint: Endpoint,
    /// What the crate says.
    pub error: ZmqError,
}

/// A bridge that is bound and not running yet.
pub struct Node {
    subscriber: Subscriber,
    socket: PubSocket,
    config: Config,
    counters: Arc<Counters>,
}

/// Runs a bridge until `shutdown`.
///
/// # Errors
/// If the endpoint cannot be bound.
pub async fn run(
    subscriber: Subscriber,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), BindError> {
    Node::start(subscriber, config).await?.run(shutdown).await;
    Ok(())
}

impl Node {
    /// Binds. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the endpoint cannot be bound.
    pub async fn start(subscriber: Subscriber, config: Config) -> Result<Node, BindError> {
        let mut socket = PubSocket::new();
        match socket.bind(&config.endpoint.to_string()).await {
            Ok(endpoint) => {
                let config = Config { endpoint, ..config };
                Ok(Node { subscriber, socket, config, counters: Arc::default() })
            }
            Err(error) => Err(BindError { endpoint: config.endpoint, error }),
        }
    }

    /// What is bound, with the port that the system chose for port 0.
    pub fn endpoint(&self) -> &Endpoint {
        &self.config.endpoint
    }

    /// What it does, readable while it runs.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some(Some(event)) = shutdown.run_until_cancelled(self.subscriber.next()).await {
            match event {
                Event::Message(message) if self.is_from_there(&message) => {
                    count(&self.counters.left_out);
                }
                Event::Message(message) => self.put_out(&message).await,
                Event::Lost(lost) => {
                    count(&self.counters.lost_ranges);
                    let (publisher, reason) = (&lost.publisher, lost.reason.label());
                    tracing::warn!("lost of {publisher}, {} to {}: {reason}", lost.from, lost.to);
                }
            }
        }
    }

    fn is_from_there(&self, message: &Message) -> bool {
        let origin = || message.headers().ok()?.origin;
        self.config.origin.is_some() && origin() == self.config.origin
    }

    async fn put_out(&mut self, message: &Message) {
        let mut json = Vec::new();
        (self.config.write)(message, &mut json);
        let mut frames = ZmqMessage::from(message.topic().as_bytes().clone());
        frames.push_back(Bytes::from(json));
        match self.socket.send(frames).await {
            Ok(()) => count(&self.counters.put_out),
            Err(error) => tracing::warn!("cannot put out {message}: {error}"),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to::Node({})", self.config.endpoint)
    }
}
