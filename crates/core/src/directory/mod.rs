//! `endpoints.toml`: who speaks, with which keys, about what, and where to find him.
//!
//! A [`Directory`] is one consistent view that never changes. A [`Loader`] makes the next one out
//! of the files as they are now and keeps the last good form of whatever is wrong in them:
//!
//! - a file that cannot be read, is no TOML, or is wrong at its top level stays as it last was;
//! - an entry with anything wrong in it, defined twice, or with a key that another name has,
//!   stays as it last was, and nothing else is touched;
//! - `[revoked]` is the union over all readable files and counts at once, whatever else is wrong.
//!
//! [`check()`] looks at the same files with the same parser and adds what is legal but worth
//! knowing.

mod changes;
mod check;
mod endpoint;
mod entry;
mod entry_parse;
mod loader;
mod parse;
mod problem;
mod render;
mod scheme;
mod settle;

pub use changes::{Changes, Difference};
pub use check::{Report, check};
pub use endpoint::{BadEndpoint, Endpoint};
pub use entry::{BadValue, Date, Durability, Journal, Relay, Retain, Service, Via};
pub use loader::{File, Files, Loader, Update};
pub use problem::{Problem, Severity};
pub use scheme::{OutsideScheme, Scheme};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::KeyId;
use crate::seal::PublicKey;
use crate::topic::{Name, Pattern, Topic};
use entry::Form;

/// One consistent view of who speaks in a fabric. Never changes; callers share it in an [`Arc`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    fabric: Name,
    scheme: Option<Scheme>,
    services: BTreeMap<Name, Arc<Service>>,
    relays: BTreeMap<Name, Arc<Relay>>,
    speakers: BTreeMap<KeyId, Speaker>,
    revoked: BTreeSet<KeyId>,
}

/// Who a key belongs to, and what may be said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The service or relay.
    pub name: Name,
    /// What its seals are verified with.
    pub key: PublicKey,
    /// What it may say beside its `$tip` and `$state`; nothing if it is a relay.
    pub topics: Arc<[Pattern]>,
}

/// Why nobody may say anything with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSpeaker {
    /// No service or relay has it.
    #[error("no service or relay has this key")]
    Unknown,
    /// It is listed under `[revoked]`.
    #[error("this key is revoked")]
    Revoked,
}

impl Speaker {
    /// Whether it may say `topic`: one of its patterns, or `$tip.NAME` or `$state.NAME` of its own.
    pub fn may_say(&self, topic: &Topic) -> bool {
        if !topic.is_reserved() {
            return self.topics.iter().any(|pattern| pattern.matches(topic));
        }
        let text = topic.as_str();
        let own = text.strip_prefix("$tip.").or_else(|| text.strip_prefix("$state."));
        own == Some(self.name.as_str())
    }
}

impl Directory {
    /// Reads a single text without fault.
    ///
    /// # Errors
    /// All problems, if one of them is an error.
    pub fn from_text(file: &str, text: &str) -> Result<Directory, Vec<Problem>> {
        let update = Loader::new().update(crate::Time(0), &Files::one(file, text));
        let good = update.problems.iter().all(|problem| problem.severity > Severity::Error);
        match update.directory {
            Some(directory) if good => Ok(Arc::unwrap_or_clone(directory)),
            _ => Err(update.problems),
        }
    }

    /// `entries` have no key in common.
    fn new<'a>(
        fabric: Name,
        scheme: Option<Scheme>,
        entries: impl Iterator<Item = (&'a Name, &'a Form)>,
        revoked: BTreeSet<KeyId>,
    ) -> Directory {
        let (mut services, mut relays) = (BTreeMap::new(), BTreeMap::new());
        let mut speakers = BTreeMap::new();
        let silent: Arc<[Pattern]> = Arc::new([]);
        for (name, form) in entries {
            let topics = match form {
                Form::Service(service) => {
                    services.insert(name.clone(), service.clone());
                    &service.topics
                }
                Form::Relay(relay) => {
                    relays.insert(name.clone(), relay.clone());
                    &silent
                }
            };
            speakers.extend(form.keys().iter().map(|key| {
                (key.id(), Speaker { name: name.clone(), key: *key, topics: topics.clone() })
            }));
        }
        Directory { fabric, scheme, services, relays, speakers, revoked }
    }

    /// What is signed into every message: one name for each environment.
    pub fn fabric(&self) -> &Name {
        &self.fabric
    }

    /// What a topic must look like, if anyone cares.
    pub fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = (&Name, &Service)> {
        self.services.iter().map(|(name, service)| (name, &**service))
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name).map(|service| &**service)
    }

    /// All relays, by name.
    pub fn relays(&self) -> impl Iterator<Item = (&Name, &Relay)> {
        self.relays.iter().map(|(name, relay)| (name, &**relay))
    }

    /// The relay of this name.
    pub fn relay(&self, name: &str) -> Option<&Relay> {
        self.relays.get(name).map(|relay| &**relay)
    }

    /// Who speaks with this key.
    ///
    /// # Errors
    /// [`NoSpeaker`]: nobody does, or nobody does any more.
    pub fn speaker(&self, id: KeyId) -> Result<&Speaker, NoSpeaker> {
        if self.revoked.contains(&id) {
            return Err(NoSpeaker::Revoked);
        }
        self.speakers.get(&id).ok_or(NoSpeaker::Unknown)
    }

    /// All revoked keys, whether or not anyone still has them.
    pub fn revoked(&self) -> impl Iterator<Item = KeyId> {
        self.revoked.iter().copied()
    }

    /// The services that may say a topic that matches `pattern`: those worth connecting to.
    pub fn who_may_say<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = &'a Name> {
        let said = |s: &Service| s.topics.iter().any(|topics| topics.intersects(pattern));
        self.services.iter().filter(move |(_, service)| said(service)).map(|(name, _)| name)
    }

    /// The relays that carry a topic that matches `pattern`.
    pub fn who_carries<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = &'a Name> {
        let carried = |r: &Relay| r.carries.iter().any(|carries| carries.intersects(pattern));
        self.relays.iter().filter(move |(_, relay)| carried(relay)).map(|(name, _)| name)
    }
}
