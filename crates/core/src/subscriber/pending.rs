//! A commit that waits to be handed over, and what is handed over.

use alloc::vec::Vec;

use crate::open::Trusted;
use crate::seal::{Entry, Header};
use crate::topic::Name;
use crate::{KeyId, Position, Time};

use super::ranges::Ranges;

/// Messages of one commit, ready for the application (or, on a relay, for its peers).
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The stream.
    pub key: KeyId,
    /// Its publisher.
    pub publisher: Name,
    /// What the commit says of itself.
    pub header: Header,
    /// Where the stream stood: messages below were handed over before.
    pub from: Position,
    /// The packets that came, in any order.
    pub packets: Vec<Trusted>,
}

impl Delivery {
    /// Each message's number, its packet, its number among its topic's, and its entry, in order.
    pub fn messages(&self) -> impl Iterator<Item = (u64, &Trusted, u64, Entry<'_>)> {
        let mut all: Vec<(u64, &Trusted, u64, Entry<'_>)> = Vec::new();
        for trusted in &self.packets {
            let packet = trusted.packet();
            all.reserve(usize::from(packet.count()));
            for (at, entry) in packet.entries().enumerate() {
                let tseq = packet.tseq() + at as u64; // parse() checked that it does not overflow
                all.push((self.header.first + u64::from(entry.off), trusted, tseq, entry));
            }
        }
        if self.packets.len() > 1 {
            all.sort_unstable_by_key(|(seq, ..)| *seq);
        }
        let from = self.from;
        let epoch = self.header.epoch;
        all.into_iter().filter(move |(seq, ..)| Position::new(epoch, *seq) >= from)
    }
}

/// The packets of a commit that came so far.
#[derive(Debug)]
pub struct Pending {
    pub header: Header,
    pub packets: Vec<Trusted>,
    /// Numbers in them.
    got: u16,
    /// Over links without MARKs: when to hand over what came.
    pub hand_over: Option<Time>,
}

impl Pending {
    pub fn new(header: Header) -> Pending {
        Pending { header, packets: Vec::new(), got: 0, hand_over: None }
    }

    /// Adds a packet; false if it came before.
    pub fn add(&mut self, trusted: Trusted) -> bool {
        let packet = trusted.packet();
        let mut before = self.packets.iter().map(Trusted::packet);
        // Equal first numbers mean equal packets: both hashed to the one root that was signed.
        if before.any(|p| p.first_off() == packet.first_off()) {
            return false;
        }
        self.got = self.got.saturating_add(packet.count());
        self.packets.push(trusted);
        true
    }

    /// Bytes on the wire of what is held.
    pub fn bytes(&self) -> usize {
        self.packets.iter().map(|trusted| trusted.packet().wire().len()).sum()
    }

    /// The first numbers from `next` on that neither came nor are passed.
    pub fn missing(&self, next: Position, passed: &Ranges) -> Option<(Position, Position)> {
        if self.got >= self.header.n {
            return None;
        }
        let (start, end) = (next.max(self.header.start()), self.header.end());
        let mut have = passed.clone_within(start, end);
        for (from, upto) in self.numbers() {
            have.add(from, upto);
        }
        let from = have.end_at(start).unwrap_or(start);
        (from < end).then(|| (from, have.start_above(from).unwrap_or(end).min(end)))
    }

    /// The numbers that came, as runs.
    pub fn numbers(&self) -> impl Iterator<Item = (Position, Position)> {
        let at = |off: u16, more: u64| {
            Position::new(self.header.epoch, self.header.first + u64::from(off) + more)
        };
        let entries = self.packets.iter().flat_map(|trusted| trusted.packet().entries());
        entries.map(move |entry| (at(entry.off, 0), at(entry.off, 1)))
    }
}
