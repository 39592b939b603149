//! Opening what an earlier process left: every record is verified, what is torn is cut, what is
//! damaged is told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::format::{FIRST_RECORD, Kind, NoHeader, Owner, RecordHeader, SegmentHeader};
use crate::index::{Entry, Index};
use crate::segment::Segment;
use crate::walk::{Found, Walk};
use crate::window::Window;
use crate::{OpenError, Span};

/// What was found when the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files.
    pub segments: u64,
    /// Good records.
    pub records: u64,
    /// Bytes that were read and verified.
    pub bytes: u64,
    /// The journal was closed when it was last used, or never used.
    pub clean: bool,
    /// Records left out because their places had come before: a file was copied or brought back.
    pub repeated: u64,
    /// What is wrong, oldest first.
    pub damages: Vec<Damage>,
}

/// Bytes of a segment that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What it is.
    pub what: Fault,
    /// What stood there, as far as it can be known: the record itself where its header is intact,
    /// else whatever is missing between records before and after. Of a torn tail nothing was
    /// ever said to be durable.
    pub lost: Vec<Span>,
}

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The end of the newest segment, written when the power went; it was cut off.
    Torn,
    /// A record with other bytes than were written, or that the disk cannot read.
    Corrupt,
    /// The file is shorter than it was.
    Missing,
    /// Neither copy of the segment's header is good: none of its records can be told from chance.
    Header,
}

/// What opening a folder comes to.
pub(crate) struct Recovered {
    pub index: Index,
    pub recovery: Recovery,
    /// The newest segment, to go on with.
    pub last: Option<Segment>,
    /// The number of the next segment.
    pub next: u64,
}

/// The file name of a segment.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}.segment")
}

/// The segments in a folder, oldest first.
pub(crate) fn segments(disk: &dyn Disk, folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let numbered = disk.list(folder)?.into_iter().filter_map(|name| {
        let number = name.strip_suffix(".segment")?.parse().ok()?;
        (number > 0 && name == file_name(number)).then(|| (number, folder.join(name)))
    });
    Ok(numbered.collect())
}

/// Reads a segment's header.
pub(crate) fn read_header(file: &Arc<dyn File>, len: u64) -> Result<SegmentHeader, NoHeader> {
    SegmentHeader::decode(Window::new(file.clone(), len).at(0, FIRST_RECORD as usize))
}

/// Reads all segments of a folder.
pub(crate) fn recover(
    disk: &dyn Disk,
    folder: &Path,
    owner: &Owner,
) -> Result<Recovered, OpenError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Io { file, source }
    };
    let paths = segments(disk, folder).map_err(failed(folder))?;
    let newest = paths.last_key_value().map(|(number, _)| *number);
    let mut files = Vec::new();
    for (number, path) in paths {
        let file = disk.open(&path, Some(number) == newest).map_err(failed(&path))?;
        let len = file.size().map_err(failed(&path))?;
        let header = match read_header(&file, len) {
            Err(NoHeader::Newer(version)) => return Err(OpenError::Newer { file: path, version }),
            Ok(header) if !header.owner.is_same_as(owner) => {
                return Err(OpenError::Foreign { file: path, theirs: header.owner });
            }
            header => header.ok(),
        };
        files.push(Opened { number, path, file, len, header });
    }
    let mut reading = Reading::default();
    let next = newest.map_or(1, |number| number.saturating_add(1));
    let last = reading.read_all(disk, files, owner);
    let Reading { mut index, recovery, .. } = reading;
    index.streams.retain(|_, stream| !stream.parts.is_empty());
    Ok(Recovered { index, recovery, last, next })
}

impl Owner {
    /// The same fabric and name; keys are rotated.
    fn is_same_as(&self, other: &Owner) -> bool {
        (&self.fabric, &self.name) == (&other.fabric, &other.name)
    }
}

/// A segment's file, with its header if that can be read.
struct Opened {
    number: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    header: Option<SegmentHeader>,
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    index: Index,
    recovery: Recovery,
    /// Damages of which it is not known what stood there: segment and offset, place in the list.
    unknown: Vec<((u64, u64), usize)>,
}

/// How a segment ends.
struct Tail {
    /// Where the last good record ends.
    end: u64,
    /// That record says that nothing is missing.
    ended: bool,
    /// What stands after it.
    torn: Vec<Bad>,
    /// The disk could not read some of it.
    unreadable: bool,
    introduced: BTreeMap<u64, Vec<u8>>,
}

/// Bytes that are no record.
struct Bad {
    /// Segment and offset.
    at: (u64, u64),
    bytes: u64,
    /// What they were, if that is known.
    span: Option<Span>,
}

impl Reading {
    /// Reads every segment; the newest is returned, to go on with.
    fn read_all(&mut self, disk: &dyn Disk, files: Vec<Opened>, owner: &Owner) -> Option<Segment> {
        self.recovery.clean = true;
        let mut files = files.into_iter().peekable();
        let mut newest = None;
        while let Some(opened) = files.next() {
            let after = files.peek();
            let limit = after.and_then(|after| after.header.as_ref()).and_then(|header| {
                (header.previous == opened.number).then_some(header.previous_bytes)
            });
            let is_last = after.is_none();
            self.recovery.segments += 1;
            let Some(header) = opened.header.clone() else {
                self.no_header(disk, &opened, is_last);
                continue;
            };
            let tail = self.read(&opened, &header, limit.unwrap_or(opened.len).min(opened.len));
            if is_last {
                newest = Some(self.go_on(opened, header, tail, owner));
                break;
            }
            tail.torn.into_iter().for_each(|bad| self.damage(&opened.path, bad, Fault::Corrupt));
            if let Some(limit) = limit.filter(|limit| opened.len < *limit) {
                let at = (opened.number, opened.len);
                let bad = Bad { at, bytes: limit - opened.len, span: None };
                self.damage(&opened.path, bad, Fault::Missing);
            }
        }
        newest
    }

