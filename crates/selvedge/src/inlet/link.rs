//! One link: dial, shake hands, subscribe, verify what comes; again and again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_core::directory::{Directory, Endpoint};
use selvedge_core::limits::{
    HANDSHAKE, PING_AFTER, PINGS_MISSED, PONG_WITHIN, RECONNECT_MAX, RECONNECT_MIN,
};
use selvedge_core::open::{Blame, Budget};
use selvedge_core::subscriber::LinkId;
use selvedge_core::topic::Name;
use selvedge_core::wire::{self, Ask, Connection, Event, Fault, Limits, Mark, Peer, Role};
use tokio::sync::{Semaphore, mpsc, watch};

use super::door::{Door, Refused};
use super::plan::Plan;
use super::{Item, Notice, Notices, Said};
use crate::clock::Clock;
use crate::counters::LinkCounters;
use crate::net::{self, ReadBuffer, Stream};

/// Names links, in the whole process.
static LINKS: AtomicU64 = AtomicU64::new(1);

/// Messages and MARKs from which on they are judged without looking for more: most of sixteen
/// packets, which are hashed at once. A read brings fewer if they are large.
const TOGETHER: usize = 12;

/// Keeps one link up.
pub struct Runner {
    pub name: Name,
    pub plan: watch::Receiver<Plan>,
    pub door: Arc<Door>,
    pub said: mpsc::Sender<(Name, LinkId, Said)>,
    /// What to ask, and over which connection.
    pub asks: mpsc::UnboundedReceiver<(LinkId, Ask)>,
    pub body_bytes: usize,
    pub notices: Notices,
    pub counters: Arc<LinkCounters>,
}

/// Why a link ended, or did not come up.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("the peer closed the connection")]
    Closed,
    #[error("no handshake within {HANDSHAKE:?}")]
    Slow,
    #[error("no sign of life after {PINGS_MISSED} pings")]
    Dead,
    #[error("the peer sent what a Selvedge peer would not: {0}")]
    Blamed(selvedge_core::open::Refusal),
    #[error("the directory has other endpoints for it now")]
    Moved,
    #[error("nobody listens to this link any more")]
    Unheard,
}

/// A connection that is up.
struct Link<'a> {
    runner: &'a mut Runner,
    id: LinkId,
    stream: Stream,
    connection: Connection,
    buffer: ReadBuffer,
    events: Vec<Event>,
    peer: Peer,
    subscribed: std::collections::BTreeSet<Bytes>,
    clock: Clock,
    budget: Budget,
    refusals: BTreeMap<&'static str, Repeats>,
    trusted_any: bool,
    /// To bring what was read.
    turn: Arc<Semaphore>,
}

/// Counts a link that is up; and down, however it ends.
struct Up(Arc<LinkCounters>);

impl Up {
    fn new(counters: &Arc<LinkCounters>) -> Up {
        counters.link_up();
        Up(counters.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.link_down();
    }
}

/// Refusals of one reason since the last notice.
struct Repeats {
    last: Instant,
    times: u64,
}

impl Runner {
    /// Until it is dropped.
    pub async fn run(mut self) {
        let mut delay = RECONNECT_MIN;
        'again: loop {
            let endpoints = self.plan.borrow_and_update().endpoints.clone();
            for endpoint in &endpoints {
                let (why, trusted) = self.attempt(endpoint, &endpoints).await;
                if trusted {
                    delay = RECONNECT_MIN;
                }
                let (name, endpoint) = (self.name.clone(), endpoint.to_string());
                let why_text = why.to_string();
                self.notices.tell(Notice::Disconnected { name, endpoint, why: why_text });
                match why {
                    Ended::Unheard => return,
                    Ended::Moved => {
                        delay = RECONNECT_MIN;
                        continue 'again;
                    }
                    _ => {}
                }
            }
            let id = LinkId(LINKS.fetch_add(1, Relaxed)); // of none
            if self.said.send((self.name.clone(), id, Said::Unreachable)).await.is_err() {
                return;
            }
            // Full jitter: many subscribers of one publisher do not come back at once.
            let wait = delay.mul_f64(crate::random_fraction());
            tokio::select! {
                () = tokio::time::sleep(wait) => delay = (delay * 2).min(RECONNECT_MAX),
                changed = self.plan.changed() => match changed {
                    Ok(()) => delay = RECONNECT_MIN,
                    Err(_) => return,
                },
            }
        }
    }

