//! What the journal needs of a disk: the real one, or a simulated one that fails on demand.

mod real;
mod sim;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use real::Real;
pub use sim::Sim;

/// Folders and files, and the one thing besides that a journal takes from outside: randomness.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and those above it, durably; one that is there is good.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names of the files in a folder, in no order. Names that are not UTF-8 are left out.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a file that must not exist, to read and write, mode 0640 at most.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file that must exist: to read, and to write as well if asked.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn File>>;
    /// Takes the file's name away; who has it open reads on.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes what was created in and removed from a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Locks the file at `path`, which is made if need be, until the result is dropped or the
    /// process ends; `Ok(Err(holder))` if another holds it, with what that one says of itself.
    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>>;
    /// A random number that nobody can guess.
    fn random(&self) -> io::Result<u64>;
}

/// A lock that is held. Dropping it releases it.
pub type Lock = Box<dyn Any + Send + Sync>;

/// An open file.
pub trait File: Debug + Send + Sync {
    /// Bytes in it.
    fn size(&self) -> io::Result<u64>;
    /// Appends to `into` up to `len` bytes that stand at `offset`: fewer only at the file's end.
    /// Says how many. `into` is as before on an error, its capacity aside.
    fn read_at(&self, into: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize>;
    /// Writes all of it. On an error any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file longer, with zeroes that take up room; `from` is its present length.
    fn allocate(&self, from: u64, upto: u64) -> io::Result<()>;
    /// Makes it exactly so long.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes data and length durable. After an error what was written since the last success is
    /// in an unknown state, and another call proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
