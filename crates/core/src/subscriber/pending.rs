//! A commit that waits to be handed over, and what is handed over.

use alloc::vec::Vec;

use crate::open::Trusted;
use crate::seal::{Commit, Entry, Header, Sealed};
use crate::topic::Name;
use crate::{KeyId, Position, Time};

use super::numbers::Numbers;
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
    /// The commit as far as its packets came: what a relay hands to its fan-out.
    pub fn to_commit(&self) -> Commit {
        let packets = self.packets.iter().map(|trusted| Sealed::from(trusted.packet())).collect();
        Commit { header: self.header, packets }
    }

    /// The order of its messages, for [`Delivery::next`].
    pub fn order(&self) -> Order {
        let follows = |pair: &[Trusted]| pair[0].packet().last() < pair[1].packet().start();
        // Most commits are of one topic.
        let mixed = (!self.packets.windows(2).all(follows)).then(|| self.places().into_iter());
        Order { mixed, next: Place::default() }
    }

    /// The next message: the index of its packet, its number, its number among its topic's, and its
    /// entry.
    #[inline]
    pub fn next(&self, order: &mut Order) -> Option<(usize, u64, u64, Entry<'_>)> {
        loop {
            let place = match &mut order.mixed {
                Some(places) => places.next()?,
                None => order.next,
            };
            let packet = self.packets.get(usize::from(place.packet))?.packet();
            let Some((entry, at)) = packet.entry(place.at as usize, place.body.into()) else {
                order.next = Place { packet: place.packet + 1, ..Place::default() };
                continue;
            };
            order.next = Place { at: at as u32, body: place.body + 1, ..place };
            let seq = self.header.first + u64::from(entry.off); // parse() checked both sums
            if Position::new(self.header.epoch, seq) >= self.from {
                let tseq = packet.tseq() + u64::from(place.body);
                return Some((place.packet.into(), seq, tseq, entry));
            }
        }
    }

    /// Each message's number, its packet, its number among its topic's, and its entry, in order.
    pub fn messages(&self) -> impl Iterator<Item = (u64, &Trusted, u64, Entry<'_>)> {
        let mut order = self.order();
        core::iter::from_fn(move || {
            let (packet, seq, tseq, entry) = self.next(&mut order)?;
            Some((seq, &self.packets[packet], tseq, entry))
        })
    }

    /// Of each number where it is, in order.
    fn places(&self) -> Vec<Place> {
        let mut places = alloc::vec![None; usize::from(self.header.n)];
        for (index, trusted) in self.packets.iter().enumerate() {
            // A commit has at most 4,097 packets.
            let mut place = Place { packet: index as u16, ..Place::default() };
            while let Some((entry, at)) =
                trusted.packet().entry(place.at as usize, place.body.into())
            {
                if let Some(number) = places.get_mut(usize::from(entry.off)) {
                    *number = Some(place);
                }
                place = Place { at: at as u32, body: place.body + 1, ..place };
            }
        }
        places.into_iter().flatten().collect()
    }
}

/// How far the messages of a [`Delivery`] were taken.
#[derive(Clone, Debug)]
pub struct Order {
    /// Of packets whose numbers are mixed: where the rest of them are.
    mixed: Option<alloc::vec::IntoIter<Place>>,
    /// Of packets that follow each other: where the next one is.
    next: Place,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// In its packet's head, from the first entry on.
    at: u32,
    packet: u16,
    body: u16,
}

/// The packets of a commit that came so far.
#[derive(Debug)]
pub struct Pending {
    pub header: Header,
    pub packets: Vec<Trusted>,
    came: Numbers,
    /// Over links without MARKs: when to hand over what came.
    pub hand_over: Option<Time>,
    /// Everything before it came, is passed, or was declared lost.
    pub settled: Position,
}

impl Pending {
    pub fn new(header: Header) -> Pending {
        let settled = header.start();
        let came = Numbers::below(header.n);
        Pending { header, packets: Vec::with_capacity(1), came, hand_over: None, settled }
    }

    /// Adds a packet of this commit; false if it came before.
    pub fn add(&mut self, trusted: Trusted) -> bool {
        let packet = trusted.packet();
        // Equal numbers mean equal packets: both hashed to the one root that was signed.
        if self.came.has(packet.first_off().into()) {
            return false;
        }
        packet.entries().for_each(|entry| self.came.add(entry.off));
        self.packets.push(trusted);
        true
    }

    /// Bytes on the wire of what is held.
    pub fn bytes(&self) -> usize {
        self.packets.iter().map(|trusted| trusted.packet().wire().len()).sum()
    }

    /// The first numbers from `next` on that neither came nor are settled or `vouched` for.
    pub fn missing(&self, next: Position, vouched: &Ranges) -> Option<(Position, Position)> {
        if self.is_whole() {
            return None;
        }
        let (start, end) = (self.header.start(), self.header.end());
        let mut from = next.max(self.settled);
        while from < end {
            let number = from.seq.saturating_sub(start.seq);
            let missing = start.plus(self.came.next(number, false));
            if missing >= end {
                return None;
            }
            let Some(upto) = vouched.end_at(missing) else {
                let came = start.plus(self.came.next(missing.seq - start.seq, true));
                let vouched = vouched.start_above(missing).unwrap_or(end);
                return Some((missing, came.min(vouched)));
            };
            from = upto;
        }
        None
    }

    /// Whether every number of the commit came.
    pub fn is_whole(&self) -> bool {
        self.came.is_full()
    }

    /// Whether this number came.
    pub fn has(&self, at: Position) -> bool {
        let Position { epoch, seq } = self.header.start();
        at.epoch == epoch && at.seq >= seq && self.came.has(at.seq - seq)
    }
}
