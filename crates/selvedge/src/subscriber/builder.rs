//! What to hear, from where on, and what is remembered of it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use selvedge_core::directory::Directory;
use selvedge_core::topic::{Name, Pattern};
use selvedge_core::{KeyId, Position};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::inbox::{Feeder, Inbox};
use super::progress::Progress;
use super::{Acks, Subscriber};
use crate::clock::wall_of;
use crate::cursor::{self, Cursor, CursorError, Place, Places};
use crate::dead::{Again, LetterError, Letters};
use crate::inlet::{self, Inlet, Notices};
use crate::state;

/// Where streams begin for a subscriber that has no place in them yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is said from now on.
    #[default]
    Now,
    /// With the oldest that anyone holds.
    Oldest,
    /// With the first commit that was sealed then or later, by its publisher's clock. All that is
    /// held is transferred and verified to find it, and what is older is dropped here.
    Since(SystemTime),
}

/// Why a subscriber cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its cursor cannot be opened.
    #[error("{0}")]
    Cursor(#[from] CursorError),
    /// Its dead letters cannot be read.
    #[error("{0}")]
    Letters(#[from] LetterError),
}

/// What to hear. Start with [`Subscriber::to`].
#[derive(Debug)]
pub struct Builder {
    directory: watch::Receiver<Arc<Directory>>,
    options: inlet::Options,
    name: Option<Name>,
    state: Option<PathBuf>,
    start: Start,
    resume: BTreeMap<KeyId, Position>,
    acks: Acks,
}

impl Builder {
    pub(super) fn new(directory: watch::Receiver<Arc<Directory>>) -> Builder {
        Builder {
            directory,
            options: inlet::Options { patterns: Vec::new(), ..inlet::Options::default() },
            name: None,
            state: None,
            start: Start::Now,
            resume: BTreeMap::new(),
            acks: Acks::OnNext,
        }
    }

    /// Also the topics that this pattern matches. Without any, all topics.
    pub fn pattern(mut self, pattern: Pattern) -> Builder {
        self.options.patterns.push(pattern);
        self
    }

    /// Only what these services say; may be said several times.
    pub fn from(mut self, service: Name) -> Builder {
        self.options.from.push(service);
        self
    }

    /// Through this relay instead of directly; may be said several times.
    pub fn via(mut self, relay: Name) -> Builder {
        self.options.via.push(relay);
        self.options.direct = false;
        self
    }

    /// Remembers under this name how far it has come, across restarts and crashes: see
    /// [`crate::cursor`]. One process at a time may use a name. It goes with its patterns: what
    /// matched none of them has been passed, and adding one later does not bring it back.
    pub fn name(mut self, name: Name) -> Builder {
        self.name = Some(name);
        self
    }

    /// Where that is kept; [`state::default_folder`] unless said.
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Builder {
        self.state = Some(folder.into());
        self
    }

    /// Where streams begin; [`Start::Now`] unless said.
    ///
    /// With a name it counts only the first time, and only for the publishers that the directory
    /// lists then: whoever appears later is heard from his oldest message on.
    pub fn start(mut self, start: Start) -> Builder {
        self.start = start;
        self
    }

    /// Goes on from these places, whatever else is remembered of their streams: for handlers that
    /// keep their place in their own database, in the transaction that has the effect.
    ///
    /// Of each message that was handled store `position.after()` under its `key`. Without a name
    /// say [`Start::Oldest`] too, or nothing is heard of streams that have no place yet but what
    /// comes from now on.
    pub fn resume(mut self, places: BTreeMap<KeyId, Position>) -> Builder {
        self.resume = places;
        self
    }

    /// A message is handled when [`Subscriber::ack`] says so, not when the next is asked for.
    ///
    /// Messages may be acknowledged in any order; a cursor moves up to the first that is not. At
    /// most `most` (at least one) may be ahead of it, in all streams together: until then no more
    /// are handed out.
    pub fn explicit_acks(mut self, most: usize) -> Builder {
        self.acks = Acks::Explicit { most: most.max(1) };
        self
    }

    /// Tell what happens to links.
    pub fn notices(mut self, notices: Notices) -> Builder {
        self.options.notices = notices;
        self
    }

    /// The largest body to accept, up to 16 MiB; 1 MiB unless said.
    pub fn body_bytes(mut self, bytes: usize) -> Builder {
        self.options.body_bytes = bytes;
        self
    }

    /// Connects to all that may say what is wanted, now and as the directory changes. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`] if what is remembered under its name cannot be read or written, or belongs
    /// to a process that runs. Without a name nothing can fail.
    pub fn connect(mut self) -> Result<Subscriber, ConnectError> {
        if self.options.patterns.is_empty() {
            self.options.patterns.push(Pattern::all());
        }
        let (progress, letters) = self.remember()?;
        let again = letters.as_ref().map(|dead| Again::open(dead, self.directory.clone()));
        let again = again.transpose()?;
        let patterns = self.options.patterns.clone();
        let inlet = Inlet::new(self.directory, self.options);
        let (sender, batches) = mpsc::unbounded_channel();
        let (inbox, counters) = (Arc::new(Inbox::default()), inlet.counters());
        let feeder = Feeder {
            inlet,
            patterns,
            passed_too: progress.is_some(),
            places: progress.as_ref().and_then(Progress::places),
            batches: sender,
            inbox: inbox.clone(),
            counters: counters.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(feeder.run()));
        Ok(Subscriber {
            batches,
            ready: VecDeque::new(),
            charged: 0,
            inbox,
            counters,
            acks: self.acks,
            taken: None,
            progress,
            letters,
            again,
            _task: task,
        })
    }

    /// Finds out where streams begin, and what is to be kept of them.
    fn remember(&mut self) -> Result<(Option<Progress>, Option<Letters>), CursorError> {
        let mut places = Places::new();
        let (mut cursor, mut letters) = (None, None);
        if let Some(name) = &self.name {
            let folder =
                cursor::folder(&self.state.clone().unwrap_or_else(state::default_folder), name);
            let directory = self.directory.borrow().clone();
            let (opened, found) = Cursor::open(&folder, || first_places(&directory, self.start))?;
            tell_unknown(name, &found, &directory);
            (cursor, places) = (Some(opened), found);
            letters = Some(Letters::within(&folder));
        }
        places.extend(self.resume.iter().map(|(key, at)| (*key, Place::At(*at))));
        self.options.begin = places.iter().map(|(key, place)| (*key, begin(*place))).collect();
        let since = match self.start {
            Start::Since(time) if self.name.is_none() => Some(wall_of(time)),
            _ => None,
        };
        self.options.others = match self.start {
            Start::Now if self.name.is_none() => inlet::Start::Now,
            _ => inlet::Start::Oldest,
        };
        let kept = cursor.is_some() || since.is_some();
        Ok((kept.then(|| Progress::new(&places, since, cursor)), letters))
    }
}

/// The places of a new cursor: of all keys that are known when its name is made. Those that appear
/// later have none, and begin with their oldest.
fn first_places(directory: &Directory, start: Start) -> Places {
    let place = match start {
        Start::Oldest => return Places::new(),
        Start::Now => Place::Now,
        Start::Since(time) => Place::Since { time: wall_of(time), at: Position::default() },
    };
    let keys = directory.services().flat_map(|(_, service)| &service.keys);
    keys.map(|key| (key.id(), place)).collect()
}

fn begin(place: Place) -> inlet::Start {
    match place {
        Place::Now => inlet::Start::Now,
        Place::At(at) | Place::Since { at, .. } => inlet::Start::At(at),
    }
}

fn tell_unknown(name: &Name, places: &Places, directory: &Directory) {
    let unknown: Vec<&KeyId> =
        places.keys().filter(|key| directory.speaker(**key).is_err()).collect();
    if !unknown.is_empty() {
        tracing::warn!(%name, ?unknown, "the directory does not list these keys of the cursor");
    }
}
