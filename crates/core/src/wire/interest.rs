//! Who subscribed to which prefix.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::iter;
use core::ops::Bound;
use smallvec::SmallVec;

use crate::limits::{PREFIX_COST, SUBSCRIPTION_BYTES};

/// Whether a topic belongs to a subscription to `prefix`: it starts with it, and a topic of the
/// fabric itself (`$tip.web`) only if the prefix starts with `$` too.
pub fn matches(prefix: &[u8], topic: &[u8]) -> bool {
    match prefix {
        b"" => topic.first() != Some(&b'$'),
        _ => topic.starts_with(prefix),
    }
}

/// The prefixes of all peers, counted per peer and prefix (RFC 37: subscriptions add up).
#[derive(Clone, Debug)]
pub struct Interest<P> {
    /// Who holds each prefix, ascending.
    holders: BTreeMap<Bytes, SmallVec<[P; 4]>>,
    /// Who holds the empty one, which most do: it is compared with nothing. (An empty text lies
    /// nowhere, and to look there takes some processors 100 ns.)
    all: SmallVec<[P; 4]>,
    peers: BTreeMap<P, Held>,
}

/// What one peer holds.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Prefix → how often subscribed, at least once.
    counts: BTreeMap<Bytes, u32>,
    /// What the prefixes are charged.
    bytes: usize,
}

/// The peer holds [`SUBSCRIPTION_BYTES`] of prefixes; the subscription was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer may hold {SUBSCRIPTION_BYTES} bytes of prefixes, each charged {PREFIX_COST} more")]
pub struct Full;

impl<P> Default for Interest<P> {
    fn default() -> Interest<P> {
        Interest { holders: BTreeMap::new(), all: SmallVec::new(), peers: BTreeMap::new() }
    }
}

impl<P: Copy + Ord> Interest<P> {
    /// Nobody holds anything.
    pub fn new() -> Interest<P> {
        Interest::default()
    }

    /// Counts one subscription: `true` if the peer did not hold the prefix before.
    ///
    /// # Errors
    /// [`Full`] if a new prefix would exceed what a peer may hold.
    pub fn subscribe(&mut self, peer: P, prefix: &[u8]) -> Result<bool, Full> {
        let held = self.peers.entry(peer).or_default();
        if let Some(count) = held.counts.get_mut(prefix) {
            *count = count.saturating_add(1);
            return Ok(false);
        }
        let cost = cost(prefix);
        if cost > SUBSCRIPTION_BYTES - held.bytes {
            return Err(Full);
        }
        held.bytes += cost;
        let prefix = match self.holders.get_key_value(prefix) {
            Some((known, _)) => known.clone(),
            None => Bytes::copy_from_slice(prefix),
        };
        held.counts.insert(prefix.clone(), 1);
        let holders = match prefix.is_empty() {
            true => &mut self.all,
            false => self.holders.entry(prefix).or_default(),
        };
        if let Err(at) = holders.binary_search(&peer) {
            holders.insert(at, peer);
        }
        Ok(true)
    }

    /// Takes one subscription back: `true` if it was the peer's last to this prefix. A cancel
    /// without a subscription changes nothing.
    pub fn cancel(&mut self, peer: P, prefix: &[u8]) -> bool {
        let Some(held) = self.peers.get_mut(&peer) else { return false };
        let Some(count) = held.counts.get_mut(prefix) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        held.counts.remove(prefix);
        held.bytes -= cost(prefix);
        self.release(peer, prefix);
        true
    }

    /// Forgets all of a peer's prefixes.
    pub fn remove(&mut self, peer: P) {
        let held = self.peers.remove(&peer).unwrap_or_default();
        held.counts.keys().for_each(|prefix| self.release(peer, prefix));
    }

    /// Takes `peer` off the holders of `prefix`, and the prefix off the index with its last holder.
    fn release(&mut self, peer: P, prefix: &[u8]) {
        let holders = match prefix.is_empty() {
            true => Some(&mut self.all),
            false => self.holders.get_mut(prefix),
        };
        let Some(holders) = holders else { return };
        if let Ok(at) = holders.binary_search(&peer) {
            holders.remove(at);
        }
        if holders.is_empty() {
            self.holders.remove(prefix);
        }
    }

    /// Replaces the contents of `out` by the peers whose prefixes match `topic`: each once, in
    /// ascending order. Costs a few look-ups, however many prefixes there are.
    pub fn matching(&self, topic: &[u8], out: &mut Vec<P>) {
        out.clear();
        if matches(b"", topic) {
            out.extend_from_slice(&self.all);
        }
        for holders in matching_prefixes(&self.holders, topic) {
            out.extend_from_slice(holders);
        }
        out.sort_unstable(); // at once if only one prefix matched
        out.dedup();
    }

    /// Whether a prefix of `peer` matches `topic`.
    pub fn is_match(&self, peer: P, topic: &[u8]) -> bool {
        let held = self.peers.get(&peer);
        held.is_some_and(|held| matching_prefixes(&held.counts, topic).next().is_some())
    }

    /// The prefixes a peer holds, ascending, each once.
    pub fn prefixes_of(&self, peer: P) -> impl Iterator<Item = &Bytes> {
        self.peers.get(&peer).into_iter().flat_map(|held| held.counts.keys())
    }
}

