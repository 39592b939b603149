//! Packets made by hand: what an honest, a broken or a hostile publisher may put on the wire.
#![allow(dead_code, reason = "no test uses all of it")]

use bytes::Bytes;
use selvedge::ContentType;
use selvedge_core::Wall;
use selvedge_core::seal::{Draft, Group, Header, Identity, Sealed, Unsealed};
use selvedge_core::wire::Frames;

use crate::fabric::Fabric;

/// Seals in the name of a service.
pub struct Author {
    pub identity: Identity,
    pub epoch: u64,
    pub commit: u64,
    pub next: u64,
    /// Each topic's next number.
    pub tseqs: std::collections::BTreeMap<String, u64>,
    /// When its seals claim to be made.
    pub time: Wall,
}

impl Author {
    pub fn new(fabric: &Fabric, name: &str) -> Author {
        let identity = Identity {
            fabric: "test".parse().unwrap(),
            publisher: name.parse().unwrap(),
            key: fabric.services[name].key.clone(),
        };
        let time = selvedge::wall();
        Author { identity, epoch: 1, commit: 0, next: 0, tseqs: Default::default(), time }
    }

    /// One commit with a packet for each topic, each as the frames of its message.
    pub fn commit(&mut self, said: &[(&str, &[u64])]) -> Vec<Vec<Vec<u8>>> {
        self.sealed(said).iter().map(parts).collect()
    }

    /// One commit with a packet for each topic.
    pub fn sealed(&mut self, said: &[(&str, &[u64])]) -> Vec<Sealed> {
        let mut off = 0;
        let mut groups = Vec::new();
        for (topic, numbers) in said {
            let tseq = self.tseqs.entry(topic.to_string()).or_insert(1);
            let mut messages = Vec::new();
            for number in *numbers {
                messages.push((off, draft(topic, number, self.time)));
                off += 1;
            }
            groups.push(Group { topic: topic.parse().unwrap(), tseq: *tseq, messages });
            *tseq += numbers.len() as u64;
        }
        let header = Header {
            key: self.identity.key_id(),
            epoch: self.epoch,
            commit: self.commit,
            first: self.next,
            time: self.time,
            n: off,
            m: groups.len() as u16,
        };
        self.commit += 1;
        self.next += u64::from(off);
        Unsealed { header, groups }.seal(&self.identity, &mut Default::default()).packets
    }
}

fn draft(topic: &str, number: &u64, time: Wall) -> Draft {
    // MessagePack's longest form of an unsigned integer.
    let body = [&[0xcf][..], &number.to_be_bytes()].concat();
    let (topic, ctype) = (topic.parse().unwrap(), ContentType::MESSAGE_PACK);
    Draft { topic, ctype, time, extension: Bytes::new(), body: body.into() }
}

/// A packet as it goes to a socket, frame headers included.
pub fn wire(packet: &Sealed) -> Bytes {
    packet.wire.concat().into()
}

/// The frames of a packet.
pub fn parts(packet: &Sealed) -> Vec<Vec<u8>> {
    let frames = Frames::parse(wire(packet)).unwrap();
    (0..frames.len()).map(|at| frames.part(at).to_vec()).collect()
}
