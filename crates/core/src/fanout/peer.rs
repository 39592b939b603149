//! One peer of a fan-out: its queue, its write under way, and how far its MARKs reach.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use super::told::{Behind, Live, Told};
use crate::limits::{WRITE_BYTES, WRITE_SLICES};
use crate::seal::{Header, Sealed};
use crate::wire::Mark;
use crate::{KeyId, Position, Time};

/// The caller's name for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// Bytes that wait, and how many messages end with them.
#[derive(Debug)]
struct Slice {
    bytes: Bytes,
    messages: u16,
}

/// What a finished write took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub bytes: usize,
    pub messages: u64,
}

#[derive(Debug)]
pub struct Peer {
    selvedge: bool,
    /// Bytes in the queue above which not even control frames are added.
    room: usize,
    queue: VecDeque<Slice>,
    /// Bytes in the queue and in the write under way.
    queued: usize,
    messages: u64,
    writing: Option<Written>,
    progress: Time,
    told: BTreeMap<KeyId, Told>,
    /// Streams that wait for room in the queue to be fed from the journal.
    paused: Vec<KeyId>,
}

impl Peer {
    pub fn new(selvedge: bool, room: usize, now: Time) -> Peer {
        Peer {
            selvedge,
            room,
            queue: VecDeque::new(),
            queued: 0,
            messages: 0,
            writing: None,
            progress: now,
            told: BTreeMap::new(),
            paused: Vec::new(),
        }
    }

    pub fn queued(&self) -> usize {
        self.queued
    }

    pub fn hears_marks(&self) -> bool {
        self.selvedge
    }

    /// Messages not written whole yet.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The same, and one for each stream that it is behind on.
    pub fn waiting(&self) -> u64 {
        let behind = self.told.values().filter(|told| told.behind.is_some()).count();
        self.messages + behind as u64
    }

    /// Since when the write under way has made no progress.
    pub fn writing_since(&self) -> Option<Time> {
        self.writing.map(|_| self.progress)
    }

    /// Whether a control frame, or a tip, of `len` bytes may still be queued.
    pub fn has_room(&self, len: usize) -> bool {
        self.queued + len <= self.room
    }

    /// How far a stream was told.
    pub fn told(&self, key: KeyId) -> Option<&Told> {
        self.told.get(&key)
    }

    /// How this peer is fed a stream from the journal, if it is.
    pub fn behind_on(&mut self, key: KeyId) -> Option<&mut Behind> {
        self.told.get_mut(&key)?.behind.as_mut()
    }

    /// What is told of a stream begins anew.
    pub fn tell(&mut self, key: KeyId, told: Told) {
        self.told.insert(key, told);
    }

    /// More may match from now on than what was sent: no MARK may cover what is before `next`, or
    /// before what is read next.
    pub fn join(&mut self, key: KeyId, next: Position) {
        match self.told.get_mut(&key) {
            Some(told) if told.behind.is_some() => told.from = told.sent,
            _ => self.tell(key, Told::live(next)),
        }
    }

    /// Goes on with this stream once the queue has drained.
    pub fn pause(&mut self, key: KeyId) {
        self.paused.push(key);
    }

    /// The streams that were to go on now.
    pub fn resume_paused(&mut self) -> impl Iterator<Item = KeyId> {
        core::mem::take(&mut self.paused).into_iter()
    }

    /// A stream is live again: what was held of it. Nothing, and it is not, if a part of that is
    /// missing.
    pub fn catch_up(&mut self, key: KeyId) -> Option<Vec<Live>> {
        let told = self.told.get_mut(&key)?;
        match told.behind.take().map(Behind::into_held) {
            None => Some(Vec::new()),
            Some(Ok(held)) => Some(held),
            Some(Err(behind)) => {
                told.behind = Some(behind);
                None
            }
        }
    }

    /// From now on a stream is fed from the journal: what was not sent is not dropped.
    pub fn fall_behind(&mut self, key: KeyId) {
        if let Some(told) = self.told.get_mut(&key) {
            told.behind = Some(Behind::default());
        }
    }

    /// Queues a packet. All that queue return the bytes added.
    pub fn push(&mut self, packet: &Sealed) -> usize {
        self.messages += u64::from(packet.numbers);
        let last = packet.wire.len().saturating_sub(1);
        for (at, bytes) in packet.wire.iter().enumerate() {
            let messages = if at == last { packet.numbers } else { 0 };
            self.queue.push_back(Slice { bytes: bytes.clone(), messages });
        }
        self.queued += packet.len();
        packet.len()
    }

    /// Queues what is matched of a commit, with the MARKs around it; returns the bytes added, and
    /// how many numbers it was.
    pub fn push_commit(&mut self, header: &Header, packets: &[&Sealed]) -> (usize, u64) {
        let numbers: u64 = packets.iter().map(|packet| u64::from(packet.numbers)).sum();
        let whole = numbers == u64::from(header.n);
        let mut added = self.mark_before(header.key, header.start());
        added += packets.iter().map(|packet| self.push(packet)).sum::<usize>();
        added += self.mark_after(header.key, header.start(), header.end(), whole);
        (added, numbers)
    }

