//! A disk in memory that forgets, tears and fails as real ones do, the same way for a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, File, Lock, folder_of};

/// What reaches a disk whole or not at all.
const SECTOR: usize = 512;

/// A simulated disk. Clones are the same disk.
///
/// Until a file is synced, a power cut keeps any subset of its 512-byte sectors that were written,
/// and either length; until its folder is, the file may be missing, or still there if it was
/// removed. Folders themselves are durable at once.
#[derive(Clone, Debug)]
pub struct Sim(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: u64,
    names: BTreeMap<PathBuf, Inode>,
    /// What a power cut leaves for sure.
    durable: BTreeMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    capacity: u64,
    used: u64,
    read_only: bool,
    failing_syncs: u32,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors in which the two may differ.
    dirty: BTreeSet<usize>,
}

#[derive(Debug)]
struct Handle {
    disk: Sim,
    inode: Inode,
}

struct Locked {
    disk: Sim,
    path: PathBuf,
}

impl Sim {
    /// An empty disk without bounds.
    pub fn new(seed: u64) -> Sim {
        Sim(Arc::new(Mutex::new(State {
            random: seed,
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            folders: BTreeSet::new(),
            locks: BTreeSet::new(),
            capacity: u64::MAX,
            used: 0,
            read_only: false,
            failing_syncs: 0,
        })))
    }

    /// The disk as it is found after a power cut now. This one goes on as if nothing happened.
    #[must_use]
    pub fn crash(&self) -> Sim {
        let mut state = self.state();
        let paths: BTreeSet<_> = state.names.keys().chain(state.durable.keys()).cloned().collect();
        let mut left = BTreeMap::new();
        for path in paths {
            let is_kept = state.coin();
            let names = if is_kept { &state.names } else { &state.durable };
            if let Some(inode) = names.get(&path).cloned() {
                let bytes = content(&inode).after_a_crash(&mut state);
                let durable = bytes.clone();
                let inode = Content { bytes, durable, dirty: BTreeSet::new() };
                left.insert(path, Arc::new(Mutex::new(inode)));
            }
        }
        let durable = left.clone();
        state.successor(left, durable)
    }

    /// The disk as it is found after this process, and not the machine, stopped now: all that was
    /// written is there, and what was not durable still is not. This one goes on by itself.
    #[must_use]
    pub fn kill(&self) -> Sim {
        let mut state = self.state();
        let copy = |inode: &Inode| Arc::new(Mutex::new(content(inode).clone()));
        let copies = state.names.iter().map(|(path, inode)| (path.clone(), copy(inode)));
        let names: BTreeMap<_, _> = copies.collect();
        let durable = state.durable.iter().map(|(path, inode)| {
            let same = state.names.get(path).is_some_and(|other| Arc::ptr_eq(other, inode));
            let known = names.get(path).filter(|_| same).cloned();
            (path.clone(), known.unwrap_or_else(|| copy(inode)))
        });
        let durable = durable.collect();
        state.successor(names, durable)
    }

    /// How many bytes all files may have together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Whether every change is refused.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Makes the next so many syncs fail that have something to write. Part of it is lost, and as
    /// on Linux the next sync of that file succeeds without it.
    pub fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Turns one bit of a file over, on the disk and in the cache; false if there is none such.
    pub fn flip(&self, path: &Path, bit: u64) -> bool {
        let Some(inode) = self.state().names.get(path).cloned() else { return false };
        let mut content = content(&inode);
        let at = (bit / 8) as usize;
        let flip = |bytes: &mut Vec<u8>| bytes.get_mut(at).map(|byte| *byte ^= 1 << (bit % 8));
        flip(&mut content.durable);
        flip(&mut content.bytes).is_some()
    }

    /// What is in a file now.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.state().names.get(path).cloned()?;
        let bytes = content(&inode).bytes.clone();
        Some(bytes)
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let durable = bytes.clone();
        let inode = Arc::new(Mutex::new(Content { bytes, durable, dirty: BTreeSet::new() }));
        let mut state = self.state();
        state.folders.insert(folder_of(path));
        state.names.insert(path.to_owned(), inode.clone());
        state.durable.insert(path.to_owned(), inode);
        state.used = state.names.values().map(|inode| content(inode).bytes.len() as u64).sum();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn successor(
        &mut self,
        names: BTreeMap<PathBuf, Inode>,
        durable: BTreeMap<PathBuf, Inode>,
    ) -> Sim {
        let used = names.values().map(|inode| content(inode).bytes.len() as u64).sum();
        Sim(Arc::new(Mutex::new(State {
            random: self.next(),
            names,
            durable,
            folders: self.folders.clone(),
            locks: BTreeSet::new(),
            capacity: self.capacity,
            used,
            read_only: self.read_only,
            failing_syncs: 0,
        })))
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }
}

