//! Dead letters: messages that a named subscriber could not handle.
//!
//! They are kept in `<state>/cursors/NAME/dead/`, a file each, so that the service need not stop
//! while somebody looks at them, asks for them again, or removes one by hand. Each has the packet
//! as its publisher sent it, so it still proves its origin, and what the handler said (the bytes
//! are in
//! `dead/letter.rs`). What was asked for again is in `dead/again/`: at its next start the
//! subscriber verifies it and hands it over before anything new. It stays there until it was
//! handled.

mod again;
mod letter;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use selvedge_core::limits::PACKET_BYTES;
use selvedge_core::topic::Name;

use crate::cursor;
use crate::files;
use crate::message::Message;
pub(crate) use again::Again;
pub use letter::{Letter, NoLetter};

/// Most letters that are kept of one subscriber. Where every message dies, something else is wrong
/// than the messages.
pub const LETTERS: usize = 10_000;

/// Most bytes of the rest of a letter.
const REST_BYTES: usize = 16 * 1_024;

/// How the files are called: `PUBLISHER.EPOCH.SEQ.letter`.
const ENDING: &str = "letter";

/// Why dead letters cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The subscriber has no name under which to keep them.
    #[error("dead letters are kept under the subscriber's name: give it one")]
    NoName,
    /// There is no such letter.
    #[error("no dead letter {id}")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// A file is no letter.
    #[error("{path}: {why}; move it away")]
    NoLetter {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: NoLetter,
    },
    /// There are too many.
    #[error("{path} has {LETTERS} dead letters: requeue or remove some")]
    Full {
        /// Their folder.
        path: PathBuf,
    },
    /// The system says no.
    #[error("{path}: {error}")]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl LetterError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> LetterError {
        let path = path.to_owned();
        move |error| LetterError::System { path, error }
    }
}

/// The dead letters of one named subscriber, which may be running.
#[derive(Clone, Debug)]
pub struct Letters {
    dead: PathBuf,
    again: PathBuf,
}

impl Letters {
    /// Those of the subscriber `name` in this state folder; it need not have any.
    pub fn of(state: &Path, name: &Name) -> Letters {
        Letters::within(&cursor::folder(state, name))
    }

    pub(crate) fn within(cursor: &Path) -> Letters {
        let dead = cursor.join("dead");
        Letters { again: dead.join("again"), dead }
    }

    /// All that are kept, read one by one: those first that were asked for again, then by publisher
    /// and place. A file that is no letter is an error of its own.
    ///
    /// # Errors
    /// If the folders cannot be read.
    pub fn list(&self) -> Result<impl Iterator<Item = Result<Letter, LetterError>>, LetterError> {
        let again = self.requeued()?.into_iter().map(|path| (path, true));
        let dead = files(&self.dead)?.into_iter().map(|path| (path, false));
        let read = |(path, requeued): (PathBuf, bool)| {
            Letters::read(&path).map(|letter| Letter { requeued, ..letter })
        };
        Ok(again.chain(dead).map(read))
    }

    /// Hands this one (`publisher/epoch/seq`) over again when the subscriber starts next. One that
    /// was asked for already stays so.
    ///
    /// # Errors
    /// [`LetterError::Unknown`] if there is none, or if it cannot be moved.
    pub fn requeue(&self, id: &str) -> Result<(), LetterError> {
        let name = file_name(id);
        let known = name.as_ref().is_some_and(|name| self.dead.join(name).exists());
        match name {
            Some(name) if known => move_to(&self.dead.join(&name), &self.again),
            Some(name) if self.again.join(&name).exists() => Ok(()),
            _ => Err(LetterError::Unknown { id: id.to_owned() }),
        }
    }

    /// Hands all of them over again when the subscriber starts next. Returns how many were moved.
    ///
    /// # Errors
    /// At the first that cannot be moved.
    pub fn requeue_all(&self) -> Result<usize, LetterError> {
        let all = files(&self.dead)?;
        all.iter().try_for_each(|path| move_to(path, &self.again))?;
        Ok(all.len())
    }

    /// Keeps a message: when it returns, it is on disk.
    pub(crate) fn keep(&self, message: &Message, tries: u32, why: &str) -> Result<(), LetterError> {
        let letter = Letter::of(message, tries, why);
        fs::create_dir_all(&self.dead).map_err(LetterError::at(&self.dead))?;
        if files(&self.dead)?.len() >= LETTERS {
            return Err(LetterError::Full { path: self.dead.clone() });
        }
        let Some(name) = file_name(&letter.to_string()) else {
            return Err(LetterError::Unknown { id: letter.to_string() });
        };
        write(&self.dead, &name, &letter.encode()).map_err(LetterError::at(&self.dead))
    }

    /// Those that were asked for again.
    fn requeued(&self) -> Result<Vec<PathBuf>, LetterError> {
        files(&self.again)
    }

    fn put_back(&self, path: &Path) -> Result<(), LetterError> {
        move_to(path, &self.dead)
    }

    fn read(path: &Path) -> Result<Letter, LetterError> {
        let file = File::open(path).map_err(LetterError::at(path))?;
        let mut bytes = Vec::new();
        let most = (PACKET_BYTES + REST_BYTES) as u64;
        file.take(most).read_to_end(&mut bytes).map_err(LetterError::at(path))?;
        Letter::decode(&Bytes::from(bytes))
            .map_err(|why| LetterError::NoLetter { path: path.to_owned(), why })
    }

    fn remove(path: &Path) -> Result<(), LetterError> {
        fs::remove_file(path).map_err(LetterError::at(path))
    }
}

/// The letters in a folder, sorted; none if it is not there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, LetterError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LetterError::at(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(LetterError::at(folder))?.path();
        if let Some(place) = place(&path) {
            found.push((place, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The publisher and place that a file is called by; `None` if it is none of ours.
fn place(path: &Path) -> Option<(String, u64, u64)> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?;
    let mut parts = name.split('.');
    let publisher = parts.next()?.to_owned();
    let (epoch, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((publisher, epoch, seq))
}

/// The file of a message's id. Nothing else than an id makes one, so none leads out of the folder.
fn file_name(id: &str) -> Option<String> {
    let mut parts = id.split('/');
    let publisher = Name::try_from(parts.next()?).ok()?;
    let (epoch, seq): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then(|| format!("{publisher}.{epoch}.{seq}.{ENDING}"))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    files::replace(&folder.join(name), bytes)
}

/// Moves a letter into another folder, durably.
fn move_to(path: &Path, folder: &Path) -> Result<(), LetterError> {
    fs::create_dir_all(folder).map_err(LetterError::at(folder))?;
    let Some(name) = path.file_name() else { return Ok(()) };
    fs::rename(path, folder.join(name)).map_err(LetterError::at(path))?;
    let synced = |folder: &Path| File::open(folder)?.sync_all();
    synced(folder).map_err(LetterError::at(folder))
}
