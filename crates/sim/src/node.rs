//! A node: a publisher, a relay or a subscriber, out of the same three machines, with a disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use selvedge_core::author::{self, Author};
use selvedge_core::fanout::{self, FanOut};
use selvedge_core::seal::{Identity, SecretKey};
use selvedge_core::subscriber::Subscriber;
use selvedge_core::topic::{Name, Pattern};
use selvedge_core::{KeyId, Position, Time};
use selvedge_journal::OpenError;
use selvedge_journal::disk::Sim;

use crate::app::App;
use crate::epochs::Epochs;
use crate::store::{Room, Step, Store};

/// What a node is while it runs, and what it has when it does not.
pub struct Node {
    pub name: String,
    pub kind: Kind,
    /// Whether the directory lists it yet; matters for publishers.
    pub listed: bool,
    pub up: bool,
    /// How often it was started: what was scheduled for an earlier start does not happen.
    pub life: u32,
    pub disk: Sim,
    /// Which run of the machine this is.
    pub boot: u64,
    /// How far its wall clock is off.
    pub offset: i64,
    pub epochs: Epochs,
    pub fanout: FanOut,
    pub author: Option<Author>,
    pub subscriber: Option<Subscriber>,
    pub store: Option<Store>,
    pub app: App,
    /// What waits to be written, and whether something is being written.
    pub steps: VecDeque<Step>,
    pub writing: bool,
    /// Until when its journal's thread is known to be busy.
    pub written_at: u64,
    /// Where what an archive holds of each stream ends, and what is to follow begins.
    pub since: BTreeMap<KeyId, Position>,
    /// Streams that are to begin now, once they are heard.
    pub now: BTreeSet<KeyId>,
    /// Messages that were accepted in this life, and which of them have to be on the disk before
    /// they are sent.
    pub accepted: u64,
    pub logged: BTreeSet<u64>,
    pub looked: u64,
    pub closing: bool,
    /// Handles nothing until then.
    pub naps_until: u64,
    /// It never comes back.
    pub retired: bool,
    /// Something in its journal was damaged or let go.
    pub ailing: bool,
    /// What lies before was let go.
    pub kept_from: Position,
}

/// What a node is, running or not.
#[derive(Clone)]
pub enum Kind {
    Publisher(Publisher),
    Relay { lies: Lies, keeps: bool },
    Subscriber { wanted: Vec<Pattern>, cursor: Option<First> },
}

#[derive(Clone)]
pub struct Publisher {
    pub identity: Identity,
    pub pack: usize,
    /// Whether it has a journal.
    pub keeps: bool,
    /// Of a hundred bursts, so many wait for the disk.
    pub logs: u64,
}

/// Where a new cursor begins with the streams that it knows then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    Oldest,
    Now,
}

/// How a relay lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lies {
    #[default]
    Never,
    /// It keeps packets back, and its MARKs pass them.
    Withholds,
    /// Its MARKs pass what it has not got yet.
    Anticipates,
}

/// What nobody in the world gets wrong.
pub fn identity(name: &str, seed: u8) -> Identity {
    Identity {
        fabric: "sim".parse().unwrap(),
        publisher: name.parse().unwrap(),
        key: SecretKey::from_seed(&[seed; 32]),
    }
}

impl Node {
    pub fn new(name: &str, kind: Kind) -> Node {
        Node {
            name: name.to_owned(),
            kind,
            listed: true,
            up: false,
            life: 0,
            disk: Sim::new(0),
            boot: 0,
            offset: 0,
            epochs: Epochs::default(),
            fanout: FanOut::default(),
            author: None,
            subscriber: None,
            store: None,
            app: App::default(),
            steps: VecDeque::new(),
            writing: false,
            written_at: 0,
            since: BTreeMap::new(),
            now: BTreeSet::new(),
            accepted: 0,
            logged: BTreeSet::new(),
            looked: 0,
            closing: false,
            naps_until: 0,
            retired: false,
            ailing: false,
            kept_from: Position::default(),
        }
    }

