//! The writer: opens, appends, makes durable, lets go of what is old.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use crate::disk::{Disk, Lock};
use crate::format::{MAX_BODY, SegmentHeader};
use crate::index::{Entry, Index};
use crate::recovery::{Recovered, file_name, recover};
use crate::segment::Segment;
use crate::{AppendError, BadRecord, OpenError, Owner, Place, Reader, Record, Recovery};
use crate::{RetainError, Retained};

/// Bytes of a segment at which the next one begins, if not told otherwise.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Offsets are kept in 32 bits; a segment can be over its bound by what is appended at once.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// What a journal is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose it is. Fabric and name must be those of the segments that are there.
    pub owner: Owner,
    /// Bytes at which the next segment begins; at most 1 GiB. A batch that is larger gets a
    /// segment of its own.
    pub segment_bytes: u64,
    /// How many bytes [`Journal::retain`] keeps, to a segment.
    pub retain_bytes: Option<u64>,
    /// How old the newest record of a segment may be before [`Journal::retain`] removes it.
    pub retain_age: Option<Duration>,
}

impl Options {
    /// Segments of [`SEGMENT_BYTES`], and everything is kept.
    pub fn new(owner: Owner) -> Options {
        Options { owner, segment_bytes: SEGMENT_BYTES, retain_bytes: None, retain_age: None }
    }
}

/// A journal, open for writing: there is one writer, and any number of [`Reader`]s.
#[derive(Debug)]
pub struct Journal {
    pub(crate) disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: Options,
    pub(crate) index: Arc<RwLock<Index>>,
    recovery: Recovery,
    /// The segment that is appended to, if one was begun.
    pub(crate) segment: Option<Segment>,
    /// The number of the next one.
    next: u64,
    /// The newest finished segment, and how much of it counts.
    pub(crate) previous: (u64, u64),
    /// Of each stream the first place that is not durable.
    pub(crate) unsynced: BTreeMap<u64, Place>,
    _lock: Lock,
}