    /// One connection to one of `all` endpoints, from dialling to its end; true if it brought a
    /// trusted packet.
    async fn attempt(&mut self, endpoint: &Endpoint, all: &[Endpoint]) -> (Ended, bool) {
        let id = LinkId(LINKS.fetch_add(1, Relaxed));
        let mut plan = self.plan.clone();
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(HANDSHAKE, self.shake_hands(id, endpoint)) => greeted,
            moved = plan.wait_for(|plan| plan.endpoints != all) => {
                return (moved.map_or(Ended::Unheard, |_| Ended::Moved), false);
            }
        };
        let mut link = match greeted {
            Ok(Ok(link)) => link,
            Ok(Err(why)) => return (why, false),
            Err(_) => return (Ended::Slow, false),
        };
        let _up = Up::new(&link.runner.counters);
        let name = link.runner.name.clone();
        let notice = Notice::Connected { name: name.clone(), endpoint: endpoint.to_string() };
        link.runner.notices.tell(notice);
        let up = Said::Up { selvedge: link.peer.selvedge };
        if link.say(up).await.is_err() {
            return (Ended::Unheard, false);
        }
        let why = match link.run(all).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        let trusted = link.trusted_any;
        let heard = link.say(Said::Down).await;
        (heard.err().unwrap_or(why), trusted)
    }

    async fn shake_hands<'a>(
        &'a mut self,
        id: LinkId,
        endpoint: &Endpoint,
    ) -> Result<Link<'a>, Ended> {
        let stream = net::connect(endpoint).await?;
        stream.write_all(Bytes::copy_from_slice(&wire::greeting())).await?;
        let limits = Limits { body_bytes: self.body_bytes, ..Limits::default() };
        let mut link = Link {
            runner: self,
            id,
            stream,
            connection: Connection::new(Role::Subscriber, limits),
            buffer: ReadBuffer::default(),
            events: Vec::new(),
            peer: Peer { minor: 0, selvedge: false },
            subscribed: Default::default(),
            clock: Clock::new(),
            budget: Budget::default(),
            refusals: BTreeMap::new(),
            trusted_any: false,
            turn: Arc::new(Semaphore::new(1)),
        };
        loop {
            link.read().await?;
            let fault = link.connection.handle(link.buffer.bytes(), &mut link.events).err();
            let ready = link.events.iter().position(|event| matches!(event, Event::Ready(_)));
            // What follows READY stays for run().
            for event in link.events.drain(..ready.map_or(link.events.len(), |at| at + 1)) {
                match event {
                    Event::Send(bytes) => link.stream.write_all(bytes).await?,
                    Event::Ready(peer) => link.peer = peer,
                    _ => {}
                }
            }
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            if ready.is_some() {
                link.subscribe().await?;
                return Ok(link);
            }
        }
    }
}

/// Has no value: a link runs until something ends it.
enum Never {}

fn after(time: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + time
}

