//! What is in a journal or recording.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use selvedge_core::{KeyId, Position};
use selvedge_journal::{Entry, Item, Owner, ScanError};

use super::walk::{Found, Walk, sources};
use super::{Speaker, position};

/// One file.
#[derive(Debug)]
pub struct FileSummary {
    /// The file.
    pub path: PathBuf,
    /// Its length, with the room that a running journal reserved.
    pub bytes: u64,
    /// What it says of itself: whose it is, and its number (0: a recording).
    pub header: Result<(Owner, u64), ScanError>,
    /// Nothing is missing at its end. If not, it is written on, or was not closed.
    pub ended: bool,
    /// What it holds of each stream.
    pub streams: BTreeMap<KeyId, StreamSummary>,
    /// What in it is not what was written.
    pub damages: Vec<Damage>,
}

/// What one file holds of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamSummary {
    /// Who speaks on it; `None` if that is damaged.
    pub speaker: Option<Speaker>,
    /// Good records: commits.
    pub records: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// The places that they cover, adjacent ones joined.
    pub ranges: Vec<(Position, Position)>,
    /// When the first and the last of them were sealed, in microseconds since 1970.
    pub sealed: Option<(u64, u64)>,
}

/// Bytes that are not what was written.
#[derive(Clone, Debug)]
pub struct Damage {
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// What they were, if that can be known.
    pub lost: Option<(KeyId, Position, Position)>,
}

/// Reads all files at `path`, record by record; signatures are not looked at.
///
/// # Errors
/// [`ScanError`] if there is nothing to read; what is wrong within is in the summary.
pub fn summary(path: &Path) -> Result<Vec<FileSummary>, ScanError> {
    let mut walk = Walk::new(sources(path)?);
    let mut files: Vec<FileSummary> = Vec::new();
    for source in walk.sources() {
        let header = match &source.header {
            Ok(header) => Ok((header.owner.clone(), header.number)),
            Err(ScanError::Newer { file, version }) => {
                Err(ScanError::Newer { file: file.clone(), version: *version })
            }
            Err(_) => Err(ScanError::NoHeader(source.path.clone())),
        };
        files.push(FileSummary {
            path: source.path.clone(),
            bytes: source.bytes,
            header,
            ended: false,
            streams: BTreeMap::new(),
            damages: Vec::new(),
        });
    }
    while let Some((at, offset, found)) = walk.next() {
        files[at].add(offset, found);
    }
    Ok(files)
}

impl FileSummary {
    fn add(&mut self, offset: u64, found: Found) {
        self.ended = matches!(found, Found::Item(Item::End));
        match found {
            Found::File | Found::Item(Item::End) => {}
            Found::Item(Item::Preamble { stream, preamble }) => {
                let key = KeyId(stream);
                self.streams.entry(key).or_default().speaker = Speaker::read(key, &preamble);
            }
            Found::Item(Item::Record { stream, entry }) => {
                self.streams.entry(KeyId(stream)).or_default().add(&entry);
            }
            Found::Item(Item::Damage { bytes, span }) => {
                let lost =
                    span.map(|span| (KeyId(span.stream), position(span.from), position(span.upto)));
                self.damages.push(Damage { offset, bytes, lost });
            }
            Found::Torn { bytes } | Found::Cut { bytes } => {
                self.damages.push(Damage { offset, bytes, lost: None });
            }
        }
    }
}

impl StreamSummary {
    fn add(&mut self, entry: &Entry) {
        if entry.from == entry.upto {
            return; // a note
        }
        self.records += 1;
        self.bytes += entry.body.len() as u64;
        let (from, upto) = (position(entry.from), position(entry.upto));
        match self.ranges.last_mut() {
            Some(last) if last.1 == from => last.1 = upto,
            _ => self.ranges.push((from, upto)),
        }
        let (first, _) = self.sealed.unwrap_or((entry.time_us, entry.time_us));
        self.sealed = Some((first, entry.time_us));
    }
}
