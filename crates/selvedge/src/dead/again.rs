//! Dead letters that are handed over again: before anything new, through the same door.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use selvedge_core::directory::Directory;
use selvedge_core::open::{self, Budget, Context};
use selvedge_core::seal::Packet;
use selvedge_core::wire::Frames;
use selvedge_core::{KeyId, Position, Time};
use tokio::sync::watch;

use super::{Letter, LetterError, Letters};
use crate::message::Message;

/// See the module.
#[derive(Debug)]
pub(crate) struct Again {
    letters: Letters,
    directory: watch::Receiver<Arc<Directory>>,
    /// Those that wait.
    waiting: VecDeque<PathBuf>,
    /// Those that the application has.
    taken: BTreeMap<(KeyId, Position), PathBuf>,
}

impl Again {
    /// Those that were asked for until now.
    pub fn open(
        letters: &Letters,
        directory: watch::Receiver<Arc<Directory>>,
    ) -> Result<Again, LetterError> {
        let waiting = letters.requeued()?.into();
        Ok(Again { letters: letters.clone(), directory, waiting, taken: BTreeMap::new() })
    }

    /// The next one that passes the door; what does not is kept as dead.
    pub fn next(&mut self) -> Option<Message> {
        while let Some(path) = self.waiting.pop_front() {
            let message = Letters::read(&path)
                .map_err(|error| error.to_string())
                .and_then(|letter| self.verify(&letter));
            match message {
                Ok(message) => {
                    self.taken.insert((message.key, message.position), path);
                    return Some(message);
                }
                Err(why) => {
                    tracing::warn!(path = %path.display(), why, "dead letter not requeued");
                    if let Err(error) = self.letters.put_back(&path) {
                        tracing::warn!(%error);
                    }
                }
            }
        }
        None
    }

    /// It was handled, or has died again. Whether it was one of these.
    pub fn done(&mut self, place: (KeyId, Position)) -> bool {
        let Some(path) = self.taken.remove(&place) else { return false };
        if let Err(error) = Letters::remove(&path) {
            tracing::warn!(%error, "a requeued dead letter will be handed over once more");
        }
        true
    }

    fn verify(&self, letter: &Letter) -> Result<Message, String> {
        let directory = self.directory.borrow().clone();
        let frames = Frames::parse(letter.packet.clone()).map_err(|error| error.to_string())?;
        let packet = Packet::parse(frames).map_err(|error| error.to_string())?;
        let cx = Context { directory: &directory, horizon: None, cached: None, now: Time(0) };
        let opened = open::open(packet, &cx, &mut Budget::default());
        let trusted = opened.map_err(|refusal| refusal.to_string())?.trusted;
        Message::of(&trusted, letter.index).ok_or_else(|| "no such message in it".to_owned())
    }
}
