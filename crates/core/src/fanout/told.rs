//! How far one stream was told to one peer: live, or behind and fed from the journal.

use alloc::vec::Vec;
use smallvec::SmallVec;

use crate::Position;
use crate::limits::JOIN_BYTES;
use crate::seal::{Header, Sealed};

/// See the module.
#[derive(Debug)]
pub struct Told {
    /// Where the next MARK begins.
    pub from: Position,
    /// All numbers in `from..sent` that match were sent as packets. What is behind goes on here.
    pub sent: Position,
    /// Something was dropped, and nothing but the drop was told since.
    pub dropping: bool,
    /// Fed from the journal, until it has caught up.
    pub behind: Option<Behind>,
}

/// What is known of a peer that is fed from the journal.
#[derive(Debug, Default)]
pub struct Behind {
    /// The read under way.
    pub reading: Option<Reading>,
    /// What came since that read was asked for.
    held: Vec<Live>,
    held_bytes: usize,
    /// More came than is held, or numbers are gone that lie in between: the read is not the last.
    torn: bool,
}

/// A read of the journal: everything of a stream in `from..upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub from: Position,
    pub upto: Position,
}

/// What a peer matches of a commit that came live.
#[derive(Debug)]
pub struct Live {
    pub header: Header,
    pub packets: SmallVec<[Sealed; 1]>,
}

impl Told {
    /// Live, from `next` on.
    pub fn live(next: Position) -> Told {
        Told { from: next, sent: next, dropping: false, behind: None }
    }

    /// Fed from the journal, from `from` on.
    pub fn behind(from: Position) -> Told {
        Told { behind: Some(Behind::default()), ..Told::live(from) }
    }
}

impl Behind {
    /// Asks for a read; what comes from now on follows it.
    pub fn read(&mut self, reading: Reading) {
        *self = Behind { reading: Some(reading), ..Behind::default() };
    }

    /// Keeps a commit that comes while a read is under way, if there is room.
    pub fn hold(&mut self, header: &Header, packets: &[&Sealed]) {
        let bytes: usize = packets.iter().map(|packet| packet.len()).sum();
        if self.reading.is_none() || self.torn || self.held_bytes + bytes > JOIN_BYTES {
            return self.tear();
        }
        self.held_bytes += bytes;
        let packets = packets.iter().map(|packet| (*packet).clone()).collect();
        self.held.push(Live { header: *header, packets });
    }

    /// What is held does not follow the read under way without a gap.
    pub fn tear(&mut self) {
        self.torn = true;
        self.held = Vec::new();
        self.held_bytes = 0;
    }

    /// What came since the read that is done, unless something of it is missing.
    pub fn into_held(self) -> Result<Vec<Live>, Behind> {
        match self.torn {
            true => Err(Behind::default()),
            false => Ok(self.held),
        }
    }
}
