//! Holds publishers back where what carries their messages would drop some, or grow without bound:
//! subscribers note in a file what they have, and publishers are never further ahead than a window.
//!
//! The file lies in memory, is written once in [`NOTE`] messages and read once in a window or, by a
//! publisher that waits, every [`PAUSE`]: it costs nothing that shows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use crate::case::Case;

/// Messages of all publishers that may be on their way. More than a broker needs to be busy, and
/// less than any of them or of their clients drops at (`async-nats`: 65,536).
const MESSAGES: u64 = 32_768;

/// And bytes of their bodies.
const BYTES: u64 = 64 * 1_024 * 1_024;

/// After so many messages a subscriber notes where it is.
pub const NOTE: u64 = 64;

/// Between two looks of a publisher that has to wait.
pub const PAUSE: Duration = Duration::from_micros(100);

/// What each subscriber has of each publisher.
pub struct Window {
    /// Publishers one after the other, and of each its subscribers: u64, native.
    notes: File,
    subscribers: u64,
    messages: u64,
}

impl Window {
    /// Makes the file of a case, of which nothing has been sent.
    pub fn create(path: &Path, case: &Case) -> io::Result<()> {
        File::create_new(path)?
            .set_len((case.publishers * case.subscribers * size_of::<u64>()) as u64)
    }

    /// Of a file that was created for this case.
    pub fn open(path: &Path, case: &Case) -> io::Result<Window> {
        Ok(Window {
            notes: File::options().read(true).write(true).open(path)?,
            subscribers: case.subscribers as u64,
            messages: MESSAGES.min(BYTES / case.bytes as u64) / case.publishers as u64,
        })
    }

    /// Notes that a subscriber is about to want this message of a publisher.
    pub fn note(&self, publisher: usize, subscriber: usize, next: u64) -> io::Result<()> {
        let place = publisher as u64 * self.subscribers + subscriber as u64;
        self.notes.write_all_at(&next.to_ne_bytes(), place * size_of::<u64>() as u64)
    }

    /// The first message that a publisher must not send yet.
    pub fn end(&self, publisher: usize) -> io::Result<u64> {
        let mut notes = vec![0; self.subscribers as usize * size_of::<u64>()];
        let place = publisher * notes.len();
        self.notes.read_exact_at(&mut notes, place as u64)?;
        let all = notes.as_chunks().0.iter().map(|note| u64::from_ne_bytes(*note));
        Ok(all.min().unwrap_or(0) + self.messages)
    }
}
