//! The disk of this host.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::{Disk, File, Lock, folder_of};

/// The disk of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

/// What room is reserved with. `fallocate` would leave blocks that are not yet written, and each
/// fdatasync would then write down that some are now: for batches of 20 KiB that takes half as
/// long again (ext4), as much as without any room.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
/// Of files; the umask may take more away.
const MODE: u32 = 0o640;
/// Of folders.
const FOLDER_MODE: u32 = 0o750;
/// Of what the holder of a lock says of itself.
const MAX_HOLDER: u64 = 256;

impl Disk for Real {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let missing =
            folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.collect();
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        missing.iter().try_for_each(|made| self.sync_folder(&folder_of(made)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        Ok(Arc::new(options.read(true).write(true).create_new(true).mode(MODE).open(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(write).open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = Vec::new();
                file.take(MAX_HOLDER).read_to_end(&mut holder)?;
                return Ok(Err(String::from_utf8_lossy(&holder).trim().to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
        // Only a courtesy to the second opener: a full disk must not keep the first one out.
        let _ = file.set_len(0).and_then(|()| file.write_all(this_process().as_bytes()));
        Ok(Ok(Box::new(file)))
    }

    fn random(&self) -> io::Result<u64> {
        getrandom::u64().map_err(io::Error::other)
    }
}

/// What the second opener reads.
fn this_process() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
    format!("process {} ({program})\n", std::process::id())
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let start = into.len();
        into.resize(start + len, 0);
        let mut read = 0;
        let outcome = loop {
            let rest = &mut into[start + read..];
            match FileExt::read_at(self, rest, offset + read as u64) {
                Ok(0) => break Ok(read),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        into.truncate(start + outcome.as_ref().map_or(0, |read| *read));
        outcome
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn allocate(&self, from: u64, upto: u64) -> io::Result<()> {
        let mut at = from;
        while at < upto {
            let piece = ZEROES.len().min((upto - at) as usize);
            self.write_all_at(&ZEROES[..piece], at)?;
            at += piece as u64;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
