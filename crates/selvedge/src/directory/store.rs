//! The last good directory on disk, so that a restart with a broken file is no outage.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_core::limits::DIRECTORY_BYTES;

/// What stands above the export.
const HEADER: &str =
    "# The last good form of the directory; written by selvedge, read at its next start if
# endpoints.toml is broken or missing then. Changes made here are lost.
";

/// A temporary file that is older than this was left by somebody who was killed.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// One file below the state directory.
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// `<state>/directory/last-good.toml`; made when it is first written.
    pub fn new(state: &Path) -> Store {
        Store { folder: state.join("directory") }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("last-good.toml")
    }

    /// What was written last; empty if nothing was.
    ///
    /// # Errors
    /// When there is something and it cannot be read, is no UTF-8, or is larger than any export.
    pub fn read(&self) -> io::Result<String> {
        let file = match File::open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            file => file?,
        };
        let most = 2 * DIRECTORY_BYTES as u64; // quoting makes it longer, never twice as long
        let mut text = String::new();
        if file.take(most + 1).read_to_string(&mut text)? as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }

    /// Replaces it as a whole, durably: a crash leaves the old text or the new one.
    ///
    /// # Errors
    /// As the file system says; the old text is still there.
    pub fn write(&self, export: &str) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.sweep();
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(HEADER.as_bytes())?;
        file.write_all(export.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes what killed processes left half written. Others may be writing now.
    fn sweep(&self) {
        let is_old = |entry: &fs::DirEntry| {
            let written = entry.metadata().and_then(|facts| facts.modified()).ok();
            let age = written.and_then(|written| written.elapsed().ok());
            age.is_some_and(|age| age > LEFT_OVER)
        };
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let temporary = entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(b".tmp"));
        for entry in temporary.filter(is_old) {
            let _ = fs::remove_file(entry.path()); // it costs a little room, nothing else
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_left_half_written_goes_and_what_is_being_written_stays() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        store.write("first").unwrap();
        let [left, current] = [".tmpLeft", ".tmpNow"].map(|name| store.folder.join(name));
        let old = std::time::SystemTime::now() - 2 * LEFT_OVER;
        File::create(&left).unwrap().set_modified(old).unwrap();
        fs::write(&current, "").unwrap();
        store.write("second").unwrap();
        assert!(!left.exists() && current.exists());
    }

    #[test]
    fn what_was_written_is_read_and_leaves_nothing_beside_it() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        assert_eq!(store.read().unwrap(), "");
        for text in ["first", "second"] {
            store.write(text).unwrap();
            assert_eq!(store.read().unwrap(), format!("{HEADER}{text}"));
        }
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 1);
        fs::write(store.path(), b"\xff").unwrap();
        assert!(store.read().is_err());
    }
}
