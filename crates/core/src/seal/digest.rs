//! SHA-256 (FIPS 180-4) of many inputs, two at a time, and of nodes.
//!
//! Each round of SHA-256 waits for the one before it, so that one input alone leaves half of the
//! processor idle. Blocks of two inputs taken in turn overlap: a third less time for each byte.

use alloc::vec::Vec;
use core::iter::Fuse;
use sha2::block_api::compress256;

use super::merkle::Hash;

/// Bytes of a block.
const BLOCK: usize = 64;

/// Bytes of an input that are gathered before they are hashed: both inputs' stay in the
/// processor's first cache.
const GATHERED: usize = 4 * 1_024;

/// The state that every digest begins with: FIPS 180-4, section 5.3.3.
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The digest of each input, in order. An input is its parts, one after the other.
pub fn digests<'a, P: Iterator<Item = &'a [u8]>>(inputs: impl Iterator<Item = P>) -> Vec<Hash> {
    let mut inputs = inputs.map(Iterator::fuse).enumerate();
    let mut out = Vec::with_capacity(inputs.size_hint().0);
    let mut lanes = [Lane::new(), Lane::new()];
    loop {
        for lane in lanes.iter_mut().filter(|lane| lane.input.is_none()) {
            lane.input = inputs.next();
            lane.begin();
        }
        lanes.iter_mut().for_each(Lane::gather);
        match &mut lanes {
            [Lane { input: None, .. }, Lane { input: None, .. }] => return out,
            [one, other] => together(one, other),
        }
        for lane in &mut lanes {
            if let Some((index, digest)) = lane.finish() {
                if out.len() <= index {
                    out.resize(index + 1, Hash::default());
                }
                out[index] = digest;
            }
        }
    }
}

/// The digest of a node of a tree: `0x01 | left | right` (RFC 9162, section 2.1.1), which with its
/// padding fills two blocks.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    const BITS: u64 = 8 * (1 + 2 * size_of::<Hash>() as u64);
    let mut blocks = [[0; BLOCK]; 2];
    let [first, last] = &mut blocks;
    first[0] = 1;
    first[1..33].copy_from_slice(left);
    first[33..].copy_from_slice(&right[..31]);
    (last[0], last[1]) = (right[31], 0x80);
    last[BLOCK - 8..].copy_from_slice(&BITS.to_be_bytes());
    let mut state = BEGIN;
    compress256(&mut state, &blocks);
    digest(state)
}

fn digest(state: [u32; 8]) -> Hash {
    let mut digest = Hash::default();
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// An input on its way.
struct Lane<'a, P> {
    /// Which it is, and its parts that were not begun.
    input: Option<(usize, Fuse<P>)>,
    /// What is left of the part that was begun.
    rest: &'a [u8],
    state: [u32; 8],
    /// Bytes gathered so far, since the beginning.
    len: u64,
    gathered: [u8; GATHERED],
    /// What of `gathered` is not hashed.
    from: usize,
    upto: usize,
    /// Whether the padding is in `gathered`.
    padded: bool,
}

impl<'a, P: Iterator<Item = &'a [u8]>> Lane<'a, P> {
    fn new() -> Self {
        let (input, rest, gathered) = (None, &[][..], [0; GATHERED]);
        Lane { input, rest, state: BEGIN, len: 0, gathered, from: 0, upto: 0, padded: false }
    }

    fn begin(&mut self) {
        (self.rest, self.state, self.len) = (&[], BEGIN, 0);
        (self.from, self.upto, self.padded) = (0, 0, false);
    }

    /// Fills up with parts, and, after the last, with the padding.
    fn gather(&mut self) {
        let Some((_, parts)) = &mut self.input else { return };
        if self.padded || self.upto - self.from >= BLOCK {
            return;
        }
        self.gathered.copy_within(self.from..self.upto, 0);
        (self.from, self.upto) = (0, self.upto - self.from);
        while self.upto < GATHERED {
            if self.rest.is_empty() {
                match parts.next() {
                    Some(part) => self.rest = part,
                    None => return self.pad(),
                }
            }
            let (taken, rest) = self.rest.split_at(self.rest.len().min(GATHERED - self.upto));
            self.gathered[self.upto..self.upto + taken.len()].copy_from_slice(taken);
            (self.rest, self.upto) = (rest, self.upto + taken.len());
            self.len += taken.len() as u64;
        }
    }

    /// FIPS 180-4, section 5.1.1: a one bit, zeroes, and the length in bits at a block's end.
    fn pad(&mut self) {
        let end = (self.upto + 1 + 8).next_multiple_of(BLOCK);
        if end > GATHERED {
            return; // there is room once these blocks are hashed
        }
        self.gathered[self.upto] = 0x80;
        self.gathered[self.upto + 1..end - 8].fill(0);
        self.gathered[end - 8..end].copy_from_slice(&(self.len * 8).to_be_bytes());
        (self.upto, self.padded) = (end, true);
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        self.gathered[self.from..self.upto].as_chunks().0
    }

    /// Hashes the next `count` blocks; there are so many.
    fn advance(&mut self, count: usize) {
        let bytes = &self.gathered[self.from..self.from + count * BLOCK];
        compress256(&mut self.state, bytes.as_chunks().0);
        self.from += count * BLOCK;
    }

    /// The digest, once all is hashed: there is room for another input then.
    fn finish(&mut self) -> Option<(usize, Hash)> {
        if !self.padded || self.from < self.upto {
            return None;
        }
        let (index, _) = self.input.take()?;
        Some((index, digest(self.state)))
    }
}

/// Hashes what both have gathered as far as the shorter of them goes; all of one that is alone.
fn together<'a, P: Iterator<Item = &'a [u8]>>(one: &mut Lane<'a, P>, other: &mut Lane<'a, P>) {
    match (one.input.is_some(), other.input.is_some()) {
        (true, true) => {
            for _ in 0..one.blocks().len().min(other.blocks().len()) {
                one.advance(1);
                other.advance(1);
            }
        }
        (true, false) => one.advance(one.blocks().len()),
        (false, _) => other.advance(other.blocks().len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// Deterministic bytes without a period near a block.
    fn bytes(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|at| ((at * 131 + seed * 7919) % 251) as u8).collect()
    }

    #[test]
    fn they_are_what_sha2_makes_of_each_alone() {
        let edges = [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 4_031, 4_032, 4_087, 4_088, 4_096];
        let lens: Vec<usize> = edges.into_iter().chain([4_097, 9_000, 70_001, 3, 0]).collect();
        for split in [1, 7, 64, 100_000] {
            let inputs: Vec<Vec<u8>> = lens.iter().map(|len| bytes(*len, split)).collect();
            let made = digests(inputs.iter().map(|input| input.chunks(split)));
            let expected: Vec<Hash> =
                inputs.iter().map(|input| Sha256::digest(input).into()).collect();
            assert_eq!(made, expected, "parts of {split}");
        }
    }

    #[test]
    fn a_node_is_what_sha2_makes_of_it() {
        let (left, right) = ([0xa5; 32], core::array::from_fn(|at| at as u8));
        let expected = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
        assert_eq!(node(&left, &right), Hash::from(expected.finalize()));
    }

    #[test]
    fn one_and_none_are_no_special_cases() {
        let abc = [&b"a"[..], b"", b"bc"];
        let expected: Hash = Sha256::digest(b"abc").into();
        assert_eq!(digests([abc.into_iter()].into_iter()), [expected]);
        let none: [core::array::IntoIter<&[u8], 3>; 0] = [];
        assert!(digests(none.into_iter()).is_empty());
    }
}
