//! Frames and messages: how ZMTP cuts a stream of bytes (RFC 37, "Framing").
//!
//! A frame is a flags byte, its length (one byte, or eight in network order), and its body. A
//! message is one or more frames, all but the last with the flag MORE.

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::ops::Range;
use smallvec::SmallVec;

use super::Fault;
use crate::limits::{BODIES, PACKET_BYTES};

/// More frames of this message follow. Never set on a command.
const MORE: u8 = 1;
/// The length takes eight bytes.
const LONG: u8 = 2;
/// A command: for the protocol itself, not for the application.
pub(super) const COMMAND: u8 = 4;

/// Frames of one message: topic, seal and bodies.
pub(super) const PARTS: usize = BODIES + 2;

/// Where each frame of a message ends, counted from its first byte. A topic, a seal and six bodies
/// fit without an allocation.
pub(super) type Ends = SmallVec<[u32; 8]>;

/// One whole message as it stood on the wire. Cheap to clone; shares the buffer it was read into.
#[derive(Clone, PartialEq, Eq)]
pub struct Frames {
    wire: Bytes,
    ends: Ends,
}

/// Why bytes are not a [`Frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not exactly one message of at most {PARTS} frames")]
pub struct NotOneMessage;

impl Frames {
    /// Reads back bytes that were kept as they stood on the wire (a journal record, a test vector).
    ///
    /// # Errors
    /// [`NotOneMessage`] unless they are exactly one message within [`PACKET_BYTES`] and
    /// [`BODIES`] + 2 frames, without commands.
    pub fn parse(wire: Bytes) -> Result<Frames, NotOneMessage> {
        if wire.len() > PACKET_BYTES {
            return Err(NotOneMessage);
        }
        let mut ends = Ends::new();
        let mut at = 0;
        loop {
            let rest = wire.get(at..).ok_or(NotOneMessage)?;
            let frame = match Announced::read(rest) {
                Ok(Some(frame)) if !frame.command && ends.len() < PARTS => frame,
                _ => return Err(NotOneMessage),
            };
            at += frame.whole(rest).ok_or(NotOneMessage)?;
            ends.push(u32::try_from(at).map_err(|_| NotOneMessage)?);
            if !frame.more {
                break;
            }
        }
        if at == wire.len() { Ok(Frames { wire, ends }) } else { Err(NotOneMessage) }
    }

    /// A message whose frames end at `ends`; the last end is the length of `wire`.
    pub(super) fn new(wire: Bytes, ends: Ends) -> Frames {
        Frames { wire, ends }
    }

    /// How many frames it has; at least one.
    #[expect(clippy::len_without_is_empty, reason = "no message is empty")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The body of frame `i`; an empty slice where there is none.
    #[inline]
    pub fn part(&self, i: usize) -> &[u8] {
        self.range(i).and_then(|range| self.wire.get(range)).unwrap_or_default()
    }

    /// The body of frame `i`, sharing the buffer; empty where there is none.
    #[inline]
    pub fn slice(&self, i: usize) -> Bytes {
        self.range(i).map(|range| self.wire.slice(range)).unwrap_or_default()
    }

    /// The message as it stood on the wire, frame headers included: a relay forwards these bytes.
    /// Commands that stood between its frames are not part of it.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    #[inline]
    fn range(&self, i: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(i)? as usize;
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(start + header_len(*self.wire.get(start)?)..end)
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = (0..self.len()).map(|i| self.slice(i));
        f.debug_list().entries(parts).finish()
    }
}

/// The body of the first frame of a message that was whole once, sharing its buffer; `None` if
/// there is none.
pub fn first_frame(message: &Bytes) -> Option<Bytes> {
    let frame = Announced::read(message).ok()??;
    let whole = frame.whole(message)?;
    Some(message.slice(frame.header..whole))
}

/// The flags and length that stand before a body: 2 bytes, or 9 for a body over 255 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; 9],
    len: u8,
}