impl Content {
    fn touch(&mut self, from: usize, upto: usize) {
        self.dirty.extend(from / SECTOR..upto.div_ceil(SECTOR));
    }

    /// Writes some of the sectors down, or all.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        if keep() {
            self.durable.resize(self.bytes.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            let from = sector * SECTOR;
            let upto = (from + SECTOR).min(self.bytes.len()).min(self.durable.len());
            if from < upto && keep() {
                self.durable[from..upto].copy_from_slice(&self.bytes[from..upto]);
            }
        }
    }

    fn after_a_crash(&self, state: &mut State) -> Vec<u8> {
        let mut copy = self.clone();
        copy.settle(|| state.coin());
        copy.durable
    }

    fn resize(&mut self, len: usize) {
        let (from, upto) = (len.min(self.bytes.len()), len.max(self.bytes.len()));
        self.touch(from, upto);
        self.bytes.resize(len, 0);
    }
}

impl Disk for Sim {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.folders.contains(folder) {
            state.writable()?;
            state.folders.extend(folder.ancestors().map(Path::to_owned));
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        let names = inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.writable()?;
        if state.names.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        let inode = Inode::default();
        state.names.insert(path.to_owned(), inode.clone());
        Ok(Arc::new(Handle { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        if write {
            state.writable()?;
        }
        let inode = state.names.get(path).cloned().ok_or(Errno::NOENT)?;
        Ok(Arc::new(Handle { disk: self.clone(), inode }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.writable()?;
        let inode = state.names.remove(path).ok_or(Errno::NOENT)?;
        state.used = state.used.saturating_sub(content(&inode).bytes.len() as u64);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        let State { names, durable, .. } = &mut *state;
        let inside = |path: &Path| path.parent() == Some(folder);
        durable.retain(|path, _| !inside(path));
        let now = names.iter().filter(|(path, _)| inside(path));
        durable.extend(now.map(|(path, inode)| (path.clone(), inode.clone())));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Result<Lock, String>> {
        match self.state().locks.insert(path.to_owned()) {
            true => Ok(Ok(Box::new(Locked { disk: self.clone(), path: path.to_owned() }))),
            false => Ok(Err("another journal in this process".to_owned())),
        }
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.state().next())
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

impl Handle {
    /// Makes the file `len` long at most, and says how long it is then.
    fn grow(&self, state: &mut State, content: &mut Content, len: u64) -> u64 {
        let old = content.bytes.len() as u64;
        let new = len.min(old.saturating_add(state.capacity.saturating_sub(state.used))).max(old);
        state.used += new - old;
        content.resize(new as usize);
        new
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        Ok(content(&self.inode).bytes.len() as u64)
    }

    fn read_at(&self, into: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let content = content(&self.inode);
        let rest = usize::try_from(offset).ok().and_then(|offset| content.bytes.get(offset..));
        let rest = rest.unwrap_or_default();
        let piece = &rest[..len.min(rest.len())];
        into.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, mut content) = (self.disk.state(), content(&self.inode));
        state.writable()?;
        let end = offset + bytes.len() as u64;
        let room = match end > content.bytes.len() as u64 {
            true => self.grow(&mut state, &mut content, end),
            false => end,
        };
        let fits = (room.min(end).saturating_sub(offset)) as usize;
        let begin = offset as usize;
        if fits > 0 {
            content.bytes[begin..begin + fits].copy_from_slice(&bytes[..fits]);
            content.touch(begin, begin + fits);
        }
        if fits < bytes.len() { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn allocate(&self, _from: u64, upto: u64) -> io::Result<()> {
        let (mut state, mut content) = (self.disk.state(), content(&self.inode));
        state.writable()?;
        let old = content.bytes.len() as u64;
        if upto.saturating_sub(old) > state.capacity.saturating_sub(state.used) {
            return Err(Errno::NOSPC.into());
        }
        self.grow(&mut state, &mut content, upto);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let (mut state, mut content) = (self.disk.state(), content(&self.inode));
        state.writable()?;
        let old = content.bytes.len() as u64;
        content.resize(len as usize);
        state.used = (state.used + len).saturating_sub(old);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, mut content) = (self.disk.state(), content(&self.inode));
        if content.dirty.is_empty() && content.bytes.len() == content.durable.len() {
            return Ok(());
        }
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            content.settle(|| state.coin());
            return Err(Errno::IO.into());
        }
        if state.read_only {
            return Err(Errno::IO.into());
        }
        content.settle(|| true);
        Ok(())
    }
}

fn content(inode: &Inode) -> MutexGuard<'_, Content> {
    inode.lock().unwrap_or_else(PoisonError::into_inner)
}
