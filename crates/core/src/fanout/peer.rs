//! One peer of a fan-out: its queue, its write under way, and how far its MARKs reach.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::limits::{QUEUE_BYTES, WRITE_BYTES, WRITE_SLICES};
use crate::seal::Sealed;
use crate::wire::Mark;
use crate::{KeyId, Position, Time};

/// The caller's name for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// Control frames may pass the queue's bound by this much: they are what tells a peer of drops.
const CONTROL_ROOM: usize = 1 << 20;

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

/// How far a stream was told to this peer.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Where the next MARK begins.
    from: Position,
    /// All numbers in `from..sent` were sent as packets.
    sent: Position,
}

#[derive(Debug)]
pub struct Peer {
    selvedge: bool,
    queue: VecDeque<Slice>,
    /// Bytes in the queue and in the write under way.
    queued: usize,
    messages: u64,
    writing: Option<Written>,
    progress: Time,
    told: BTreeMap<KeyId, Told>,
}

impl Peer {
    pub fn new(selvedge: bool, now: Time) -> Peer {
        Peer {
            selvedge,
            queue: VecDeque::new(),
            queued: 0,
            messages: 0,
            writing: None,
            progress: now,
            told: BTreeMap::new(),
        }
    }

    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Messages not written whole yet.
    pub fn waiting(&self) -> u64 {
        self.messages
    }

    /// Since when the write under way has made no progress.
    pub fn writing_since(&self) -> Option<Time> {
        self.writing.map(|_| self.progress)
    }

    /// A stream begins for this peer at `from`.
    pub fn join(&mut self, key: KeyId, from: Position) {
        self.told.insert(key, Told { from, sent: from });
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

    /// Queues a tip: evidence of what was dropped, so it may pass the queue's bound a little.
    pub fn push_tip(&mut self, tip: &Sealed) -> usize {
        if self.queued > QUEUE_BYTES + CONTROL_ROOM { 0 } else { self.push(tip) }
    }

    /// Queues a control frame.
    pub fn push_control(&mut self, bytes: Bytes) -> usize {
        let len = bytes.len();
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

    /// After the packets of a commit that ends at `end`: says so, unless all its numbers were sent.
    pub fn mark_after(&mut self, key: KeyId, end: Position, whole: bool) -> usize {
        match self.told.get_mut(&key) {
            Some(told) if whole => {
                told.sent = end;
                0
            }
            Some(_) => self.mark(key, end),
            None => 0,
        }
    }

    /// With a tip: everything below `next` that matches was sent.
    pub fn mark_tip(&mut self, key: KeyId, next: Position) -> usize {
        self.mark(key, next)
    }

    /// Before the prefixes change: closes the account of the old ones, and opens a new one.
    pub fn mark_all(&mut self, key: KeyId, next: Position) -> usize {
        let added = match self.told.get(&key) {
            Some(told) if told.sent < next => self.mark(key, next),
            _ => 0,
        };
        self.join(key, next);
        added
    }

    /// Leaves `from..upto` out of the next MARK: it was dropped, or is gone.
    pub fn skip(&mut self, key: KeyId, from: Position, upto: Position) -> usize {
        let added = self.mark_before(key, from);
        self.join(key, upto);
        added
    }

    fn mark(&mut self, key: KeyId, upto: Position) -> usize {
        let Some(told) = self.told.get_mut(&key) else { return 0 };
        let mark = Mark { key, from: told.from, upto, flags: 0 };
        *told = Told { from: upto, sent: upto };
        if !self.selvedge || self.queued > QUEUE_BYTES + CONTROL_ROOM {
            return 0;
        }
        self.push_control(mark.encode())
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
