//! Writing a recording.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use selvedge_core::directory::Directory;
use selvedge_core::subscriber::{Delivery, Output};
use selvedge_core::topic::Pattern;
use selvedge_core::{KeyId, Position};
use selvedge_journal::{self as journal, Owner, Place, Record, RecordError, disk};

use crate::journal::speaker;

/// What a recording says of itself where a journal has the name of its owner.
const NAME: &str = "recording";

/// Writes what an [`crate::Inlet`] yields to a new file: the packets of wanted topics, as they were
/// sent, and with them who said them and what lies between.
#[derive(Debug)]
pub struct Recorder {
    file: journal::Recorder,
    wanted: Vec<Pattern>,
    /// Everything from here on that is wanted is in what is recorded next.
    since: BTreeMap<KeyId, Position>,
}

impl Recorder {
    /// Begins a recording at `path`, where nothing may be.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn create(
        path: &Path,
        directory: &Directory,
        wanted: Vec<Pattern>,
    ) -> Result<Recorder, RecordError> {
        let (fabric, name) = (directory.fabric().to_string(), NAME.to_owned());
        let owner = Owner { fabric, name, key: [0; 32] };
        let file = journal::Recorder::create(&disk::Real, path, owner)?;
        Ok(Recorder { file, wanted, since: BTreeMap::new() })
    }

    /// Writes what is to be kept of an output; returns how many messages that were.
    ///
    /// # Errors
    /// [`RecordError`]: nothing of this output is in the file.
    pub fn take(&mut self, output: Output, directory: &Directory) -> Result<u64, RecordError> {
        let mut delivery = match output {
            Output::Deliver(delivery) => delivery,
            Output::Started { key, at, .. } => {
                self.since.insert(key, at);
                return Ok(0);
            }
            Output::Lost(lost) => {
                let since = self.since.entry(lost.key).or_default();
                *since = lost.to.max(*since);
                return Ok(0);
            }
            // What is passed is in the next record's range; a tip has no number.
            _ => return Ok(0),
        };
        // The wire matches bytes, patterns segments.
        delivery.packets.retain(|trusted| {
            let topic = trusted.packet().topic();
            self.wanted.iter().any(|pattern| pattern.matches(topic))
        });
        if delivery.packets.is_empty() {
            return Ok(0);
        }
        let key = delivery.key;
        let from = self.since.get(&key).copied().unwrap_or(delivery.header.start());
        let preamble = match directory.speaker(key) {
            Ok(who) => speaker(&who.key, &delivery.publisher),
            Err(_) => Bytes::new(), // gone since it was delivered
        };
        let body = delivery.to_commit().to_record();
        self.file.append(&[Record {
            stream: key.0,
            from: place(from),
            upto: place(delivery.header.end()),
            time_us: delivery.header.time.0,
            preamble: &preamble,
            body: &body,
        }])?;
        self.since.insert(key, delivery.header.end());
        Ok(delivery.packets.iter().map(|trusted| u64::from(trusted.packet().count())).sum())
    }

    /// Leaves a delivery out: the recording of its stream begins, or goes on, after it.
    pub fn skip(&mut self, delivery: &Delivery) {
        self.since.insert(delivery.key, delivery.header.end());
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Writes down that this is all, and makes it durable.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn finish(self) -> Result<(), RecordError> {
        self.file.finish()
    }
}

fn place(position: Position) -> Place {
    Place { epoch: position.epoch, seq: position.seq }
}
