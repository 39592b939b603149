//! Commands after the handshake: RFC 37's own, and MARK between peers that both sent X-Selvedge.
//!
//! A command is one frame whose body is a length-prefixed name and the command's data.

use alloc::vec::Vec;
use bytes::Bytes;

use super::frame::{COMMAND, FrameHeader, put_frame};
use crate::{KeyId, Position};

pub(super) const SUBSCRIBE: &[u8] = b"SUBSCRIBE";
pub(super) const CANCEL: &[u8] = b"CANCEL";
pub(super) const PING: &[u8] = b"PING";
pub(super) const PONG: &[u8] = b"PONG";
pub(super) const MARK: &[u8] = b"MARK";

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
    /// For the prefixes of an ASK with m > 0 only.
    pub const ADDED: u8 = 2;
    /// The answer to an OFFER that was journaled.
    pub const JOURNALED: u8 = 4;
    /// The answer to an OFFER that was refused.
    pub const REFUSED: u8 = 8;

    /// Bytes of the fields.
    const LEN: usize = 41;

    /// The whole command frame.
    pub fn encode(&self) -> Bytes {
        let Mark { key, from, upto, flags } = self;
        let mut data = [0; Mark::LEN];
        let numbers = [key.0, from.epoch, from.seq, upto.epoch, upto.seq];
        for (field, number) in data.chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        data[Mark::LEN - 1] = *flags;
        command(MARK, &[&data])
    }

    /// From the data of a MARK command; `None` if it is too short.
    pub fn parse(data: &[u8]) -> Option<Mark> {
        let data = data.first_chunk::<{ Mark::LEN }>()?;
        let mut numbers = [0; 5];
        for (number, field) in numbers.iter_mut().zip(data.chunks_exact(8)) {
            *number = field.iter().rev().fold(0, |low, &byte| low << 8 | u64::from(byte));
        }
        let [key, from_epoch, from_seq, upto_epoch, upto_seq] = numbers;
        Some(Mark {
            key: KeyId(key),
            from: Position::new(from_epoch, from_seq),
            upto: Position::new(upto_epoch, upto_seq),
            flags: data[Mark::LEN - 1],
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
