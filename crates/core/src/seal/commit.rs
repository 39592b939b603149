//! Building a commit: numbered messages in, signed packets out, their bytes made once.

use alloc::vec::Vec;
use bytes::Bytes;
use smallvec::SmallVec;

use super::digest::digests;
use super::header::{Header, signed_bytes};
use super::merkle::{Tree, leaf_start};
use super::packet::Packet;
use super::{ContentType, SecretKey};
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

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.head_bytes());
        out.extend_from_slice(&(self.messages.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.tseq.to_le_bytes());
        for (off, draft) in &self.messages {
            out.extend_from_slice(&off.to_le_bytes());
            out.extend_from_slice(&draft.ctype.0.to_le_bytes());
            out.extend_from_slice(&(draft.extension.len() as u16).to_le_bytes());
            out.extend_from_slice(&(draft.body.len() as u32).to_le_bytes());
            out.extend_from_slice(&draft.time.0.to_le_bytes());
            out.extend_from_slice(&draft.extension);
        }
        out
    }

    /// What is hashed of its packet.
    fn leaf<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let topic = &self.topic.as_bytes()[..];
        let start = [&leaf_start(topic)[..], topic, head].into_iter();
        start.chain(self.messages.iter().map(|(_, draft)| &draft.body[..]))
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
    /// Hashes every byte, signs once, and lays the packets out for the wire.
    pub fn seal(self, identity: &Identity) -> Commit {
        let heads: Vec<Vec<u8>> = self.groups.iter().map(Group::head).collect();
        let leaves = self.groups.iter().zip(&heads).map(|(group, head)| group.leaf(head));
        let tree = Tree::new(digests(leaves));
        let header = self.header.encode();
        let signed = signed_bytes(&identity.fabric, &identity.publisher, &header, &tree.root());
        let mut start = Vec::from(header);
        start.extend_from_slice(&identity.key.sign(&signed));
        let packets = self
            .groups
            .iter()
            .zip(&heads)
            .enumerate()
            .map(|(index, (group, head))| layout(group, &seal_frame(&start, &tree, index, head)))
            .collect();
        Commit { header: self.header, packets }
    }
}

fn seal_frame(start: &[u8], tree: &Tree, index: usize, head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(start.len() + 4 + 13 * 32 + head.len());
    out.extend_from_slice(start);
    out.extend_from_slice(&(index as u16).to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    for sibling in tree.proof(index) {
        out[start.len() + 2] += 1; // at most 13: a commit has at most 4,097 leaves
        out.extend_from_slice(sibling);
    }
    out.extend_from_slice(head);
    out
}

fn layout(group: &Group, seal: &[u8]) -> Sealed {
    let tip = group.messages.first().is_some_and(|(_, d)| d.ctype == ContentType::TIP);
    let copied = |draft: &Draft| match draft.body.len() {
        len if len < REFERENCED => len,
        _ => 0,
    };
    let bodies: usize = group.messages.iter().map(|(_, draft)| 9 + copied(draft)).sum();
    let mut wire = SmallVec::new();
    let mut chunk = Vec::with_capacity(18 + group.topic.as_bytes().len() + seal.len() + bodies);
    wire::put_frame(&mut chunk, group.topic.as_bytes(), true);
    wire::put_frame(&mut chunk, seal, true);
    let last = group.messages.len().saturating_sub(1);
    for (at, (_, draft)) in group.messages.iter().enumerate() {
        if draft.body.len() < REFERENCED {
            wire::put_frame(&mut chunk, &draft.body, at < last);
        } else {
            chunk.extend_from_slice(wire::header(draft.body.len(), at < last).as_ref());
            wire.push(Bytes::from(core::mem::take(&mut chunk)));
            wire.push(draft.body.clone());
        }
    }
    if !chunk.is_empty() {
        wire.push(Bytes::from(chunk));
    }
    let numbers = if tip { 0 } else { group.messages.len() as u16 };
    Sealed { topic: group.topic.clone(), numbers, wire }
}
