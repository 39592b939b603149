//! Cursors: how far a subscriber with a name has come in each stream, across restarts.
//!
//! `<state>/cursors/NAME/` has two generations of its positions (`positions.0` and `positions.1`;
//! their bytes are in `cursor/format.rs`), a file `lock` that is held while the subscriber runs,
//! and a folder [`dead`](crate::dead) of messages that could not be handled.
//!
//! Positions are written by a thread of their own: at once when something moved, then at most every
//! 100 ms, and when the cursor is dropped. What was handled since the last write comes again after
//! a crash; what was not handled was never written.

mod format;
mod generations;
mod lock;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use selvedge_core::KeyId;
use selvedge_core::topic::Name;
use tokio::sync::oneshot;

pub use format::{Place, Places};
use generations::Generations;

/// Least time between two writes: each costs an fdatasync.
const INTERVAL: Duration = Duration::from_millis(100);

/// Least time between two attempts when the disk does not take it.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Why a cursor cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// Another process has it.
    #[error("the cursor {path} is in use by {holder}; stop that, or take another name")]
    Locked {
        /// Its folder.
        path: PathBuf,
        /// Process id and program, as far as they are known.
        holder: String,
    },
    /// No generation of it is whole.
    #[error(
        "{path} is damaged, and so is the generation before it; put the folder back from a backup, \
         or move it away to begin anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later version of this library.
    #[error("{path} has the format {version}, which is newer than this program: upgrade it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u16,
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

impl CursorError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> CursorError {
        let path = path.to_owned();
        move |error| CursorError::System { path, error }
    }
}

/// What the cursor `name` in the folder `state` says, for those who only look: nothing is locked. A
/// stream that it does not list was not heard yet. `None` if there is no such cursor.
///
/// # Errors
/// As far as it can be read at all: not [`CursorError::Locked`].
pub fn read(state: &Path, name: &Name) -> Result<Option<Places>, CursorError> {
    Ok(generations::read(&folder(state, name))?.map(|(_, places)| places))
}

/// Where a cursor is kept.
pub(crate) fn folder(state: &Path, name: &Name) -> PathBuf {
    state.join("cursors").join(name.as_str())
}

/// A cursor that this process has.
#[derive(Debug)]
pub(crate) struct Cursor {
    places: Handle,
    writer: Option<JoinHandle<()>>,
    /// Held until the last write is done.
    _lock: File,
}

/// The places of a cursor, for whoever moves them.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    places: Places,
    /// They are not on disk as they are here.
    moved: bool,
    /// Whoever waits for that.
    flushes: Vec<oneshot::Sender<Result<(), CursorError>>>,
    stop: bool,
}

impl Cursor {
    /// Takes the cursor in `folder`; a new one begins with `fresh`.
    ///
    /// # Errors
    /// [`CursorError`].
    pub fn open(
        folder: &Path,
        fresh: impl FnOnce() -> Places,
    ) -> Result<(Cursor, Places), CursorError> {
        std::fs::create_dir_all(folder).map_err(CursorError::at(folder))?;
        let lock = lock::take(folder)?;
        let (generations, places) = Generations::open(folder, fresh)?;
        let handle = Handle(Arc::new(Shared::default()));
        handle.0.lock().places.clone_from(&places);
        let thread = std::thread::Builder::new().name("cursor".to_owned());
        let shared = handle.0.clone();
        let writer = thread.spawn(move || write(&shared, generations));
        let writer = Some(writer.map_err(CursorError::at(folder))?);
        Ok((Cursor { places: handle, writer, _lock: lock }, places))
    }

    /// Its places.
    pub fn places(&self) -> &Handle {
        &self.places
    }
}

impl Handle {
    /// A stream stands here now.
    pub fn set(&self, key: KeyId, place: Place) {
        let mut state = self.0.lock();
        state.places.insert(key, place);
        if !state.moved {
            state.moved = true;
            self.0.wake.notify_one();
        }
    }

    /// Whether a stream is to begin with what is said when it is first heard.
    pub fn begins_now(&self, key: KeyId) -> bool {
        self.0.lock().places.get(&key) == Some(&Place::Now)
    }

    /// Waits until what was set is on disk.
    ///
    /// # Errors
    /// If the disk does not take it; it is tried again later.
    pub async fn flush(&self) -> Result<(), CursorError> {
        let (sender, written) = oneshot::channel();
        self.0.lock().flushes.push(sender);
        self.0.wake.notify_one();
        written.await.unwrap_or(Ok(())) // the writer ends with the cursor only
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.places.0.lock().stop = true;
        self.places.0.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // it cannot panic
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what moves, until told to stop.
fn write(shared: &Shared, mut generations: Generations) {
    let mut state = shared.lock();
    loop {
        let idle = |state: &mut State| !state.moved && !state.stop && state.flushes.is_empty();
        state = shared.wake.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        let (stop, flushes) = (state.stop, std::mem::take(&mut state.flushes));
        let moved = std::mem::take(&mut state.moved).then(|| state.places.clone());
        drop(state);
        let outcome = moved.map_or(Ok(()), |places| generations.write(&places));
        state = shared.lock();
        let mut pause = INTERVAL;
        if let Err(error) = &outcome {
            tracing::warn!(%error, "the cursor was not written; handled messages may come again");
            (state.moved, pause) = (true, AFTER_ERROR);
        }
        for flush in flushes {
            let failed = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
            let told = outcome.as_ref().copied().map_err(failed);
            // Whoever asked may be gone.
            let _ = flush.send(told.map_err(CursorError::at(generations.folder())));
        }
        if stop {
            return;
        }
        let idle = |state: &mut State| !state.stop && state.flushes.is_empty();
        let paused = shared.wake.wait_timeout_while(state, pause, idle);
        state = paused.unwrap_or_else(PoisonError::into_inner).0;
    }
}
