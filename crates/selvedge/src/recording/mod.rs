//! Journals and recordings as files: looked at, verified, played back and written, without the
//! process that owns them and without its lock. Nothing here changes a file that exists.
//!
//! | part | does |
//! |---|---|
//! | [`Recorder`] | writes what was heard to a new file |
//! | [`Playback`] | reads it back, through the same door and the same machine as what comes live |
//! | [`summary()`] | what is there: segments, streams, ranges, damage |
//! | [`verify()`] | whether it proves itself: order, proofs and signatures, from the disk alone |
//!
//! A path is a folder of segments (a journal) or one file (a segment or a recording).

mod finding;
mod opened;
mod play;
mod summary;
mod verify;
mod walk;
mod write;

use selvedge_core::KeyId;
use selvedge_core::Position;
use selvedge_core::seal::PublicKey;
use selvedge_core::topic::Name;
use selvedge_journal::Place;

pub use finding::{Fault, Finding, Report};
pub use play::{Cause, PlayError, Playback, Played};
pub use selvedge_journal::{Owner, RecordError, ScanError, SegmentHeader};
pub use summary::{Damage, FileSummary, StreamSummary, summary};
pub use verify::{Options, verify};
pub use write::Recorder;

/// Who speaks on a stream, as a segment says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The name in the directory when it was written.
    pub name: Name,
    /// What the seals are verified with.
    pub key: PublicKey,
}

impl Speaker {
    /// Reads a preamble ([`crate::journal::speaker`]) of the stream `key`; `None` if it is none, or
    /// another one's.
    pub fn read(key: KeyId, preamble: &[u8]) -> Option<Speaker> {
        let (public, name) = preamble.split_first_chunk::<32>()?;
        let name = std::str::from_utf8(name).ok()?.parse().ok()?;
        let public = PublicKey::from_bytes(public).ok()?;
        (public.id() == key).then_some(Speaker { name, key: public })
    }
}

fn position(place: Place) -> Position {
    Position::new(place.epoch, place.seq)
}
