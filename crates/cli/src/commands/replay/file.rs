//! From a journal or a recording on disk.

use std::path::Path;
use std::sync::Arc;

use selvedge::directory::Directory;
use selvedge::recording::{PlayError, Playback, Played};
use selvedge::{KeyId, Message, Pattern};
use selvedge_core::Wall;
use tokio::sync::mpsc;

use super::range::{Filter, Item, Lies, Range};
use crate::commands::tail::lost_words;

/// Batches that may wait: reading goes on while what was read is shown.
const BATCHES: usize = 4;

/// Items in a batch, about.
const ITEMS: usize = 256;

/// What was read, and how far.
#[derive(Debug, Default)]
pub struct Batch {
    pub items: Vec<Item>,
    /// Bytes of the files.
    pub read: u64,
}

/// Files that are read on a thread of their own.
#[derive(Debug)]
pub struct Files {
    batches: mpsc::Receiver<Batch>,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Files {
    /// Begins to read.
    ///
    /// # Errors
    /// [`PlayError`] if there is nothing to read.
    pub fn open(
        path: &Path,
        directory: Arc<Directory>,
        patterns: Vec<Pattern>,
        range: Range,
    ) -> Result<Files, PlayError> {
        let keys: Option<Vec<KeyId>> = range.publisher().map(|name| {
            let service = directory.service(name.as_str());
            service.map(|s| s.keys.iter().map(|key| key.id()).collect()).unwrap_or_default()
        });
        let mut playback = Playback::open(path, directory, patterns)?;
        if let Some(keys) = keys {
            if let Some(first) = range.first() {
                playback = keys.iter().fold(playback, |playback, key| playback.begin(*key, first));
            }
            playback = playback.only(keys.into_iter().collect());
        }
        let playback = playback.since(Wall(range.since()));
        let bytes = playback.bytes();
        let (sender, batches) = mpsc::channel(BATCHES);
        std::thread::spawn(move || read(playback, Filter::new(range), &sender));
        Ok(Files { batches, bytes })
    }

    /// What comes next; none at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

/// The thread: to the end, or until nobody wants more.
fn read(mut playback: Playback, mut filter: Filter, batches: &mpsc::Sender<Batch>) {
    let mut batch = Batch::default();
    while let Some(played) = playback.next() {
        take(played, &mut filter, &mut batch.items);
        if batch.items.len() >= ITEMS {
            batch.read = playback.read();
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return;
            }
        }
    }
    filter.end(&mut batch.items);
    batch.read = playback.bytes();
    let _ = batches.blocking_send(batch); // nobody wants more
}

fn take(played: Played, filter: &mut Filter, out: &mut Vec<Item>) {
    let bad = |text| Item::Bad { key: None, text };
    match played {
        Played::Deliver(delivery) => {
            let _: Vec<Lies> =
                Message::all(delivery).map(|message| filter.message(message, out)).collect();
        }
        Played::Lost { key, publisher, from, to, cause } => {
            let name = publisher.map_or_else(|| key.to_string(), |name| name.to_string());
            let words = |from, to| lost_words(&name, from, to, cause.label());
            filter.lost(key, from, to, words, out);
        }
        Played::Damaged { file, offset, bytes } => {
            let file = file.display();
            out.push(bad(format!("{file}:{offset}: {bytes} bytes are damaged")));
        }
        Played::NoEnd(file) => {
            let file = file.display();
            out.push(bad(format!("{file} has no end: it was cut off, or is being written")));
        }
        Played::Unreadable(error) => out.push(bad(error.to_string())),
        Played::Refused { file, offset, topic, why } => {
            let file = file.display();
            out.push(bad(format!("{file}:{offset}: refused: topic {topic}: {why}")));
        }
    }
}
