//! One file that somebody asked for, in the format of a segment.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::format::SegmentHeader;
use crate::journal::check_owner;
use crate::segment::Segment;
use crate::{BadRecord, Owner, Record};

/// Writes a recording. Records stand in it as they came: nothing is asked of their order, and
/// [`crate::scan()`] reads them.
#[derive(Debug)]
pub struct Recorder {
    segment: Segment,
}

/// Why something is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record cannot be written, whatever the disk does.
    #[error(transparent)]
    Bad(#[from] BadRecord),
    /// The owner's fabric or name is longer than a header can hold.
    #[error("a fabric or name of {0} bytes is too long: at most 255")]
    LongName(usize),
    /// Something is there already.
    #[error("{} exists: a recording is written to a new file only", .0.display())]
    Exists(PathBuf),
    /// The disk fails; what was recorded before stays.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Recorder {
    /// Begins a recording at `path`, where nothing may be.
    pub fn create(disk: &dyn Disk, path: &Path, owner: Owner) -> Result<Recorder, RecordError> {
        check_owner(&owner).map_err(RecordError::LongName)?;
        let created = disk.random().and_then(|salt| {
            let header = SegmentHeader { owner, number: 0, salt, previous: 0, previous_bytes: 0 };
            Segment::create(disk, path, header)
        });
        match created {
            Ok(segment) => Ok(Recorder { segment }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(RecordError::Exists(path.to_owned()))
            }
            Err(source) => Err(RecordError::Io { file: path.to_owned(), source }),
        }
    }

    /// Hands all records to the kernel with one write; on an error, none.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<(), RecordError> {
        records.iter().try_for_each(Record::check)?;
        let appended = self.segment.append(records, 0).map(drop);
        self.said(appended)
    }

    /// Makes what was recorded so far durable.
    pub fn sync(&mut self) -> Result<(), RecordError> {
        let synced = self.segment.sync();
        self.said(synced)
    }

    /// Writes down that this is all, and makes it durable.
    pub fn finish(mut self) -> Result<(), RecordError> {
        let finished = self.segment.finish();
        self.said(finished)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.segment.end
    }

    fn said(&self, outcome: io::Result<()>) -> Result<(), RecordError> {
        outcome.map_err(|source| RecordError::Io { file: self.segment.path.clone(), source })
    }
}
