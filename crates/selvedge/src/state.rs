//! The state folder: what a publisher must remember across restarts, that is, its epochs.
//!
//! `<state>/<name>.epochs` has one line an epoch, newest first: the epoch, its end, and whether it
//! ended cleanly (`-` while it runs or was cut off). It is replaced as a whole and synced before
//! the first packet of a new epoch. `<state>/<name>.lock` is held while the publisher runs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use selvedge_core::seal::{EPOCHS, EpochEnd};
use selvedge_core::topic::Name;

use crate::clock::wall;

/// Where state is kept if nobody says: `$STATE_DIRECTORY` (systemd), else
/// `$XDG_STATE_HOME/selvedge`, else `~/.local/state/selvedge`, else `/var/lib/selvedge`.
pub fn default_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folders) = variable("STATE_DIRECTORY") {
        // systemd joins several with colons; the first is the service's own.
        return std::env::split_paths(&folders).next().unwrap_or_default();
    }
    if let Some(state) = variable("XDG_STATE_HOME") {
        return PathBuf::from(state).join("selvedge");
    }
    match variable("HOME") {
        Some(home) => PathBuf::from(home).join(".local/state/selvedge"),
        None => PathBuf::from("/var/lib/selvedge"),
    }
}

/// Why a publisher cannot begin an epoch.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process publishes under this name with this state.
    #[error("{path} is locked: another process publishes as this service from here")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A line of the epochs file is none: it was edited or damaged.
    #[error(
        "{path}:{line}: not an epoch; repair it, or move the file away (subscribers are then told \
         that the last epoch ended uncleanly)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
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

/// A publisher's epochs on disk, locked.
#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    _lock: File,
    /// This start's.
    pub epoch: u64,
    /// Earlier ones that ended cleanly, newest first.
    pub earlier: Vec<EpochEnd>,
}

impl Epochs {
    /// Begins a new epoch, above every earlier one, and makes it durable.
    pub fn begin(folder: &Path, name: &Name) -> Result<Epochs, StateError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::System { path, error }
        };
        fs::create_dir_all(folder).map_err(at(folder))?;
        let lock_path = folder.join(format!("{name}.lock"));
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(at(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StateError::Locked { path: lock_path });
            }
            Err(error) => return Err(at(&lock_path)(error.into())),
        }
        let path = folder.join(format!("{name}.epochs"));
        let (last, earlier) = match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (0, Vec::new()),
            Err(error) => return Err(at(&path)(error)),
        };
        let epoch = wall().0.max(last.saturating_add(1));
        let epochs = Epochs { path, _lock: lock, epoch, earlier };
        epochs.write(None).map_err(at(&epochs.path))?;
        Ok(epochs)
    }

    /// Notes that the epoch ended cleanly before number `end`.
    pub fn end(&self, end: u64) -> io::Result<()> {
        self.write(Some(end))
    }

    fn write(&self, end: Option<u64>) -> io::Result<()> {
        let mut text = match end {
            Some(end) => format!("{} {end} clean\n", self.epoch),
            None => format!("{} -\n", self.epoch),
        };
        for earlier in &self.earlier {
            text.push_str(&format!("{} {} clean\n", earlier.epoch, earlier.end));
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }
}

/// The newest epoch, and those that ended cleanly.
fn parse(path: &Path, text: &str) -> Result<(u64, Vec<EpochEnd>), StateError> {
    let mut newest = 0;
    let mut clean = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let damaged = || StateError::Damaged { path: path.to_owned(), line: at + 1 };
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |field: &str| field.parse::<u64>().map_err(|_| damaged());
        match fields[..] {
            [epoch, "-"] => newest = newest.max(number(epoch)?),
            [epoch, end, "clean"] => {
                let end = EpochEnd { epoch: number(epoch)?, end: number(end)?, clean: true };
                newest = newest.max(end.epoch);
                clean.push(end);
            }
            _ => return Err(damaged()),
        }
    }
    clean.truncate(EPOCHS);
    Ok((newest, clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        "web".parse().unwrap()
    }

    #[test]
    fn epochs_rise_and_remember_clean_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Epochs::begin(folder.path(), &name()).unwrap();
        let epoch = first.epoch;
        first.end(42).unwrap();
        drop(first);
        let killed = Epochs::begin(folder.path(), &name()).unwrap();
        assert!(killed.epoch > epoch);
        assert_eq!(killed.earlier, [EpochEnd { epoch, end: 42, clean: true }]);
        drop(killed);
        let third = Epochs::begin(folder.path(), &name()).unwrap();
        assert_eq!(third.earlier, [EpochEnd { epoch, end: 42, clean: true }]);
    }

    #[test]
    fn an_epoch_is_above_the_last_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let future = u64::MAX - 10;
        fs::write(folder.path().join("web.epochs"), format!("{future} -\n")).unwrap();
        assert_eq!(Epochs::begin(folder.path(), &name()).unwrap().epoch, future + 1);
    }

    #[test]
    fn two_publishers_do_not_share_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Epochs::begin(folder.path(), &name()).unwrap();
        let second = Epochs::begin(folder.path(), &name());
        assert!(matches!(second, Err(StateError::Locked { .. })));
    }

    #[test]
    fn a_damaged_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("web.epochs"), "5 -\nx\n").unwrap();
        let begun = Epochs::begin(folder.path(), &name());
        assert!(matches!(begun, Err(StateError::Damaged { line: 2, .. })));
    }
}
