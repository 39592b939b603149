//! Reading what is held, while the writer goes on.

mod reading;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use crate::disk::Disk;
use crate::index::Index;
use crate::{Place, Span};
use reading::Reading;

/// Reads a journal. Cheap to clone; every call opens what it needs, so that removing old segments
/// never breaks a call at work.
#[derive(Clone, Debug)]
pub struct Reader {
    disk: Arc<dyn Disk>,
    index: Arc<RwLock<Index>>,
}

/// Records of one stream, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The records; their bodies share one buffer.
    pub records: Vec<Entry>,
    /// Nothing more is held of what was asked for.
    pub end: bool,
}

/// A record, as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first place.
    pub from: Place,
    /// The first place after it.
    pub upto: Place,
    /// Its time, in microseconds since 1970.
    pub time_us: u64,
    /// The parts of its body, joined.
    pub body: Bytes,
}

/// A stream of which something is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its id.
    pub stream: u64,
    /// The oldest place that is held.
    pub oldest: Place,
    /// The first place after all that is held.
    pub end: Place,
    /// Who speaks on it: the newest preamble. Empty if it is damaged.
    pub preamble: Bytes,
}

/// A record that is held and cannot be read. What comes before it was returned by earlier calls;
/// go on after `span.upto`.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {span} cannot be read: {source}", file.display())]
pub struct ReadError {
    /// The segment.
    pub file: PathBuf,
    /// Where in it the record begins.
    pub offset: u64,
    /// What cannot be read, as narrowly as can be known.
    pub span: Span,
    /// Why: `InvalidData` if the bytes are not those that were written.
    pub source: io::Error,
}

impl Reader {
    pub(crate) fn new(disk: Arc<dyn Disk>, index: Arc<RwLock<Index>>) -> Reader {
        Reader { disk, index }
    }

    /// The records whose places meet `from..upto`, and the notes after `from` and not after `upto`,
    /// in order: at least one if there is one, and
    /// then as many as together take about `max_bytes`.
    pub fn read(
        &self,
        stream: u64,
        from: Place,
        upto: Place,
        max_bytes: usize,
    ) -> Result<Chunk, ReadError> {
        let read = || Reading::new(self, stream, from, upto, max_bytes).read();
        // What a segment held may have moved on meanwhile: to a newer one, or out of retention.
        read().or_else(|_| read())
    }

    /// What is held of a stream, oldest first, adjacent ranges joined.
    pub fn held(&self, stream: u64) -> Vec<(Place, Place)> {
        self.index().streams.get(&stream).map_or_else(Vec::new, |stream| stream.held())
    }

    /// The streams of which something is held, by id.
    pub fn streams(&self) -> Vec<StreamInfo> {
        let index = self.index();
        let streams = index.streams.iter().filter_map(|(&id, stream)| {
            let oldest = stream.parts.front()?.ranges.first()?.0;
            let (end, preamble) = (stream.end()?, stream.preamble.clone());
            Some(StreamInfo { stream: id, oldest, end, preamble })
        });
        streams.collect()
    }

    /// Bytes in all segments, reserved room aside.
    pub fn bytes(&self) -> u64 {
        self.index().segments.values().map(|entry| entry.end).sum()
    }

    /// Segment files.
    pub fn segments(&self) -> usize {
        self.index().segments.len()
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}
