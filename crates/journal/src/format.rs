//! The bytes of a segment: its header, and the header of each record. The layout is documented in
//! the crate's page.

use crate::{Place, Span};

/// Bytes of a segment before its first record: two copies of its header, a page apart from what
/// follows.
pub const FIRST_RECORD: u64 = 4096;
/// Bytes of a record before its body.
pub const RECORD_HEADER: usize = 64;
/// Bytes of a record's body at most: far above a commit, and small enough to be read at once.
pub const MAX_BODY: usize = 256 << 20;
/// Bytes of a preamble at most.
pub const MAX_PREAMBLE: usize = 4095;
/// The newest format that this code reads, and the one that it writes.
pub const VERSION: u16 = 1;

/// Where the second copy of a segment's header begins.
const COPY: usize = 2048;
const SEGMENT_MAGIC: &[u8; 8] = b"SVJOURNL";
/// What every record begins with; its kind follows.
pub(crate) const RECORD_MAGIC: &[u8; 3] = b"SVJ";

/// Whose journal or recording it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The deployment; at most 255 bytes.
    pub fabric: String,
    /// Who writes it; at most 255 bytes.
    pub name: String,
    /// The public key of that, at the time. Another one of the same fabric and name is no fault.
    pub key: [u8; 32],
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose it is.
    pub owner: Owner,
    /// Its number in the journal, from 1; 0 in a recording.
    pub number: u64,
    /// Random; enters the checksum of every record.
    pub salt: u64,
    /// The number of the segment before it; 0 if there was none.
    pub previous: u64,
    /// Bytes that count in that one: what stands after them was never held, or was written again.
    pub previous_bytes: u64,
}

/// Why bytes are no segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// They are something else, or damaged.
    Unreadable,
    /// They are of a version that this code does not know.
    Newer(u16),
}

impl SegmentHeader {
    /// The bytes up to the first record. Names over 255 bytes must have been refused before.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let owner = &self.owner;
        let mut copy = Vec::with_capacity(COPY);
        copy.extend_from_slice(SEGMENT_MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.push(owner.fabric.len() as u8);
        copy.push(owner.name.len() as u8);
        copy.extend_from_slice(&[0; 4]);
        for number in [self.number, self.salt, self.previous, self.previous_bytes] {
            copy.extend_from_slice(&number.to_le_bytes());
        }
        copy.extend_from_slice(&owner.key);
        copy.extend_from_slice(owner.fabric.as_bytes());
        copy.extend_from_slice(owner.name.as_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.resize(COPY, 0);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the first [`FIRST_RECORD`] bytes, or as many as there are: one good copy is enough.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, NoHeader> {
        let second = bytes.get(COPY..).unwrap_or_default();
        match (decode_copy(bytes), decode_copy(second)) {
            (Ok(header), _) | (_, Ok(header)) => Ok(header),
            (Err(NoHeader::Newer(version)), Err(NoHeader::Newer(_))) => {
                Err(NoHeader::Newer(version))
            }
            _ => Err(NoHeader::Unreadable),
        }
    }
}

fn decode_copy(bytes: &[u8]) -> Result<SegmentHeader, NoHeader> {
    let mut fields = Fields(bytes);
    let header = read_copy(&mut fields).ok_or(NoHeader::Unreadable)?;
    let read = bytes.len() - fields.0.len();
    match header {
        Err(version) => Err(NoHeader::Newer(version)),
        Ok(header) => match fields.u32() {
            Some(crc) if crc == crc32c::crc32c(&bytes[..read]) => Ok(header),
            _ => Err(NoHeader::Unreadable),
        },
    }
}

/// Everything up to the checksum; `Err` is a later version, whose layout is not known.
fn read_copy(fields: &mut Fields<'_>) -> Option<Result<SegmentHeader, u16>> {
    if fields.take(8)? != SEGMENT_MAGIC {
        return None;
    }
    let version = fields.u16()?;
    if version != VERSION {
        return (version > VERSION).then_some(Err(version));
    }
    let [fabric, name] = [fields.u8()?, fields.u8()?].map(usize::from);
    fields.take(4)?;
    let [number, salt] = [fields.u64()?, fields.u64()?];
    let [previous, previous_bytes] = [fields.u64()?, fields.u64()?];
    let key = fields.take(32)?.try_into().ok()?;
    let fabric = String::from_utf8(fields.take(fabric)?.to_vec()).ok()?;
    let name = String::from_utf8(fields.take(name)?.to_vec()).ok()?;
    let owner = Owner { fabric, name, key };
    Some(Ok(SegmentHeader { owner, number, salt, previous, previous_bytes }))
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was appended.
    Record = b'R' as isize,
    /// Who speaks on a stream.
    Preamble = b'P' as isize,
    /// All was written down; nothing is missing before here.
    End = b'E' as isize,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub kind: Kind,
    pub stream: u64,
    pub from: Place,
    pub upto: Place,
    pub time_us: u64,
    pub body_len: u32,
    pub body_crc: u32,
}

impl RecordHeader {
    /// Its bytes at `offset` of the segment that has this salt.
    pub fn encode(&self, salt: u64, offset: u64) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[..3].copy_from_slice(RECORD_MAGIC);
        out[3] = self.kind as u8;
        out[4..8].copy_from_slice(&self.body_len.to_le_bytes());
        let (from, upto) = (self.from, self.upto);
        let numbers = [self.stream, from.epoch, from.seq, upto.epoch, upto.seq, self.time_us];
        for (field, number) in out[8..56].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        out[56..60].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = header_crc(&out[..60], salt, offset);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header that stands at the beginning of `bytes`, if it was written for this place.
    pub fn decode(bytes: &[u8], salt: u64, offset: u64) -> Option<RecordHeader> {
        let mut fields = Fields(bytes);
        if fields.take(3)? != RECORD_MAGIC {
            return None;
        }
        let kind = match fields.u8()? {
            b'R' => Kind::Record,
            b'P' => Kind::Preamble,
            b'E' => Kind::End,
            _ => return None,
        };
        let body_len = fields.u32()?;
        let stream = fields.u64()?;
        let from = Place::new(fields.u64()?, fields.u64()?);
        let upto = Place::new(fields.u64()?, fields.u64()?);
        let time_us = fields.u64()?;
        let body_crc = fields.u32()?;
        let good = fields.u32()? == header_crc(bytes.get(..60)?, salt, offset);
        let header = RecordHeader { kind, stream, from, upto, time_us, body_len, body_crc };
        (good && body_len as usize <= MAX_BODY).then_some(header)
    }

    /// Its stream and places.
    pub fn span(&self) -> Span {
        Span { stream: self.stream, from: self.from, upto: self.upto }
    }

    /// Bytes of the whole record.
    pub fn size(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.body_len)
    }
}

/// Salt and offset enter it, so that the image of a record inside a body is none.
fn header_crc(header: &[u8], salt: u64, offset: u64) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &offset.to_le_bytes()), header)
}

/// Takes little-endian fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