impl Link<'_> {
    async fn say(&self, said: Said) -> Result<(), Ended> {
        let name = self.runner.name.clone();
        self.runner.said.send((name, self.id, said)).await.map_err(|_| Ended::Unheard)
    }

    /// Makes the peer's subscriptions those of the plan.
    async fn subscribe(&mut self) -> Result<(), Ended> {
        let wanted = self.runner.plan.borrow_and_update().prefixes.clone();
        let mut bytes = Vec::new();
        // Tips come last: a stream may begin with its tip, and all else is in force by then.
        let (tips, topics): (Vec<&Bytes>, Vec<&Bytes>) =
            wanted.difference(&self.subscribed).partition(|prefix| prefix.starts_with(b"$"));
        for prefix in topics.into_iter().chain(tips) {
            bytes.extend_from_slice(&wire::subscribe(prefix, self.peer.minor));
        }
        for prefix in self.subscribed.difference(&wanted) {
            bytes.extend_from_slice(&wire::cancel(prefix, self.peer.minor));
        }
        self.subscribed = wanted;
        self.stream.write_all(bytes.into()).await?;
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Ended> {
        match self.buffer.fill(&self.stream).await? {
            0 => Err(Ended::Closed),
            _ => Ok(()),
        }
    }

    async fn run(&mut self, endpoints: &[Endpoint]) -> Result<Never, Ended> {
        let (mut pinged, mut silent_until) = (0, after(PING_AFTER));
        self.take().await?;
        // From here on every change is seen; subscribe() may have missed one of the endpoints.
        let moved = |runner: &Runner| runner.plan.borrow().endpoints != endpoints;
        if moved(self.runner) {
            return Err(Ended::Moved);
        }
        loop {
            let mut plan = self.runner.plan.clone();
            tokio::select! {
                read = self.buffer.fill(&self.stream) => {
                    if read? == 0 {
                        return Err(Ended::Closed);
                    }
                    (pinged, silent_until) = (0, after(PING_AFTER));
                    let mut fault = self.parse();
                    while fault.is_ok()
                        && (1..TOGETHER).contains(&self.events.len())
                        && self.buffer.fill_now(&self.stream)?.is_some_and(|count| count > 0)
                    {
                        fault = self.parse();
                    }
                    self.take().await?;
                    fault?;
                }
                Some((link, ask)) = self.runner.asks.recv() => self.ask(link, ask).await?,
                () = tokio::time::sleep_until(silent_until) => {
                    let answers = self.peer.minor >= 1 || self.peer.selvedge;
                    if pinged >= PINGS_MISSED {
                        return Err(Ended::Dead);
                    }
                    silent_until = after(if answers { PONG_WITHIN } else { PING_AFTER });
                    if answers {
                        pinged += 1;
                        self.stream.write_all(wire::ping(0, &[])).await?;
                    }
                }
                changed = plan.changed() => {
                    if changed.is_err() {
                        return Err(Ended::Unheard);
                    }
                    if moved(self.runner) {
                        return Err(Ended::Moved);
                    }
                    self.subscribe().await?;
                }
            }
        }
    }

    /// Cuts messages out of what was read.
    fn parse(&mut self) -> Result<(), Fault> {
        self.connection.handle(self.buffer.bytes(), &mut self.events)
    }

    /// Asks for what is wanted: all that waits to be asked on this connection, in one write.
    async fn ask(&mut self, link: LinkId, ask: Ask) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        let mut next = Some((link, ask));
        while let Some((link, ask)) = next {
            if link == self.id {
                bytes.extend_from_slice(&ask.encode());
            }
            next = self.runner.asks.try_recv().ok();
        }
        Ok(self.stream.write_all(bytes.into()).await?)
    }

    /// Judges what one read brought, and hands on what passed.
    async fn take(&mut self) -> Result<(), Ended> {
        let directory = self.runner.door.directory();
        let (mut messages, mut order, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Message(frames) => {
                    messages.push(frames);
                    order.push(None);
                }
                Event::Mark(mark) if self.believes(&directory, &mark) => order.push(Some(mark)),
                Event::Mark(_) => self.runner.counters.mark_ignored(),
                Event::Ping(context) => answers.extend_from_slice(&wire::pong(&context)),
                // Only a publisher's connection says these, or they need no answer.
                Event::Send(_)
                | Event::Ready(_)
                | Event::Subscribe(_)
                | Event::Cancel(_)
                | Event::Ask(_)
                | Event::Offer(_)
                | Event::Pong
                | Event::Ignored(_) => {}
            }
        }
        let now = self.clock.time();
        let opened = self.runner.door.open(messages, &directory, &mut self.budget, now);
        let (mut opened, mut blamed) = (opened.into_iter(), None);
        let mut items = Vec::with_capacity(order.len());
        for mark in order {
            if let Some(mark) = mark {
                items.push(Item::Mark(mark));
                continue;
            }
            match opened.next() {
                Some(Ok((trusted, forked))) => {
                    self.trusted_any = true;
                    if forked {
                        let publisher = trusted.publisher().clone();
                        self.runner.notices.tell(Notice::Forked { publisher });
                    }
                    items.push(Item::Packet(trusted));
                }
                Some(Err(refused)) => blamed = blamed.or(self.refused(refused)),
                None => {}
            }
        }
        if !items.is_empty() {
            let turn = self.turn.clone().acquire_owned().await.map_err(|_| Ended::Unheard)?;
            self.say(Said::Arrived { items, directory, _turn: turn }).await?;
        }
        if !answers.is_empty() {
            self.stream.write_all(answers.into()).await?;
        }
        blamed.map_or(Ok(()), |why| Err(Ended::Blamed(why)))
    }

    /// Whether a MARK is of a stream that this link may tell of.
    fn believes(&self, directory: &Directory, mark: &Mark) -> bool {
        let plan = self.runner.plan.borrow();
        let publisher = directory.speaker(mark.key).map(|speaker| &speaker.name);
        publisher.is_ok_and(|name| plan.believed.contains(name))
    }

    /// Tells the application of a refusal; returns it if it ends the link.
    fn refused(&mut self, refused: Refused) -> Option<selvedge_core::open::Refusal> {
        let Refused { why, key, topic } = refused;
        // A second path brings everything twice: that is what it is for.
        if why != selvedge_core::open::Refusal::Duplicate {
            let now = Instant::now();
            let repeats = self.refusals.entry(why.reason());
            let fresh = || Repeats { last: now - Duration::from_secs(1), times: 0 };
            let repeats = repeats.or_insert_with(fresh);
            repeats.times += 1;
            if now - repeats.last >= Duration::from_secs(1) {
                let times = std::mem::take(&mut repeats.times);
                repeats.last = now;
                let name = self.runner.name.clone();
                self.runner.notices.tell(Notice::Refused { name, why, key, topic, times });
            }
        }
        (self.peer.selvedge && why.blame() == Blame::Link).then_some(why)
    }
}
