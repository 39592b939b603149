//! Files as a journal or a recording has them, made to order.
#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use selvedge::keys;
use selvedge_core::seal::{Commit, ContentType, Draft, Group, Header, Identity, Unsealed};
use selvedge_core::{KeyId, Wall};
use selvedge_journal::{Item, Owner, Place, Record, Recorder, disk, scan};

/// Somebody who says things at times of our choice.
pub struct Voice {
    identity: Identity,
}

impl Voice {
    /// With the private key in `file`.
    pub fn new(fabric: &str, name: &str, file: &Path) -> Voice {
        let key = keys::read(file).unwrap();
        let (fabric, publisher) = (fabric.parse().unwrap(), name.parse().unwrap());
        Voice { identity: Identity { fabric, publisher, key } }
    }

    pub fn key(&self) -> KeyId {
        self.identity.key_id()
    }

    /// A commit of one message, said and sealed at `time_us`.
    pub fn commit(&self, epoch: u64, seq: u64, time_us: u64, topic: &str, body: &str) -> Commit {
        let (topic, time) = (topic.parse().unwrap(), Wall(time_us));
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (ctype, extension) = (ContentType::TEXT, Bytes::new());
        let draft = Draft { topic, ctype, time, extension, body };
        let groups =
            vec![Group { topic: draft.topic.clone(), tseq: seq + 1, messages: vec![(0, draft)] }];
        let header = Header { key: self.key(), epoch, commit: seq, first: seq, time, n: 1, m: 1 };
        Unsealed { header, groups }.seal(&self.identity, &mut Default::default())
    }

    /// What stands before records: public key and name.
    pub fn preamble(&self) -> Vec<u8> {
        let name = self.identity.publisher.as_str().as_bytes();
        [&self.identity.key.public().as_bytes()[..], name].concat()
    }

    /// A recording of these commits, each of which follows on the one before it.
    pub fn recording(&self, file: &Path, commits: &[Commit]) {
        let owner = Owner {
            fabric: self.identity.fabric.to_string(),
            name: "recording".to_owned(),
            key: [0; 32],
        };
        let mut recorder = Recorder::create(&disk::Real, file, owner).unwrap();
        for commit in commits {
            let (header, preamble, body) = (commit.header, self.preamble(), commit.to_record());
            let place = |at: selvedge_core::Position| Place::new(at.epoch, at.seq);
            let record = Record {
                stream: header.key.0,
                from: place(header.start()),
                upto: place(header.end()),
                time_us: header.time.0,
                preamble: &preamble,
                body: &body,
            };
            recorder.append(&[record]).unwrap();
        }
        recorder.finish().unwrap();
    }
}

/// The only segment of a journal.
pub fn segment(journal: &Path) -> PathBuf {
    let files = fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path());
    let mut segments = files.filter(|path| path.extension().is_some_and(|ext| ext == "segment"));
    let segment = segments.next().unwrap();
    assert!(segments.next().is_none());
    segment
}

/// Where the record begins that has the message `seq` in it, of the newest epoch that has one, and
/// the first and the last number of it.
pub fn record_of(file: &Path, seq: u64) -> (u64, u64, u64) {
    let records = scan(&disk::Real, file).unwrap().filter_map(|(offset, item)| match item {
        Item::Record { entry, .. } => Some((offset, entry.from.seq, entry.upto.seq)),
        _ => None,
    });
    records.filter(|(_, from, upto)| (*from..*upto).contains(&seq)).last().unwrap()
}

/// Flips one bit of the byte at `offset`.
pub fn flip(file: &Path, offset: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset as usize] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

/// Writes the records of `from` again to `to`, each changed as `change` likes; none: left out.
pub fn rewrite(from: &Path, to: &Path, change: impl Fn(usize, &mut Vec<u8>) -> bool) {
    let from = scan(&disk::Real, from).unwrap();
    let owner = from.header().owner.clone();
    let mut recorder = Recorder::create(&disk::Real, to, owner).unwrap();
    let (mut said, mut count) = (Vec::new(), 0);
    for (_, item) in from {
        match item {
            Item::Preamble { preamble, .. } => said = preamble.to_vec(),
            Item::Record { stream, entry } => {
                let mut body = entry.body.to_vec();
                let stays = change(count, &mut body);
                count += 1;
                if stays {
                    let body = [Bytes::from(body)];
                    let (from, upto, time_us) = (entry.from, entry.upto, entry.time_us);
                    let record =
                        Record { stream, from, upto, time_us, preamble: &said, body: &body };
                    recorder.append(&[record]).unwrap();
                }
            }
            _ => {}
        }
    }
    recorder.finish().unwrap();
}
