//! SHA-256 (FIPS 180-4) of many inputs at once.
//!
//! Each round of SHA-256 waits for the one before it, so that one input alone leaves most of a
//! processor idle. Inputs that are independent need not wait for each other:
//!
//! | at a time | with | bytes a second, of one input alone |
//! |---|---|---|
//! | 2, block by block in turn | what `sha2` finds, such as SHA instructions | 1.4 x |
//! | 16, a 32-bit lane each | AVX-512, where the processor has it (`wide.rs`) | 2.9 x |
//!
//! (measured on an AMD EPYC of family 26). What is best is found out at run time.
#![no_std]

extern crate alloc;

#[cfg_attr(not(target_arch = "x86_64"), path = "narrow.rs")]
mod wide;

use alloc::vec::Vec;
use core::iter::Fuse;
use core::{array, slice};
use sha2::block_api::compress256;

use wide::{LANES, Wide};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// What is hashed at once.
type Block = [u8; BLOCK];

/// Bytes of a block.
const BLOCK: usize = 64;

/// Blocks of an input that are gathered before they are hashed: those of 16 inputs stay in the
/// processor's first cache.
const GATHERED: usize = 16;

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

/// The digest of one input.
pub fn digest(input: &[u8]) -> Digest {
    let (whole, rest) = input.as_chunks();
    let mut padded = [[0; BLOCK]; 2];
    padded.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
    let last = pad(padded.as_flattened_mut(), rest.len(), input.len());
    let mut state = BEGIN;
    compress256(&mut state, whole);
    compress256(&mut state, &padded[..last / BLOCK]);
    bytes(state)
}

/// The digest of each input, in order. An input is its parts, one after the other.
pub fn digests<'a, P: Iterator<Item = &'a [u8]>>(inputs: impl Iterator<Item = P>) -> Vec<Digest> {
    digests_by(Wide::detected(), inputs)
}

fn digests_by<'a, P: Iterator<Item = &'a [u8]>>(
    wide: Option<Wide>,
    inputs: impl Iterator<Item = P>,
) -> Vec<Digest> {
    let mut out = Vec::with_capacity(inputs.size_hint().0);
    let mut inputs = inputs.enumerate();
    let width = if wide.is_some() { LANES } else { 2 };
    let mut lanes = Vec::with_capacity(width);
    lanes.extend(inputs.by_ref().take(width).map(Lane::new));
    while !lanes.is_empty() {
        lanes.iter_mut().for_each(Lane::gather);
        match (&mut lanes[..], wide) {
            (many, Some(wide)) if many.len() >= wide.pays_from() => together(many, wide),
            ([one, other, ..], _) => in_turn(one, other),
            (rest, _) => rest.iter_mut().for_each(alone),
        }
        for at in (0..lanes.len()).rev() {
            let Some((index, digest)) = lanes[at].finish() else { continue };
            if out.len() <= index {
                out.resize(index + 1, Digest::default());
            }
            out[index] = digest;
            match inputs.next() {
                Some(input) => lanes[at].begin(input),
                None => drop(lanes.swap_remove(at)),
            }
        }
    }
    out
}

/// An input on its way.
struct Lane<'a, P> {
    /// Which it is.
    index: usize,
    /// Its parts that were not begun.
    parts: Fuse<P>,
    /// What is left of the part that was begun.
    rest: &'a [u8],
    state: [u32; 8],
    /// Bytes gathered so far, since the beginning.
    len: usize,
    gathered: [Block; GATHERED],
    /// Which bytes of `gathered` are not hashed.
    from: usize,
    upto: usize,
    /// Whether the padding is in `gathered`.
    padded: bool,
}

impl<'a, P: Iterator<Item = &'a [u8]>> Lane<'a, P> {
    fn new((index, parts): (usize, P)) -> Self {
        let (parts, rest, gathered) = (parts.fuse(), &[][..], [[0; BLOCK]; GATHERED]);
        let (state, padded) = (BEGIN, false);
        Lane { index, parts, rest, state, len: 0, gathered, from: 0, upto: 0, padded }
    }

    /// The same for another input, once this one is finished.
    fn begin(&mut self, (index, parts): (usize, P)) {
        (self.index, self.parts, self.rest) = (index, parts.fuse(), &[]);
        (self.state, self.len, self.padded) = (BEGIN, 0, false);
        (self.from, self.upto) = (0, 0);
    }

    /// Fills up with parts, and, after the last, with the padding. A long part is hashed where it
    /// lies, except for what completes a block.
    fn gather(&mut self) {
        if self.padded || !self.blocks().is_empty() {
            return;
        }
        let gathered = self.gathered.as_flattened_mut();
        gathered.copy_within(self.from..self.upto, 0);
        (self.from, self.upto) = (0, self.upto - self.from);
        while self.upto < gathered.len() {
            if self.rest.is_empty() {
                match self.parts.next() {
                    Some(part) => self.rest = part,
                    None => break,
                }
            }
            let room = match long(self.rest) {
                [] => gathered.len() - self.upto,
                _ if self.upto.is_multiple_of(BLOCK) => return,
                _ => self.upto.next_multiple_of(BLOCK) - self.upto,
            };
            let (taken, rest) = self.rest.split_at(self.rest.len().min(room));
            gathered[self.upto..self.upto + taken.len()].copy_from_slice(taken);
            (self.rest, self.upto) = (rest, self.upto + taken.len());
            self.len += taken.len();
        }
        // Without room for the padding, it comes once these blocks are hashed.
        if self.upto + PADDING <= gathered.len() {
            self.upto = pad(gathered, self.upto, self.len);
            self.padded = true;
        }
    }

    fn blocks(&self) -> &[Block] {
        ready(&self.gathered.as_flattened()[self.from..self.upto], self.rest)
    }

    /// The state, and the blocks to take into it.
    fn work(&mut self) -> (&mut [u32; 8], &[Block]) {
        let gathered = &self.gathered.as_flattened()[self.from..self.upto];
        (&mut self.state, ready(gathered, self.rest))
    }

    /// So many blocks were taken.
    fn took(&mut self, blocks: usize) {
        let bytes = blocks * BLOCK;
        if self.from < self.upto {
            self.from += bytes;
        } else {
            self.rest = &self.rest[bytes..];
            self.len += bytes;
        }
    }

    /// Which input it was and its digest, once all is hashed.
    fn finish(&self) -> Option<(usize, Digest)> {
        let done = self.padded && self.from == self.upto;
        done.then(|| (self.index, bytes(self.state)))
    }
}

