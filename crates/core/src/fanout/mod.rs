//! The fan-out: peers, their prefixes and queues; who gets what next; MARK.
//!
//! A publisher has one stream, a relay many; the rules are the same. Packets are reference counted
//! and never copied for a peer. A peer's queue is bounded in bytes. What does not fit is read from
//! the journal later, at the peer's own pace; without a journal it is dropped, counted, and left
//! out of all MARKs, so that the subscriber sees the hole. Nobody is waited for.
//!
//! A publisher does not ping: it always has a tip to write, so a dead peer shows in unacknowledged
//! data, and one that hangs takes no bytes for [`STALLED`].

mod peer;
mod replay;
mod told;

pub use peer::PeerId;
pub use replay::{Answer, Stored};

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use smallvec::SmallVec;

use crate::limits::{QUEUE_BYTES, QUEUES_BYTES, STALLED};
use crate::seal::{Commit, Header, Sealed};
use crate::topic::Topic;
use crate::wire::{Ask, Interest};
use crate::{KeyId, Position, Time};
use peer::Peer;
use told::Told;

/// How often unfinished writes are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Tips and control frames may pass a queue's bound by this much: they tell a peer of drops.
const CONTROL_ROOM: usize = 1 << 20;

/// Bounds that a user may set.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes waiting for one peer at most.
    pub queue_bytes: usize,
    /// Bytes waiting for all peers at most.
    pub queues_bytes: usize,
    /// Whether [`Output::Read`] has a journal to read, which holds every commit before it comes
    /// here.
    pub journal: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { queue_bytes: QUEUE_BYTES, queues_bytes: QUEUES_BYTES, journal: false }
    }
}

/// What happens to a fan-out.
#[derive(Debug)]
pub enum Input<'a> {
    /// A peer shook hands; `selvedge` if its READY says `X-Selvedge`.
    Connected {
        /// The caller's name for it, never used before.
        peer: PeerId,
        /// Whether it understands MARK.
        selvedge: bool,
    },
    /// It wants topics that start with `prefix`.
    Subscribe {
        /// Who.
        peer: PeerId,
        /// Wire bytes.
        prefix: Bytes,
    },
    /// It takes one such subscription back.
    Cancel {
        /// Who.
        peer: PeerId,
        /// Wire bytes.
        prefix: Bytes,
    },
    /// It wants a stream from a place on: what it missed first, and then live.
    Ask {
        /// Who.
        peer: PeerId,
        /// What.
        ask: Ask,
    },
    /// What the journal answers to [`Output::Read`]; one for each, sooner or later.
    Answer(Answer),
    /// It is to be answered with a control frame: PONG, or the MARK for an OFFER.
    Reply {
        /// Who.
        peer: PeerId,
        /// The whole frame.
        frame: Bytes,
    },
    /// Its connection is gone.
    Disconnected(PeerId),
    /// The next commit of a stream, as far as this node has its packets: the numbers that are
    /// missing were passed by a MARK. A tip is a commit too.
    Commit(&'a Commit),
    /// Numbers below `upto` were passed by a MARK: none of them matches what this node carries.
    /// Also where a stream stands, of which the journal has what was before.
    Passed {
        /// The stream.
        key: KeyId,
        /// The next number that may come.
        upto: Position,
    },
    /// Numbers below `upto` that did not come are gone: no MARK may cover them.
    Gone {
        /// The stream.
        key: KeyId,
        /// The next number that may come.
        upto: Position,
    },
    /// A tip that tells peers something of what is before here, and nothing of how far this node
    /// is.
    Evidence(&'a Commit),
    /// Some bytes of the last [`Output::Write`] went out, or all of them.
    Wrote {
        /// To whom.
        peer: PeerId,
        /// Whether the write is complete.
        done: bool,
    },
    /// The deadline passed.
    Tick,
}

/// What a fan-out wants done.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes in order, then say [`Input::Wrote`]. One write at a time for each peer.
    Write {
        /// To whom.
        peer: PeerId,
        /// At most `WRITE_BYTES` (unless one slice is larger) in at most `WRITE_SLICES`.
        slices: Vec<Bytes>,
    },
    /// Read from the journal, at most about `READ_BYTES`, then say [`Input::Answer`].
    Read {
        /// For whom.
        peer: PeerId,
        /// The stream.
        key: KeyId,
        /// The first number wanted.
        from: Position,
        /// The first number not wanted.
        upto: Position,
    },
    /// End the connection; no [`Input::Disconnected`] is expected.
    Close {
        /// Whose.
        peer: PeerId,
        /// Why.
        why: Closed,
    },
    /// Somebody joined a stream whose last tip is outdated, or gets packets again after some were
    /// dropped: its author should make a tip, so that the hole is known to be final.
    TipWanted(KeyId),
}

