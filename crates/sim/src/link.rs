//! A link: one node dials another; bytes flow both ways, in pieces, until it is cut.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use selvedge_core::fanout::PeerId;
use selvedge_core::open::{Budget, CommitId};
use selvedge_core::subscriber::LinkId;
use selvedge_core::wire::{Connection, Limits, Role, greeting};

/// Who dials whom, and how good the way between them is.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub dialer: usize,
    pub listener: usize,
    /// Neither side says `X-Selvedge`.
    pub plain: bool,
    /// The dialer never hears a MARK.
    pub unmarked: bool,
    /// A piece of at most `piece` bytes arrives every `step` microseconds.
    pub step: u64,
    pub piece: u64,
}

/// A connection that is up.
pub struct Conn {
    pub id: u64,
    pub dialer: End,
    pub listener: End,
    /// Toward the dialer.
    pub down: Pipe,
    /// Toward the listener.
    pub up: Pipe,
    pub budget: Budget,
    /// The dialer has shaken hands.
    pub ready: bool,
    /// How often each packet came over this connection.
    pub came: BTreeMap<(CommitId, u16), u32>,
}

/// What one side has read, and the engine that reads it.
pub struct End {
    pub engine: Connection,
    pub input: BytesMut,
}

/// Bytes on their way.
#[derive(Default)]
pub struct Pipe {
    /// In a socket's buffer or further.
    pub wire: BytesMut,
    /// Of a write that is not done.
    pub waiting: BytesMut,
    /// The write under way is one of the fan-out's, to be answered.
    pub answer: bool,
    pub scheduled: bool,
}

/// What a socket takes before a write waits.
const BUFFER: usize = 4 * 1_024;

impl Conn {
    pub fn new(id: u64) -> Conn {
        let end =
            |role| End { engine: Connection::new(role, Limits::default()), input: BytesMut::new() };
        let mut conn = Conn {
            id,
            dialer: end(Role::Subscriber),
            listener: end(Role::Publisher),
            down: Pipe::default(),
            up: Pipe::default(),
            budget: Budget::default(),
            ready: false,
            came: BTreeMap::new(),
        };
        conn.down.wire.extend_from_slice(&greeting());
        conn.up.wire.extend_from_slice(&greeting());
        conn
    }

    pub fn peer(&self) -> PeerId {
        PeerId(self.id)
    }

    pub fn link(&self) -> LinkId {
        LinkId(self.id)
    }
}

impl Pipe {
    /// Bytes that nobody waits for.
    pub fn send(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
    }

    /// A write of the fan-out.
    pub fn write(&mut self, slices: &[Bytes]) {
        assert!(!self.answer, "one write at a time for each peer");
        slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        self.answer = true;
    }

    pub fn is_idle(&self) -> bool {
        self.wire.is_empty() && !self.answer
    }

    /// Takes the next bytes off, and lets the write under way go on: whether it moved, and whether
    /// that was all of it.
    pub fn step(&mut self, piece: usize) -> (BytesMut, Option<bool>) {
        let taken = self.wire.split_to(piece.min(self.wire.len()));
        let room = BUFFER.saturating_sub(self.wire.len()).min(self.waiting.len());
        self.wire.extend_from_slice(&self.waiting.split_to(room));
        if !self.answer || room == 0 && !self.waiting.is_empty() {
            return (taken, None);
        }
        let done = self.waiting.is_empty();
        self.answer = !done;
        (taken, Some(done))
    }
}

/// READY of a PUB socket that never heard of Selvedge.
pub fn plain_ready() -> Bytes {
    Bytes::from_static(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB")
}
