//! Packets that peers offer: each is answered in order, once it is on the disk or refused.

use std::collections::{BTreeMap, VecDeque};

use selvedge::inlet::Offered;
use selvedge::journal::Journal;
use selvedge::{Outlet, Position};
use selvedge_core::KeyId;
use selvedge_core::fanout::PeerId;
use selvedge_core::wire::Mark;

/// Offers of one peer that may wait: beyond it, what comes is refused.
const WAITING: usize = 4_096;

/// Ranges of one stream that are told with the answer to a tip.
const RANGES: usize = 1_024;

/// An offer that is handed over, and in the journal's hands.
#[derive(Debug)]
struct Syncing {
    peer: PeerId,
    offered: Offered,
    /// What the journal held before that of what the publisher may offer next: on the disk, too.
    held: Vec<(Position, Position)>,
}

/// What waits for an answer.
#[derive(Debug, Default)]
pub struct Offers {
    /// Not handed over yet: other packets of their commits are missing.
    waiting: BTreeMap<PeerId, VecDeque<Offered>>,
    syncing: VecDeque<Vec<Syncing>>,
}

impl Offers {
    /// A packet came through the door. False if its peer has too many waiting.
    pub fn took(&mut self, peer: PeerId, offered: Offered) -> bool {
        let waiting = self.waiting.entry(peer).or_default();
        let room = waiting.len() < WAITING;
        if room {
            waiting.push_back(offered);
        }
        room
    }

    /// Forgets a peer.
    pub fn gone(&mut self, peer: PeerId) {
        self.waiting.remove(&peer);
    }

    /// A stream is set back, which forgets what waited of it: its peers are to offer that again.
    pub fn set_back(&mut self, key: KeyId) -> Vec<(PeerId, Mark)> {
        let mut refused = Vec::new();
        for (peer, waiting) in &mut self.waiting {
            waiting.retain(|&Offered { key: of, from, upto, .. }| {
                if of == key {
                    refused.push((*peer, Mark { key, from, upto, flags: Mark::REFUSED }));
                }
                of != key
            });
        }
        refused
    }

    /// Whether some were handed over since the last call, as `position` tells: they are answered
    /// once all that is in the journal's hands is on the disk. A tip holds nothing back: what lies
    /// before it may be offered only once more is answered. `held` is what the journal holds now.
    pub fn ready(
        &mut self,
        position: impl Fn(KeyId) -> Option<Position>,
        held: impl Fn(KeyId) -> Vec<(Position, Position)>,
    ) -> bool {
        let mut ready = Vec::new();
        for (peer, waiting) in &mut self.waiting {
            let reached =
                |o: &&Offered| o.from == o.upto || position(o.key).is_some_and(|at| at >= o.upto);
            let count = waiting.iter().take_while(reached).count();
            ready.extend(waiting.drain(..count).map(|offered| {
                let earlier = offered.oldest.filter(|oldest| oldest.epoch < offered.from.epoch);
                let mut held = earlier.map(|_| held(offered.key)).unwrap_or_default();
                held.retain(|(_, upto)| earlier.is_some_and(|oldest| oldest < *upto));
                held.drain(..held.len().saturating_sub(RANGES));
                Syncing { peer: *peer, offered, held }
            }));
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        let some = !ready.is_empty();
        if some {
            self.syncing.push_back(ready);
        }
        some
    }

    /// The journal was synced as often as [`Offers::ready`] said yes: answers what that was for.
    pub fn synced(&mut self, written: bool, journal: &Journal, outlet: &mut Outlet) {
        for Syncing { peer, offered, held } in self.syncing.pop_front().unwrap_or_default() {
            let Offered { key, from, upto, .. } = offered;
            for (from, upto) in held.into_iter().filter(|_| written) {
                outlet.answer(peer, &Mark { key, from, upto, flags: Mark::HELD });
            }
            let kept = written && journal.holds(key, from, upto);
            if !kept {
                tracing::warn!("{key} {from} to {upto} was offered and is not in the journal");
            }
            let flags = if kept { Mark::JOURNALED } else { Mark::REFUSED };
            outlet.answer(peer, &Mark { key, from, upto, flags });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What waited for an earlier epoch was forgotten with it, and its peer waited for ever.
    #[test]
    fn what_waits_of_a_stream_that_is_set_back_is_refused() {
        let (ours, other) = (KeyId(1), KeyId(2));
        let (from, upto) = (Position::new(7, 1), Position::new(7, 2));
        let offered = |key| Offered { key, from, upto, oldest: None };
        let mut offers = Offers::default();
        for key in [ours, other, ours] {
            assert!(offers.took(PeerId(3), offered(key)));
        }
        assert!(offers.took(PeerId(4), offered(other)));
        let refused = (PeerId(3), Mark { key: ours, from, upto, flags: Mark::REFUSED });
        assert_eq!(offers.set_back(ours), [refused, refused]);
        assert_eq!(offers.set_back(ours), [], "once");
        assert!(offers.ready(|_| Some(upto), |_| Vec::new()), "the others are still answered");
        assert_eq!(offers.syncing.iter().flatten().count(), 2);
    }
}
