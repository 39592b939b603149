//! One connection of an outlet: its handshake, what it says, and the rest of what is written to it.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use selvedge_core::fanout::{Answer, PeerId};
use selvedge_core::limits::{COMMAND_BYTES, HANDSHAKE};
use selvedge_core::wire::{self, Ask, Connection, Event, Fault, Frames, Limits, Peer, Role};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::accept::Slot;
use crate::counters::PeerCounters;
use crate::net::{Progress, Stream, Unwritten};

/// What the outlet hears of a peer.
#[derive(Debug)]
pub(super) enum Said {
    Connected {
        stream: Arc<Stream>,
        selvedge: bool,
        rest: mpsc::Sender<Unwritten>,
        task: AbortOnDropHandle<()>,
    },
    Subscribe(Bytes),
    Cancel(Bytes),
    Ask(Ask),
    Offer(Frames),
    /// What the journal says to an [`Said::Ask`].
    Answer(Answer),
    Ping(Bytes),
    Wrote {
        done: bool,
    },
    Gone,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("the peer closed the connection")]
    Closed,
}

/// A connection and what was read of it.
struct Link {
    stream: Arc<Stream>,
    connection: Connection,
    buffer: BytesMut,
    events: Vec<Event>,
}

/// Shakes hands within five seconds, then hands the connection to the outlet.
pub(super) async fn greet(
    id: PeerId,
    stream: Stream,
    slot: Slot,
    limits: Limits,
    events: mpsc::Sender<(PeerId, Said)>,
    counters: Arc<PeerCounters>,
) {
    let mut link = Link {
        stream: Arc::new(stream),
        connection: Connection::new(Role::Publisher, limits),
        buffer: BytesMut::new(),
        events: Vec::new(),
    };
    let peer = match tokio::time::timeout(HANDSHAKE, link.handshake()).await {
        Ok(Ok(peer)) => peer,
        Ok(Err(why)) => {
            counters.handshake_failed();
            return tracing::debug!(peer = id.0, "handshake: {why}");
        }
        Err(_) => {
            counters.handshake_failed();
            return tracing::debug!(peer = id.0, "no handshake within {HANDSHAKE:?}");
        }
    };
    drop(slot);
    let (rest, unwritten) = mpsc::channel(1);
    let (start, started) = tokio::sync::oneshot::channel();
    let stream = link.stream.clone();
    let said = events.clone();
    let task = tokio::spawn(async move {
        if started.await.is_ok() {
            let why = link.run(id, unwritten, &said, &counters).await;
            tracing::debug!(peer = id.0, "{why}");
            let _ = said.send((id, Said::Gone)).await; // an outlet that is gone does not care
        }
    });
    let task = AbortOnDropHandle::new(task);
    let said = Said::Connected { stream, selvedge: peer.selvedge, rest, task };
    if events.send((id, said)).await.is_ok() {
        let _ = start.send(()); // it waits for this, or is aborted with the outlet
    }
}

impl Link {
    async fn handshake(&mut self) -> Result<Peer, Ended> {
        self.stream.write_all(Bytes::copy_from_slice(&wire::greeting())).await?;
        loop {
            let fault = self.connection.handle(&mut self.buffer, &mut self.events).err();
            let mut ready = None;
            let mut rest = Vec::new();
            for event in self.events.drain(..) {
                match event {
                    Event::Send(bytes) => self.stream.write_all(bytes).await?,
                    Event::Ready(peer) => ready = Some(peer),
                    other => rest.push(other), // said right after the handshake
                }
            }
            self.events = rest;
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            if let Some(peer) = ready {
                return Ok(peer);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Ended> {
        loop {
            self.stream.readable().await?;
            self.buffer.reserve(COMMAND_BYTES);
            match self.stream.try_read(&mut self.buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Until the peer or the outlet ends it.
    async fn run(
        &mut self,
        id: PeerId,
        mut unwritten: mpsc::Receiver<Unwritten>,
        events: &mpsc::Sender<(PeerId, Said)>,
        counters: &PeerCounters,
    ) -> Ended {
        let stream = self.stream.clone();
        let mut pending: Option<Unwritten> = None;
        loop {
            self.report(id, events, counters).await;
            tokio::select! {
                read = self.read() => {
                    if let Err(why) = read {
                        return why;
                    }
                    if let Err(fault) = self.connection.handle(&mut self.buffer, &mut self.events) {
                        self.report(id, events, counters).await;
                        return fault.into();
                    }
                }
                rest = unwritten.recv(), if pending.is_none() => match rest {
                    Some(rest) => pending = Some(rest),
                    None => return self.goodbye().await,
                },
                ready = stream.writable(), if pending.is_some() => {
                    let Some(rest) = pending.as_mut() else { continue };
                    let progress = match ready.and_then(|()| stream.try_write(rest)) {
                        Ok(Progress::None) => continue,
                        Ok(progress) => progress,
                        Err(error) => return error.into(),
                    };
                    let done = progress == Progress::Done;
                    if done {
                        pending = None;
                    }
                    // An outlet that closes no longer listens: the rest is written all the same.
                    let _ = events.send((id, Said::Wrote { done })).await;
                }
            }
        }
    }

    /// Tells the outlet what the peer said; one that closes does not care.
    async fn report(
        &mut self,
        id: PeerId,
        events: &mpsc::Sender<(PeerId, Said)>,
        counters: &PeerCounters,
    ) {
        for event in self.events.drain(..) {
            let said = match event {
                Event::Subscribe(prefix) => Said::Subscribe(prefix),
                Event::Cancel(prefix) => Said::Cancel(prefix),
                Event::Ask(ask) => Said::Ask(ask),
                Event::Ping(context) => Said::Ping(context),
                Event::Offer(frames) => Said::Offer(frames),
                Event::Ignored(what) => {
                    counters.ignored(what);
                    continue;
                }
                // Only a subscriber's connection says these.
                Event::Send(_)
                | Event::Ready(_)
                | Event::Message(_)
                | Event::Pong
                | Event::Mark(_) => {
                    continue;
                }
            };
            let _ = events.send((id, said)).await;
        }
    }

    /// Ends the connection after what was written: a socket closed with unread bytes would take
    /// back what the peer has not read yet.
    async fn goodbye(&mut self) -> Ended {
        if let Err(error) = self.stream.shutdown_write() {
            return error.into();
        }
        loop {
            self.buffer.clear();
            if let Err(why) = self.read().await {
                return why;
            }
        }
    }
}
