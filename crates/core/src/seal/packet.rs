//! A received packet whose structure holds: every length, count and offset fits every other.
//!
//! Nothing is believed yet: [`crate::open`] judges who said it.

use alloc::vec::Vec;
use bytes::Bytes;
use selvedge_sha256::digests;

use super::header::{COMMIT_BYTES, Foreign, HEADER, Header};
use super::merkle::{self, Climb, Hash, leaf_start};
use super::{ContentType, TIP_OFF};
use crate::limits::{BODIES, COMMIT_MESSAGES, EXTENSION_BYTES, SEAL_BYTES};
use crate::topic::{BadTopic, Topic};
use crate::wire::Frames;
use crate::{Position, Wall};

/// Bytes of a seal before its proof: header, signature, index, k, flags.
pub(super) const FIXED: usize = COMMIT_BYTES + 4;
/// Bytes of a head before its entries: count, tseq.
const HEAD: usize = 10;
/// Bytes of an entry before its extension: off, ctype, ext_len, len, ts_us.
const ENTRY: usize = 18;

/// `[topic][seal][body 1]…[body count]`, checked for structure.
#[derive(Clone, Debug)]
pub struct Packet {
    frames: Frames,
    topic: Topic,
    header: Header,
    index: u16,
    siblings: usize,
    count: u16,
    tseq: u64,
    first_off: u16,
    last_off: u16,
}

/// What the head says of one message, with the place of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number less the commit's first.
    pub off: u16,
    /// What its body is.
    pub ctype: ContentType,
    /// When the application said it.
    pub time: Wall,
    /// Its headers: nothing, or one MessagePack map.
    pub extension: &'a [u8],
    /// Which body of the packet is its own.
    pub body: usize,
}

