//! Reading back what was kept, as it would have come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selvedge_core::directory::Directory;
use selvedge_core::open::Refusal;
use selvedge_core::seal::Commit;
use selvedge_core::subscriber::{Delivery, Input, LinkId, Output, Subscriber};
use selvedge_core::topic::{Name, Pattern, Topic};
use selvedge_core::wire::Mark;
use selvedge_core::{KeyId, Now, Position, Wall};
use selvedge_journal::{Entry, Item, ScanError};

use super::walk::{Found, Source, Walk, sources};
use super::{Speaker, opened, position};

/// The one link that all comes over.
const LINK: LinkId = LinkId(0);

/// Why nothing can be played back.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// It cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It is of another deployment, whose signatures mean nothing here.
    #[error("{} is of fabric {theirs:?}, and the directory of {ours}: name its own directory",
        file.display())]
    OtherFabric {
        /// The file.
        file: PathBuf,
        /// Its fabric.
        theirs: String,
        /// The directory's.
        ours: Name,
    },
    /// There is no segment in the folder.
    #[error("{} holds no segment: name the folder of a journal, or a file", .0.display())]
    Empty(PathBuf),
}

/// What comes out.
#[derive(Debug)]
pub enum Played {
    /// Messages, of topics that are wanted.
    Deliver(Delivery),
    /// Numbers that should be there and are not.
    Lost {
        /// The stream.
        key: KeyId,
        /// Its publisher, if anybody says who that is.
        publisher: Option<Name>,
        /// The first number.
        from: Position,
        /// The first number that is not lost.
        to: Position,
        /// Why.
        cause: Cause,
    },
    /// Bytes that are not what was written; what they held cannot be known from themselves.
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// A recording that was not finished: it was cut off, or is being written.
    NoEnd(PathBuf),
    /// A file of the folder that cannot be read at all.
    Unreadable(ScanError),
    /// A packet that did not pass the door.
    Refused {
        /// The file.
        file: PathBuf,
        /// Where its record begins.
        offset: u64,
        /// Its topic.
        topic: Topic,
        /// Why.
        why: Refusal,
    },
}

/// Why numbers are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Their record is damaged.
    Corrupt,
    /// They are not in the files.
    NotHeld,
    /// The topics' own numbers show that something was left out here.
    Gap,
}

impl Cause {
    /// As it is shown.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Corrupt => "corrupt",
            Cause::NotHeld => "not_held",
            Cause::Gap => "gap",
        }
    }
}

/// Plays a journal or recording back, in the order in which it was written.
///
/// Every packet passes the same door, and every stream the same machine, as what comes live. What a
/// record says to be in it stands for MARKs; a file says nothing about how an epoch ended, so
/// nothing is said about it.
#[derive(Debug)]
pub struct Playback {
    walk: Walk,
    directory: Arc<Directory>,
    wanted: Vec<Pattern>,
    machine: Subscriber,
    begin: BTreeMap<KeyId, Position>,
    only: Option<BTreeSet<KeyId>>,
    since: Wall,
    speakers: BTreeMap<KeyId, Name>,
    /// Where what was read of each stream ends.
    ends: BTreeMap<KeyId, Position>,
    read: u64,
    /// Whether a recording says that it is whole, or nobody has to.
    ended: bool,
    out: VecDeque<Played>,
}

impl Playback {
    /// Opens a file, or the segments of a folder.
    ///
    /// # Errors
    /// [`PlayError`].
    pub fn open(
        path: &Path,
        directory: Arc<Directory>,
        wanted: Vec<Pattern>,
    ) -> Result<Playback, PlayError> {
        let mut sources = sources(path)?;
        if sources.is_empty() {
            return Err(PlayError::Empty(path.to_owned()));
        }
        let mut out = VecDeque::new();
        for Source { path, header, .. } in &mut sources {
            match header {
                Ok(header) if header.owner.fabric != directory.fabric().as_str() => {
                    let (file, theirs) = (path.clone(), header.owner.fabric.clone());
                    let ours = directory.fabric().clone();
                    return Err(PlayError::OtherFabric { file, theirs, ours });
                }
                Ok(_) => {}
                Err(_) => {
                    let gone = ScanError::NoHeader(path.clone());
                    let error = std::mem::replace(header, Err(gone));
                    out.extend(error.err().map(Played::Unreadable));
                }
            }
        }
        let mut machine = Subscriber::new(wanted.clone());
        let up = Input::LinkUp { link: LINK, selvedge: true };
        machine.handle(Now::default(), up, &mut Vec::new());
        Ok(Playback {
            walk: Walk::new(sources),
            directory,
            wanted,
            machine,
            begin: BTreeMap::new(),
            only: None,
            since: Wall(0),
            speakers: BTreeMap::new(),
            ends: BTreeMap::new(),
            read: 0,
            ended: true,
            out,
        })
    }

    /// Only these streams.
    pub fn only(mut self, keys: BTreeSet<KeyId>) -> Playback {
        self.only = Some(keys);
        self
    }

    /// Leaves out what lies before this place of a stream.
    pub fn begin(mut self, key: KeyId, at: Position) -> Playback {
        self.begin.insert(key, at);
        self
    }

    /// Leaves out commits that were sealed before, by their publishers' clocks.
    pub fn since(mut self, time: Wall) -> Playback {
        self.since = time;
        self
    }

    /// Bytes of all files, reserved room included.
    pub fn bytes(&self) -> u64 {
        self.walk.sources().iter().map(|source| source.bytes).sum()
    }

    /// Bytes that were read so far.
    pub fn read(&self) -> u64 {
        self.read
    }

