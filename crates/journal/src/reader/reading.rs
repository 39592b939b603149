//! One call of a reader: from one segment's part of the stream to the next, in large reads.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::{Chunk, Entry, ReadError, Reader};
use crate::disk::File;
use crate::format::{Kind, RECORD_HEADER, RecordHeader};
use crate::index::{Index, Part};
use crate::{Place, Span};

/// Bytes of other streams that are rather read than jumped over: copying them takes about as long
/// as a system call.
const GAP: u32 = 16 << 10;
/// Bytes that are read of a record whose length is not known yet.
const GUESS: usize = 4 << 10;

/// A call at work.
pub(super) struct Reading<'a> {
    reader: &'a Reader,
    stream: u64,
    /// What is asked for and not yet read begins here.
    from: Place,
    upto: Place,
    max_bytes: usize,
    buffer: Vec<u8>,
    /// Records, and where their bodies are in the buffer.
    found: Vec<(RecordHeader, Range<usize>)>,
}

/// What one segment holds of the stream.
struct Source {
    segment: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    salt: u64,
    records: usize,
    /// The joined range that the next record lies in.
    range: (Place, Place),
    /// The first place after all of the part.
    end: Place,
}

impl<'a> Reading<'a> {
    pub fn new(
        reader: &'a Reader,
        stream: u64,
        from: Place,
        upto: Place,
        max_bytes: usize,
    ) -> Reading<'a> {
        let (buffer, found) = (Vec::new(), Vec::new());
        Reading { reader, stream, from, upto, max_bytes, buffer, found }
    }

    /// Reads until nothing more is held or wanted.
    pub fn read(mut self) -> Result<Chunk, ReadError> {
        loop {
            match self.read_part() {
                Ok(true) => {}
                Ok(false) => return Ok(self.chunk(true)),
                Err(_) if !self.found.is_empty() => return Ok(self.chunk(false)),
                Err(error) => return Err(error),
            }
            if self.buffer.len() >= self.max_bytes && !self.found.is_empty() {
                return Ok(self.chunk(false));
            }
        }
    }

    fn chunk(self, end: bool) -> Chunk {
        let buffer = Bytes::from(self.buffer);
        let entry = |(header, body): (RecordHeader, Range<usize>)| {
            let RecordHeader { from, upto, time_us, .. } = header;
            Entry { from, upto, time_us, body: buffer.slice(body) }
        };
        Chunk { records: self.found.into_iter().map(entry).collect(), end }
    }

    /// Reads a run from the first segment that holds something wanted; false if there is none.
    fn read_part(&mut self) -> Result<bool, ReadError> {
        let Some(source) = self.source()? else { return Ok(false) };
        let mut next = self.first(&source);
        while next < source.records && self.from < self.upto {
            next += self.read_run(&source, next)?;
            if self.buffer.len() >= self.max_bytes {
                return Ok(true);
            }
        }
        self.from = self.from.max(source.end);
        Ok(self.from < self.upto)
    }

    /// The first segment that holds something of what is wanted.
    fn source(&self) -> Result<Option<Source>, ReadError> {
        let index = self.reader.index();
        let wanted = || {
            let parts = &index.streams.get(&self.stream)?.parts;
            let part = parts.get(parts.partition_point(|part| part.end() <= self.from))?;
            let ranges = &part.ranges;
            let range = *ranges.get(ranges.partition_point(|range| range.1 <= self.from))?;
            let entry = index.segments.get(&part.segment)?;
            // What begins at the end may be a note.
            (range.0 <= self.upto).then_some((part, range, entry))
        };
        let Some((part, range, entry)) = wanted() else { return Ok(None) };
        let (segment, records, end) = (part.segment, part.offsets.len(), part.end());
        let (path, salt) = (entry.path.clone(), entry.salt);
        drop(index);
        match self.reader.disk.open(&path, false) {
            Ok(file) => Ok(Some(Source { segment, path, file, salt, records, range, end })),
            Err(source) => {
                let span = Span { stream: self.stream, from: self.from.max(range.0), upto: end };
                Err(ReadError { file: path, offset: 0, span, source })
            }
        }
    }

    /// Which record is the first that ends after `self.from`; what cannot be read may be it.
    fn first(&self, source: &Source) -> usize {
        let (mut low, mut high) = (0, source.records);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut readable = (middle..high).filter_map(|at| Some((at, self.header(source, at)?)));
            match readable.next() {
                Some((at, header)) if header.upto <= self.from => low = at + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// Reads records that lie close together, with one read if it can be; says how many.
    fn read_run(&mut self, source: &Source, next: usize) -> Result<usize, ReadError> {
        let mut run = self.run(source, next);
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else {
            let moved = io::Error::new(io::ErrorKind::NotFound, "it moved while it was read");
            return Err(self.unreadable(source, next, 0, moved));
        };
        let base = self.buffer.len();
        let len = (last - first) as usize + GUESS;
        if let Err(error) = source.file.read_at(&mut self.buffer, len, first.into()) {
            // Perhaps only the last of them; the first alone fails with its own name.
            run.truncate(1);
            if source.file.read_at(&mut self.buffer, GUESS, first.into()).is_err() {
                return Err(self.unreadable(source, next, first, error));
            }
        }
        let mut kept = base;
        for (at, &offset) in run.iter().enumerate() {
            match self.take(source, base, first, offset) {
                Ok((header, _)) if header.from >= self.upto && header.upto > self.upto => {
                    self.from = self.upto;
                    break;
                }
                Ok((header, body)) => {
                    (self.from, kept) = (header.upto, body.end);
                    self.found.push((header, body));
                }
                Err(error) => {
                    let error = self.unreadable(source, next + at, offset, error);
                    if error.span.upto > self.from {
                        self.buffer.truncate(kept);
                        return Err(error);
                    }
                }
            }
        }
        self.buffer.truncate(kept);
        Ok(run.len())
    }

    /// Where the next records begin that are worth one read: at least one.
    fn run(&self, source: &Source, next: usize) -> Vec<u32> {
        let index = self.reader.index();
        let rest = self.offsets(&index, source.segment).get(next..source.records);
        let rest = rest.unwrap_or_default();
        let Some(&first) = rest.first() else { return Vec::new() };
        let room = self.max_bytes.saturating_sub(self.buffer.len());
        let near = |pair: &&[u32]| pair[1] - pair[0] <= GAP && (pair[1] - first) as usize <= room;
        let more = rest.windows(2).take_while(near).count();
        rest[..=more].to_vec()
    }

    /// Verifies the record at `offset`, whose run was read to `base` of the buffer from `first` on.
    fn take(
        &mut self,
        source: &Source,
        base: usize,
        first: u32,
        offset: u32,
    ) -> io::Result<(RecordHeader, Range<usize>)> {
        let begin = base + (offset - first) as usize;
        let here = self.buffer.get(begin..).unwrap_or_default();
        let header = RecordHeader::decode(here, source.salt, offset.into());
        let ours =
            |header: &RecordHeader| header.kind == Kind::Record && header.stream == self.stream;
        let header = header.filter(ours).ok_or_else(changed)?;
        let body = begin + RECORD_HEADER..begin + header.size() as usize;
        if let Some(missing) = body.end.checked_sub(self.buffer.len()) {
            let at = first as usize + (self.buffer.len() - base);
            source.file.read_at(&mut self.buffer, missing, at as u64)?;
        }
        let bytes = self.buffer.get(body.clone()).ok_or_else(changed)?;
        match crc32c::crc32c(bytes) == header.body_crc {
            true => Ok((header, body)),
            false => Err(changed()),
        }
    }

    /// Tells of a record that cannot be read, and what it can have held.
    fn unreadable(&self, source: &Source, at: usize, offset: u32, error: io::Error) -> ReadError {
        let next = (at + 1..source.records).find_map(|at| self.header(source, at));
        let upto = next.map_or(source.end, |header| header.from);
        let (from, range_end) = match source.range {
            range if self.from < range.1 => (self.from.max(range.0), range.1),
            _ => (self.from, source.end),
        };
        let span = Span { stream: self.stream, from, upto: upto.min(range_end) };
        ReadError { file: source.path.clone(), offset: offset.into(), span, source: error }
    }

    /// The header of a record, if it can be read.
    fn header(&self, source: &Source, at: usize) -> Option<RecordHeader> {
        let offset = *self.offsets(&self.reader.index(), source.segment).get(at)?;
        let mut bytes = Vec::with_capacity(RECORD_HEADER);
        source.file.read_at(&mut bytes, RECORD_HEADER, offset.into()).ok()?;
        RecordHeader::decode(&bytes, source.salt, offset.into())
    }

    /// Where the records of the stream begin in a segment.
    fn offsets<'i>(&self, index: &'i Index, segment: u64) -> &'i [u32] {
        let parts = index.streams.get(&self.stream).map(|stream| &stream.parts);
        let part = parts.and_then(|parts| {
            parts.get(parts.partition_point(|part: &Part| part.segment < segment))
        });
        part.filter(|part| part.segment == segment).map_or(&[], |part| &part.offsets)
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the bytes are not those that were written")
}
