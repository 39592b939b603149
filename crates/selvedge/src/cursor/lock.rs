//! One process at a time has a cursor: a lock that the kernel takes back whatever happens.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::CursorError;

/// Locks the cursor in `folder` for as long as the file is open, and notes there who has it.
pub fn take(folder: &Path) -> Result<File, CursorError> {
    let path = folder.join("lock");
    let at = |error| CursorError::at(&path)(error);
    let opened = File::options().create(true).read(true).append(true).open(&path);
    let mut file = opened.map_err(at)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let (path, holder) = (folder.to_owned(), holder(&file));
            return Err(CursorError::Locked { path, holder });
        }
        Err(error) => return Err(at(error.into())),
    }
    note(&mut file).map_err(at)?;
    Ok(file)
}

fn note(file: &mut File) -> io::Result<()> {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    file.set_len(0)?;
    writeln!(file, "process {} ({})", std::process::id(), program.display())
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(256).read_to_string(&mut text);
    match text.trim() {
        holder if read.is_ok() && !holder.is_empty() => holder.to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();
        let error = take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} (", std::process::id())), "{error}");
        drop(first);
        take(folder.path()).unwrap();
    }
}
