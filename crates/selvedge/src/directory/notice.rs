//! Tells when a folder entry that matters was touched; knows when it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::read::drop_in_folder;
use super::trail::trail;

/// Makes the system's watcher; tests make one that fails.
pub(super) type Maker = fn(Handler) -> notify::Result<RecommendedWatcher>;

/// What a watcher calls, on a thread of its own.
pub(super) type Handler = Box<dyn Fn(notify::Result<Event>) + Send>;

/// The watcher of this system.
pub(super) fn system(handler: Handler) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(handler)
}

/// What is watched for one directory.
pub(super) struct Notices {
    watcher: Option<RecommendedWatcher>,
    /// Watched folders with device and inode: another folder under the same path is not watched.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    relevant: Arc<Mutex<Relevant>>,
    trouble: Option<String>,
}

/// Which events matter; all else in a watched folder (`/tmp` may be one) is noise.
#[derive(Default)]
struct Relevant {
    entries: BTreeSet<PathBuf>,
    /// The folder in which every entry matters.
    drop_ins: PathBuf,
}

impl Relevant {
    fn touches(&self, event: &Event) -> bool {
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let kind = !event.kind.is_access() || event.kind == written;
        let matters =
            |path: &PathBuf| self.entries.contains(path) || path.parent() == Some(&self.drop_ins);
        event.need_rescan() || kind && event.paths.iter().any(matters)
    }
}

impl Notices {
    /// Wakes `wake` from now on. Without a watcher there are no notices, and a reason.
    pub fn new(make: Maker, wake: Arc<Notify>) -> Notices {
        let relevant = Arc::<Mutex<Relevant>>::default();
        let filter = relevant.clone();
        let handler: Handler = Box::new(move |event| {
            let filter = filter.lock().unwrap_or_else(PoisonError::into_inner);
            // An error says that events were missed.
            if event.map_or(true, |event| filter.touches(&event)) {
                wake.notify_one();
            }
        });
        let (watcher, trouble) = match make(handler) {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Notices { watcher, folders: BTreeMap::new(), relevant, trouble }
    }

    /// Why some or all changes are seen by polling only.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Watches every folder on the way to the files of `path` as it leads there now. Called before
    /// the files are read, so that no change falls between.
    pub fn follow(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let folder = drop_in_folder(path);
        let mut entries = trail(path);
        entries.append(&mut trail(&folder));
        for link in links_in(&folder) {
            entries.append(&mut trail(&link));
        }
        let drop_ins = fs::canonicalize(&folder).unwrap_or(folder);
        let parents = entries.iter().filter_map(|entry| entry.parent()).chain([&*drop_ins]);
        let wanted: BTreeMap<PathBuf, (u64, u64)> =
            parents.filter_map(|path| Some((path.to_owned(), identity(path)?))).collect();
        *self.relevant.lock().unwrap_or_else(PoisonError::into_inner) =
            Relevant { entries, drop_ins };
        for (path, identity) in &self.folders {
            if wanted.get(path) != Some(identity) {
                let _ = watcher.unwatch(path); // gone with its folder
            }
        }
        self.folders.retain(|path, identity| wanted.get(path) == Some(identity));
        self.trouble = None;
        for (path, identity) in wanted {
            if self.folders.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.folders.insert(path, identity)),
                Err(error) => self.trouble = Some(format!("{}: {error}", path.display())),
            }
        }
    }
}

/// Drop-ins that are links; the others need nothing but their folder.
fn links_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "toml"))
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    Some((meta.dev(), meta.ino()))
}
