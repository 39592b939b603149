//! What verifying finds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use selvedge_core::directory::NoSpeaker;
use selvedge_core::open::Refusal;
use selvedge_core::topic::{Name, Topic};
use selvedge_core::{KeyId, Position};
use selvedge_journal::ScanError;

/// Findings and notes that are kept of each; more are only counted.
const KEPT: usize = 1_000;

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Where in it the record, or the damage, begins.
    pub offset: u64,
    /// The stream, if it is known.
    pub stream: Option<KeyId>,
    /// Whose that is, if it is known.
    pub publisher: Option<Name>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file is none, or of a later format.
    #[error("{0}")]
    Unreadable(ScanError),
    /// Bytes that are not what was written.
    #[error("{bytes} bytes are damaged; lost with them: {}", Ranges(lost))]
    Damaged {
        /// How many.
        bytes: u64,
        /// What was there: as its own header says, or as what is missing around it shows.
        lost: Vec<(KeyId, Position, Position)>,
    },
    /// No record at the end of a journal.
    #[error("the last {bytes} bytes are no record: a write that was torn")]
    Torn {
        /// How many.
        bytes: u64,
    },
    /// The file is too short.
    #[error("{bytes} bytes are missing at the end")]
    Cut {
        /// How many.
        bytes: u64,
    },
    /// A recording that was not finished.
    #[error("the recording has no end: it was cut off, or is being written")]
    NoEnd,
    /// A record before which nothing says who speaks, or not with the stream's own key.
    #[error("nothing good says who speaks on this stream")]
    NoSpeaker,
    /// A record whose body is no commit.
    #[error("the record {0} to {1} is no commit")]
    NoCommit(Position, Position),
    /// A record that says something else of itself than its commit.
    #[error("the record {from} to {upto} holds the commit {} to {}", commit.0, commit.1)]
    Mislabelled {
        /// First place of the record.
        from: Position,
        /// The place after it.
        upto: Position,
        /// The same of the commit.
        commit: (Position, Position),
    },
    /// A record that is not after the one before it.
    #[error(
        "the record {from} to {upto} begins before {end}, where the last one of its stream ends"
    )]
    Order {
        /// Its first place.
        from: Position,
        /// The place after it.
        upto: Position,
        /// Where the last one ends.
        end: Position,
    },
    /// A packet of a commit does not verify.
    #[error("{at}, {topic}: {why}")]
    Packet {
        /// The commit.
        at: Position,
        /// The packet's topic.
        topic: Topic,
        /// Why.
        why: Refusal,
    },
    /// Two packets of a commit hold the same numbers, or its owner's journal lacks some.
    #[error("the commit {from} to {upto} has {numbers} numbers of {of}")]
    Numbers {
        /// Its first place.
        from: Position,
        /// The place after it.
        upto: Position,
        /// So many numbers are there.
        numbers: u64,
        /// So many there should be, or at most.
        of: u64,
    },
    /// The files are of another deployment than the directory.
    #[error("it is of fabric {theirs:?}, and the directory of {ours}")]
    OtherFabric {
        /// The file's.
        theirs: String,
        /// The directory's.
        ours: Name,
    },
    /// The directory does not list the key.
    #[error("the directory does not list this key{}", revoked(*.0))]
    NotListed(NoSpeaker),
    /// The directory gives the key to somebody else.
    #[error("the directory says that this key is {0}'s")]
    OtherName(Name),
    /// The directory does not allow the topic.
    #[error("the directory does not allow {0} here")]
    NotAllowed(Topic),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, in the order of the files; the first 1,000.
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub found: u64,
    /// What today's directory does not allow, each once: it may have when it was said.
    pub notes: Vec<Finding>,
    /// Files.
    pub files: usize,
    /// Commits that were verified.
    pub commits: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    kept: Vec<(usize, u64, Option<KeyId>, Fault)>,
    notes: Vec<(usize, u64, Option<KeyId>, Fault)>,
    noted: BTreeSet<(KeyId, Option<Topic>)>,
    found: u64,
}

impl Findings {
    pub fn tell(&mut self, file: usize, offset: u64, fault: Fault) {
        self.add(file, offset, None, fault);
    }

    /// Returns where it is kept, if it is.
    pub fn add(
        &mut self,
        file: usize,
        offset: u64,
        key: Option<KeyId>,
        fault: Fault,
    ) -> Option<usize> {
        self.found += 1;
        (self.kept.len() < KEPT).then(|| {
            self.kept.push((file, offset, key, fault));
            self.kept.len() - 1
        })
    }

    /// A stream lacks numbers where damage `at` is.
    pub fn was(&mut self, at: usize, key: KeyId, from: Position, upto: Position) {
        if let Some((_, _, stream, Fault::Damaged { lost, .. })) = self.kept.get_mut(at) {
            *stream = stream.or(Some(key));
            lost.push((key, from, upto));
        }
    }

    pub fn note(
        &mut self,
        at: (usize, u64, KeyId),
        topic: Option<&Topic>,
        fault: impl FnOnce() -> Fault,
    ) {
        let (file, offset, key) = at;
        if self.notes.len() < KEPT && self.noted.insert((key, topic.map(Topic::detached))) {
            self.notes.push((file, offset, Some(key), fault()));
        }
    }

    pub fn merge(&mut self, other: Findings) {
        self.found += other.found;
        self.kept.extend(other.kept);
        self.notes.extend(other.notes);
    }

    pub fn report(mut self, paths: &[PathBuf], names: &BTreeMap<KeyId, Name>, report: &mut Report) {
        let place = |found: &(usize, u64, Option<KeyId>, Fault)| (found.0, found.1);
        self.kept.sort_by_key(place);
        self.kept.truncate(KEPT);
        self.notes.sort_by_key(place);
        let mut once = BTreeSet::new();
        self.notes.retain(|(_, _, key, fault)| once.insert((*key, fault.to_string())));
        let finding = |(file, offset, stream, fault): (usize, u64, Option<KeyId>, Fault)| {
            let publisher = stream.and_then(|stream| names.get(&stream).cloned());
            let file = paths.get(file).cloned().unwrap_or_default();
            Finding { file, offset, stream, publisher, fault }
        };
        report.found = self.found;
        report.findings = self.kept.into_iter().map(finding).collect();
        report.notes = self.notes.into_iter().map(finding).collect();
    }
}

fn revoked(why: NoSpeaker) -> &'static str {
    match why {
        NoSpeaker::Revoked => " any more: it is revoked",
        NoSpeaker::Unknown => "",
    }
}

/// Ranges in words.
struct Ranges<'a>(&'a [(KeyId, Position, Position)]);

impl std::fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing that is missed");
        }
        for (at, (key, from, upto)) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{key} {from} up to {upto}, not included")?;
        }
        Ok(())
    }
}
