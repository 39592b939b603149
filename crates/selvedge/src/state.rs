//! The state folder: what a publisher must remember across restarts, that is, its epochs.
//!
//! `<state>/<name>.epochs` has one line an epoch, newest first: `EPOCH END clean`, `EPOCH END cut`,
//! or `EPOCH - BOOT` while it runs, with the id that the kernel gave to this run of the machine. It
//! is replaced as a whole and synced before the first packet of a new epoch. `<state>/<name>.lock`
//! is held while the publisher runs.
//! How epochs ended that were cut off is decided in [`selvedge_core::epochs`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use selvedge_core::epochs::{self, Held, Noted};
use selvedge_core::seal::EpochEnd;
use selvedge_core::topic::Name;

use crate::clock::wall;
use crate::files;

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
    boot: String,
    /// This start's.
    pub epoch: u64,
    /// Earlier ones whose end is known, newest first.
    pub earlier: Vec<EpochEnd>,
}

impl Epochs {
    /// Begins a new epoch, above every earlier one, and makes it durable. `held` is what the
    /// service's journal holds, if it has one.
    pub fn begin(folder: &Path, name: &Name, held: Option<&Held>) -> Result<Epochs, StateError> {
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
        let lines = match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(&path)(error)),
        };
        let boot = boot();
        let noted: Vec<Noted> = lines.iter().map(|line| line.noted(&boot)).collect();
        let (epoch, earlier) = epochs::begin(wall(), &noted, held);
        let epochs = Epochs { path, _lock: lock, boot, epoch, earlier };
        epochs.write(None).map_err(at(&epochs.path))?;
        Ok(epochs)
    }

    /// Notes that the journal lost something of this epoch that was sent: it will not have ended
    /// cleanly, unless [`Epochs::end`] says so.
    pub fn doubt(&mut self) -> io::Result<()> {
        self.boot = "doubt".to_owned();
        self.write(None)
    }

    /// Notes that the epoch ended cleanly before number `end`.
    pub fn end(&self, end: u64) -> io::Result<()> {
        self.write(Some(end))
    }

    fn write(&self, end: Option<u64>) -> io::Result<()> {
        let mut text = match end {
            Some(end) => format!("{} {end} clean\n", self.epoch),
            None => format!("{} - {}\n", self.epoch, self.boot),
        };
        for EpochEnd { epoch, end, clean } in &self.earlier {
            text.push_str(&format!("{epoch} {end} {}\n", if *clean { "clean" } else { "cut" }));
        }
        files::replace(&self.path, text.as_bytes())
    }
}

/// A line of the file.
enum Line {
    Ended(EpochEnd),
    /// It was cut off.
    Began {
        epoch: u64,
        boot: String,
    },
}

impl Line {
    /// `boot` names this run of the machine.
    fn noted(&self, boot: &str) -> Noted {
        match self {
            Line::Ended(end) => Noted::Ended(*end),
            Line::Began { epoch, boot: then } => {
                Noted::Began { epoch: *epoch, runs_on: then == boot && !boot.is_empty() }
            }
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<Line>, StateError> {
    let line = |(at, line): (usize, &str)| {
        let damaged = || StateError::Damaged { path: path.to_owned(), line: at + 1 };
        let number = |field: &str| field.parse::<u64>().map_err(|_| damaged());
        let ended = |epoch, end, clean| {
            Ok(Line::Ended(EpochEnd { epoch: number(epoch)?, end: number(end)?, clean }))
        };
        match line.split(' ').collect::<Vec<&str>>()[..] {
            [epoch, "-"] => Ok(Line::Began { epoch: number(epoch)?, boot: String::new() }),
            [epoch, "-", boot] => Ok(Line::Began { epoch: number(epoch)?, boot: boot.to_owned() }),
            [epoch, end, "clean"] => ended(epoch, end, true),
            [epoch, end, "cut"] => ended(epoch, end, false),
            _ => Err(damaged()),
        }
    };
    text.lines().enumerate().map(line).collect()
}

/// What names this run of the machine; nothing if the system does not say.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn name() -> Name {
        "web".parse().unwrap()
    }

    #[test]
    fn epochs_rise_and_remember_clean_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Epochs::begin(folder.path(), &name(), None).unwrap();
        let epoch = first.epoch;
        first.end(42).unwrap();
        drop(first);
        let killed = Epochs::begin(folder.path(), &name(), None).unwrap();
        assert!(killed.epoch > epoch);
        assert_eq!(killed.earlier, [EpochEnd { epoch, end: 42, clean: true }]);
        drop(killed);
        let third = Epochs::begin(folder.path(), &name(), None).unwrap();
        let cut = EpochEnd { epoch: third.earlier[0].epoch, end: 0, clean: false };
        assert_eq!(third.earlier, [cut, EpochEnd { epoch, end: 42, clean: true }]);
    }