/// Why frames are no packet. Only a broken or hostile peer, or a foreign publisher, sends these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer than three frames, or more bodies than allowed.
    #[error("a packet has a topic, a seal and 1 to {BODIES} bodies")]
    Frames,
    /// The topic frame is outside the grammar.
    #[error("topic: {0}")]
    Topic(#[from] BadTopic),
    /// The seal is of no known format.
    #[error("{0}")]
    Format(#[from] Foreign),
    /// The seal is shorter than its fields, or over 64 KiB.
    #[error("the seal's length is wrong")]
    SealLength,
    /// A flag that is not defined.
    #[error("the seal has flags that are not known here")]
    Flags,
    /// Not 1 ≤ m ≤ n + 1, or n over 4,096.
    #[error("the commit's counts contradict each other")]
    Counts,
    /// The index or the proof's length do not fit the tree.
    #[error("the proof's shape does not fit the tree")]
    Proof,
    /// The head's count is not the number of bodies.
    #[error("the head does not list the bodies that came")]
    Count,
    /// Offsets not rising, or beyond the commit.
    #[error("an offset is out of order or outside the commit")]
    Offset,
    /// A body's frame has another length than its entry says.
    #[error("a body has another length than the head says")]
    BodyLength,
    /// An extension over 1,024 bytes.
    #[error("an extension is too long")]
    Extension,
    /// Bytes are left over, or missing, at the end of the head.
    #[error("the head does not fill the frame")]
    HeadLength,
    /// A number would pass 2^64.
    #[error("a number overflows")]
    Overflow,
    /// Topic, content type, offset, count and tseq of a tip go together.
    #[error("neither a tip nor a message")]
    Tip,
}

impl Packet {
    /// Checks the structure of one multipart message.
    ///
    /// # Errors
    /// [`Malformed`] names the first rule that does not hold.
    pub fn parse(frames: Frames) -> Result<Packet, Malformed> {
        let bodies = frames.len().saturating_sub(2);
        if !(1..=BODIES).contains(&bodies) {
            return Err(Malformed::Frames);
        }
        let topic = Topic::new(frames.slice(0))?;
        let seal = frames.part(1);
        let fixed = seal.first_chunk::<FIXED>().ok_or(Malformed::SealLength)?;
        if seal.len() > SEAL_BYTES {
            return Err(Malformed::SealLength);
        }
        let header = check_header(fixed)?;
        let index = u16::from_le_bytes([fixed[COMMIT_BYTES], fixed[COMMIT_BYTES + 1]]);
        let siblings = usize::from(fixed[COMMIT_BYTES + 2]);
        if fixed[COMMIT_BYTES + 3] != 0 {
            return Err(Malformed::Flags);
        }
        if merkle::proof_len(index, header.m) != Some(siblings) {
            return Err(Malformed::Proof);
        }
        let mut packet = Packet {
            topic,
            header,
            index,
            siblings,
            count: 0,
            tseq: 0,
            first_off: 0,
            last_off: 0,
            frames,
        };
        packet.check_head(bodies)?;
        Ok(packet)
    }

    fn check_head(&mut self, bodies: usize) -> Result<(), Malformed> {
        let fixed = self.head().first_chunk::<HEAD>().ok_or(Malformed::SealLength)?;
        let [c0, c1, tseq @ ..] = *fixed;
        self.count = u16::from_le_bytes([c0, c1]);
        self.tseq = u64::from_le_bytes(tseq);
        if usize::from(self.count) != bodies {
            return Err(Malformed::Count);
        }
        self.tseq.checked_add(u64::from(self.count)).ok_or(Malformed::Overflow)?;
        let tip = self.topic.as_bytes().starts_with(b"$tip.");
        if tip && (self.count != 1 || self.tseq != 0) {
            return Err(Malformed::Tip);
        }
        let (mut above, mut first_off) = (None, 0);
        let mut rest = &self.head()[HEAD..];
        for body in 0..bodies {
            let (entry, len, after) = split_entry(rest, body).ok_or(Malformed::HeadLength)?;
            let shape = [entry.ctype == ContentType::TIP, entry.off == TIP_OFF];
            if shape != [tip; 2] {
                return Err(Malformed::Tip);
            }
            if !tip && (above.is_some_and(|off| entry.off <= off) || entry.off >= self.header.n) {
                return Err(Malformed::Offset);
            }
            if entry.extension.len() > EXTENSION_BYTES {
                return Err(Malformed::Extension);
            }
            if u64::from(len) != self.frames.part(2 + body).len() as u64 {
                return Err(Malformed::BodyLength);
            }
            if body == 0 {
                first_off = entry.off;
            }
            (above, rest) = (Some(entry.off), after);
        }
        if !rest.is_empty() {
            return Err(Malformed::HeadLength);
        }
        (self.first_off, self.last_off) = (first_off, above.unwrap_or_default());
        Ok(())
    }

    /// The topic that all its messages have.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// What its commit says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Header and signature: what all packets of a commit share.
    pub fn commit_bytes(&self) -> &[u8; COMMIT_BYTES] {
        self.frames.part(1).first_chunk().unwrap_or(&[0; COMMIT_BYTES]) // parse() checked it
    }

    /// The 48 signed bytes.
    pub fn header_bytes(&self) -> &[u8; HEADER] {
        self.commit_bytes().first_chunk().unwrap_or(&[0; HEADER])
    }

    /// The signature over fabric, publisher, header and root.
    pub fn signature(&self) -> &[u8; 64] {
        self.commit_bytes().last_chunk().unwrap_or(&[0; 64])
    }

    /// How many messages it has.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Its first message's number among those of its topic; 0 if its publisher forgot.
    pub fn tseq(&self) -> u64 {
        self.tseq
    }

    /// Whether it is a heartbeat rather than messages.
    pub fn is_tip(&self) -> bool {
        self.topic.as_bytes().starts_with(b"$tip.")
    }

    /// The offset of its first message.
    pub fn first_off(&self) -> u16 {
        self.first_off
    }

    /// The place of its first message; of a tip, the place it announces.
    pub fn start(&self) -> Position {
        if self.is_tip() {
            return self.header.end();
        }
        let seq = self.header.first.saturating_add(u64::from(self.first_off));
        Position::new(self.header.epoch, seq)
    }

    /// The place of its last message; of a tip, the place it announces.
    pub fn last(&self) -> Position {
        if self.is_tip() {
            return self.header.end();
        }
        let seq = self.header.first.saturating_add(u64::from(self.last_off));
        Position::new(self.header.epoch, seq)
    }

    /// What the head says of each message, in rising order of numbers.
    pub fn entries(&self) -> Entries<'_> {
        Entries { rest: self.head().get(HEAD..).unwrap_or_default(), body: 0 }
    }

    /// The entry of body number `body`, which stands `at` bytes after the first one's start; and
    /// where the next one does.
    #[inline]
    pub(crate) fn entry(&self, at: usize, body: usize) -> Option<(Entry<'_>, usize)> {
        let entries = self.head().get(HEAD..)?;
        let (entry, _, rest) = split_entry(entries.get(at..)?, body)?;
        Some((entry, entries.len() - rest.len()))
    }

    /// A body, sharing the buffer that it was read into.
    #[inline]
    pub fn body(&self, index: usize) -> Bytes {
        self.frames.slice(2 + index)
    }

    /// A message's headers, sharing the same buffer.
    #[inline]
    pub fn extension(&self, entry: &Entry<'_>) -> Bytes {
        match entry.extension.is_empty() {
            true => Bytes::new(),
            false => self.frames.wire().slice_ref(entry.extension),
        }
    }

    /// The bytes as they stood on the wire.
    pub fn wire(&self) -> &Bytes {
        self.frames.wire()
    }

    /// For each packet the root of its commit's tree, if it is a leaf of that: hashes every byte.
    /// Sixteen at once take a third of the time of one by one, those of one commit less still.
    pub fn roots<'a>(packets: impl Iterator<Item = &'a Packet> + Clone) -> Vec<Hash> {
        let mut roots = digests(packets.clone().map(Packet::leaf));
        let mut climb = Climb::default();
        for (root, packet) in roots.iter_mut().zip(packets) {
            let proof = packet.frames.part(1).get(FIXED..).unwrap_or_default();
            let proof = proof.as_chunks().0.get(..packet.siblings).unwrap_or_default();
            *root = climb.root_of(*root, packet.index, packet.header.m, proof);
        }
        roots
    }

    /// What is hashed of it.
    fn leaf(&self) -> impl Iterator<Item = &[u8]> {
        let topic = &self.topic.as_bytes()[..];
        let start = [&leaf_start(topic)[..], topic, self.head()].into_iter();
        start.chain((0..usize::from(self.count)).map(|body| self.frames.part(2 + body)))
    }

    fn head(&self) -> &[u8] {
        self.frames.part(1).get(FIXED + 32 * self.siblings..).unwrap_or_default()
    }
}

