//! Why the journal did not do what was asked.

use std::io;
use std::path::PathBuf;

use crate::{BadRecord, Owner, Span};

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("{} is written by {holder}: stop that, or choose another folder", folder.display())]
    Locked {
        /// The journal.
        folder: PathBuf,
        /// What the other says of itself.
        holder: String,
    },
    /// It is another one's.
    #[error(
        "{} belongs to {:?} of fabric {:?}: choose another folder, or move these files away",
        file.display(), theirs.name, theirs.fabric
    )]
    Foreign {
        /// The first segment of which this is so.
        file: PathBuf,
        /// Whose it is.
        theirs: Owner,
    },
    /// A later version of this software wrote it.
    #[error(
        "{} has format {version}, newer than {}: use the newer software, or move the files away",
        file.display(), crate::VERSION
    )]
    Newer {
        /// The first segment of which this is so.
        file: PathBuf,
        /// Its format.
        version: u16,
    },
    /// The owner's fabric or name is longer than a header can hold.
    #[error("a fabric or name of {0} bytes is too long: at most 255")]
    LongName(usize),
    /// The disk fails.
    #[error("{}: {source}", file.display())]
    Io {
        /// What was read or written.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why records are not held. The journal can be used on: the next call tries again.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing of the batch was appended, and it never can be.
    #[error(transparent)]
    Bad(#[from] BadRecord),
    /// Nothing of the batch was appended; everything before it is held.
    #[error("cannot write {}: {source}: nothing of this batch is kept", file.display())]
    Write {
        /// The segment.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What had been appended and was not durable could neither be made so nor be written again,
    /// and is not held any more. Nor is the batch that was being appended, if any.
    #[error(
        "cannot make {} durable: {source}: {} streams lost what was appended last",
        file.display(), lost.len()
    )]
    Lost {
        /// The segment.
        file: PathBuf,
        /// Why fdatasync failed.
        source: io::Error,
        /// What is not held any more.
        lost: Vec<Span>,
    },
}

/// What [`crate::Journal::retain`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments that are gone.
    pub segments: u64,
    /// Bytes that were in them.
    pub bytes: u64,
}

/// A segment that should go, and stays held.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {}: {source}", file.display())]
pub struct RetainError {
    /// The segment, or the folder.
    pub file: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}
