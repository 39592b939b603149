//! A commit as it stands in a journal: its packets as sent, and where each begins.
//!
//! ```text
//! header 48, as in a seal | p u16 | p × { numbers u16 | len u32 } | p packets as on the wire
//! ```
//! Integers little-endian. `numbers` is how many of the commit's numbers a packet has. What is read
//! back is trusted no more than what a peer sends: it goes through the same door on the other side.

use alloc::vec::Vec;
use bytes::Bytes;

use super::commit::{Commit, Sealed};
use super::header::{HEADER, Header};
use crate::topic::Topic;
use crate::wire;

/// Bytes that list one packet.
const LISTED: usize = 6;

/// Bytes that are no record: of another version, or damaged in a way that a checksum does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no commit as a journal keeps it")]
pub struct NoRecord;

impl Commit {
    /// The record, as slices to write one after another: bodies are not copied.
    pub fn to_record(&self) -> Vec<Bytes> {
        let mut head = Vec::with_capacity(HEADER + 2 + LISTED * self.packets.len());
        head.extend_from_slice(&self.header.encode());
        head.extend_from_slice(&(self.packets.len() as u16).to_le_bytes()); // at most n + 1
        for packet in &self.packets {
            head.extend_from_slice(&packet.numbers.to_le_bytes());
            head.extend_from_slice(&(packet.len() as u32).to_le_bytes()); // at most PACKET_BYTES
        }
        let wires = self.packets.iter().flat_map(|packet| packet.wire.iter().cloned());
        core::iter::once(Bytes::from(head)).chain(wires).collect()
    }

    /// Reads a record back; packets are slices of it.
    ///
    /// # Errors
    /// [`NoRecord`] if the parts do not fill it exactly, or a topic is none.
    pub fn from_record(record: &Bytes) -> Result<Commit, NoRecord> {
        let fixed = record.first_chunk::<HEADER>().ok_or(NoRecord)?;
        let header = Header::parse(fixed).map_err(|_| NoRecord)?;
        let count = record.get(HEADER..HEADER + 2).ok_or(NoRecord)?;
        let count = usize::from(u16::from_le_bytes([count[0], count[1]]));
        let list = record.get(HEADER + 2..HEADER + 2 + LISTED * count).ok_or(NoRecord)?;
        let mut at = HEADER + 2 + list.len();
        let mut packets = Vec::with_capacity(count);
        for listed in list.chunks_exact(LISTED) {
            let [n0, n1, l0, l1, l2, l3] = *listed else { return Err(NoRecord) };
            let end = at.checked_add(u32::from_le_bytes([l0, l1, l2, l3]) as usize);
            let end = end.filter(|end| *end <= record.len()).ok_or(NoRecord)?;
            let packet = record.slice(at..end);
            let topic = wire::first_frame(&packet).ok_or(NoRecord)?;
            let topic = Topic::new(topic).map_err(|_| NoRecord)?;
            let numbers = u16::from_le_bytes([n0, n1]);
            packets.push(Sealed { topic, numbers, wire: smallvec::smallvec![packet] });
            at = end;
        }
        if at == record.len() { Ok(Commit { header, packets }) } else { Err(NoRecord) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{ContentType, Draft, Group, Identity, SecretKey, Unsealed};
    use crate::{KeyId, Wall};

    fn commit() -> Commit {
        let key = SecretKey::from_seed(&[7; 32]);
        let draft = |len: usize| Draft {
            topic: "a.b".parse().unwrap(),
            ctype: ContentType::TEXT,
            time: Wall(1),
            extension: Bytes::new(),
            body: Bytes::from(alloc::vec![b'x'; len]),
        };
        let group =
            |topic: &str, messages| Group { topic: topic.parse().unwrap(), tseq: 1, messages };
        let groups = Vec::from([
            group("a.b", Vec::from([(0, draft(3)), (2, draft(9_000))])),
            group("c", Vec::from([(1, draft(0))])),
        ]);
        let (epoch, time, id) = (5, Wall(9), key.public().id());
        let header = Header { key: id, epoch, commit: 3, first: 7, time, n: 3, m: 2 };
        let identity =
            Identity { fabric: "f".parse().unwrap(), publisher: "p".parse().unwrap(), key };
        Unsealed { header, groups }.seal(&identity, &mut Default::default())
    }

    fn flat(commit: &Commit) -> Bytes {
        Bytes::from(commit.to_record().concat())
    }

    #[test]
    fn a_commit_reads_back_byte_by_byte() {
        let commit = commit();
        let record = flat(&commit);
        let back = Commit::from_record(&record).unwrap();
        assert_eq!(back.header, commit.header);
        assert_eq!(back.packets.len(), 2);
        for (came, went) in back.packets.iter().zip(&commit.packets) {
            assert_eq!((&came.topic, came.numbers), (&went.topic, went.numbers));
            assert_eq!(came.wire.concat(), went.wire.concat());
        }
        assert_eq!(flat(&back), record);
        assert_ne!(back.header.key, KeyId(0));
    }

    #[test]
    fn every_cut_of_a_record_is_refused() {
        let record = flat(&commit());
        for len in 0..record.len() {
            assert!(Commit::from_record(&record.slice(..len)).is_err(), "{len}");
        }
        assert!(Commit::from_record(&[&record[..], b"x"].concat().into()).is_err());
    }
}