/// The entries of a packet's head.
pub struct Entries<'a> {
    rest: &'a [u8],
    body: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (entry, _, rest) = split_entry(self.rest, self.body)?;
        (self.rest, self.body) = (rest, self.body + 1);
        Some(entry)
    }
}

fn check_header(fixed: &[u8; FIXED]) -> Result<Header, Malformed> {
    let header = Header::parse(fixed.first_chunk().ok_or(Malformed::SealLength)?)?;
    let (n, m) = (usize::from(header.n), usize::from(header.m));
    if n > COMMIT_MESSAGES || m < 1 || m > n + 1 {
        return Err(Malformed::Counts);
    }
    header.first.checked_add(u64::from(header.n)).ok_or(Malformed::Overflow)?;
    header.commit.checked_add(1).ok_or(Malformed::Overflow)?;
    Ok(header)
}

/// The first entry of `head`, the length it gives its body, and what follows.
fn split_entry(head: &[u8], body: usize) -> Option<(Entry<'_>, u32, &[u8])> {
    let (fixed, rest) = head.split_first_chunk::<ENTRY>()?;
    let [o0, o1, c0, c1, e0, e1, l0, l1, l2, l3, time @ ..] = *fixed;
    let ext_len = usize::from(u16::from_le_bytes([e0, e1]));
    let (extension, rest) = rest.split_at_checked(ext_len)?;
    let entry = Entry {
        off: u16::from_le_bytes([o0, o1]),
        ctype: ContentType(u16::from_le_bytes([c0, c1])),
        time: Wall(u64::from_le_bytes(time)),
        extension,
        body,
    };
    Some((entry, u32::from_le_bytes([l0, l1, l2, l3]), rest))
}
