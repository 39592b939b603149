//! One connection to a relay: offer what is not confirmed, take its answers.
//!
//! What the relay may have from before is offered again: it knows how far it is in the stream, but
//! only the answer to an offer says that it has kept it. Where earlier runs have left something,
//! the answer to the tip is waited for: it says which ranges are on the relay's disk.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use selvedge_core::Position;
use selvedge_core::directory::Endpoint;
use selvedge_core::limits::HANDSHAKE;
use selvedge_core::seal::Commit;
use selvedge_core::wire::{self, Connection, Event, Fault, Limits, Mark, Role};
use tokio::time::{Instant, sleep_until, timeout};

use super::Route;
use crate::net::{self, ReadBuffer, Stream};

/// Bytes that are offered and not answered at most.
const WINDOW: usize = 1 << 20;

/// Ranges that a relay may tell.
const RANGES: usize = 1_024;

/// How long a relay may take to answer anything that was offered: it syncs its disk in between.
const ANSWER: Duration = Duration::from_secs(30);

/// Why a connection ended, or did not come up.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("it closed the connection")]
    Closed,
    #[error("no handshake within {HANDSHAKE:?}")]
    Slow,
    #[error("it does not understand offers: it is no Selvedge relay")]
    Foreign,
    #[error("no answer within {ANSWER:?}")]
    Silent,
    #[error(
        "it refuses {from} to {upto}: it keeps no journal or that takes nothing, does not carry \
         the topic, or its directory denies it; its log says which"
    )]
    Refused { from: Position, upto: Position },
    #[error("the publisher is closed")]
    Done,
}

/// A packet that was offered.
struct Offered {
    bytes: usize,
    /// Everything below is confirmed with it, if it is the last of its commit.
    confirms: Option<Position>,
    /// It was not: the relay has it.
    is_held: bool,
}

struct Link<'a> {
    route: &'a mut Route,
    stream: Stream,
    connection: Connection,
    buffer: ReadBuffer,
    events: Vec<Event>,
    /// The next number to offer.
    next: Position,
    /// The commit number of the tip that was offered last.
    tip: Option<u64>,
    /// What is on the relay's disk from before.
    held: Vec<(Position, Position)>,
    /// A tip was answered: what is held was told.
    answered: bool,
    offered: VecDeque<Offered>,
    bytes: usize,
}

impl Route {
    /// One connection, from dialling to its end.
    pub(super) async fn attempt(&mut self, endpoint: &Endpoint) -> Ended {
        let next = self.progress.borrow().confirmed;
        let dialled = async {
            let mut link = Link {
                stream: net::connect(endpoint).await?,
                route: self,
                connection: Connection::new(Role::Subscriber, Limits::default()),
                buffer: ReadBuffer::default(),
                events: Vec::new(),
                next,
                tip: None,
                held: Vec::new(),
                answered: false,
                offered: VecDeque::new(),
                bytes: 0,
            };
            link.shake_hands().await?;
            Ok(link)
        };
        let mut link = match timeout(HANDSHAKE, dialled).await {
            Ok(Ok(link)) => link,
            Ok(Err(why)) => return why,
            Err(_) => return Ended::Slow,
        };
        link.route.progress.send_modify(|progress| progress.connected = true);
        link.run().await.err().unwrap_or(Ended::Done)
    }
}