    /// Starts it with what its disk holds. `wall` is its clock, `reuses` the epoch that it had.
    pub fn start(&mut self, room: Room, queue_bytes: usize, wall: u64, reuses: bool) -> Started {
        let open = || Store::open(&self.disk, &self.name, room);
        self.store = self.keeps().then(open).transpose()?;
        let journal = self.store.is_some();
        let config = fanout::Config { queue_bytes, queues_bytes: 4 * queue_bytes, journal };
        (self.up, self.fanout) = (true, FanOut::new(config));
        self.life += 1;
        (self.steps, self.writing, self.written_at) = (VecDeque::new(), false, 0);
        (self.accepted, self.logged, self.closing) = (0, BTreeSet::new(), false);
        self.since.clear();
        match self.kind.clone() {
            Kind::Publisher(publisher) => self.author = Some(self.speak(&publisher, wall, reuses)),
            _ => {
                self.subscriber = Some(Subscriber::new(self.wanted()));
                self.since = self.store.as_ref().map(Store::ends).unwrap_or_default();
                self.app = App::open(&self.disk);
            }
        }
        Ok(())
    }

    fn speak(&mut self, publisher: &Publisher, wall: u64, reuses: bool) -> Author {
        let key = publisher.identity.key_id();
        let held = self.store.as_ref().map(|store| store.epochs(key));
        let newest = self.epochs.newest();
        let (mut epoch, mut earlier) = self.epochs.begin(wall, held.as_ref(), self.boot);
        if let Some(newest) = newest.filter(|_| reuses) {
            epoch = newest;
            earlier.retain(|end| end.epoch != newest);
        }
        let sent = Position::new(epoch, 0);
        let store = self.store.as_ref();
        Author::new(author::Config {
            key,
            publisher: publisher.identity.publisher.clone(),
            epoch,
            oldest: store.map(|store| store.oldest(key).unwrap_or(sent)),
            voids: store.map_or(Vec::new(), |store| store.voids(key, &earlier)),
            earlier,
            pack: publisher.pack,
            jitter: epoch,
        })
    }

    /// Whether it keeps a journal.
    pub fn keeps(&self) -> bool {
        match &self.kind {
            Kind::Publisher(publisher) => publisher.keeps,
            Kind::Relay { keeps, .. } => *keeps,
            Kind::Subscriber { .. } => false,
        }
    }

    /// Whether it goes on where it was after a restart, and where it begins with a new stream.
    pub fn remembers(&self) -> Option<First> {
        match &self.kind {
            Kind::Subscriber { cursor, .. } => *cursor,
            _ => (self.keeps() && self.key().is_none()).then_some(First::Oldest),
        }
    }

    /// Where it goes on with each stream after a restart.
    pub fn places(&self) -> &BTreeMap<KeyId, Position> {
        match &self.kind {
            Kind::Subscriber { .. } => &self.app.places,
            _ => &self.since,
        }
    }

    pub fn wanted(&self) -> Vec<Pattern> {
        match &self.kind {
            Kind::Publisher(_) => Vec::new(),
            Kind::Relay { .. } => vec![Pattern::all()],
            Kind::Subscriber { wanted, .. } => wanted.clone(),
        }
    }

    /// What it subscribes to on the wire.
    pub fn prefixes(&self) -> Vec<String> {
        let mut prefixes: Vec<String> =
            self.wanted().iter().map(|pattern| pattern.wire_prefix().to_owned()).collect();
        prefixes.push("$tip.".to_owned());
        prefixes
    }

    /// The stream that it speaks on.
    pub fn key(&self) -> Option<KeyId> {
        match &self.kind {
            Kind::Publisher(publisher) => Some(publisher.identity.key_id()),
            _ => None,
        }
    }

    /// Under which name.
    pub fn publisher(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Publisher(publisher) => Some(&publisher.identity.publisher),
            _ => None,
        }
    }

    /// When it wants to be ticked.
    pub fn deadline(&self) -> Option<Time> {
        if !self.up {
            return None;
        }
        let author = self.author.as_ref().and_then(Author::deadline);
        let subscriber = self.subscriber.as_ref().and_then(Subscriber::deadline);
        [author, subscriber, self.fanout.deadline()].into_iter().flatten().min()
    }
}

type Started = Result<(), OpenError>;
