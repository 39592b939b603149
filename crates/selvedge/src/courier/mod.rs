//! What hands a publisher's commits to relays, where the publisher itself cannot be dialled.
//!
//! Each packet is offered to one relay, in order, and confirmed when that relay has it on its disk.
//! What is not confirmed is offered again over the next connection: from memory, or, of a publisher
//! with a journal, from there, which also holds what earlier runs could not deliver.

mod connection;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_core::directory::Directory;
use selvedge_core::fanout::{PeerId, Stored};
use selvedge_core::limits::{RECONNECT_MAX, RECONNECT_MIN, REPLAY_BYTES};
use selvedge_core::seal::Commit;
use selvedge_core::topic::Name;
use selvedge_core::{KeyId, Position};
use selvedge_journal::Reader;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::journal::{self, Step};
use connection::Ended;

/// How far the publisher is.
#[derive(Clone, Debug)]
struct Head {
    /// Everything below was said.
    upto: Position,
    tip: Option<Commit>,
}

/// How far relays are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// Everything below is in a relay's journal, or will never be said.
    confirmed: Position,
    connected: bool,
}

/// Where commits come from that are not confirmed.
#[derive(Debug)]
enum Source {
    Memory(Mutex<VecDeque<Commit>>),
    Journal(Reader),
}

/// Whom to offer to, and what.
#[derive(Debug)]
struct Route {
    key: KeyId,
    relays: Vec<Name>,
    directory: watch::Receiver<Arc<Directory>>,
    source: Arc<Source>,
    head: watch::Receiver<Head>,
    progress: watch::Sender<Progress>,
}

/// See the module.
#[derive(Debug)]
pub struct Courier {
    source: Arc<Source>,
    head: watch::Sender<Head>,
    progress: watch::Receiver<Progress>,
    _task: AbortOnDropHandle<()>,
}

impl Courier {
    /// Offers what is said from `next` on, and what `journal` holds from before, to the first of
    /// `relays` that takes it. Must be called within a tokio runtime.
    pub fn new(
        directory: watch::Receiver<Arc<Directory>>,
        relays: Vec<Name>,
        key: KeyId,
        next: Position,
        journal: Option<Reader>,
    ) -> Courier {
        let source = Arc::new(match journal {
            Some(reader) => Source::Journal(reader),
            None => Source::Memory(Mutex::default()),
        });
        let (head, heads) = watch::channel(Head { upto: next, tip: None });
        let confirmed = source.oldest(key).unwrap_or(next);
        let (sender, progress) = watch::channel(Progress { confirmed, connected: false });
        let route =
            Route { key, relays, directory, source: source.clone(), head: heads, progress: sender };
        let task = AbortOnDropHandle::new(tokio::spawn(route.run()));
        Courier { source, head, progress, _task: task }
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Commit { commit, .. } if commit.header.n == 0 => {
                self.head.send_modify(|head| head.tip = Some(commit));
            }
            Step::Commit { commit, .. } => {
                let upto = commit.header.end();
                self.source.push(commit);
                self.head.send_modify(|head| head.upto = upto);
            }
            Step::Passed { upto, .. } | Step::Gone { upto, .. } => {
                self.head.send_modify(|head| head.upto = head.upto.max(upto));
            }
            Step::Note { .. } | Step::Again { .. } | Step::Sync => {}
        }
    }

    /// Waits until relays are further. Cancel safe.
    pub async fn turn(&mut self) {
        if self.progress.changed().await.is_err() {
            std::future::pending().await // its task ends with this
        }
    }

    pub fn is_connected(&self) -> bool {
        self.progress.borrow().connected
    }

    /// The number of this epoch before which everything is confirmed.
    pub fn confirmed(&self) -> u64 {
        let (confirmed, epoch) = (self.progress.borrow().confirmed, self.head.borrow().upto.epoch);
        if confirmed.epoch == epoch { confirmed.seq } else { 0 }
    }

    /// The oldest number that is held in memory, if that is where commits come from.
    pub fn holds(&self) -> Option<u64> {
        matches!(*self.source, Source::Memory(_)).then(|| self.confirmed())
    }

    /// Messages that are not confirmed; those of earlier runs count as one.
    pub fn waiting(&self) -> u64 {
        let (confirmed, upto) = (self.progress.borrow().confirmed, self.head.borrow().upto);
        let earlier = u64::from(confirmed < Position::new(upto.epoch, 0));
        earlier + upto.seq.saturating_sub(self.confirmed())
    }

    /// Bytes held in memory until they are confirmed.
    pub fn queued_bytes(&self) -> usize {
        self.source.bytes()
    }
}

impl Route {
    /// Until it is dropped: relay after relay, and again.
    async fn run(mut self) {
        let mut delay = RECONNECT_MIN;
        loop {
            for name in self.relays.clone() {
                let relay = self.directory.borrow().relay(name.as_str()).cloned();
                for endpoint in relay.into_iter().flat_map(|relay| relay.endpoints) {
                    let before = self.progress.borrow().confirmed;
                    let why: Ended = self.attempt(&endpoint).await;
                    self.progress.send_modify(|progress| progress.connected = false);
                    tracing::warn!("relay {name} at {endpoint}: {why}");
                    if self.progress.borrow().confirmed > before {
                        delay = RECONNECT_MIN;
                    }
                }
            }
            tokio::time::sleep(delay.mul_f64(0.5 + 0.5 * crate::random_fraction())).await;
            delay = (delay * 2).min(RECONNECT_MAX);
        }
    }

    /// A relay has everything below `upto`.
    fn confirm(&self, upto: Position) {
        self.source.forget(upto);
        self.progress.send_if_modified(|progress| {
            let further = upto > progress.confirmed;
            progress.confirmed = progress.confirmed.max(upto);
            further
        });
    }
}

impl Source {
    fn push(&self, commit: Commit) {
        if let Source::Memory(commits) = self {
            commits.lock().unwrap_or_else(PoisonError::into_inner).push_back(commit);
        }
    }

    fn oldest(&self, key: KeyId) -> Option<Position> {
        match self {
            Source::Memory(_) => None,
            Source::Journal(reader) => journal::oldest(reader, key),
        }
    }

    fn bytes(&self) -> usize {
        let Source::Memory(commits) = self else { return 0 };
        let commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.iter().flat_map(|commit| &commit.packets).map(|packet| packet.len()).sum()
    }

    fn forget(&self, upto: Position) {
        let Source::Memory(commits) = self else { return };
        let mut commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
        while commits.front().is_some_and(|commit| commit.header.end() <= upto) {
            commits.pop_front();
        }
    }

    /// The next commits of `from..upto`, about as many as one read of a journal brings, and how far
    /// that is.
    fn read(&self, key: KeyId, from: Position, upto: Position) -> (Vec<Commit>, Position) {
        match self {
            Source::Journal(reader) => {
                let answer = journal::read(reader, PeerId(0), key, from, upto);
                let commits = answer.records.into_iter().map(|Stored { commit, .. }| commit);
                (commits.collect(), answer.upto)
            }
            Source::Memory(commits) => {
                let commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
                let (mut bytes, mut read) = (0, Vec::new());
                for commit in commits.iter().filter(|commit| commit.header.end() > from) {
                    if bytes >= REPLAY_BYTES {
                        break;
                    }
                    bytes += commit.packets.iter().map(|packet| packet.len()).sum::<usize>();
                    read.push(commit.clone());
                }
                let reached = read.last().map_or(upto, |commit| commit.header.end());
                (read, reached)
            }
        }
    }
}
