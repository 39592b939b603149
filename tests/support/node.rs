//! A node: a publisher, a relay or a subscriber, out of the same three machines.

use selvedge_core::author::{self, Author};
use selvedge_core::fanout::{self, FanOut};
use selvedge_core::seal::{EpochEnd, Identity, SecretKey};
use selvedge_core::subscriber::Subscriber;
use selvedge_core::topic::Pattern;
use selvedge_core::{KeyId, Time};

/// What a node is while it runs.
pub struct Node {
    pub name: String,
    pub kind: Kind,
    pub up: bool,
    pub fanout: FanOut,
    pub author: Option<Author>,
    pub subscriber: Option<Subscriber>,
}

/// What a node is, running or not.
#[derive(Clone)]
pub enum Kind {
    Publisher(Publisher),
    Relay { lies: Lies },
    Subscriber { wanted: Vec<Pattern> },
}

#[derive(Clone)]
pub struct Publisher {
    pub identity: Identity,
    pub epoch: u64,
    /// How earlier epochs ended, as far as this one remembers.
    pub ends: Vec<EpochEnd>,
    pub pack: usize,
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
        let fanout = FanOut::new(fanout::Config::default());
        let name = name.to_owned();
        Node { name, kind, up: false, fanout, author: None, subscriber: None }
    }

    /// Starts it without any memory but its publisher's epochs.
    pub fn start(&mut self, queue_bytes: usize, jitter: u64) {
        let config = fanout::Config { queue_bytes, queues_bytes: 4 * queue_bytes, journal: false };
        (self.up, self.fanout) = (true, FanOut::new(config));
        match &self.kind {
            Kind::Publisher(publisher) => {
                self.author = Some(Author::new(author::Config {
                    key: publisher.identity.key_id(),
                    publisher: publisher.identity.publisher.clone(),
                    epoch: publisher.epoch,
                    earlier: publisher.ends.clone(),
                    oldest: None,
                    voids: Vec::new(),
                    pack: publisher.pack,
                    jitter,
                }));
            }
            _ => self.subscriber = Some(Subscriber::new(self.wanted())),
        }
    }

    pub fn wanted(&self) -> Vec<Pattern> {
        match &self.kind {
            Kind::Publisher(_) => Vec::new(),
            Kind::Relay { .. } => vec![Pattern::all()],
            Kind::Subscriber { wanted } => wanted.clone(),
        }
    }

    /// What it subscribes to on the wire.
    pub fn prefixes(&self) -> Vec<String> {
        let mut prefixes: Vec<String> =
            self.wanted().iter().map(|pattern| pattern.wire_prefix().to_owned()).collect();
        prefixes.push("$tip.".to_owned());
        prefixes
    }

    pub fn key(&self) -> Option<KeyId> {
        match &self.kind {
            Kind::Publisher(publisher) => Some(publisher.identity.key_id()),
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
