//! Reads a foreign publisher, and publishes what it says under the bridge's own name.
//!
//! While the fabric's intake is full the foreign side is not read: a PUSH waits then, and a PUB
//! drops. What is said while there is no connection is a PUB's loss, too. ZeroMQ numbers nothing,
//! so none of this shows; what the bridge has taken is a message like any other.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use selvedge::headers::BadHeaders;
use selvedge::publisher::{PublishError, Unsent};
use selvedge::{Outgoing, Publisher};
use tokio_util::sync::CancellationToken;
use zeromq::{Endpoint, ZmqError};

use super::counters::{Log, count};
use super::link::Link;
use super::translation::{Translated, Translation};
use super::{Dropped, Prefix};

pub use super::counters::FromCounters as Counters;

/// How long what was read may take to be written after the shutdown.
const DRAIN: Duration = Duration::from_secs(30);

/// What to read, and as what to say it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The foreign side.
    pub endpoint: Endpoint,
    /// Which socket to be.
    pub kind: Kind,
    /// Whether to bind the endpoint, for peers that connect.
    pub bind: bool,
    /// How topics change; unless set they stay.
    pub prefix: Option<Prefix>,
    /// What the signed header `origin` says; the endpoint unless set.
    pub origin: Option<String>,
    /// When to connect anew because nothing came; what is on its way in that moment is lost. Not
    /// for what is bound.
    pub idle: Option<Duration>,
}

/// What the bridge's socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For a PUB.
    Sub,
    /// For a PUSH.
    Pull,
}

impl Config {
    /// Connects to a PUB, with defaults for all else.
    pub fn new(endpoint: Endpoint) -> Config {
        Config { endpoint, kind: Kind::Sub, bind: false, prefix: None, origin: None, idle: None }
    }
}

/// Why a bridge cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot be bound.
    #[error("cannot bind {endpoint}: {error}")]
    Bind {
        /// Which.
        endpoint: Endpoint,
        /// What the crate says.
        error: ZmqError,
    },
    /// The origin does not fit into headers.
    #[error("the origin is too long: {0}")]
    Origin(BadHeaders),
    /// The fabric takes no more messages.
    #[error("cannot publish: {0}")]
    Publish(PublishError),
    /// What was read could not be written in time, or the service's journal did not take it.
    #[error("not all that was read was sent: {0}")]
    Unsent(Unsent),
}

/// A bridge that is bound, or about to connect.
pub struct Node {
    publisher: Publisher,
    link: Link,
    translation: Translation,
    counters: Arc<Counters>,
    log: Log,
}

/// Runs a bridge until `shutdown`, then goes on writing what waits for at most 30 s, and closes the
/// publisher.
///
/// # Errors
/// [`Error`]; nothing that the foreign side says is one.
pub async fn run(
    publisher: Publisher,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    Node::start(publisher, config).await?.run(shutdown).await
}

impl Node {
    /// Binds if that is asked for. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Bind`] or [`Error::Origin`].
    pub async fn start(publisher: Publisher, config: Config) -> Result<Node, Error> {
        let endpoint = config.endpoint.clone();
        let origin = config.origin.clone().unwrap_or_else(|| endpoint.to_string());
        let translation = Translation::new(config.prefix.clone(), origin).map_err(Error::Origin)?;
        let counters = Arc::new(Counters::default());
        let link = Link::new(config, counters.clone()).await;
        let link = link.map_err(|error| Error::Bind { endpoint, error })?;
        Ok(Node { publisher, link, translation, counters, log: Log::default() })
    }

    /// What it does, readable while it runs.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Until `shutdown`, and the drain after it.
    ///
    /// # Errors
    /// [`Error::Publish`] or [`Error::Unsent`].
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let failed = shutdown.run_until_cancelled(self.pump()).await;
        let Node { publisher, link, .. } = self;
        drop(link);
        let unsent = publisher.close(DRAIN).await;
        match failed {
            Some(Err(error)) => Err(Error::Publish(error)),
            None => unsent.map_err(Error::Unsent),
        }
    }

    async fn pump(&mut self) -> Result<Infallible, PublishError> {
        loop {
            let frames = self.link.next().await;
            for translated in self.translation.of(&frames) {
                let why = match translated {
                    Ok(translated) => match self.publish(translated).await {
                        Ok(()) => continue,
                        Err(error) => dropped(error)?,
                    },
                    Err(why) => why,
                };
                self.counters.dropped(why);
                self.log.tell(why, frames.first().map_or(&[], |frame| &frame[..]));
            }
        }
    }

    /// Says one message, once there is room.
    async fn publish(&mut self, translated: Translated) -> Result<(), PublishError> {
        let Translated { topic, ctype, body, extension, headers_left_out } = translated;
        let message = Outgoing::raw(topic, ctype, body)?.extension(extension)?;
        while let Err(error) = self.publisher.send(message.clone()) {
            match error {
                PublishError::Full => self.publisher.ready().await,
                error => return Err(error),
            }
        }
        count(&self.counters.published);
        if headers_left_out {
            count(&self.counters.headers_left_out);
        }
        Ok(())
    }
}

/// What the message is dropped for, unless the error is the bridge's.
fn dropped(error: PublishError) -> Result<Dropped, PublishError> {
    match error {
        PublishError::Denied { .. } | PublishError::Scheme(_) => Ok(Dropped::Denied),
        PublishError::BodyTooLarge { .. } => Ok(Dropped::TooLarge),
        error => Err(error),
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from::Node({:?})", self.publisher)
    }
}
