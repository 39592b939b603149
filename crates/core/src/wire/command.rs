//! Commands after the handshake: RFC 37's own, and between peers that both sent X-Selvedge ASK,
//! MARK and OFFER.
//!
//! A command is one frame whose body is a length-prefixed name and the command's data.

use alloc::vec::Vec;
use bytes::Bytes;

use super::frame::{COMMAND, FrameHeader, put_frame};
use crate::seal::Sealed;
use crate::{KeyId, Position};

pub(super) const SUBSCRIBE: &[u8] = b"SUBSCRIBE";
pub(super) const CANCEL: &[u8] = b"CANCEL";
pub(super) const PING: &[u8] = b"PING";
pub(super) const PONG: &[u8] = b"PONG";
pub(super) const ASK: &[u8] = b"ASK";
pub(super) const MARK: &[u8] = b"MARK";
pub(super) const OFFER: &[u8] = b"OFFER";

/// First byte of a single-frame message that subscribes, as spoken before ZMTP 3.1 (RFC 23).
pub(super) const OLD_SUBSCRIBE: u8 = 1;
/// First byte of one that cancels.
pub(super) const OLD_CANCEL: u8 = 0;

/// A subscription to `prefix`, in the form that a peer of this minor version understands.
pub fn subscribe(prefix: &[u8], peer_minor: u8) -> Bytes {
    subscription(SUBSCRIBE, OLD_SUBSCRIBE, prefix, peer_minor)
}

/// Takes one subscription to `prefix` back, in the form that a peer of this minor version
/// understands.
pub fn cancel(prefix: &[u8], peer_minor: u8) -> Bytes {
    subscription(CANCEL, OLD_CANCEL, prefix, peer_minor)
}

fn subscription(name: &[u8], old: u8, prefix: &[u8], peer_minor: u8) -> Bytes {
    if peer_minor >= 1 {
        return command(name, &[prefix]);
    }
    let mut out = Vec::new();
    put_frame(&mut out, &[&[old], prefix].concat(), false);
    Bytes::from(out)
}

/// Asks for a [`pong`] with the same `context`, at most 16 bytes. A `ttl` in tenths of a second
/// invites the peer to hang up when it hears nothing for so long; 0 says nothing.
pub fn ping(ttl: u16, context: &[u8]) -> Bytes {
    command(PING, &[&ttl.to_be_bytes(), context])
}

/// Answers a PING.
pub fn pong(context: &[u8]) -> Bytes {
    command(PONG, &[context])
}

/// A whole command frame; `name` has at most 255 bytes.
pub(super) fn command(name: &[u8], data: &[&[u8]]) -> Bytes {
    let body = 1 + name.len() + data.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(9 + body);
    out.extend_from_slice(FrameHeader::new(COMMAND, body).as_ref());
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    data.iter().for_each(|part| out.extend_from_slice(part));
    Bytes::from(out)
}

/// Splits the body of a command frame into name and data; `None` if it has no name.
pub(super) fn split(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = body.split_first()?;
    if len == 0 {
        return None;
    }
    rest.split_at_checked(usize::from(len))
}

/// Send what matches of `key`, from `from` on and then live.
///
/// On the wire: `key_id u64 | from: epoch u64, seq u64`, little-endian; bytes after these are
/// ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The stream.
    pub key: KeyId,
    /// The first number wanted; (0, 0): the oldest that is held.
    pub from: Position,
}

impl Ask {
    /// The whole command frame.
    pub fn encode(&self) -> Bytes {
        let Ask { key, from } = self;
        command(ASK, &[&numbers([key.0, from.epoch, from.seq])])
    }

    /// From the data of an ASK command; `None` if it is too short.
    pub fn parse(data: &[u8]) -> Option<Ask> {
        let [key, epoch, seq] = read_numbers(data)?;
        Some(Ask { key: KeyId(key), from: Position::new(epoch, seq) })
    }
}

/// Hands a packet to a relay: the whole command frame, as the slices to write.
///
/// On the wire: the packet as it would be sent down, frame headers included. The relay answers each
/// in order with a [`Mark`] that has [`Mark::JOURNALED`] or [`Mark::REFUSED`].
pub fn offer(packet: &Sealed) -> Vec<Bytes> {
    let mut head = Vec::with_capacity(9 + 1 + OFFER.len());
    head.extend_from_slice(FrameHeader::new(COMMAND, 1 + OFFER.len() + packet.len()).as_ref());
    head.push(OFFER.len() as u8);
    head.extend_from_slice(OFFER);
    core::iter::once(head.into()).chain(packet.wire.iter().cloned()).collect()
}

