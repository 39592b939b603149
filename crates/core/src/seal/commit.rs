//! Building a commit: numbered messages in, signed packets out, their bytes made once.

use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Range;
use selvedge_sha256::digests;
use smallvec::SmallVec;

use super::header::{COMMIT_BYTES, HEADER, Header, signed_bytes};
use super::merkle::{Hash, Tree, leaf_start, proof_len};
use super::packet::{FIXED, Packet};
use super::{ContentType, SecretKey, Used};
use crate::topic::{Name, Topic};
use crate::wire;
use crate::{KeyId, Wall};

/// Bodies of at least this size are referenced by the packet instead of copied into it: below, a
/// slice of its own in a vectored write costs more than the copy.
const REFERENCED: usize = 4 * 1_024;

/// Received packets of at least this size are referenced where they are queued: a quarter of the
/// read buffer, so a queue holds at most four times what it counts.
const KEPT: usize = crate::limits::READ_BYTES / 4;

/// One message that an application wants to say; not numbered yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its topic.
    pub topic: Topic,
    /// What its body is.
    pub ctype: ContentType,
    /// When it was said.
    pub time: Wall,
    /// Its headers: nothing, or one MessagePack map of at most 1,024 bytes.
    pub extension: Bytes,
    /// Its content.
    pub body: Bytes,
}

impl Draft {
    /// The bytes it is charged for wherever it waits.
    pub fn cost(&self) -> usize {
        64 + self.extension.len() + self.body.len()
    }
}

/// Messages of one topic that will be one packet.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their topic.
    pub topic: Topic,
    /// The first one's number among the topic's messages; 0 if forgotten.
    pub tseq: u64,
    /// The messages, each with its number less the commit's first, rising.
    pub messages: Vec<(u16, Draft)>,
}

impl Group {
    /// Bytes of the head that lists its messages.
    pub fn head_bytes(&self) -> usize {
        10 + self.messages.iter().map(|(_, draft)| entry_bytes(draft)).sum::<usize>()
    }

    fn put_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.messages.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.tseq.to_le_bytes());
        for (off, draft) in &self.messages {
            let mut entry = [0; 18];
            entry[0..2].copy_from_slice(&off.to_le_bytes());
            entry[2..4].copy_from_slice(&draft.ctype.0.to_le_bytes());
            entry[4..6].copy_from_slice(&(draft.extension.len() as u16).to_le_bytes());
            entry[6..10].copy_from_slice(&(draft.body.len() as u32).to_le_bytes());
            entry[10..18].copy_from_slice(&draft.time.0.to_le_bytes());
            out.extend_from_slice(&entry);
            out.extend_from_slice(&draft.extension);
        }
    }
}

/// Bytes that a message takes in the head of its packet.
pub fn entry_bytes(draft: &Draft) -> usize {
    18 + draft.extension.len()
}

/// A commit whose numbers are given out and whose signature is not made yet.
#[derive(Clone, Debug)]
pub struct Unsealed {
    /// Its header, complete.
    pub header: Header,
    /// Its packets to be, in order.
    pub groups: Vec<Group>,
}

/// Who signs, as the directory knows him.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The deployment that messages are bound to.
    pub fabric: Name,
    /// The name that messages are bound to.
    pub publisher: Name,
    /// The key that signs.
    pub key: SecretKey,
}

impl Identity {
    /// The stream that this identity speaks on.
    pub fn key_id(&self) -> KeyId {
        self.key.public().id()
    }
}

/// A signed commit, as it goes to the journal and to peers.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What it says of itself.
    pub header: Header,
    /// Its packets, in order.
    pub packets: Vec<Sealed>,
}

/// A signed packet, encoded once for all peers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Its topic.
    pub topic: Topic,
    /// How many numbers of its commit it carries; 0 for a tip.
    pub numbers: u16,
    /// The bytes on the wire, frame headers included.
    pub wire: SmallVec<[Bytes; 1]>,
}

impl Sealed {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.wire.iter().map(Bytes::len).sum()
    }

    /// Never: every packet has a topic, a seal and a body.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }
}

impl From<&Packet> for Sealed {
    /// A packet as it came, to be sent on unchanged. A small one is copied, so that a queue does
    /// not keep the read buffer alive that it is a small part of.
    fn from(packet: &Packet) -> Sealed {
        let wire = match packet.wire() {
            small if small.len() < KEPT => Bytes::copy_from_slice(small),
            large => large.clone(),
        };
        let numbers = if packet.is_tip() { 0 } else { packet.count() };
        Sealed { topic: packet.topic().detached(), numbers, wire: smallvec::smallvec![wire] }
    }
}