/// Hashes what one has gathered.
fn alone<'a, P: Iterator<Item = &'a [u8]>>(lane: &mut Lane<'a, P>) {
    let (state, blocks) = lane.work();
    let count = blocks.len();
    compress256(state, blocks);
    lane.took(count);
}

/// Hashes what two have gathered, as far as the shorter of them goes.
fn in_turn<'a, P: Iterator<Item = &'a [u8]>>(one: &mut Lane<'a, P>, other: &mut Lane<'a, P>) {
    let ((state, blocks), (other_state, other_blocks)) = (one.work(), other.work());
    let count = blocks.len().min(other_blocks.len());
    for (block, other_block) in blocks.iter().zip(other_blocks) {
        compress256(state, slice::from_ref(block));
        compress256(other_state, slice::from_ref(other_block));
    }
    one.took(count);
    other.took(count);
}

/// Hashes what up to sixteen have gathered, as far as the shortest of them goes.
fn together<'a, P: Iterator<Item = &'a [u8]>>(lanes: &mut [Lane<'a, P>], wide: Wide) {
    let count = lanes.iter().map(|lane| lane.blocks().len()).min().unwrap_or_default();
    // Where fewer than sixteen are left, the first one's blocks are hashed more often, for nothing.
    let lane = |at: usize| lanes.get(at).unwrap_or(&lanes[0]);
    let blocks = array::from_fn(|at| &lane(at).blocks()[..count]);
    let mut states = array::from_fn(|word| array::from_fn(|at| lane(at).state[word]));
    wide.compress(&mut states, blocks);
    for (at, lane) in lanes.iter_mut().enumerate() {
        lane.state = array::from_fn(|word| states[word][at]);
        lane.took(count);
    }
}

/// The blocks that were gathered, or, without any, those of a long part.
fn ready<'a>(gathered: &'a [u8], rest: &'a [u8]) -> &'a [Block] {
    match gathered.as_chunks().0 {
        [] => long(rest),
        blocks => blocks,
    }
}

/// The blocks of a part that is too long for copying it to pay; none of another.
fn long(part: &[u8]) -> &[Block] {
    if part.len() > GATHERED * BLOCK { part.as_chunks().0 } else { &[] }
}

/// The least that [`pad`] adds: a bit, in a byte of its own, and the length.
const PADDING: usize = 1 + size_of::<u64>();

/// Ends an input of `len` bytes, the last of which are the first `upto` of `last`, with a one bit,
/// zeroes, and the length in bits at a block's end: FIPS 180-4, section 5.1.1. Returns that end.
fn pad(last: &mut [u8], upto: usize, len: usize) -> usize {
    let end = (upto + PADDING).next_multiple_of(BLOCK);
    let zeroes = end - size_of::<u64>();
    last[upto] = 0x80;
    last[upto + 1..zeroes].fill(0);
    last[zeroes..end].copy_from_slice(&(len as u64 * 8).to_be_bytes());
    end
}

fn bytes(state: [u32; 8]) -> Digest {
    let mut digest = Digest::default();
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// Deterministic bytes without a period near a block.
    fn input(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|at| ((at * 131 + seed * 7919) % 251) as u8).collect()
    }

    /// Lengths around the ends of blocks and of what is gathered, more of them than lanes.
    fn lens() -> impl Iterator<Item = usize> {
        let edges = [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 1_014, 1_015, 1_016, 1_023, 1_024];
        edges.into_iter().chain([1_025, 1_080, 9_000, 70_001, 3, 0]).chain(500..540)
    }

    /// What it does on this processor, and what it does on less of one.
    fn ways() -> [Option<Wide>; 2] {
        [Wide::detected(), None]
    }

    #[test]
    fn they_are_what_sha2_makes_of_each_alone() {
        for split in [1, 7, 64, 1_500, 100_000] {
            let inputs: Vec<Vec<u8>> = lens().map(|len| input(len, split)).collect();
            let expected: Vec<Digest> =
                inputs.iter().map(|input| Sha256::digest(input).into()).collect();
            for wide in ways() {
                let made = digests_by(wide, inputs.iter().map(|input| input.chunks(split)));
                assert_eq!(made, expected, "parts of {split}, {wide:?}");
            }
        }
    }

    #[test]
    fn any_number_of_inputs_is_hashed() {
        for count in 0..40 {
            let inputs: Vec<Vec<u8>> = (0..count).map(|at| input(100 + 40 * at, at)).collect();
            let expected: Vec<Digest> = inputs.iter().map(|input| digest(input)).collect();
            for wide in ways() {
                let made = digests_by(wide, inputs.iter().map(|input| input.chunks(50)));
                assert_eq!(made, expected, "{count}, {wide:?}");
            }
        }
    }

    #[test]
    fn an_input_alone_is_what_sha2_makes_of_it() {
        for len in lens() {
            let input = input(len, len);
            assert_eq!(digest(&input), Digest::from(Sha256::digest(&input)), "{len}");
        }
    }
}
