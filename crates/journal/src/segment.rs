//! Writing one segment: its header, batches of records, its end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File, folder_of};
use crate::format::{FIRST_RECORD, Kind, RECORD_HEADER, RecordHeader, SegmentHeader};
use crate::{Place, Record, Span};

/// Room is reserved in steps of this: an fdatasync after a small append then finds length and
/// blocks as they were, and has only data to write down.
const RESERVE: u64 = 256 << 10;
/// What the scratch buffer may keep between batches.
const KEEP: usize = 4 << 20;

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub header: SegmentHeader,
    file: Arc<dyn File>,
    /// Where the next record goes: all before it is written.
    pub end: u64,
    /// All before it is durable.
    pub synced: u64,
    /// Something, be it only the length, is not durable.
    dirty: bool,
    /// The file's length, with reserved room.
    pub reserved: u64,
    /// Nothing may be appended any more, be it that what stands after `end` could not be cut off.
    pub closed: bool,
    /// The last record says that nothing is missing.
    pub ended: bool,
    /// The preamble that each stream has in this segment.
    pub introduced: BTreeMap<u64, Vec<u8>>,
    scratch: Vec<u8>,
}

impl Segment {
    /// Makes the file, durably: without its header nothing in it could be believed. One that cannot
    /// be finished is removed.
    pub fn create(disk: &dyn Disk, path: &Path, header: SegmentHeader) -> io::Result<Segment> {
        let file = disk.create(path)?;
        let written = file.write_at(&header.encode(), 0).and_then(|()| file.sync());
        if let Err(error) = written.and_then(|()| disk.sync_folder(&folder_of(path))) {
            let _ = disk.remove(path); // the first error is the one to tell
            return Err(error);
        }
        Ok(Segment::reopen(path.to_owned(), file, header, FIRST_RECORD))
    }

    /// Goes on with a file whose records end at `end`, of which nothing is known to be durable.
    pub fn reopen(path: PathBuf, file: Arc<dyn File>, header: SegmentHeader, end: u64) -> Segment {
        Segment {
            path,
            header,
            file,
            end,
            synced: FIRST_RECORD,
            dirty: true,
            reserved: end,
            closed: false,
            ended: false,
            introduced: BTreeMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.end == FIRST_RECORD
    }

    /// Writes all of the records, and says where each begins; or none of them. Reserves room, but
    /// not beyond `limit`.
    pub fn append(&mut self, records: &[Record<'_>], limit: u64) -> io::Result<Vec<u64>> {
        let mut new = BTreeMap::new();
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            let span = record.span();
            let known = new.get(&record.stream).copied();
            let known = known.or(self.introduced.get(&record.stream).map(Vec::as_slice));
            if known != Some(record.preamble) {
                new.insert(record.stream, record.preamble);
                let nowhere = Span { upto: Place::default(), from: Place::default(), ..span };
                self.put(Kind::Preamble, nowhere, 0, [record.preamble]);
            }
            let body = record.body.iter().map(|part| &part[..]);
            offsets.push(self.put(Kind::Record, span, record.time_us, body));
        }
        self.write(limit)?;
        self.introduced.extend(new.into_iter().map(|(stream, bytes)| (stream, bytes.to_vec())));
        Ok(offsets)
    }

    /// Makes all that was written durable. Not to be tried again after an error.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync()?;
            (self.dirty, self.synced) = (false, self.end);
        }
        Ok(())
    }

    /// Says that nothing is missing, gives reserved room back, and makes all durable. Only an
    /// error of the last is one: the others may be impossible on a full disk, and do no harm.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.closed && !self.ended {
            let nowhere = Span { stream: 0, from: Place::default(), upto: Place::default() };
            self.put(Kind::End, nowhere, 0, []);
            self.ended = self.write(0).is_ok();
        }
        if !self.closed && self.reserved > self.end {
            self.cut();
        }
        self.sync()
    }

    /// Makes the file end where its records do; whether it can be appended to after that.
    pub fn cut(&mut self) -> bool {
        self.dirty = true;
        self.closed |= self.file.truncate(self.end).is_err();
        self.reserved = self.end;
        !self.closed
    }

    /// Takes back what is not durable: it counts as never written.
    pub fn take_back(&mut self) {
        self.end = self.synced;
        self.cut();
    }

    /// The file, to read back what was written.
    pub fn file(&self) -> Arc<dyn File> {
        self.file.clone()
    }

    /// Adds a record to the scratch buffer, and says where in the file it will begin.
    fn put<'a>(
        &mut self,
        kind: Kind,
        Span { stream, from, upto }: Span,
        time_us: u64,
        body: impl IntoIterator<Item = &'a [u8]>,
    ) -> u64 {
        let begin = self.scratch.len();
        let offset = self.end + begin as u64;
        self.scratch.extend_from_slice(&[0; RECORD_HEADER]);
        body.into_iter().for_each(|part| self.scratch.extend_from_slice(part));
        let (head, body) = self.scratch[begin..].split_at_mut(RECORD_HEADER);
        let (body_len, body_crc) = (body.len() as u32, crc32c::crc32c(body));
        let header = RecordHeader { kind, stream, from, upto, time_us, body_len, body_crc };
        head.copy_from_slice(&header.encode(self.header.salt, offset));
        offset
    }

    /// Writes the scratch buffer down, and empties it. After an error it is as if nothing was.
    fn write(&mut self, limit: u64) -> io::Result<()> {
        let end = self.end + self.scratch.len() as u64;
        let room = end.next_multiple_of(RESERVE).min(limit).max(end);
        if end > self.reserved && room > end {
            // Where this is impossible, the write itself will do, or say why not.
            let reserved = self.file.allocate(self.reserved, room);
            self.reserved = if reserved.is_ok() { room } else { self.reserved };
        }
        let written = self.file.write_at(&self.scratch, self.end);
        self.scratch.clear();
        self.scratch.shrink_to(KEEP);
        match written {
            Ok(()) => {
                (self.end, self.dirty, self.ended) = (end, true, false);
                self.reserved = self.reserved.max(end);
            }
            Err(_) => _ = self.cut(),
        }
        written
    }
}