    #[test]
    fn an_epoch_is_above_the_last_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let future = u64::MAX - 10;
        fs::write(folder.path().join("web.epochs"), format!("{future} -\n")).unwrap();
        assert_eq!(Epochs::begin(folder.path(), &name(), None).unwrap().epoch, future + 1);
    }

    #[test]
    fn an_epoch_that_was_cut_off_ended_where_the_journal_ends() {
        let folder = tempfile::tempdir().unwrap();
        let killed = Epochs::begin(folder.path(), &name(), None).unwrap();
        let epoch = killed.epoch;
        drop(killed);
        let held = Held { ends: BTreeMap::from([(epoch, 7)]), intact: true };
        let next = Epochs::begin(folder.path(), &name(), Some(&held)).unwrap();
        assert_eq!(next.earlier, [EpochEnd { epoch, end: 7, clean: true }]);
    }

    #[test]
    fn what_a_damaged_journal_holds_of_an_epoch_is_not_known_to_be_all() {
        let folder = tempfile::tempdir().unwrap();
        let killed = Epochs::begin(folder.path(), &name(), None).unwrap();
        let epoch = killed.epoch;
        drop(killed);
        let held = Held { ends: BTreeMap::from([(epoch, 7)]), intact: false };
        let next = Epochs::begin(folder.path(), &name(), Some(&held)).unwrap();
        assert_eq!(next.earlier, [EpochEnd { epoch, end: 7, clean: false }]);
    }

    #[test]
    fn an_epoch_in_doubt_did_not_end_cleanly() {
        let folder = tempfile::tempdir().unwrap();
        let mut doubted = Epochs::begin(folder.path(), &name(), None).unwrap();
        let epoch = doubted.epoch;
        doubted.doubt().unwrap();
        drop(doubted);
        let held = Held { ends: BTreeMap::from([(epoch, 7)]), intact: true };
        let next = Epochs::begin(folder.path(), &name(), Some(&held)).unwrap();
        assert_eq!(next.earlier, [EpochEnd { epoch, end: 7, clean: false }]);
    }

    #[test]
    fn after_the_machine_went_down_more_may_have_been_sent_than_is_held() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("web.epochs"), "5 - before\n4 9 clean\n").unwrap();
        let held = Held { ends: BTreeMap::from([(3, 2), (5, 7)]), intact: true };
        let next = Epochs::begin(folder.path(), &name(), Some(&held)).unwrap();
        let ends = [(5, 7, false), (4, 9, true), (3, 2, false)];
        assert_eq!(next.earlier, ends.map(|(epoch, end, clean)| EpochEnd { epoch, end, clean }));
        drop(next);
        let again = Epochs::begin(folder.path(), &name(), None).unwrap();
        assert_eq!(
            again.earlier[1..3],
            [ends[0], ends[1]].map(|(epoch, end, clean)| EpochEnd { epoch, end, clean })
        );
    }

    #[test]
    fn what_a_kill_left_half_written_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("web.epochs.new"), "half").unwrap();
        drop(Epochs::begin(folder.path(), &name(), None).unwrap());
        let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert_eq!(files, ["web.epochs", "web.lock"]);
    }

    #[test]
    fn two_publishers_do_not_share_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Epochs::begin(folder.path(), &name(), None).unwrap();
        let second = Epochs::begin(folder.path(), &name(), None);
        assert!(matches!(second, Err(StateError::Locked { .. })));
    }

    #[test]
    fn a_damaged_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("web.epochs"), "5 -\nx\n").unwrap();
        let begun = Epochs::begin(folder.path(), &name(), None);
        assert!(matches!(begun, Err(StateError::Damaged { line: 2, .. })));
    }
}
