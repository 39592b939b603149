//! The directory from files: read, watched, and its last good form kept on disk.
//!
//! What the files mean is decided in [`selvedge_core::directory`]; here they are read. A watch on
//! a file ends with the first rename over it, so every folder on the way to the files is watched,
//! symbolic links included, *and* their content is compared every two seconds: whatever the watch
//! misses (a network file system, exhausted inotify) is seen by then.

mod notice;
mod read;
mod store;
mod trail;
mod watch;

pub use read::read_files;
pub use selvedge_core::directory::*;
pub use watch::{Health, Watched, watch};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use selvedge_core::Time;

/// Why there is no directory to work with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The main file is missing or broken, and no last good form of it is kept.
    #[error("no usable directory in {path}:{}", listed(problems))]
    Unusable {
        /// The main file.
        path: PathBuf,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// [`watch()`] needs a tokio runtime for its task.
    #[error("a directory is watched from within a tokio runtime only")]
    NoRuntime,
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Reads the directory once, without a last good form: what is wrong in it is left out and told.
///
/// # Errors
/// [`LoadError::Unusable`].
pub fn load(path: &Path) -> Result<(Arc<Directory>, Vec<Problem>), LoadError> {
    let update = Loader::new().update(Time(0), &read_files(path));
    match update.directory {
        Some(directory) => Ok((directory, update.problems)),
        None => Err(LoadError::Unusable { path: path.to_owned(), problems: update.problems }),
    }
}

/// Every problem of the directory in `path`, and what is legal but worth knowing.
pub fn check_files(path: &Path) -> Report {
    check(&read_files(path))
}
