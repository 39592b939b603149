//! The two files of a cursor, of which the newer whole one counts.
//!
//! Generation g is in `positions.0` if g is even, else in `positions.1`: a write replaces the older
//! one and is synced before the next begins, so a power cut tears at most the one being written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::CursorError;
use super::format::{Bad, Places, decode, encode};
use crate::files;

/// Largest file that is read: 500,000 streams, five times the largest directory.
const FILE_BYTES: u64 = 16 << 20;

/// See the module.
#[derive(Debug)]
pub struct Generations {
    folder: PathBuf,
    newest: u64,
}

/// What the files of `folder` say: the newest whole generation and its number, if there are any.
///
/// # Errors
/// If no generation is whole although there are files, or one is of a newer version.
pub fn read(folder: &Path) -> Result<Option<(u64, Places)>, CursorError> {
    let mut newest: Option<(u64, Places)> = None;
    let mut damaged = Vec::new();
    for path in [0, 1].map(|slot| path(folder, slot)) {
        let Some(bytes) = read_file(&path).map_err(CursorError::at(&path))? else { continue };
        match decode(&bytes) {
            Ok(found) if newest.as_ref().is_none_or(|newest| newest.0 < found.0) => {
                newest = Some(found);
            }
            Ok(_) => {}
            Err(Bad::Newer(version)) => return Err(CursorError::Newer { path, version }),
            Err(Bad::Damaged) => damaged.push(path),
        }
    }
    match (&newest, damaged.pop()) {
        (None, Some(path)) => return Err(CursorError::Damaged { path }),
        (Some((generation, _)), Some(path)) => {
            let path = path.display();
            tracing::warn!(%path, generation, "torn or damaged; the other is used");
        }
        _ => {}
    }
    Ok(newest)
}

impl Generations {
    /// Reads what is there; the first time, `fresh` is what is written.
    ///
    /// # Errors
    /// As [`read`], or if the first generation cannot be written.
    pub fn open(
        folder: &Path,
        fresh: impl FnOnce() -> Places,
    ) -> Result<(Generations, Places), CursorError> {
        let folder = folder.to_owned();
        if let Some((newest, places)) = read(&folder)? {
            return Ok((Generations { folder, newest }, places));
        }
        let places = fresh();
        create(&folder, &places).map_err(CursorError::at(&folder))?;
        Ok((Generations { folder, newest: 1 }, places))
    }

    /// Makes `places` durable. After an error the next write goes to the same file: the other holds
    /// what was last written well.
    pub fn write(&mut self, places: &Places) -> io::Result<()> {
        let generation = self.newest + 1;
        let path = path(&self.folder, generation % 2);
        self.overwrite(&path, &encode(generation, places))?;
        self.newest = generation;
        Ok(())
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_data()?;
        if is_new { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }
}

/// Writes generation 1 so that it is there as a whole or not at all: nothing stands beside it yet.
fn create(folder: &Path, places: &Places) -> io::Result<()> {
    files::replace(&path(folder, 1), &encode(1, places))
}

fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn path(folder: &Path, slot: u64) -> PathBuf {
    folder.join(format!("positions.{slot}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Place;
    use selvedge_core::{KeyId, Position};
    use std::fs;

    fn places(seq: u64) -> Places {
        Places::from([(KeyId(1), Place::At(Position::new(1, seq)))])
    }

    fn written(folder: &Path, writes: u64) -> Generations {
        let (mut generations, _) = Generations::open(folder, Places::new).unwrap();
        (1..=writes).for_each(|seq| generations.write(&places(seq)).unwrap());
        generations
    }

    #[test]
    fn the_newest_whole_generation_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        for writes in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            written(folder.path(), writes);
            let (generation, found) = read(folder.path()).unwrap().unwrap();
            assert_eq!(generation, writes + 1);
            assert_eq!(found, if writes == 0 { Places::new() } else { places(writes) });
        }
    }

    #[test]
    fn wherever_the_newest_is_torn_the_one_before_counts() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 3);
        let newest = path(folder.path(), 0);
        let whole = fs::read(&newest).unwrap();
        for len in 0..whole.len() {
            fs::write(&newest, &whole[..len]).unwrap();
            assert_eq!(read(folder.path()).unwrap(), Some((3, places(2))), "{len}");
        }
        let (mut generations, _) = Generations::open(folder.path(), Places::new).unwrap();
        generations.write(&places(9)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some((4, places(9))));
    }

    #[test]
    fn a_shorter_generation_leaves_nothing_of_the_longer_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut generations = written(folder.path(), 4);
        generations.write(&Places::new()).unwrap();
        generations.write(&Places::new()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some((7, Places::new())));
    }

    #[test]
    fn with_both_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 2);
        for slot in 0..2 {
            fs::write(path(folder.path(), slot), b"x").unwrap();
        }
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, CursorError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("positions."), "{error}");
    }
}
