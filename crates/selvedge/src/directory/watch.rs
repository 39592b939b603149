//! A task that keeps the directory current.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_core::Time;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::notice::{Maker, Notices, system};
use super::store::Store;
use super::{Directory, LoadError, Loader, Problem, Severity, Update, read_files};

/// How often the content is compared whatever the watch says.
const POLL: Duration = Duration::from_secs(2);

/// How long nothing may be touched before files are read, so that one rewritten in place is seen
/// whole …
const QUIET: Duration = Duration::from_millis(50);

/// … and how long that may put it off.
const QUIET_MOST: Duration = Duration::from_millis(500);

/// A directory that is kept current. Dropping it ends the task and its watches.
#[derive(Debug)]
pub struct Watched {
    /// The directory as it is now; what changed since another is told by
    /// [`Changes::between`](super::Changes::between).
    pub directory: watch::Receiver<Arc<Directory>>,
    /// How it is doing; a new value after every look, at least every two seconds.
    pub health: watch::Receiver<Health>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watched {
    /// Looks at the files soon, whether or not anything seems to have changed.
    pub fn look(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an operator wants to know about a watched directory.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// All that is wrong now, by place.
    pub problems: Arc<[Problem]>,
    /// Looks at the files so far.
    pub looks: u64,
    /// Looks that gave another directory.
    pub changes: u64,
    /// Why changes may be seen only by polling; `None`: the system tells of them at once.
    pub polling: Option<String>,
    /// Why the last good form on disk is not the newest; `None`: it is, or none is wanted.
    pub unsaved: Option<String>,
}

/// Reads the directory at `path` and keeps it current, in a task of its own. With `state`, its last
/// good form is kept there in `directory/last-good.toml`, and used now if the file is broken or
/// missing. The first reading blocks; all later ones happen where blocking is allowed.
///
/// # Errors
/// [`LoadError::Unusable`] if there is nothing to start with, [`LoadError::NoRuntime`] outside of
/// tokio. What is wrong in a usable directory is told by [`Watched::health`] and the log.
pub fn watch(path: &Path, state: Option<&Path>) -> Result<Watched, LoadError> {
    start(path, state, system, POLL)
}

pub(super) fn start(
    path: &Path,
    state: Option<&Path>,
    make: Maker,
    poll: Duration,
) -> Result<Watched, LoadError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| LoadError::NoRuntime)?;
    let wake = Arc::new(Notify::new());
    let mut looker = Looker::new(path, state, Notices::new(make, wake.clone()));
    let update = looker.look();
    let Some(directory) = update.directory else {
        return Err(LoadError::Unusable { path: path.to_owned(), problems: update.problems });
    };
    let (publish, directory) = watch::channel(directory);
    let (publish_health, health) = watch::channel(looker.health.clone());
    let woken = wake.clone();
    let task = runtime.spawn(async move {
        let lost = keep_current(looker, &woken, poll, &publish, &publish_health).await;
        if let Err(error) = lost {
            warn!(%error, "the directory is no longer watched");
        }
    });
    Ok(Watched { directory, health, wake, task })
}

/// Looks whenever something was touched, a poll is due, or the loader wants a second look.
async fn keep_current(
    mut looker: Looker,
    wake: &Notify,
    poll: Duration,
    publish: &watch::Sender<Arc<Directory>>,
    publish_health: &watch::Sender<Health>,
) -> Result<(), tokio::task::JoinError> {
    loop {
        if timeout(looker.pause(poll), wake.notified()).await.is_ok() {
            let touched = Instant::now();
            while touched.elapsed() < QUIET_MOST && timeout(QUIET, wake.notified()).await.is_ok() {}
        }
        let update;
        (looker, update) = tokio::task::spawn_blocking(move || {
            let update = looker.look();
            (looker, update)
        })
        .await?;
        if let Some(directory) = update.directory {
            publish.send_replace(directory);
        }
        publish_health.send_replace(looker.health.clone());
    }
}