/// Numbers as they stand on the wire: little-endian, one after another.
fn numbers<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The numbers at the front of `data`, if it is long enough.
fn read_numbers<const N: usize>(data: &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for (number, field) in numbers.iter_mut().zip(data.get(..8 * N)?.chunks_exact(8)) {
        *number = field.iter().rev().fold(0, |low, &byte| low << 8 | u64::from(byte));
    }
    Some(numbers)
}

/// Everything of `key` in [`from`, `upto`) that matches you was sent on this connection before.
///
/// On the wire: `key_id u64 | from: epoch u64, seq u64 | upto: epoch u64, seq u64 | flags u8`,
/// little-endian; bytes after these are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The stream.
    pub key: KeyId,
    /// First number covered; the last MARK's `upto`.
    pub from: Position,
    /// First number not covered.
    pub upto: Position,
    /// [`Mark::UNCLEAN`] and the others; unknown bits are kept.
    pub flags: u8,
}

impl Mark {
    /// An epoch inside the range ended uncleanly.
    pub const UNCLEAN: u8 = 1;
    /// The answer to an ASK begins. Nothing is passed beyond what the range says.
    pub const ANSWER: u8 = 2;
    /// The answer to an OFFER that was journaled.
    pub const JOURNALED: u8 = 4;
    /// The answer to an OFFER that was refused.
    pub const REFUSED: u8 = 8;
    /// The answer to an ASK for a stream that is not known here.
    pub const UNKNOWN: u8 = 16;
    /// `upto` is all that is held or will be for now: whatever was asked for was answered.
    pub const LIVE: u8 = 32;
    /// Before the answer to an offered tip: the range is on the disk of who says so.
    pub const HELD: u8 = 64;

    /// Bytes of the fields.
    const LEN: usize = 41;

    /// The whole command frame.
    pub fn encode(&self) -> Bytes {
        let Mark { key, from, upto, flags } = self;
        let fields = numbers([key.0, from.epoch, from.seq, upto.epoch, upto.seq]);
        command(MARK, &[&fields, &[*flags]])
    }

    /// From the data of a MARK command; `None` if it is too short.
    pub fn parse(data: &[u8]) -> Option<Mark> {
        let [key, from_epoch, from_seq, upto_epoch, upto_seq] = read_numbers(data)?;
        Some(Mark {
            key: KeyId(key),
            from: Position::new(from_epoch, from_seq),
            upto: Position::new(upto_epoch, upto_seq),
            flags: *data.get(Mark::LEN - 1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_whatever_follows_its_fields() {
        let mark = Mark {
            key: KeyId(0x0102_0304_0506_0708),
            from: Position::new(u64::MAX, 1),
            upto: Position::new(u64::MAX, 2),
            flags: 0xff,
        };
        let frame = mark.encode();
        let (name, data) = split(&frame[2..]).unwrap();
        assert_eq!(name, MARK);
        assert_eq!(Mark::parse(data), Some(mark));
        assert_eq!(Mark::parse(&[data, b"later"].concat()), Some(mark));
        assert_eq!(Mark::parse(&data[1..]), None);
    }

    #[test]
    fn an_ask_reads_back_whatever_follows_its_fields() {
        let ask = Ask { key: KeyId(7), from: Position::new(u64::MAX, 1) };
        let frame = ask.encode();
        let (name, data) = split(&frame[2..]).unwrap();
        assert_eq!(name, ASK);
        assert_eq!(Ask::parse(data), Some(ask));
        assert_eq!(Ask::parse(&[data, b"later"].concat()), Some(ask));
        assert_eq!(Ask::parse(&data[1..]), None);
    }

    #[test]
    fn a_command_without_a_name_is_none() {
        for body in [&b""[..], b"\0", b"\0data", b"\x05PING"] {
            assert_eq!(split(body), None);
        }
        assert_eq!(split(b"\x04PING"), Some((PING, &b""[..])));
    }

    #[test]
    fn a_long_prefix_takes_a_long_frame_in_both_forms() {
        for minor in [0, 1] {
            assert_eq!(subscribe(&[b'a'; 300], minor)[0] & 2, 2);
        }
    }
}