/// Why a peer was cut off. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// It took no byte of a waiting write for ten seconds.
    #[error("the peer stopped reading")]
    Stalled,
    /// Its prefixes pass the bound.
    #[error("the peer subscribes to more than a connection may")]
    Subscriptions,
}

impl Closed {
    /// The label under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Closed::Stalled => "stalled",
            Closed::Subscriptions => "subscriptions",
        }
    }
}

/// What was done and not done; all only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages put into queues, once per peer.
    pub queued: u64,
    /// Messages written whole, once per peer.
    pub written: u64,
    /// Messages dropped because that peer's queue was full.
    pub dropped_peer_full: u64,
    /// Messages dropped because all queues together were full.
    pub dropped_all_full: u64,
    /// Messages dropped with the connection that they waited for.
    pub dropped_disconnected: u64,
    /// Peers whose queue was full, so that a stream is fed to them from the journal.
    pub fell_behind: u64,
    /// Messages put into queues from the journal, once per peer.
    pub replayed: u64,
    /// ASKs that were taken.
    pub asks: u64,
    /// ASKs for streams that are not known here.
    pub asks_unknown: u64,
}

/// The machine. See the module.
#[derive(Debug, Default)]
pub struct FanOut {
    config: Config,
    interest: Interest<PeerId>,
    peers: BTreeMap<PeerId, Peer>,
    streams: BTreeMap<KeyId, Stream>,
    /// Streams by their tips' topics: who is meant by a new `$tip.` prefix.
    tips: BTreeSet<(Bytes, KeyId)>,
    queued: usize,
    writing: usize,
    sweep_at: Time,
    counters: Counters,
    /// Who waits for a read, in turn.
    waiting: VecDeque<(PeerId, KeyId)>,
    /// Reads under way.
    readers: usize,
    hits: Vec<(PeerId, usize)>,
    matched: Vec<PeerId>,
}

#[derive(Debug)]
struct Stream {
    next: Position,
    tip: Option<(Position, Sealed)>,
}

impl FanOut {
    /// A fan-out without peers or streams.
    pub fn new(config: Config) -> FanOut {
        FanOut { config, ..FanOut::default() }
    }