/// Everything that looks: blocking, and without a runtime.
struct Looker {
    path: PathBuf,
    loader: Loader,
    notices: Notices,
    store: Option<Store>,
    /// Which revision of the loader is on disk.
    saved: u64,
    started: Instant,
    health: Health,
}

impl Looker {
    fn new(path: &Path, state: Option<&Path>, notices: Notices) -> Looker {
        let store = state.map(Store::new);
        let kept = store.as_ref().map_or(Ok(String::new()), Store::read);
        let kept = kept.unwrap_or_else(|error| {
            warn!(%error, "the last good directory cannot be read");
            String::new()
        });
        let loader = Loader::restored(&kept);
        let (health, started, path) = (Health::default(), Instant::now(), path.to_owned());
        Looker { path, loader, notices, store, saved: 0, started, health }
    }

    /// Reads everything once, and saves and logs what came of it.
    fn look(&mut self) -> Update {
        self.notices.follow(&self.path);
        let files = read_files(&self.path);
        let update = self.loader.update(self.now(), &files);
        self.save();
        self.log(&update);
        self.health.problems = update.problems.as_slice().into();
        self.health.looks += 1;
        self.health.changes += u64::from(update.directory.is_some());
        update
    }

    fn now(&self) -> Time {
        Time(0) + self.started.elapsed()
    }

    /// How long until the next look if nothing is touched.
    fn pause(&self, poll: Duration) -> Duration {
        self.loader.deadline().map_or(poll, |deadline| poll.min(deadline - self.now()))
    }

    fn save(&mut self) {
        let Some(store) = &self.store else { return };
        let revision = self.loader.revision();
        if self.saved == revision || self.loader.directory().is_none() {
            return;
        }
        let failed = store.write(&self.loader.export()).err().map(|error| error.to_string());
        if failed.is_none() {
            self.saved = revision;
        }
        if failed != self.health.unsaved {
            match &failed {
                Some(error) => warn!(%error, "the last good directory is not saved; trying again"),
                None => info!("the last good directory is saved again"),
            }
            self.health.unsaved = failed;
        }
    }

    /// Says what is new since the last look, and nothing twice.
    fn log(&mut self, update: &Update) {
        if self.loader.directory().is_none() {
            return; // whoever starts with this is told all of it
        }
        let known: BTreeSet<&Problem> = self.health.problems.iter().collect();
        for problem in update.problems.iter().filter(|problem| !known.contains(problem)) {
            match problem.severity {
                Severity::Error => warn!("{problem}"),
                Severity::Warning | Severity::Note => info!("{problem}"),
            }
        }
        if update.problems.is_empty() && !known.is_empty() {
            info!("the directory is without fault again");
        }
        if update.directory.is_some() {
            let (services, relays) = (&update.changes.services, &update.changes.relays);
            info!(
                added = services.added.len() + relays.added.len(),
                changed = services.changed.len() + relays.changed.len(),
                removed = services.removed.len() + relays.removed.len(),
                revoked = update.changes.revoked.len(),
                "another directory"
            );
        }
        let polling = self.notices.trouble().map(str::to_owned);
        if polling != self.health.polling {
            match &polling {
                Some(error) => warn!(%error, "changes are seen only every {POLL:?}"),
                None => info!("changes are seen at once again"),
            }
            self.health.polling = polling;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const NEVER: Duration = Duration::from_secs(86_400);

    /// A directory that can be told from others by its `label`.
    fn text(label: &str) -> String {
        let scheme = format!("[scheme]\nprefix = \"{label}\"\nfields = [\"x\"]\n");
        format!("format = 1\nfabric = \"test\"\n{scheme}")
    }

    async fn seen(watched: &Watched, label: &str) {
        let wanted = |directory: &Arc<Directory>| {
            directory.scheme().is_some_and(|scheme| scheme.prefix().as_str() == label)
        };
        let mut directory = watched.directory.clone();
        let found = timeout(Duration::from_secs(20), directory.wait_for(wanted)).await;
        assert!(found.is_ok_and(|found| found.is_ok()), "{label} was never seen");
    }

    #[tokio::test]
    async fn e13_inotify_exhausted_polls_instead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.toml");
        fs::write(&path, text("first")).unwrap();
        let refuse: Maker = |_| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        let watched = start(&path, None, refuse, Duration::from_millis(5)).unwrap();
        assert!(watched.health.borrow().polling.is_some());
        for label in ["a", "b"] {
            fs::write(&path, text(label)).unwrap();
            seen(&watched, label).await;
        }
    }

    #[tokio::test]
    async fn renames_are_noticed_without_a_poll() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.toml");
        fs::write(&path, text("first")).unwrap();
        let watched = start(&path, None, system, NEVER).unwrap();
        assert_eq!(watched.health.borrow().polling, None);
        for label in ["a", "b", "c"] {
            let new = folder.path().join("new");
            fs::write(&new, text(label)).unwrap();
            fs::rename(&new, &path).unwrap();
            seen(&watched, label).await;
        }
    }

