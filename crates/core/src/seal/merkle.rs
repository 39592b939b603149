//! The Merkle tree of RFC 9162, section 2.1: leaves are packets, the root is what is signed.

use alloc::vec::Vec;

use selvedge_sha256::digest;

/// A SHA-256 digest.
pub type Hash = selvedge_sha256::Digest;

/// The digest of a node: RFC 9162, section 2.1.1.
fn node(left: &Hash, right: &Hash) -> Hash {
    let mut input = [1; 1 + 2 * size_of::<Hash>()];
    input[1..33].copy_from_slice(left);
    input[33..].copy_from_slice(right);
    digest(&input)
}

/// A whole tree, kept level by level so that proofs are read off.
pub struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over `leaves`; of no leaves it has no root and no proofs.
    pub fn new(leaves: Vec<Hash>) -> Tree {
        let mut levels = Vec::from([leaves]);
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            // A last node without a partner moves up unchanged: the shape of RFC 9162.
            let above = below
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    rest => rest[0],
                })
                .collect();
            levels.push(above);
        }
        Tree { levels }
    }

    /// The hash that stands for all leaves.
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_default()
    }

    /// The siblings that lead from leaf `index` to the root, lowest first.
    pub fn proof(&self, index: usize) -> impl Iterator<Item = &Hash> {
        self.levels.iter().enumerate().filter_map(move |(up, level)| level.get((index >> up) ^ 1))
    }
}

/// How many siblings the proof of leaf `index` of `leaves` has; `None` if there is no such leaf.
pub fn proof_len(index: u16, leaves: u16) -> Option<usize> {
    (index < leaves).then(|| Walk::new(index, leaves).count())
}

/// What is hashed of a leaf before its topic: RFC 9162's mark of a leaf, and the topic's length.
pub(super) fn leaf_start(topic: &[u8]) -> &'static [u8; 2] {
    static STARTS: [[u8; 2]; 256] = {
        let mut starts = [[0; 2]; 256];
        let mut len = 0;
        while len < 256 {
            starts[len][1] = len as u8;
            len += 1;
        }
        starts
    };
    &STARTS[topic.len().min(255)] // the grammar: at most 255 bytes
}

/// Follows proofs to their roots. The packets of a commit share most of the nodes on their ways:
/// those of the last proof are known, and not hashed again.
#[derive(Default)]
pub struct Climb {
    /// Lowest first.
    last: Vec<Node>,
}

/// A node and what it was made of.
struct Node {
    below: [Hash; 2],
    hash: Hash,
}

impl Climb {
    /// The root that `proof` leads to from `leaf`, which stands at `index` of `leaves`.
    ///
    /// The caller has checked that the proof has [`proof_len`] siblings.
    pub fn root_of(&mut self, leaf: Hash, index: u16, leaves: u16, proof: &[Hash]) -> Hash {
        let steps = Walk::new(index, leaves).zip(proof).enumerate();
        steps.fold(leaf, |hash, (step, (side, sibling))| match side {
            Side::Left => self.node(step, [*sibling, hash]),
            Side::Right => self.node(step, [hash, *sibling]),
        })
    }

    fn node(&mut self, step: usize, below: [Hash; 2]) -> Hash {
        if let Some(known) = self.last.get(step).filter(|known| known.below == below) {
            return known.hash;
        }
        let hash = node(&below[0], &below[1]);
        let made = Node { below, hash };
        match self.last.get_mut(step) {
            Some(last) => *last = made,
            None => self.last.push(made), // steps come one after the other
        }
        hash
    }
}

/// On which side of the path a sibling stands.
enum Side {
    Left,
    Right,
}

/// The way from a leaf to the root: RFC 9162, section 2.1.3.2, steps 2 to 5.
struct Walk {
    at: u16,
    last: u16,
}

impl Walk {
    fn new(index: u16, leaves: u16) -> Walk {
        Walk { at: index, last: leaves.saturating_sub(1) }
    }
}

impl Iterator for Walk {
    type Item = Side;

    fn next(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.at & 1 == 1 || self.at == self.last {
            // Levels at which this node moved up unchanged have no sibling.
            while self.at & 1 == 0 && self.at != 0 {
                self.at >>= 1;
                self.last >>= 1;
            }
            Side::Left
        } else {
            Side::Right
        };
        self.at >>= 1;
        self.last >>= 1;
        Some(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn a_node_is_what_sha2_makes_of_it() {
        let (left, right) = ([0xa5; 32], core::array::from_fn(|at| at as u8));
        let expected = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
        assert_eq!(node(&left, &right), Hash::from(expected.finalize()));
    }

    /// The recursive definition of RFC 9162, section 2.1.1.
    fn reference(leaves: &[Hash]) -> Hash {
        match leaves {
            [one] => *one,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&reference(&leaves[..split]), &reference(&leaves[split..]))
            }
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_proves_itself() {
        for size in 1..=70u16 {
            let leaves: Vec<Hash> = (0..size).map(|i| [i as u8; 32]).collect();
            let tree = Tree::new(leaves.clone());
            let mut climb = Climb::default();
            assert_eq!(tree.root(), reference(&leaves), "size {size}");
            for index in 0..size {
                let proof: Vec<Hash> = tree.proof(usize::from(index)).copied().collect();
                assert_eq!(Some(proof.len()), proof_len(index, size));
                let leaf = leaves[usize::from(index)];
                let alone = Climb::default().root_of(leaf, index, size, &proof);
                let after_others = climb.root_of(leaf, index, size, &proof);
                assert_eq!([alone, after_others], [tree.root(); 2], "{index} of {size}");
            }
            assert_eq!(proof_len(size, size), None);
        }
    }

    #[test]
    fn what_a_climb_knows_vouches_for_no_other_leaf() {
        let leaves: Vec<Hash> = (0..9).map(|i| [i; 32]).collect();
        let tree = Tree::new(leaves.clone());
        let proof: Vec<Hash> = tree.proof(2).copied().collect();
        let mut climb = Climb::default();
        assert_eq!(climb.root_of(leaves[2], 2, 9, &proof), tree.root());
        assert_ne!(climb.root_of([99; 32], 2, 9, &proof), tree.root());
        for step in 0..proof.len() {
            let mut other = proof.clone();
            other[step][31] ^= 1;
            assert_ne!(climb.root_of(leaves[2], 2, 9, &other), tree.root(), "{step}");
            assert_eq!(climb.root_of(leaves[2], 2, 9, &proof), tree.root(), "{step}");
        }
    }
}
