//! The bytes of one generation of a cursor.
//!
//! ```text
//!  0  "SVCU" | version u16 = 1 | reserved u16 = 0
//!  8  generation u64 | 16 count u32
//! 20  count × { key u64 | kind u8 | epoch u64 | seq u64 | since_us u64 }
//!     CRC-32C of all bytes before, u32
//! ```
//! Integers little-endian. `kind` 0: the stream begins with what is said when it is first heard
//! (all else is 0); 1: everything before (epoch, seq) was handled; 2: the same, and commits sealed
//! before
//! `since_us` are skipped until the first that was not. The last four bytes are the checksum in
//! every version, so that a newer file is told from a damaged one.

use std::collections::BTreeMap;

use selvedge_core::{KeyId, Position, Wall};

const MAGIC: &[u8; 4] = b"SVCU";
const VERSION: u16 = 1;
const HEAD: usize = 20;
const ENTRY: usize = 33;
const CRC: usize = 4;

/// Where each stream stands.
pub type Places = BTreeMap<KeyId, Place>;

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing of it was heard yet: it begins with what is said then.
    Now,
    /// Everything before was handled or declared lost.
    At(Position),
    /// The same, and commits sealed before `time` are skipped until the first that was not.
    Since {
        /// By the publisher's clock.
        time: Wall,
        /// As in [`Place::At`].
        at: Position,
    },
}

/// Why bytes are no generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Torn, or changed on the disk.
    Damaged,
    /// Whole, and of this version.
    Newer(u16),
}

/// A generation as it is written.
pub fn encode(generation: u64, places: &Places) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + ENTRY * places.len() + CRC);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&(places.len() as u32).to_le_bytes()); // a directory has 10^5 at most
    for (key, place) in places {
        let (kind, at, since) = match *place {
            Place::Now => (0, Position::default(), Wall(0)),
            Place::At(at) => (1, at, Wall(0)),
            Place::Since { time, at } => (2, at, time),
        };
        out.extend_from_slice(&key.0.to_le_bytes());
        out.push(kind);
        for number in [at.epoch, at.seq, since.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads one back.
pub fn decode(bytes: &[u8]) -> Result<(u64, Places), Bad> {
    let (content, crc) = bytes.split_last_chunk::<CRC>().ok_or(Bad::Damaged)?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return Err(Bad::Damaged);
    }
    let (magic, rest) = content.split_first_chunk::<4>().ok_or(Bad::Damaged)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(Bad::Damaged)?;
    match u16::from_le_bytes(*version) {
        _ if magic != MAGIC => return Err(Bad::Damaged),
        VERSION => {}
        version => return Err(Bad::Newer(version)),
    }
    let rest = rest.get(2..).ok_or(Bad::Damaged)?;
    let (generation, rest) = rest.split_first_chunk::<8>().ok_or(Bad::Damaged)?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or(Bad::Damaged)?;
    let entries = rest.chunks_exact(ENTRY);
    let whole = entries.remainder().is_empty();
    if !whole || entries.len() as u64 != u64::from(u32::from_le_bytes(*count)) {
        return Err(Bad::Damaged);
    }
    let places = entries.map(entry).collect::<Option<Places>>().ok_or(Bad::Damaged)?;
    Ok((u64::from_le_bytes(*generation), places))
}

fn entry(bytes: &[u8]) -> Option<(KeyId, Place)> {
    let (key, rest) = bytes.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let since = rest.first_chunk::<8>()?;
    let at = Position::new(u64::from_le_bytes(*epoch), u64::from_le_bytes(*seq));
    let place = match kind {
        0 => Place::Now,
        1 => Place::At(at),
        2 => Place::Since { time: Wall(u64::from_le_bytes(*since)), at },
        _ => return None,
    };
    Some((KeyId(u64::from_le_bytes(*key)), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let at = Position::new(0x0102, 3);
        Places::from([
            (KeyId(1), Place::Now),
            (KeyId(0xff), Place::At(at)),
            (KeyId(9), Place::Since { time: Wall(7), at }),
        ])
    }

    #[test]
    fn a_generation_is_these_bytes() {
        let one = Places::from([(KeyId(0xff), Place::At(Position::new(0x0102, 3)))]);
        let bytes = encode(5, &one);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let head = "53564355 0100 0000 0500000000000000 01000000";
        let entry = "ff00000000000000 01 0201000000000000 0300000000000000 0000000000000000";
        let crc = "5a88d155";
        assert_eq!(hex, [head, entry, crc].concat().replace(' ', ""));
    }

    #[test]
    fn it_reads_back() {
        assert_eq!(decode(&encode(u64::MAX, &places())), Ok((u64::MAX, places())));
        assert_eq!(decode(&encode(1, &Places::new())), Ok((1, Places::new())));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_shows() {
        let bytes = encode(1, &places());
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), Err(Bad::Damaged), "{len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), Err(Bad::Damaged), "{bit}");
        }
    }

    #[test]
    fn a_newer_one_is_told_from_a_damaged_one() {
        let mut newer = b"SVCU\x02\0whatever comes then".to_vec();
        newer.extend_from_slice(&crc32c::crc32c(&newer).to_le_bytes());
        assert_eq!(decode(&newer), Err(Bad::Newer(2)));
    }

    #[test]
    fn a_count_or_kind_that_cannot_be_is_refused() {
        for (at, value) in [(16, 9), (19, 0xff), (28, 3)] {
            let mut bytes = encode(1, &places());
            bytes.truncate(bytes.len() - CRC);
            bytes[at] = value;
            bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
            assert_eq!(decode(&bytes), Err(Bad::Damaged), "{at}");
        }
    }
}
