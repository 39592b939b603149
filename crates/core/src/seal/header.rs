//! The first 48 bytes of a seal: what the signature covers beside the root.

use super::merkle::Hash;
use crate::topic::Name;
use crate::{KeyId, Position, Wall};
use alloc::vec::Vec;

/// Bytes 0..48 of a seal: they are signed.
pub const HEADER: usize = 48;
/// Where the signature ends and the proof begins.
pub const COMMIT_BYTES: usize = HEADER + 64;

const MAGIC: [u8; 2] = *b"SV";
const VERSION: u8 = 1;
/// Ed25519 and SHA-256.
const SUITE: u8 = 1;

/// What a commit says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who signs.
    pub key: KeyId,
    /// Which start of the publisher.
    pub epoch: u64,
    /// The commit's number in its epoch, from 0.
    pub commit: u64,
    /// The number of its first message; of a commit without one, the next message's.
    pub first: u64,
    /// When it was sealed, by the publisher's clock.
    pub time: Wall,
    /// Numbered messages in the commit.
    pub n: u16,
    /// Packets in the commit: leaves of its tree.
    pub m: u16,
}

/// A header of another format than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// It does not start with `SV`.
    #[error("this is no seal")]
    Magic,
    /// A newer (or no) version of the format.
    #[error("the seal has a version that is not known here")]
    Version,
    /// Another signature or hash than Ed25519 and SHA-256.
    #[error("the seal has a suite that is not known here")]
    Suite,
}

impl Header {
    /// The 48 bytes, little-endian.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0..2].copy_from_slice(&MAGIC);
        (out[2], out[3]) = (VERSION, SUITE);
        for (at, number) in [
            (4, self.key.0),
            (12, self.epoch),
            (20, self.commit),
            (28, self.first),
            (36, self.time.0),
        ] {
            out[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        out[44..46].copy_from_slice(&self.n.to_le_bytes());
        out[46..48].copy_from_slice(&self.m.to_le_bytes());
        out
    }

    /// Reads 48 bytes; judges only their format.
    ///
    /// # Errors
    /// [`Foreign`] if they are of no format known here.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Header, Foreign> {
        if bytes[0..2] != MAGIC {
            return Err(Foreign::Magic);
        }
        if bytes[2] != VERSION {
            return Err(Foreign::Version);
        }
        if bytes[3] != SUITE {
            return Err(Foreign::Suite);
        }
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Ok(Header {
            key: KeyId(number(4)),
            epoch: number(12),
            commit: number(20),
            first: number(28),
            time: Wall(number(36)),
            n: u16::from_le_bytes([bytes[44], bytes[45]]),
            m: u16::from_le_bytes([bytes[46], bytes[47]]),
        })
    }

    /// The place of its first message.
    pub fn start(&self) -> Position {
        Position::new(self.epoch, self.first)
    }

    /// The place after its last message. A checked packet never overflows here.
    pub fn end(&self) -> Position {
        Position::new(self.epoch, self.first.saturating_add(u64::from(self.n)))
    }
}

/// What the signature is made over: domain, fabric, publisher, header, root. Fabric and publisher
/// are signed and not sent, so a message cannot move to another deployment or name.
pub fn signed_bytes(
    fabric: &Name,
    publisher: &Name,
    header: &[u8; HEADER],
    root: &Hash,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"selvedge/v1/commit\0");
    for name in [fabric, publisher] {
        out.push(name.as_str().len() as u8); // a name has at most 63 bytes
        out.extend_from_slice(name.as_str().as_bytes());
    }
    out.extend_from_slice(header);
    out.extend_from_slice(root);
    out
}
