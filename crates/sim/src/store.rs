//! A journal as a service or an archive keeps it, on a simulated disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use selvedge_core::author;
use selvedge_core::epochs::Held;
use selvedge_core::fanout::{Answer, PeerId, Stored};
use selvedge_core::limits::REPLAY_BYTES;
use selvedge_core::seal::{Commit, EpochEnd, Void};
use selvedge_core::{KeyId, Position};
use selvedge_journal::disk::Sim;
use selvedge_journal::{
    AppendError, Damage, Journal, OpenError, Options, Owner, Place, Reader, Record,
};

/// Where it lies.
pub const FOLDER: &str = "/journal";

/// One thing that a node tells its peers, in order, once it is kept.
#[derive(Debug)]
pub enum Step {
    Commit { commit: Commit, kept: Option<Kept> },
    Passed { key: KeyId, upto: Position },
    Gone { key: KeyId, upto: Position },
    Note { at: Position, tip: Commit },
}

/// How a commit is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Everything from here to its end is in it.
    pub from: Position,
    /// Whether it has to be on the disk before it is sent.
    pub durable: bool,
}

/// Bytes of a segment, and how much of all is kept.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub segment_bytes: u64,
    pub retain_bytes: Option<u64>,
}

pub struct Store {
    writer: Journal,
    reader: View,
}

/// What is held, by itself.
#[derive(Clone)]
pub struct View(Reader);

impl Store {
    pub fn open(disk: &Sim, name: &str, room: Room) -> Result<Store, OpenError> {
        let owner = Owner { fabric: "sim".into(), name: name.into(), key: [0; 32] };
        let Room { segment_bytes, retain_bytes } = room;
        let options = Options { segment_bytes, retain_bytes, ..Options::new(owner) };
        let writer = Journal::open(Arc::new(disk.clone()), Path::new(FOLDER), options)?;
        Ok(Store { reader: View(writer.reader()), writer })
    }

    /// Appends what is to be kept of a batch, in one write.
    pub fn append(&mut self, batch: &[Step]) -> Result<(), AppendError> {
        let kept = batch.iter().filter_map(|step| match step {
            Step::Commit { commit, kept: Some(kept) } => {
                Some((commit, kept.from, commit.header.end()))
            }
            Step::Note { at, tip } => Some((tip, *at, *at)),
            _ => None,
        });
        let kept: Vec<_> = kept.map(|kept| (kept, kept.0.to_record())).collect();
        let records: Vec<Record<'_>> = kept
            .iter()
            .map(|((commit, from, upto), body)| Record {
                stream: commit.header.key.0,
                from: place(*from),
                upto: place(*upto),
                time_us: commit.header.time.0,
                preamble: b"",
                body,
            })
            .collect();
        match records.is_empty() {
            true => Ok(()),
            false => self.writer.append(&records),
        }
    }

    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.writer.sync()
    }

    /// Lets go of what is too much; whether anything was.
    pub fn retain(&mut self) -> bool {
        self.writer.retain(0).is_ok_and(|retained| retained.segments > 0)
    }

    pub fn close(self) -> bool {
        self.writer.close().is_ok()
    }

    pub fn view(&self) -> View {
        self.reader.clone()
    }

    /// What a peer missed.
    pub fn read(&self, peer: PeerId, key: KeyId, from: Position, upto: Position) -> Answer {
        self.reader.read(peer, key, from, upto)
    }

    /// Whether it was opened without finding anything wrong.
    pub fn is_sound(&self) -> bool {
        self.damages().is_empty()
    }

    pub fn damages(&self) -> &[Damage] {
        &self.writer.recovery().damages
    }

    /// What is held of a stream, oldest first.
    pub fn held(&self, key: KeyId) -> Vec<(Position, Position)> {
        let held = self.reader.0.held(key.0).into_iter();
        held.map(|(from, upto)| (position(from), position(upto))).collect()
    }

    /// The oldest that is held of a stream.
    pub fn oldest(&self, key: KeyId) -> Option<Position> {
        self.held(key).first().map(|(from, _)| *from)
    }

    /// What is held of each stream ends here.
    pub fn ends(&self) -> BTreeMap<KeyId, Position> {
        let streams = self.reader.0.streams().into_iter();
        streams.map(|stream| (KeyId(stream.stream), position(stream.end))).collect()
    }

    /// What it tells of the epochs of a stream.
    pub fn epochs(&self, key: KeyId) -> Held {
        let ends = self.held(key).into_iter().map(|(_, upto)| (upto.epoch, upto.seq)).collect();
        Held { ends, intact: self.is_sound() }
    }

    /// Numbers that a publisher's own journal should hold and does not.
    pub fn voids(&self, key: KeyId, earlier: &[EpochEnd]) -> Vec<Void> {
        author::voids(&self.held(key), earlier)
    }
}

impl View {
    /// What a peer missed. What cannot be read is left out.
    pub fn read(&self, peer: PeerId, key: KeyId, from: Position, upto: Position) -> Answer {
        let answer = |records, upto| Answer { peer, key, from, records, upto };
        let chunk = match self.0.read(key.0, place(from), place(upto), REPLAY_BYTES) {
            Ok(chunk) => chunk,
            Err(error) => {
                let after = position(error.span.upto).clamp(from.after(), upto);
                return answer(Vec::new(), after);
            }
        };
        let mut records = Vec::with_capacity(chunk.records.len());
        let mut read = from;
        for entry in chunk.records {
            read = position(entry.upto);
            let commit = Commit::from_record(&entry.body).unwrap();
            records.push(Stored { from: position(entry.from), commit });
        }
        answer(records, if chunk.end { upto } else { read })
    }

    /// Whether this message can be read.
    pub fn has(&self, key: KeyId, at: Position) -> bool {
        let answer = self.read(PeerId(0), key, at, at.after());
        let mut packets = answer.records.iter().flat_map(|stored| &stored.commit.packets);
        let within =
            |stored: &Stored| stored.commit.header.start() <= at && at < stored.commit.header.end();
        answer.records.iter().any(within) && packets.next().is_some()
    }
}

fn place(position: Position) -> Place {
    Place { epoch: position.epoch, seq: position.seq }
}

fn position(place: Place) -> Position {
    Position::new(place.epoch, place.seq)
}
