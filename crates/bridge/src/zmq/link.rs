//! The foreign socket: connected again whenever it is lost, read one message at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};
use zeromq::{MultiPeerBackend, PullSocket, Socket, SocketEvent, SocketOptions, SocketRecv};
use zeromq::{SubSocket, ZmqError, ZmqMessage};

use super::counters::{FromCounters, count};
use super::from::{Config, Kind};

/// For a connection and its handshake together. What is refused is tried again meanwhile.
const CONNECT: Duration = Duration::from_secs(5);

/// Before connecting again: doubles from the first to the last, until a message comes.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// The way to the foreign side.
pub(super) struct Link {
    config: Config,
    counters: Arc<FromCounters>,
    /// Bound for good, or connected at the moment.
    socket: Option<Foreign>,
    /// Before the next attempt to connect.
    delay: Duration,
    /// What was logged last: a fault that stays is told once.
    told: Option<String>,
}

impl Link {
    /// Binds if that is asked for; connecting is left to [`Link::next`].
    ///
    /// # Errors
    /// If the endpoint cannot be bound.
    pub async fn new(config: Config, counters: Arc<FromCounters>) -> Result<Link, ZmqError> {
        let socket = match config.bind {
            true => Some(Foreign::open(&config).await?),
            false => None,
        };
        Ok(Link { config, counters, socket, delay: Duration::ZERO, told: None })
    }

    /// The frames of the next message, whatever happens to connections meanwhile.
    pub async fn next(&mut self) -> Vec<Bytes> {
        loop {
            let Some(socket) = &mut self.socket else {
                self.connect().await;
                continue;
            };
            let idle = self.config.idle.unwrap_or(Duration::MAX);
            match timeout(idle, socket.next()).await {
                Ok(Event::Message(message)) => {
                    (self.delay, self.told) = (DELAYS.0, None);
                    count(&self.counters.received);
                    return message.into_vec();
                }
                Ok(Event::Joined) => count(&self.counters.connected),
                Ok(Event::Left) if self.config.bind => count(&self.counters.disconnected),
                Ok(Event::Left) => self.lost("the peer has left".to_owned()),
                Ok(Event::Broken(why)) => self.lost(why),
                Err(_) if self.config.bind => {} // who comes is not ours to say
                Err(_) => self.lost(format!("no message for {} s", idle.as_secs_f64())),
            }
        }
    }

    /// One attempt.
    async fn connect(&mut self) {
        sleep(self.delay).await;
        self.delay = (2 * self.delay).clamp(DELAYS.0, DELAYS.1);
        match Foreign::open(&self.config).await {
            Ok(socket) => {
                count(&self.counters.connected);
                tracing::info!("connected to {}", self.config.endpoint);
                self.socket = Some(socket);
            }
            Err(error) => self.tell(error.to_string()),
        }
    }

    /// A peer is gone for a reason of its own or ours. What is bound has others.
    fn lost(&mut self, why: String) {
        if !self.config.bind {
            self.socket = None;
            count(&self.counters.disconnected);
        }
        self.tell(why);
    }

    fn tell(&mut self, why: String) {
        if self.told.as_ref() != Some(&why) {
            let again = if self.config.bind { "a peer was lost" } else { "no connection" };
            tracing::warn!("{}: {again}: {why}", self.config.endpoint);
            self.told = Some(why);
        }
    }
}

/// A socket of the crate's.
struct Foreign {
    socket: Box<dyn SocketRecv + Send>,
    backend: Arc<dyn MultiPeerBackend>,
    events: Box<dyn Stream<Item = SocketEvent> + Send + Unpin>,
}

enum Event {
    Message(ZmqMessage),
    /// Somebody connected to a bound socket.
    Joined,
    /// All that a peer sent was read, and it is gone.
    Left,
    /// A peer broke the protocol and is gone.
    Broken(String),
}

impl Foreign {
    async fn open(config: &Config) -> Result<Foreign, ZmqError> {
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT);
        match config.kind {
            Kind::Sub => {
                let mut socket = SubSocket::with_options(options);
                let prefix = config.prefix.as_ref();
                socket.subscribe(prefix.map_or("", |prefix| prefix.subscription())).await?;
                Foreign::attach(socket, config).await
            }
            Kind::Pull => Foreign::attach(PullSocket::with_options(options), config).await,
        }
    }

    async fn attach<S>(mut socket: S, config: &Config) -> Result<Foreign, ZmqError>
    where
        S: Socket + SocketRecv + 'static,
    {
        let (events, endpoint) = (socket.monitor(), config.endpoint.to_string());
        match config.bind {
            true => drop(socket.bind(&endpoint).await?),
            false => socket.connect(&endpoint).await?,
        }
        let backend = socket.backend();
        Ok(Foreign { socket: Box::new(socket), backend, events: Box::new(events) })
    }

    /// What happens next. Cancel safe: nothing is taken before it is returned.
    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased; // what a peer said before it left comes first
                message = self.socket.recv() => return match message {
                    Ok(message) => Event::Message(message),
                    Err(error) => Event::Broken(error.to_string()),
                },
                Some(event) = self.events.next() => match event {
                    SocketEvent::Accepted(..) => return Event::Joined,
                    SocketEvent::Disconnected(_) => return Event::Left,
                    _ => {}
                },
            }
        }
    }
}

impl Drop for Foreign {
    /// PULL sockets of the crate leave their connections open otherwise.
    fn drop(&mut self) {
        self.backend.shutdown();
    }
}