fn cost(prefix: &[u8]) -> usize {
    prefix.len() + PREFIX_COST
}

/// What is stored under each prefix of `topic`, longest first.
///
/// The greatest key that is not above the topic either is a prefix of it, or differs from it at
/// some byte; no prefix longer than what both share can be stored then, for it would lie between
/// the two. So each look-up either finds one or shortens the topic to where the next may be.
fn matching_prefixes<'a, V>(
    index: &'a BTreeMap<Bytes, V>,
    topic: &'a [u8],
) -> impl Iterator<Item = &'a V> {
    let mut rest = Some(topic);
    iter::from_fn(move || {
        loop {
            let below = (Bound::Unbounded, Bound::Included(rest?));
            let (key, value) = index.range::<[u8], _>(below).next_back()?;
            let shared = key.iter().zip(topic).take_while(|(a, b)| a == b).count();
            if shared < key.len() {
                rest = topic.get(..shared);
                continue;
            }
            rest = key.len().checked_sub(1).and_then(|len| topic.get(..len));
            return matches(key, topic).then_some(value);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn interest(held: &[(u32, &str)]) -> Interest<u32> {
        let mut interest = Interest::new();
        for (peer, prefix) in held {
            interest.subscribe(*peer, prefix.as_bytes()).unwrap();
        }
        interest
    }

    fn matching(interest: &Interest<u32>, topic: &str) -> Vec<u32> {
        let mut out = vec![u32::MAX];
        interest.matching(topic.as_bytes(), &mut out);
        out
    }

    #[test]
    fn each_matching_peer_comes_once_in_ascending_order() {
        let interest =
            interest(&[(3, "a."), (1, "a.b"), (3, "a.b"), (2, ""), (4, "b"), (5, "a.c")]);
        assert_eq!(matching(&interest, "a.b.c"), [1, 2, 3]);
        assert_eq!(matching(&interest, "a"), [2]);
        assert_eq!(matching(&interest, ""), [2]);
    }

    #[test]
    fn the_fabrics_own_topics_need_a_prefix_that_asks_for_them() {
        let interest = interest(&[(1, ""), (2, "$"), (3, "$tip.web"), (4, "$state.")]);
        assert_eq!(matching(&interest, "$tip.web"), [2, 3]);
        assert!(!interest.is_match(1, b"$tip.web"));
        assert!(interest.is_match(2, b"$tip.web"));
    }

    #[test]
    fn subscriptions_add_up_and_cancel_one_by_one() {
        let mut interest = interest(&[(1, "a")]);
        assert_eq!(interest.subscribe(1, b"a"), Ok(false));
        assert!(!interest.cancel(1, b"a"));
        assert_eq!(matching(&interest, "a"), [1]);
        assert!(interest.cancel(1, b"a"));
        assert_eq!(matching(&interest, "a"), []);
        assert!(!interest.cancel(1, b"a") && !interest.cancel(2, b"a"));
        assert_eq!(interest.subscribe(1, b"a"), Ok(true));
    }

    #[test]
    fn a_removed_peer_leaves_nothing_behind() {
        let mut interest = interest(&[(1, "a"), (1, "b"), (2, "b")]);
        interest.remove(1);
        assert_eq!(matching(&interest, "a"), []);
        assert_eq!(matching(&interest, "b"), [2]);
        interest.remove(2);
        interest.remove(3);
        assert!(
            interest.holders.is_empty() && interest.all.is_empty() && interest.peers.is_empty()
        );
    }

    #[test]
    fn a_peer_fills_only_its_own_share_and_gets_it_back() {
        let mut interest = Interest::new();
        let cost = 4 + PREFIX_COST;
        let fit = (SUBSCRIPTION_BYTES / cost) as u32;
        for i in 0..fit {
            assert_eq!(interest.subscribe(1, &i.to_be_bytes()), Ok(true));
        }
        assert_eq!(interest.subscribe(1, b"more"), Err(Full));
        assert_eq!(interest.subscribe(1, &[0; 4]), Ok(false));
        assert_eq!(interest.subscribe(2, b"more"), Ok(true));
        assert!(interest.cancel(1, &[0, 0, 0, 1]));
        assert_eq!(interest.subscribe(1, b"more"), Ok(true));
        assert_eq!(interest.prefixes_of(1).count(), fit as usize);
        assert_eq!(interest.prefixes_of(3).count(), 0);
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            held in prop::collection::vec((0_u32..4, "[$ab]{0,4}"), 0..40),
            topic in "[$ab]{0,6}",
        ) {
            let mut interest = Interest::new();
            for (peer, prefix) in &held {
                interest.subscribe(*peer, prefix.as_bytes()).unwrap();
            }
            let hit = |prefix: &str| matches(prefix.as_bytes(), topic.as_bytes());
            let mut expected: Vec<u32> =
                held.iter().filter(|(_, prefix)| hit(prefix)).map(|(peer, _)| *peer).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(&matching(&interest, &topic), &expected);
            for peer in 0..4 {
                let found = interest.is_match(peer, topic.as_bytes());
                prop_assert_eq!(found, expected.contains(&peer));
            }
        }
    }
}
