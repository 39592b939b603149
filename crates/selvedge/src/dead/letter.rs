//! The bytes of a dead letter.
//!
//! ```text
//!  0  "SVDL" | version u16 = 1 | index u16, which message of the packet
//!  8  died_us u64 | 16 tries u32 | 20 name_len u16 | 22 why_len u16 | 24 packet_len u32
//! 28  publisher's name | why, UTF-8 | the packet, as it stood on the wire
//!     CRC-32C of all bytes before, u32
//! ```
//! Integers little-endian. Nothing in it is believed: handed over again, it passes the same door as
//! a packet from the network.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use selvedge_core::seal::Packet;
use selvedge_core::topic::{Name, Topic};
use selvedge_core::wire::Frames;
use selvedge_core::{Position, Wall};

use crate::clock::wall_of;
use crate::message::{Message, system_time};

const MAGIC: &[u8; 4] = b"SVDL";
const VERSION: u16 = 1;
const HEAD: usize = 28;
const CRC: usize = 4;

/// Most of a reason that is kept: 4 KiB.
const WHY_CHARS: usize = 1_024;

/// A message that could not be handled.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its publisher.
    pub publisher: Name,
    /// Its place in its publisher's stream.
    pub position: Position,
    /// Its topic.
    pub topic: Topic,
    /// When it was given up.
    pub died: SystemTime,
    /// How often it was handed to the handler.
    pub tries: u32,
    /// What the handler said the last time; its first 1,024 characters.
    pub why: String,
    /// It is handed over again at the subscriber's next start.
    pub requeued: bool,
    /// The packet in which it came, as it was sent.
    pub packet: Bytes,
    /// Which of the packet's messages it is.
    pub index: u16,
}

/// Bytes that are no letter of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLetter {
    /// Cut off, or changed on the disk.
    #[error("it is damaged")]
    Damaged,
    /// Whole, and of this version.
    #[error("its format {0} is newer than this program")]
    Newer(u16),
}

impl Letter {
    /// Of a message that is given up now.
    pub(super) fn of(message: &Message, tries: u32, why: &str) -> Letter {
        Letter {
            publisher: message.publisher().clone(),
            position: message.position,
            topic: message.topic().clone(),
            died: SystemTime::now(),
            tries,
            why: why.chars().take(WHY_CHARS).collect(),
            requeued: false,
            packet: message.packet().clone(),
            index: message.index,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (name, why) = (self.publisher.as_str().as_bytes(), self.why.as_bytes());
        let len = HEAD + name.len() + why.len() + self.packet.len() + CRC;
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&wall_of(self.died).0.to_le_bytes());
        out.extend_from_slice(&self.tries.to_le_bytes());
        out.extend_from_slice(&(name.len() as u16).to_le_bytes()); // at most 63
        out.extend_from_slice(&(why.len() as u16).to_le_bytes()); // at most 4 * WHY_CHARS
        out.extend_from_slice(&(self.packet.len() as u32).to_le_bytes()); // at most PACKET_BYTES
        out.extend_from_slice(name);
        out.extend_from_slice(why);
        out.extend_from_slice(&self.packet);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads one back; its packet has the structure of one, and may be signed by nobody.
    pub(super) fn decode(bytes: &Bytes) -> Result<Letter, NoLetter> {
        let content = bytes.len().checked_sub(CRC).ok_or(NoLetter::Damaged)?;
        let (content, crc) = (bytes.slice(..content), &bytes[content..]);
        if crc32c::crc32c(&content).to_le_bytes() != *crc || !content.starts_with(MAGIC) {
            return Err(NoLetter::Damaged);
        }
        match content.get(4..6) {
            Some(version) if *version == VERSION.to_le_bytes() => {}
            Some(&[low, high]) => return Err(NoLetter::Newer(u16::from_le_bytes([low, high]))),
            _ => return Err(NoLetter::Damaged),
        }
        parse(&content).ok_or(NoLetter::Damaged)
    }
}

fn parse(content: &Bytes) -> Option<Letter> {
    let fixed = content.first_chunk::<HEAD>()?;
    let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let long = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
    let died = u64::from(long(8)) | u64::from(long(12)) << 32;
    let name_end = HEAD.checked_add(short(20).into())?;
    let why_end = name_end.checked_add(short(22).into())?;
    let end = why_end.checked_add(long(24) as usize)?;
    if end != content.len() {
        return None;
    }
    let index = short(6);
    let publisher = std::str::from_utf8(&content[HEAD..name_end]).ok()?.try_into().ok()?;
    let why = String::from_utf8(content[name_end..why_end].to_vec()).ok()?;
    let packet = content.slice(why_end..);
    let parsed = Packet::parse(Frames::parse(packet.clone()).ok()?).ok()?;
    let entry = parsed.entries().nth(index.into())?;
    let header = parsed.header();
    let seq = header.first + u64::from(entry.off); // checked by parse()
    let position = Position::new(header.epoch, seq);
    Some(Letter {
        publisher,
        position,
        topic: parsed.topic().clone(),
        died: system_time(Wall(died)),
        tries: long(16),
        why,
        requeued: false,
        packet,
        index,
    })
}

/// The message's id: `publisher/epoch/seq`.
impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.position)
    }
}