impl Link<'_> {
    async fn shake_hands(&mut self) -> Result<(), Ended> {
        self.stream.write_all(Bytes::copy_from_slice(&wire::greeting())).await?;
        loop {
            if self.buffer.fill(&self.stream).await? == 0 {
                return Err(Ended::Closed);
            }
            self.connection.handle(self.buffer.bytes(), &mut self.events)?;
            for event in std::mem::take(&mut self.events) {
                match event {
                    Event::Send(bytes) => self.stream.write_all(bytes).await?,
                    Event::Ready(peer) if peer.selvedge => return Ok(()),
                    Event::Ready(_) => return Err(Ended::Foreign),
                    _ => {}
                }
            }
        }
    }

    /// Until something ends it.
    async fn run(&mut self) -> Result<(), Ended> {
        self.offer_tip().await?;
        let mut silent = Instant::now() + ANSWER;
        loop {
            self.offer_next().await?;
            let waits = !self.offered.is_empty();
            tokio::select! {
                read = self.buffer.fill(&self.stream) => {
                    if read? == 0 {
                        return Err(Ended::Closed);
                    }
                    silent = Instant::now() + ANSWER;
                    self.connection.handle(self.buffer.bytes(), &mut self.events)?;
                    self.take().await?;
                }
                changed = self.route.head.changed() => {
                    changed.map_err(|_| Ended::Done)?;
                    silent = silent.max(Instant::now() + ANSWER);
                    self.offer_tip().await?;
                }
                () = sleep_until(silent), if waits => return Err(Ended::Silent),
            }
        }
    }

    /// Offers the newest tip, if there is one that was not offered.
    async fn offer_tip(&mut self) -> Result<(), Ended> {
        let tip = self.route.head.borrow_and_update().tip.clone();
        match tip {
            Some(tip) if self.tip != Some(tip.header.commit) => {
                self.tip = Some(tip.header.commit);
                self.offer(&tip, None).await
            }
            _ => Ok(()),
        }
    }

    /// Offers what follows, as far as the window is open.
    async fn offer_next(&mut self) -> Result<(), Ended> {
        let upto = self.route.head.borrow().upto;
        if self.next.epoch < upto.epoch && !self.answered {
            return Ok(());
        }
        while self.next < upto && self.bytes < WINDOW {
            let (commits, read) = self.route.source.read(self.route.key, self.next, upto);
            self.next = read;
            for commit in &commits {
                let (start, end) = (commit.header.start(), commit.header.end());
                match self.held.iter().any(|(from, upto)| *from <= start && end <= *upto) {
                    true => self.holds(end),
                    false => self.offer(commit, Some(end)).await?,
                }
            }
            self.confirm_held();
        }
        if self.next >= upto && self.bytes == 0 {
            self.route.confirm(upto); // what lies between will never be said
        }
        Ok(())
    }

    async fn offer(&mut self, commit: &Commit, confirms: Option<Position>) -> Result<(), Ended> {
        let last = commit.packets.len().saturating_sub(1);
        for (at, packet) in commit.packets.iter().enumerate() {
            for slice in wire::offer(packet) {
                self.stream.write_all(slice).await?;
            }
            self.bytes += packet.len();
            let confirms = confirms.filter(|_| at == last);
            self.offered.push_back(Offered { bytes: packet.len(), confirms, is_held: false });
        }
        Ok(())
    }

    /// Whether a MARK says what the relay has on its disk, when it may.
    fn may_tell(&self, mark: &Mark) -> bool {
        mark.flags & Mark::HELD != 0 && !self.answered && self.held.len() < RANGES
    }

    /// Nothing before these is unanswered.
    fn confirm_held(&mut self) {
        while let Some(held) = self.offered.front().filter(|offered| offered.is_held) {
            held.confirms.into_iter().for_each(|upto| self.route.confirm(upto));
            self.offered.pop_front();
        }
    }

    /// The relay has the commit that ends at `upto`.
    fn holds(&mut self, upto: Position) {
        let confirms = Some(upto);
        match self.offered.back_mut().filter(|last| last.is_held) {
            Some(last) => last.confirms = confirms,
            None => self.offered.push_back(Offered { bytes: 0, confirms, is_held: true }),
        }
    }

    /// Takes what the relay says.
    async fn take(&mut self) -> Result<(), Ended> {
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Mark(mark) if mark.flags & Mark::REFUSED != 0 => {
                    return Err(Ended::Refused { from: mark.from, upto: mark.upto });
                }
                Event::Mark(mark) if mark.flags & Mark::JOURNALED != 0 => {
                    self.answered = true;
                    let Some(offered) = self.offered.pop_front() else { continue };
                    self.bytes -= offered.bytes;
                    if let Some(upto) = offered.confirms {
                        self.route.confirm(upto);
                    }
                    self.confirm_held();
                }
                Event::Mark(mark) if self.may_tell(&mark) => {
                    self.held.push((mark.from, mark.upto));
                }
                Event::Ping(context) => self.stream.write_all(wire::pong(&context)).await?,
                _ => {}
            }
        }
        Ok(())
    }
}