impl AsRef<[u8]> for FrameHeader {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a message frame with a body of `len` bytes; `more` frames of the message follow.
pub fn header(len: usize, more: bool) -> FrameHeader {
    FrameHeader::new(u8::from(more) * MORE, len)
}

/// Appends a message frame to `out`.
pub fn put_frame(out: &mut Vec<u8>, body: &[u8], more: bool) {
    out.extend_from_slice(header(body.len(), more).as_ref());
    out.extend_from_slice(body);
}

impl FrameHeader {
    pub(super) fn new(flags: u8, len: usize) -> FrameHeader {
        let mut bytes = [0; 9];
        if let Ok(short) = u8::try_from(len) {
            (bytes[0], bytes[1]) = (flags, short);
            return FrameHeader { bytes, len: 2 };
        }
        bytes[0] = flags | LONG;
        bytes[1..].copy_from_slice(&(len as u64).to_be_bytes());
        FrameHeader { bytes, len: 9 }
    }
}

fn header_len(flags: u8) -> usize {
    if flags & LONG == 0 { 2 } else { 9 }
}

/// What a frame header says: a claim, until it was compared with a limit and the body is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub command: bool,
    pub more: bool,
    /// Bytes of the header itself.
    pub header: usize,
    /// Bytes of the body, up to 2^64 - 1 by anyone's word.
    pub body: u64,
}

impl Announced {
    /// Reads the header at the front of `bytes`; `None` while it is incomplete.
    pub fn read(bytes: &[u8]) -> Result<Option<Announced>, Fault> {
        let Some(&flags) = bytes.first() else { return Ok(None) };
        let command = flags & COMMAND != 0;
        let more = flags & MORE != 0;
        if flags & !(MORE | LONG | COMMAND) != 0 || command && more {
            return Err(Fault::Flags(flags));
        }
        let header = header_len(flags);
        let body = match bytes.get(1..header) {
            Some(&[short]) => u64::from(short),
            Some(long) => long.iter().fold(0, |len, &byte| len << 8 | u64::from(byte)),
            None => return Ok(None),
        };
        Ok(Some(Announced { command, more, header, body }))
    }

    /// Bytes of header and body if both stand at the front of `bytes`.
    pub fn whole(&self, bytes: &[u8]) -> Option<usize> {
        let body = usize::try_from(self.body).ok()?;
        let whole = self.header.checked_add(body)?;
        (whole <= bytes.len()).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn message(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            put_frame(&mut out, part, i + 1 < parts.len());
        }
        out
    }

    #[test]
    fn a_message_reads_back_part_by_part() {
        let (edge, long) = (vec![1; 255], vec![2; 256]);
        let wire = Bytes::from(message(&[b"topic", b"", &edge, &long]));
        let frames = Frames::parse(wire.clone()).unwrap();
        assert_eq!(frames.len(), 4);
        assert_eq!(frames.part(0), b"topic");
        assert_eq!(frames.part(1), b"");
        assert_eq!(frames.part(2), edge);
        assert_eq!(frames.slice(3), long);
        assert_eq!(frames.part(4), b"");
        assert_eq!(frames.slice(usize::MAX), Bytes::new());
        assert_eq!(frames.wire(), &wire);
    }

    #[test]
    fn a_slice_shares_the_buffer() {
        let frames = Frames::parse(Bytes::from(message(&[b"t", b"body"]))).unwrap();
        assert_eq!(frames.slice(1).as_ptr(), frames.part(1).as_ptr());
    }

    #[test]
    fn a_length_that_needs_more_bytes_than_it_takes_is_understood() {
        let wire = Bytes::from_static(b"\x03\0\0\0\0\0\0\0\x01a\x00\x01b");
        let frames = Frames::parse(wire.clone()).unwrap();
        assert_eq!((frames.part(0), frames.part(1)), (&b"a"[..], &b"b"[..]));
        assert_eq!(frames.wire(), &wire);
    }

    #[test]
    fn what_is_not_exactly_one_message_is_refused() {
        let many = message(&vec![&b""[..]; PARTS + 1]);
        assert!(Frames::parse(Bytes::copy_from_slice(&many[2..])).is_ok());
        for bytes in [
            &b""[..],
            b"\x00",
            b"\x00\x02a",
            b"\x01\x01a",
            b"\x00\x01a\x00",
            b"\x04\x01a",
            b"\x08\x01a",
            b"\x02\xff\xff\xff\xff\xff\xff\xff\xff",
            &many,
        ] {
            assert_eq!(Frames::parse(Bytes::copy_from_slice(bytes)), Err(NotOneMessage));
        }
    }

    #[test]
    fn the_largest_length_overflows_nothing() {
        let claim = Announced { command: false, more: false, header: 9, body: u64::MAX };
        assert_eq!(claim.whole(&[0; 32]), None);
    }
}