    #[tokio::test]
    async fn another_folder_under_the_same_path_is_noticed_without_a_poll() {
        let folder = tempfile::tempdir().unwrap();
        let [old, here] = ["old", "here"].map(|name| folder.path().join(name));
        let path = here.join("endpoints.toml");
        fs::create_dir(&here).unwrap();
        fs::write(&path, text("first")).unwrap();
        let watched = start(&path, None, system, NEVER).unwrap();
        for label in ["a", "b"] {
            fs::rename(&here, &old).unwrap();
            fs::create_dir(&here).unwrap();
            fs::write(&path, text(label)).unwrap();
            seen(&watched, label).await;
            fs::remove_dir_all(&old).unwrap();
        }
        fs::write(&path, text("written")).unwrap();
        seen(&watched, "written").await;
    }

    #[tokio::test]
    async fn swapped_links_are_noticed_without_a_poll() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let version = |label: &str| {
            fs::create_dir(at(label)).unwrap();
            fs::write(at(label).join("endpoints.toml"), text(label)).unwrap();
            symlink(label, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        version("first");
        symlink("..data/endpoints.toml", at("endpoints.toml")).unwrap();
        let watched = start(&at("endpoints.toml"), None, system, NEVER).unwrap();
        for (label, before) in [("a", "first"), ("b", "a"), ("c", "b")] {
            version(label);
            fs::remove_dir_all(at(before)).unwrap();
            seen(&watched, label).await;
        }
    }

    #[tokio::test]
    async fn a_first_drop_in_is_noticed_without_a_poll() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.toml");
        fs::write(&path, text("first")).unwrap();
        let watched = start(&path, None, system, NEVER).unwrap();
        let drop_ins = folder.path().join("endpoints.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(drop_ins.join("a.toml"), "[revoked]\nkeys = \"0123456789abcdef\"").unwrap();
        let mut directory = watched.directory.clone();
        let revoked = directory.wait_for(|directory| directory.revoked().count() == 1);
        assert!(timeout(Duration::from_secs(20), revoked).await.is_ok());
    }

    #[tokio::test]
    async fn it_looks_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.toml");
        fs::write(&path, text("first")).unwrap();
        let refuse: Maker = |_| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        let watched = start(&path, None, refuse, NEVER).unwrap();
        fs::write(&path, text("second")).unwrap();
        watched.look();
        seen(&watched, "second").await;
    }

    #[tokio::test]
    async fn dropping_it_ends_its_task() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.toml");
        fs::write(&path, text("first")).unwrap();
        let watched = start(&path, None, system, NEVER).unwrap();
        let mut health = watched.health.clone();
        drop(watched);
        let ended = async { while health.changed().await.is_ok() {} };
        assert!(timeout(Duration::from_secs(20), ended).await.is_ok());
    }

    #[test]
    fn outside_a_runtime_is_an_error() {
        let watched = watch(Path::new("/nowhere"), None);
        assert!(matches!(watched, Err(LoadError::NoRuntime)));
    }
}