impl Journal {
    /// Opens the journal in `folder`, which is made if need be; verifies all that is there, and
    /// makes it durable. A segment is begun with the first append.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: Options,
    ) -> Result<Journal, OpenError> {
        check_owner(&options.owner).map_err(OpenError::LongName)?;
        let failed = |source| OpenError::Io { file: folder.to_owned(), source };
        disk.create_folder(folder).map_err(failed)?;
        let lock = match disk.lock(&folder.join("lock")).map_err(failed)? {
            Ok(lock) => lock,
            Err(holder) => return Err(OpenError::Locked { folder: folder.to_owned(), holder }),
        };
        let found = recover(&*disk, folder, &options.owner)?;
        let Recovered { index, recovery, last, next } = found;
        let previous = index.segments.last_key_value();
        let previous = previous.map_or((0, 0), |(number, entry)| (*number, entry.end));
        let mut journal = Journal {
            disk,
            folder: folder.to_owned(),
            options,
            index: Arc::new(RwLock::new(index)),
            recovery,
            segment: last,
            next,
            previous,
            unsynced: BTreeMap::new(),
            _lock: lock,
        };
        journal.all_is_unsynced();
        journal.make_durable(true).map_err(|error| match error {
            AppendError::Write { file, source } | AppendError::Lost { file, source, .. } => {
                OpenError::Io { file, source }
            }
            AppendError::Bad(bad) => {
                OpenError::Io { file: folder.to_owned(), source: io::Error::other(bad) }
            }
        })?;
        Ok(journal)
    }

    /// What opening found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A reader, which goes on after the journal is dropped.
    pub fn reader(&self) -> Reader {
        Reader::new(self.disk.clone(), self.index.clone())
    }

    /// Hands all records to the kernel with one write: they survive the end of this process, and
    /// readers see them. On an error none of them is held.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<(), AppendError> {
        let room = self.check(records)?;
        if records.is_empty() {
            return Ok(());
        }
        let mut segment = self.segment_with(room)?;
        let offsets = segment.append(records, self.options.segment_bytes);
        let (number, end) = (segment.header.number, segment.end);
        let file = segment.path.clone();
        self.segment = Some(segment);
        let offsets = offsets.map_err(|source| AppendError::Write { file, source })?;
        let mut index = write(&self.index);
        for (record, offset) in records.iter().zip(offsets) {
            index.add(number, offset as u32, record.span(), record.time_us);
            index.introduce(record.stream, record.preamble);
            self.unsynced.entry(record.stream).or_insert(record.from);
        }
        index.segments.get_mut(&number).into_iter().for_each(|entry| entry.end = end);
        Ok(())
    }

    /// Makes everything appended so far durable. If fdatasync fails, what was not durable is
    /// written again into a new segment, and that made durable.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.make_durable(false)
    }

    fn make_durable(&mut self, opened: bool) -> Result<(), AppendError> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        match segment.sync() {
            Ok(()) => self.unsynced.clear(),
            Err(source) => segment = self.rescue(segment, source, opened)?,
        }
        self.segment = Some(segment);
        Ok(())
    }

    /// Removes the oldest segments while more bytes are held than wanted, or all in them is older
    /// than wanted at `now_us`; never the newest.
    pub fn retain(&mut self, now_us: u64) -> Result<Retained, RetainError> {
        let age = self.options.retain_age.map(|age| age.as_micros().try_into().unwrap_or(u64::MAX));
        let oldest_us = age.map_or(0, |age| now_us.saturating_sub(age));
        let most = self.options.retain_bytes.unwrap_or(u64::MAX);
        let mut retained = Retained::default();
        let mut index = write(&self.index);
        let mut total: u64 = index.segments.values().map(|entry| entry.end).sum();
        while let Some((&number, entry)) = index.segments.first_key_value() {
            let due = total > most || entry.newest_us < oldest_us;
            if !due || index.segments.len() < 2 {
                break;
            }
            // Under the lock, so that what a reader misses is not in the index any more.
            if let Err(source) = self.disk.remove(&entry.path)
                && source.kind() != io::ErrorKind::NotFound
            {
                return Err(RetainError { file: entry.path.clone(), source });
            }
            total -= entry.end;
            retained.bytes += entry.end;
            retained.segments += 1;
            index.remove(number);
        }
        drop(index);
        if retained.segments > 0 {
            let failed = |source| RetainError { file: self.folder.clone(), source };
            self.disk.sync_folder(&self.folder).map_err(failed)?;
        }
        Ok(retained)
    }

    /// Writes down that nothing is missing, gives reserved room back, makes all durable.
    pub fn close(mut self) -> Result<(), AppendError> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        let Err(source) = segment.finish() else { return Ok(()) };
        let mut segment = self.rescue(segment, source, false)?;
        let file = segment.path.clone();
        segment.finish().map_err(|source| AppendError::Write { file, source })
    }

    /// Whether the records can be appended after what is held, and the room they take at most.
    fn check(&self, records: &[Record<'_>]) -> Result<u64, BadRecord> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut ends: BTreeMap<u64, Place> = BTreeMap::new();
        let mut room = 0_usize;
        for record in records {
            record.check()?;
            room = room.saturating_add(record.room());
            let end = ends.get(&record.stream).copied().or_else(|| index.end(record.stream));
            if let Some(end) = end.filter(|end| record.from < *end) {
                return Err(BadRecord::OutOfOrder { record: record.span(), end });
            }
            ends.insert(record.stream, record.upto);
        }
        const LIMIT: usize = 2 * MAX_BODY;
        match room <= LIMIT {
            true => Ok(room as u64),
            false => Err(BadRecord::TooLong { what: "a batch", bytes: room, limit: LIMIT }),
        }
    }

    /// Takes the segment that has so much room: the one at hand, or a new one.
    fn segment_with(&mut self, room: u64) -> Result<Segment, AppendError> {
        let limit = self.options.segment_bytes.min(MAX_SEGMENT_BYTES);
        let Some(mut segment) = self.segment.take() else { return self.create() };
        let fits = segment.is_empty() || segment.end + room <= limit;
        if fits && !segment.closed {
            return Ok(segment);
        }
        match segment.finish() {
            Ok(()) => self.unsynced.clear(),
            Err(source) => return self.rescue(segment, source, false),
        }
        self.previous = (segment.header.number, segment.end);
        let mut index = write(&self.index);
        let entry = index.segments.get_mut(&segment.header.number);
        entry.into_iter().for_each(|entry| entry.end = segment.end);
        drop(index);
        self.create()
    }

    fn create(&mut self) -> Result<Segment, AppendError> {
        let segment = self.create_file()?;
        self.list(&mut write(&self.index), &segment);
        Ok(segment)
    }

    pub(crate) fn create_file(&mut self) -> Result<Segment, AppendError> {
        let number = self.next;
        let file = self.folder.join(file_name(number));
        self.next = number.saturating_add(1); // even if it fails: its name may stay
        let (previous, previous_bytes) = self.previous;
        let created = self.disk.random().and_then(|salt| {
            let owner = self.options.owner.clone();
            let header = SegmentHeader { owner, number, salt, previous, previous_bytes };
            Segment::create(&*self.disk, &file, header)
        });
        created.map_err(|source| AppendError::Write { file, source })
    }

    pub(crate) fn list(&self, index: &mut Index, segment: &Segment) {
        let newest_us = index.segments.values().next_back().map_or(0, |entry| entry.newest_us);
        let path = segment.path.clone();
        let (salt, end) = (segment.header.salt, segment.end);
        index.segments.insert(segment.header.number, Entry { path, salt, end, newest_us });
    }

    /// Nothing in the newest segment is known to be durable.
    fn all_is_unsynced(&mut self) {
        let Some(number) = self.segment.as_ref().map(|segment| segment.header.number) else {
            return;
        };
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        for (&id, stream) in &index.streams {
            let part = stream.parts.back().filter(|part| part.segment == number);
            let first = part.and_then(|part| part.ranges.first());
            self.unsynced.extend(first.map(|range| (id, range.0)));
        }
    }
}

/// The length of a name that no header can hold.
pub(crate) fn check_owner(owner: &Owner) -> Result<(), usize> {
    let longest = owner.fabric.len().max(owner.name.len());
    if longest > u8::MAX.into() { Err(longest) } else { Ok(()) }
}

pub(crate) fn write(index: &RwLock<Index>) -> RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}
