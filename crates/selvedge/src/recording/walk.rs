//! From file to file and from record to record.

use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_journal::{Item, Scan, ScanError, SegmentHeader, disk, inspect, scan};

/// How long a record that is being written may look torn.
const WRITING: Duration = Duration::from_millis(100);

/// One of the files.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub header: Result<SegmentHeader, ScanError>,
    /// Its length, with reserved room.
    pub bytes: u64,
    /// What stands from here on does not count: the next segment says so.
    pub limit: Option<u64>,
}

/// One thing in one of the files.
#[derive(Debug)]
pub enum Found {
    /// The next file begins.
    File,
    /// Something in it.
    Item(Item),
    /// No record at the end of a journal, which nothing follows: a write that a crash has torn.
    Torn { bytes: u64 },
    /// The file is shorter than the next segment says it was.
    Cut { bytes: u64 },
}

/// Walks all files in order. What cannot be opened has been told by [`Walk::sources`].
#[derive(Debug)]
pub struct Walk {
    sources: Vec<Source>,
    at: usize,
    scan: Option<Scan>,
    peeked: Option<(u64, Item)>,
    looked_again: bool,
}

/// The files at `path`.
pub fn sources(path: &Path) -> Result<Vec<Source>, ScanError> {
    if !path.is_dir() {
        let scan = scan(&disk::Real, path)?;
        let (header, bytes) = (Ok(scan.header().clone()), scan.bytes());
        return Ok(vec![Source { path: path.to_owned(), header, bytes, limit: None }]);
    }
    let mut sources: Vec<Source> = Vec::new();
    for path in inspect(&disk::Real, path)? {
        let (header, bytes) = match scan(&disk::Real, &path) {
            Ok(scan) => (Ok(scan.header().clone()), scan.bytes()),
            // Removed meanwhile: its time was over.
            Err(ScanError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                continue;
            }
            Err(error) => (Err(error), 0),
        };
        if let (Some(before), Ok(header)) = (sources.last_mut(), &header)
            && before.header.as_ref().is_ok_and(|before| before.number == header.previous)
        {
            before.limit = Some(header.previous_bytes);
        }
        sources.push(Source { path, header, bytes, limit: None });
    }
    Ok(sources)
}

impl Walk {
    pub fn new(sources: Vec<Source>) -> Walk {
        Walk { sources, at: 0, scan: None, peeked: None, looked_again: false }
    }

    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The next thing: which file, where in it, and what.
    pub fn next(&mut self) -> Option<(usize, u64, Found)> {
        loop {
            let source = self.sources.get(self.at)?;
            let Some(scanning) = &mut self.scan else {
                if source.header.is_ok() {
                    self.scan = scan(&disk::Real, &source.path).ok();
                }
                if self.scan.is_some() {
                    return Some((self.at, 0, Found::File));
                }
                self.at += 1;
                continue;
            };
            let limit = source.limit.unwrap_or(u64::MAX);
            let counts = |item: &(u64, Item)| item.0 < limit;
            let item = self.peeked.take().or_else(|| scanning.next()).filter(counts);
            let Some((offset, item)) = item else {
                let missing = source.limit.and_then(|limit| limit.checked_sub(source.bytes));
                let (at, bytes) = (self.at, source.bytes);
                (self.at, self.scan) = (self.at + 1, None);
                match missing.filter(|missing| *missing > 0) {
                    Some(missing) => return Some((at, bytes, Found::Cut { bytes: missing })),
                    None => continue,
                }
            };
            let Item::Damage { bytes, .. } = item else {
                return Some((self.at, offset, Found::Item(item)));
            };
            self.peeked = scanning.next();
            let is_end = self.peeked.is_none() && self.is_last_of_a_journal();
            if is_end && !self.looked_again {
                self.look_again(offset);
                continue;
            }
            let found = if is_end { Found::Torn { bytes } } else { Found::Item(item) };
            return Some((self.at, offset, found));
        }
    }

    fn is_last_of_a_journal(&self) -> bool {
        let source = self.sources.get(self.at).and_then(|source| source.header.as_ref().ok());
        self.at + 1 == self.sources.len() && source.is_some_and(|header| header.number > 0)
    }

    /// Goes on at `offset` with the file as it is a moment later: a running journal may have been
    /// writing just there.
    fn look_again(&mut self, offset: u64) {
        self.looked_again = true;
        std::thread::sleep(WRITING);
        self.scan = scan(&disk::Real, &self.sources[self.at].path).ok();
        let later = |item: &(u64, Item)| item.0 >= offset;
        self.peeked = self.scan.as_mut().and_then(|scan| scan.find(later));
    }
}