impl Unsealed {
    /// Lays the packets out for the wire, hashes every byte, signs once.
    pub fn seal(self, identity: &Identity, used: &mut Used) -> Commit {
        let header = self.header.encode();
        let leaves = self.groups.len() as u16; // at most one a message, or one tip
        let packets = self.groups.iter().zip(0..leaves);
        let mut packets: Vec<Unsigned<'_>> = packets
            .map(|(group, index)| Unsigned::new(group, &header, index, leaves, used))
            .collect();
        let tree = Tree::new(digests(packets.iter().map(Unsigned::leaf)));
        let signed = signed_bytes(&identity.fabric, &identity.publisher, &header, &tree.root());
        let signature = identity.key.sign(&signed);
        for (index, packet) in packets.iter_mut().enumerate() {
            packet.sign(&signature, tree.proof(index));
        }
        let packets = packets.into_iter().map(|packet| packet.done(used)).collect();
        Commit { header: self.header, packets }
    }
}

/// A packet laid out for the wire, with room for signature and proof.
struct Unsigned<'a> {
    group: &'a Group,
    /// Topic and seal, and bodies up to the first that is referenced.
    start: Vec<u8>,
    /// Where in it the seal's proof and head are.
    proof: Range<usize>,
    head: Range<usize>,
    /// What follows.
    rest: SmallVec<[Bytes; 1]>,
}

impl<'a> Unsigned<'a> {
    fn new(
        group: &'a Group,
        header: &[u8; HEADER],
        index: u16,
        leaves: u16,
        used: &mut Used,
    ) -> Self {
        let (topic, head) = (group.topic.as_bytes(), group.head_bytes());
        let siblings = proof_len(index, leaves).unwrap_or_default(); // it is one of them
        let seal = FIXED + 32 * siblings + head;
        let copied = group.messages.iter().map(|(_, draft)| draft.body.len());
        let copied: usize = copied.take_while(|len| *len < REFERENCED).map(|len| 9 + len).sum();
        let mut start = used.room(9 + topic.len() + 9 + seal + copied + 9);
        wire::put_frame(&mut start, topic, true);
        start.extend_from_slice(wire::header(seal, true).as_ref());
        start.extend_from_slice(header);
        start.resize(start.len() + (COMMIT_BYTES - HEADER), 0);
        start.extend_from_slice(&index.to_le_bytes());
        start.extend_from_slice(&[siblings as u8, 0]); // at most 13: a commit has 4,097 leaves
        let proof = start.len()..start.len() + 32 * siblings;
        start.resize(proof.end, 0);
        group.put_head(&mut start);
        let head = proof.end..start.len();
        let mut packet = Unsigned { group, start, proof, head, rest: SmallVec::new() };
        packet.put_bodies();
        packet
    }

    fn put_bodies(&mut self) {
        let last = self.group.messages.len().saturating_sub(1);
        let mut chunk = Vec::new();
        for (at, (_, draft)) in self.group.messages.iter().enumerate() {
            let out = if self.rest.is_empty() { &mut self.start } else { &mut chunk };
            if draft.body.len() < REFERENCED {
                wire::put_frame(out, &draft.body, at < last);
                continue;
            }
            out.extend_from_slice(wire::header(draft.body.len(), at < last).as_ref());
            if !chunk.is_empty() {
                self.rest.push(Bytes::from(core::mem::take(&mut chunk)));
            }
            self.rest.push(draft.body.clone());
        }
        if !chunk.is_empty() {
            self.rest.push(Bytes::from(chunk));
        }
    }

    /// What is hashed of it.
    fn leaf(&self) -> impl Iterator<Item = &[u8]> {
        let topic = &self.group.topic.as_bytes()[..];
        let start = [&leaf_start(topic)[..], topic, &self.start[self.head.clone()]].into_iter();
        start.chain(self.group.messages.iter().map(|(_, draft)| &draft.body[..]))
    }

    fn sign<'h>(&mut self, signature: &[u8; 64], proof: impl Iterator<Item = &'h Hash>) {
        let at = self.proof.start - (FIXED - HEADER);
        self.start[at..at + signature.len()].copy_from_slice(signature);
        let room = self.start[self.proof.clone()].chunks_exact_mut(32);
        room.zip(proof).for_each(|(room, sibling)| room.copy_from_slice(sibling));
    }

    fn done(self, used: &mut Used) -> Sealed {
        let Unsigned { group, start, rest, .. } = self;
        let tip = group.messages.first().is_some_and(|(_, d)| d.ctype == ContentType::TIP);
        let numbers = if tip { 0 } else { group.messages.len() as u16 };
        let start = Bytes::from(start);
        used.keep(&start);
        let wire = core::iter::once(start).chain(rest).collect();
        Sealed { topic: group.topic.clone(), numbers, wire }
    }
}