    fn found(&mut self, file: usize, offset: u64, found: Found) {
        let before: u64 = self.walk.sources()[..file].iter().map(|source| source.bytes).sum();
        self.read = before + offset;
        self.ended = matches!(found, Found::Item(Item::End)) || !self.is_recording(file);
        match found {
            Found::File | Found::Item(Item::End) => {}
            Found::Item(Item::Preamble { stream, preamble }) => {
                let speaker = Speaker::read(KeyId(stream), &preamble);
                self.speakers.extend(speaker.map(|speaker| (KeyId(stream), speaker.name)));
            }
            Found::Item(Item::Record { stream, entry }) => {
                self.record(file, offset, KeyId(stream), &entry);
            }
            Found::Item(Item::Damage { span: Some(span), .. }) => {
                let (key, from, to) =
                    (KeyId(span.stream), position(span.from), position(span.upto));
                if self.is_due(key, from) {
                    self.hole(key, from);
                    self.lose(key, from, to, Cause::Corrupt);
                }
                self.ends.insert(key, to);
            }
            Found::Item(Item::Damage { bytes, span: None })
            | Found::Torn { bytes }
            | Found::Cut { bytes } => {
                let file = self.walk.sources()[file].path.clone();
                self.out.push_back(Played::Damaged { file, offset, bytes });
            }
        }
    }

    fn is_recording(&self, file: usize) -> bool {
        let header = self.walk.sources().get(file).and_then(|source| source.header.as_ref().ok());
        header.is_some_and(|header| header.number == 0)
    }

    /// Whether a record from `from` on is new.
    fn is_due(&self, key: KeyId, from: Position) -> bool {
        let is_ours = self.only.as_ref().is_none_or(|only| only.contains(&key));
        is_ours && self.ends.get(&key).is_none_or(|end| *end <= from)
    }

    /// Tells of what lies between what was read and `from`.
    fn hole(&mut self, key: KeyId, from: Position) {
        let Some(&end) = self.ends.get(&key) else { return };
        let start = if end.epoch == from.epoch { end } else { Position::new(from.epoch, 0) };
        if start < from {
            self.lose(key, start, from, Cause::NotHeld);
        }
    }

    fn lose(&mut self, key: KeyId, from: Position, to: Position, cause: Cause) {
        let from = self.begin.get(&key).map_or(from, |begin| from.max(*begin));
        if from < to {
            let known = self.directory.speaker(key).ok().map(|speaker| speaker.name.clone());
            let publisher = known.or_else(|| self.speakers.get(&key).cloned());
            self.out.push_back(Played::Lost { key, publisher, from, to, cause });
        }
    }

    fn record(&mut self, file: usize, offset: u64, key: KeyId, entry: &Entry) {
        let (from, upto) = (position(entry.from), position(entry.upto));
        // A note says how an epoch ended; the next record says where it goes on.
        if !self.is_due(key, from) || from == upto {
            return;
        }
        self.hole(key, from);
        self.ends.insert(key, upto);
        let is_early = self.begin.get(&key).is_some_and(|begin| upto <= *begin);
        if is_early || entry.time_us < self.since.0 {
            return;
        }
        let commit = match Commit::from_record(&entry.body) {
            Ok(commit) if commit.header.key == key && commit.header.end() == upto => commit,
            _ => return self.lose(key, from, upto, Cause::Corrupt),
        };
        // What lies before the epoch is over; a record vouches for all that it spans.
        let start = from.max(Position::new(upto.epoch, 0));
        self.begin_at(key, start);
        let wanted = |topic: &Topic| self.wanted.iter().any(|pattern| pattern.matches(topic));
        let opened = opened::packets(&commit, &self.directory, wanted);
        for packet in opened {
            match packet {
                Ok(trusted) => self.input(Input::Packet { link: LINK, trusted }),
                Err((topic, why)) => {
                    let file = self.walk.sources()[file].path.clone();
                    self.out.push_back(Played::Refused { file, offset, topic, why });
                }
            }
        }
        let mark = Mark { key, from: start, upto, flags: 0 };
        self.input(Input::Mark { link: LINK, mark });
    }

    /// Makes the stream stand at `at`. Where it stands elsewhere, what was left open is told.
    fn begin_at(&mut self, key: KeyId, at: Position) {
        if self.machine.position(key) == Some(at) {
            return;
        }
        self.input(Input::Removed { key, revoked: false });
        if let Ok(speaker) = self.directory.speaker(key) {
            let publisher = speaker.name.clone();
            self.input(Input::Begin { key, publisher, at });
        }
    }

    fn input(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.machine.handle(Now::default(), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Deliver(delivery) => self.out.push_back(Played::Deliver(delivery)),
                Output::Lost(lost) => self.lose(lost.key, lost.from, lost.to, Cause::Gap),
                _ => {}
            }
        }
    }
}

/// Everything, in the order of the files.
impl Iterator for Playback {
    type Item = Played;

    fn next(&mut self) -> Option<Played> {
        loop {
            if let Some(played) = self.out.pop_front() {
                return Some(played);
            }
            match self.walk.next() {
                Some((file, offset, found)) => self.found(file, offset, found),
                None => {
                    let open: Vec<KeyId> = self.machine.positions().map(|(key, _)| key).collect();
                    let close = |key| Input::Removed { key, revoked: false };
                    open.into_iter().for_each(|key| self.input(close(key)));
                    if !std::mem::replace(&mut self.ended, true) {
                        let file = self.walk.sources().last().map(|source| source.path.clone());
                        self.out.extend(file.map(Played::NoEnd));
                    }
                    if self.out.is_empty() {
                        return None;
                    }
                }
            }
        }
    }
}