    /// Queues a control frame, if there is room.
    pub fn push_control(&mut self, bytes: Bytes) -> usize {
        let len = bytes.len();
        if !self.has_room(len) {
            return 0;
        }
        self.queue.push_back(Slice { bytes, messages: 0 });
        self.queued += len;
        len
    }

    /// Before a packet of a commit that begins at `start`: says that nothing else came before it.
    pub fn mark_before(&mut self, key: KeyId, start: Position) -> usize {
        match self.told.get(&key) {
            Some(told) if told.sent < start => self.mark(key, start),
            _ => 0,
        }
    }

    /// After the packets of a commit `start..end`: says so, unless all its numbers were sent.
    fn mark_after(&mut self, key: KeyId, start: Position, end: Position, whole: bool) -> usize {
        match self.told.get_mut(&key) {
            Some(told) if whole && told.sent >= start => {
                told.sent = end;
                0
            }
            Some(_) => self.mark(key, end),
            None => 0,
        }
    }

    /// With a tip: everything below `next` that matches was sent, except what was dropped, and what
    /// is yet to be read.
    pub fn mark_tip(&mut self, key: KeyId, next: Position) -> usize {
        if self.behind_on(key).is_some() {
            return 0;
        }
        self.resume(key);
        self.mark_with(key, next, Mark::LIVE)
    }

    /// Leaves `from..upto` out of all MARKs: it is not held here.
    pub fn skip(&mut self, key: KeyId, from: Position, upto: Position) -> usize {
        let Some(told) = self.told.get(&key) else { return 0 };
        // One hole instead of many, and no flood of MARKs into a full queue.
        let added = if told.dropping { 0 } else { self.mark_before(key, from) };
        self.moved(key, upto);
        added
    }

    fn moved(&mut self, key: KeyId, upto: Position) {
        if let Some(told) = self.told.get_mut(&key) {
            (told.from, told.sent) = (upto, upto);
        }
    }

    /// Packets or a tip of this stream were dropped.
    pub fn drops(&mut self, key: KeyId) {
        if let Some(told) = self.told.get_mut(&key) {
            told.dropping = true;
        }
    }

    /// Something of this stream is queued again; whether something was dropped before it.
    pub fn resume(&mut self, key: KeyId) -> bool {
        let told = self.told.get_mut(&key);
        told.is_some_and(|told| core::mem::take(&mut told.dropping))
    }

    /// Says that the answer to an ASK begins; to a peer that is live, that is all: it has
    /// everything below `next`.
    pub fn mark_answer(&mut self, key: KeyId, next: Position) -> usize {
        if self.behind_on(key).is_none() {
            self.resume(key);
            return self.mark_with(key, next, Mark::ANSWER | Mark::LIVE);
        }
        let from = self.told.get(&key).map_or(next, |told| told.from);
        self.push_control(Mark { key, from, upto: from, flags: Mark::ANSWER }.encode())
    }

    /// Says that a stream is not known here.
    pub fn mark_unknown(&mut self, key: KeyId) -> usize {
        let nowhere = Position::default();
        let flags = Mark::ANSWER | Mark::UNKNOWN;
        self.push_control(Mark { key, from: nowhere, upto: nowhere, flags }.encode())
    }

    /// Says that everything below `upto` was sent. Without room it is said with the next MARK.
    pub fn mark(&mut self, key: KeyId, upto: Position) -> usize {
        self.mark_with(key, upto, 0)
    }

    fn mark_with(&mut self, key: KeyId, upto: Position, flags: u8) -> usize {
        let Some(from) = self.told.get(&key).map(|told| told.from) else { return 0 };
        let mut added = 0;
        if self.selvedge {
            added = self.push_control(Mark { key, from, upto, flags }.encode());
            if added == 0 {
                return 0;
            }
        }
        self.moved(key, upto);
        added
    }

    /// Takes the next write from the queue, if none is under way.
    pub fn start_write(&mut self, now: Time) -> Option<Vec<Bytes>> {
        if self.writing.is_some() || self.queue.is_empty() {
            return None;
        }
        let (mut slices, mut taken) = (Vec::new(), Written::default());
        while let Some(slice) = self.queue.front() {
            let fits =
                taken.bytes + slice.bytes.len() <= WRITE_BYTES && slices.len() < WRITE_SLICES;
            if !slices.is_empty() && !fits {
                break;
            }
            if let Some(slice) = self.queue.pop_front() {
                taken.bytes += slice.bytes.len();
                taken.messages += u64::from(slice.messages);
                slices.push(slice.bytes);
            }
        }
        self.writing = Some(taken);
        self.progress = now;
        Some(slices)
    }

    /// The write under way made progress, or is done; returns what it took when done.
    pub fn wrote(&mut self, now: Time, done: bool) -> Written {
        self.progress = now;
        if !done {
            return Written::default();
        }
        let written = self.writing.take().unwrap_or_default();
        self.queued -= written.bytes;
        self.messages -= written.messages;
        written
    }
}