    /// A segment without a header: it was just being made, or nothing in it can be believed.
    fn no_header(&mut self, disk: &dyn Disk, opened: &Opened, is_last: bool) {
        let mut window = Window::new(opened.file.clone(), opened.len);
        let start = window.at(0, FIRST_RECORD as usize);
        let unused = is_last || opened.len <= FIRST_RECORD;
        if unused && start.iter().all(|byte| *byte == 0) && !window.unreadable() {
            self.recovery.segments -= 1;
            let _ = disk.remove(&opened.path); // if it stays, it does so again
            return;
        }
        self.list(opened, 0, opened.len);
        self.recovery.clean &= !is_last;
        let bad = Bad { at: (opened.number, 0), bytes: opened.len, span: None };
        self.damage(&opened.path, bad, Fault::Header);
    }

    fn list(&mut self, opened: &Opened, salt: u64, end: u64) {
        let newest_us = self.index.segments.values().next_back().map_or(0, |entry| entry.newest_us);
        let entry = Entry { path: opened.path.clone(), salt, end, newest_us };
        self.index.segments.insert(opened.number, entry);
    }

    /// Reads one segment up to `limit`; damages after its last good record are left to the caller.
    fn read(&mut self, opened: &Opened, header: &SegmentHeader, limit: u64) -> Tail {
        self.list(opened, header.salt, limit);
        let mut walk = Walk::new(opened.file.clone(), header.salt, FIRST_RECORD, limit);
        let mut tail = Tail {
            end: FIRST_RECORD,
            ended: false,
            torn: Vec::new(),
            unreadable: false,
            introduced: BTreeMap::new(),
        };
        while let Some(found) = walk.next() {
            let (offset, record) = match found {
                Found::Record { offset, header } => (offset, header),
                Found::Damage { offset, bytes, header } => {
                    let record = header.filter(|header| header.kind == Kind::Record);
                    let span = record.map(|header| header.span());
                    tail.torn.push(Bad { at: (opened.number, offset), bytes, span });
                    continue;
                }
            };
            tail.torn.drain(..).for_each(|bad| self.damage(&opened.path, bad, Fault::Corrupt));
            (tail.end, tail.ended) = (offset + record.size(), record.kind == Kind::End);
            match record.kind {
                Kind::Record => self.record(opened.number, offset, &record),
                Kind::Preamble => {
                    let preamble = walk.body(offset, &record);
                    self.index.introduce(record.stream, preamble);
                    tail.introduced.insert(record.stream, preamble.to_vec());
                }
                Kind::End => {}
            }
        }
        tail.unreadable = walk.unreadable();
        self.recovery.bytes += limit;
        if let Some(entry) = self.index.segments.get_mut(&opened.number) {
            entry.end = tail.end;
        }
        tail
    }

    fn record(&mut self, segment: u64, offset: u64, record: &RecordHeader) {
        let span = record.span();
        let stream = self.index.streams.get(&span.stream);
        let before = stream.and_then(|stream| Some((stream.end()?, stream.last()?)));
        let Ok(at) = u32::try_from(offset) else { return };
        if span.from > span.upto || before.is_some_and(|(end, _)| span.from < end) {
            self.recovery.repeated += 1;
            return;
        }
        if let Some((end, (number, last))) = before.filter(|(end, _)| *end < span.from) {
            let missing = Span { stream: span.stream, from: end, upto: span.from };
            let between = self.unknown.iter().rev().find(|(at, _)| *at > (number, last.into()));
            let damage = between.and_then(|(_, place)| self.recovery.damages.get_mut(*place));
            damage.into_iter().for_each(|damage| damage.lost.push(missing));
        }
        self.recovery.records += 1;
        self.index.add(segment, at, span, record.time_us);
    }

    fn damage(&mut self, file: &Path, bad: Bad, what: Fault) {
        if bad.span.is_none() {
            self.unknown.push((bad.at, self.recovery.damages.len()));
        }
        let (file, lost) = (file.to_owned(), bad.span.into_iter().collect());
        let damage = Damage { file, offset: bad.at.1, bytes: bad.bytes, what, lost };
        self.recovery.damages.push(damage);
    }

    /// Makes the newest segment ready to be appended to; or closes it, where more than its end is
    /// in doubt.
    fn go_on(
        &mut self,
        opened: Opened,
        header: SegmentHeader,
        tail: Tail,
        owner: &Owner,
    ) -> Segment {
        self.recovery.clean = tail.ended && tail.torn.is_empty();
        let torn_end = tail.torn.last().map(|bad| bad.at.1 + bad.bytes);
        let cut = torn_end.filter(|_| !tail.unreadable);
        if let Some(torn_end) = cut {
            let (file, offset) = (opened.path.clone(), tail.end);
            let lost = tail.torn.iter().filter_map(|bad| bad.span).collect();
            let bytes = torn_end - offset;
            self.recovery.damages.push(Damage { file, offset, bytes, what: Fault::Torn, lost });
        } else {
            tail.torn.into_iter().for_each(|bad| self.damage(&opened.path, bad, Fault::Corrupt));
        }
        let mut segment = Segment::reopen(opened.path, opened.file, header, tail.end);
        segment.reserved = opened.len;
        segment.ended = tail.ended;
        segment.introduced = tail.introduced;
        segment.closed = tail.unreadable || segment.header.owner != *owner;
        if cut.is_some() {
            segment.cut();
        }
        segment
    }
}
