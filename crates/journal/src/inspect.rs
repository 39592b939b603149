//! Looking at segments and recordings, read-only and without the lock: of a running journal, a
//! foreign one, or a single file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, File};
use crate::format::{FIRST_RECORD, Kind, NoHeader, SegmentHeader};
use crate::recovery::{read_header, segments};
use crate::walk::{Found, Walk};
use crate::{Entry, Span};

/// Why a file cannot be walked.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It is something else, or both copies of its header are damaged.
    #[error("{} is no segment or recording, or its header is destroyed", .0.display())]
    NoHeader(PathBuf),
    /// A later version of this software wrote it.
    #[error("{} has format {version}, newer than {}: use the newer software",
        file.display(), crate::VERSION)]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        version: u16,
    },
    /// It cannot be opened.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One thing in a segment or recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Who speaks on a stream from here on.
    Preamble {
        /// The stream.
        stream: u64,
        /// As it was appended.
        preamble: Bytes,
    },
    /// A record.
    Record {
        /// Its stream.
        stream: u64,
        /// As it was appended.
        entry: Entry,
    },
    /// All that was to be written up to here was. Missing at the end: it is written on, or was
    /// not closed.
    End,
    /// Bytes that are not what was written; at the end of a file that is written on, perhaps not
    /// yet.
    Damage {
        /// How many.
        bytes: u64,
        /// The record that they were, if its header is intact.
        span: Option<Span>,
    },
}

/// Walks one file.
#[derive(Debug)]
pub struct Scan {
    file: PathBuf,
    header: SegmentHeader,
    bytes: u64,
    walk: Walk,
}

/// The segments in a folder, oldest first.
pub fn inspect(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, ScanError> {
    let found = segments(disk, folder);
    let found = found.map_err(|source| ScanError::Io { file: folder.to_owned(), source })?;
    Ok(found.into_values().collect())
}

/// Opens a segment or recording. What is appended to it from now on is not seen.
pub fn scan(disk: &dyn Disk, path: &Path) -> Result<Scan, ScanError> {
    let failed = |source| ScanError::Io { file: path.to_owned(), source };
    let file: Arc<dyn File> = disk.open(path, false).map_err(failed)?;
    let bytes = file.size().map_err(failed)?;
    let header = read_header(&file, bytes).map_err(|error| match error {
        NoHeader::Unreadable => ScanError::NoHeader(path.to_owned()),
        NoHeader::Newer(version) => ScanError::Newer { file: path.to_owned(), version },
    })?;
    let walk = Walk::new(file, header.salt, FIRST_RECORD, bytes);
    Ok(Scan { file: path.to_owned(), header, bytes, walk })
}

impl Scan {
    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What it says of itself.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Its length, with the room that a running journal reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn item(&mut self, found: Found) -> (u64, Item) {
        let (offset, header) = match found {
            Found::Record { offset, header } => (offset, header),
            Found::Damage { offset, bytes, header } => {
                let record = header.filter(|header| header.kind == Kind::Record);
                let span = record.map(|header| header.span());
                return (offset, Item::Damage { bytes, span });
            }
        };
        let body = Bytes::copy_from_slice(self.walk.body(offset, &header));
        let stream = header.stream;
        let item = match header.kind {
            Kind::End => Item::End,
            Kind::Preamble => Item::Preamble { stream, preamble: body },
            Kind::Record => {
                let (from, upto, time_us) = (header.from, header.upto, header.time_us);
                Item::Record { stream, entry: Entry { from, upto, time_us, body } }
            }
        };
        (offset, item)
    }
}

/// Everything in the file with its offset, in order.
impl Iterator for Scan {
    type Item = (u64, Item);

    fn next(&mut self) -> Option<(u64, Item)> {
        let found = self.walk.next()?;
        Some(self.item(found))
    }
}
