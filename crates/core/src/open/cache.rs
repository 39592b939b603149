//! Commits whose signature was verified: a second packet of one, or a second copy, costs hashing.

use alloc::collections::{BTreeMap, VecDeque};

use crate::KeyId;
use crate::limits::VERIFIED_COMMITS;
use crate::seal::{COMMIT_BYTES, Packet, merkle::Hash};

/// Which commit of which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId {
    /// The stream.
    pub key: KeyId,
    /// The epoch in it.
    pub epoch: u64,
    /// The commit's number in the epoch.
    pub commit: u64,
}

impl CommitId {
    /// The commit that a packet names.
    pub fn of(packet: &Packet) -> CommitId {
        let header = packet.header();
        CommitId { key: header.key, epoch: header.epoch, commit: header.commit }
    }
}

/// A commit that carried a good signature: its header and signature, and the root they cover.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    id: CommitId,
    commit_bytes: [u8; COMMIT_BYTES],
    root: Hash,
}

impl Verified {
    /// Only [`super::open`] calls this, after the signature was verified.
    pub(super) fn new(packet: &Packet, root: Hash) -> Verified {
        Verified { id: CommitId::of(packet), commit_bytes: *packet.commit_bytes(), root }
    }

    pub(super) fn commit_bytes(&self) -> &[u8; COMMIT_BYTES] {
        &self.commit_bytes
    }

    pub(super) fn root(&self) -> &Hash {
        &self.root
    }
}

/// The last [`VERIFIED_COMMITS`] commits, shared by all links of a subscriber.
#[derive(Debug, Default)]
pub struct Cache {
    commits: BTreeMap<CommitId, Verified>,
    order: VecDeque<CommitId>,
}

impl Cache {
    /// What is known of a commit.
    pub fn find(&self, id: CommitId) -> Option<&Verified> {
        self.commits.get(&id)
    }

    /// Remembers a commit, forgetting the oldest beyond the bound. The first one of a number stays.
    pub fn insert(&mut self, verified: Verified) {
        if self.commits.contains_key(&verified.id) {
            return;
        }
        if self.order.len() >= VERIFIED_COMMITS
            && let Some(oldest) = self.order.pop_front()
        {
            self.commits.remove(&oldest);
        }
        self.order.push_back(verified.id);
        self.commits.insert(verified.id, verified);
    }
}