    /// Takes one input; effects are pushed to `out`.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Connected { peer, selvedge } => self.connected(now, peer, selvedge),
            Input::Subscribe { peer, prefix } => self.subscribe(now, peer, &prefix, out),
            Input::Cancel { peer, prefix } => {
                self.interest.cancel(peer, &prefix);
            }
            Input::Ask { peer, ask } => self.ask(now, peer, ask, out),
            Input::Answer(answer) => self.answer(now, answer, out),
            Input::Reply { peer, frame } => self.reply(now, peer, frame, out),
            Input::Disconnected(peer) => {
                self.forget(peer);
                self.pump(now, out); // others may have waited for the room that it took
            }
            Input::Commit(commit) => self.commit(now, commit, out),
            Input::Passed { key, upto } => self.advance(key, upto, upto),
            Input::Gone { key, upto } => self.gone(now, key, upto, out),
            Input::Evidence(tip) => self.evidence(now, tip, out),
            Input::Wrote { peer, done } => self.wrote(now, peer, done, out),
            Input::Tick => self.sweep(now, out),
        }
    }

    /// When [`Input::Tick`] is due: only while a write is unfinished.
    pub fn deadline(&self) -> Option<Time> {
        (self.writing > 0).then_some(self.sweep_at)
    }

    /// What was done and not done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Messages that wait for some peer, once per peer; a stream that a peer is behind on counts as
    /// one.
    pub fn waiting(&self) -> u64 {
        self.peers.values().map(Peer::waiting).sum()
    }

    /// Bytes that wait for all peers.
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Connected peers.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Peers that would get a message of `topic` now.
    pub fn listeners(&self, topic: &Topic) -> usize {
        let mut matched = Vec::new();
        self.interest.matching(topic.as_bytes(), &mut matched);
        matched.len()
    }

    fn connected(&mut self, now: Time, id: PeerId, selvedge: bool) {
        let room = self.config.queue_bytes.saturating_add(CONTROL_ROOM);
        let mut peer = Peer::new(selvedge, room, now);
        self.streams.iter().for_each(|(key, stream)| peer.tell(*key, Told::live(stream.next)));
        self.peers.insert(id, peer);
    }

    fn subscribe(&mut self, now: Time, id: PeerId, prefix: &[u8], out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let tips = self.tips.range((Bytes::copy_from_slice(prefix), KeyId(0))..);
        let tips = tips.take_while(|(tip, _)| prefix.starts_with(b"$") && tip.starts_with(prefix));
        let joins = tips.filter(|(tip, _)| !self.interest.is_match(id, tip));
        let joins: Vec<KeyId> = joins.map(|(_, key)| *key).collect();
        // Tips have no numbers.
        let adds = !prefix.starts_with(b"$tip.") && !self.interest.is_match(id, prefix);
        match self.interest.subscribe(id, prefix) {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => return self.close(id, Closed::Subscriptions, out),
        }
        if adds {
            // What was not sent so far may match now: no MARK may cover it.
            self.streams.iter().for_each(|(key, stream)| peer.join(*key, stream.next));
        }
        for key in joins {
            match self.streams.get(&key) {
                Some(Stream { next, tip: Some((said, tip)) })
                    if said == next && peer.has_room(tip.len()) =>
                {
                    self.queued += peer.push(tip) + peer.mark_tip(key, *next);
                }
                _ => out.push(Output::TipWanted(key)),
            }
        }
        self.write(now, id, out);
    }

    fn reply(&mut self, now: Time, id: PeerId, frame: Bytes, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.queued += peer.push_control(frame);
        self.write(now, id, out);
    }

    fn commit(&mut self, now: Time, commit: &Commit, out: &mut Vec<Output>) {
        let header = commit.header;
        self.advance(header.key, header.start(), header.end());
        let mut hits = core::mem::take(&mut self.hits);
        for (index, packet) in commit.packets.iter().enumerate() {
            if packet.numbers == 0 {
                continue;
            }
            self.interest.matching(packet.topic.as_bytes(), &mut self.matched);
            hits.extend(self.matched.iter().map(|peer| (*peer, index)));
        }
        if commit.packets.len() > 1 {
            hits.sort_unstable();
        }
        for one_peer in hits.chunk_by(|a, b| a.0 == b.0) {
            let packets: SmallVec<[&Sealed; 4]> =
                one_peer.iter().map(|(_, index)| &commit.packets[*index]).collect();
            self.give(one_peer[0].0, &header, &packets, out);
            self.write(now, one_peer[0].0, out);
        }
        hits.clear();
        self.hits = hits;
        // A tip says that all before it was sent.
        for tip in commit.packets.iter().filter(|packet| packet.numbers == 0) {
            self.tip(now, &header, tip, out);
        }
    }

    fn tip(&mut self, now: Time, header: &Header, packet: &Sealed, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get_mut(&header.key) else { return };
        let next = stream.next;
        let topic = packet.topic.detached();
        self.tips.insert((topic.as_bytes().clone(), header.key));
        stream.tip = Some((header.end(), Sealed { topic, ..packet.clone() }));
        let mut matched = core::mem::take(&mut self.matched);
        self.interest.matching(packet.topic.as_bytes(), &mut matched);
        for id in &matched {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            // What says that numbers were dropped is not dropped with them.
            let room = self.config.queues_bytes.saturating_add(CONTROL_ROOM);
            if peer.behind_on(header.key).is_some() {
                continue; // it gets one when it has caught up
            }
            if self.queued + packet.len() > room || !peer.has_room(packet.len()) {
                peer.drops(header.key);
                continue;
            }
            self.queued += peer.push(packet) + peer.mark_tip(header.key, next);
            self.write(now, *id, out);
        }
        self.matched = matched;
    }

    fn evidence(&mut self, now: Time, tip: &Commit, out: &mut Vec<Output>) {
        let mut matched = core::mem::take(&mut self.matched);
        for packet in &tip.packets {
            self.interest.matching(packet.topic.as_bytes(), &mut matched);
            for id in &matched {
                self.give(*id, &tip.header, &[packet], out);
                self.write(now, *id, out);
            }
        }
        self.matched = matched;
    }

    /// Queues the packets of one commit that a peer matches, with the MARKs around them.
    fn give(&mut self, id: PeerId, header: &Header, packets: &[&Sealed], out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (key, start, end) = (header.key, header.start(), header.end());
        if let Some(behind) = peer.behind_on(key) {
            return behind.hold(header, packets);
        }
        let bytes: usize = packets.iter().map(|packet| packet.len()).sum();
        if header.n == 0 {
            // To who hears no MARKs it would pass all before it.
            let told = peer.hears_marks() && peer.has_room(bytes);
            let tips = packets.iter().filter(|_| told);
            self.queued += tips.map(|tip| peer.push(tip)).sum::<usize>();
            return;
        }
        let full = |queued: usize, most: usize| queued > 0 && queued + bytes > most;
        let peer_full = full(peer.queued(), self.config.queue_bytes);
        if peer_full || full(self.queued, self.config.queues_bytes) {
            if self.config.journal {
                self.counters.fell_behind += 1;
                peer.fall_behind(key);
                return self.waiting.push_back((id, key));
            }
            let numbers: u64 = packets.iter().map(|packet| u64::from(packet.numbers)).sum();
            match peer_full {
                true => self.counters.dropped_peer_full += numbers,
                false => self.counters.dropped_all_full += numbers,
            }
            self.queued += peer.skip(key, start, end);
            return peer.drops(key);
        }
        if peer.resume(key) {
            out.push(Output::TipWanted(key));
        }
        let (added, numbers) = peer.push_commit(header, packets);
        self.queued += added;
        self.counters.queued += numbers;
    }

    /// Moves a stream on; a new one starts at `from` for everybody who is connected.
    fn advance(&mut self, key: KeyId, from: Position, upto: Position) {
        let peers = &mut self.peers;
        let stream = self.streams.entry(key).or_insert_with(|| {
            peers.values_mut().for_each(|peer| peer.tell(key, Told::live(from)));
            Stream { next: from, tip: None }
        });
        stream.next = stream.next.max(upto);
    }

    fn gone(&mut self, now: Time, key: KeyId, upto: Position, out: &mut Vec<Output>) {
        let before = self.streams.get(&key).map_or(upto, |stream| stream.next);
        self.advance(key, upto, upto);
        if before >= upto {
            return; // nothing was told of it, or too much: numbers that turn out lost afterwards
        }
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            if let Some(peer) = self.peers.get_mut(&id) {
                match peer.behind_on(key) {
                    Some(behind) => behind.tear(),
                    None => self.queued += peer.skip(key, before, upto),
                }
            }
            self.write(now, id, out);
        }
    }

    /// Starts the next write of a peer that has none under way.
    fn write(&mut self, now: Time, id: PeerId, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(slices) = peer.start_write(now) {
            if self.writing == 0 {
                self.sweep_at = now + SWEEP;
            }
            self.writing += 1;
            out.push(Output::Write { peer: id, slices });
        }
    }

    fn wrote(&mut self, now: Time, id: PeerId, done: bool, out: &mut Vec<Output>) {
        let writes = |peer: &&mut Peer| peer.writing_since().is_some();
        let Some(peer) = self.peers.get_mut(&id).filter(writes) else { return };
        let written = peer.wrote(now, done);
        if done {
            self.writing -= 1;
            self.queued -= written.bytes;
            self.counters.written += written.messages;
            self.refill(id);
            self.pump(now, out);
            self.write(now, id, out);
        }
    }

    fn sweep(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.writing == 0 || now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP;
        let stalled =
            |peer: &Peer| peer.writing_since().is_some_and(|since| now - since >= STALLED);
        let stalled = self.peers.iter().filter(|(_, peer)| stalled(peer)).map(|(id, _)| *id);
        for id in stalled.collect::<Vec<_>>() {
            self.close(id, Closed::Stalled, out);
        }
        self.pump(now, out);
    }

    fn close(&mut self, id: PeerId, why: Closed, out: &mut Vec<Output>) {
        self.forget(id);
        out.push(Output::Close { peer: id, why });
    }

    fn forget(&mut self, id: PeerId) {
        self.interest.remove(id);
        let Some(peer) = self.peers.remove(&id) else { return };
        self.queued -= peer.queued();
        self.writing -= usize::from(peer.writing_since().is_some());
        self.counters.dropped_disconnected += peer.messages();
    }
}
