//! What the links of an inlet share: the directory, commits that were verified, and the horizon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use selvedge_core::directory::Directory;
use selvedge_core::open::{self, Budget, Cache, CommitId, Context, Hashed, Refusal, Trusted};
use selvedge_core::seal::Packet;
use selvedge_core::wire::Frames;
use selvedge_core::{KeyId, Position, Time};

use crate::counters::LinkCounters;

#[derive(Debug)]
pub struct Door {
    directory: ArcSwap<Directory>,
    /// Never locked while hashing.
    known: Mutex<Known>,
    counters: Arc<LinkCounters>,
}

#[derive(Debug, Default)]
struct Known {
    commits: Cache,
    horizon: BTreeMap<KeyId, Position>,
}

/// A packet that did not pass, as far as it can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: Refusal,
    pub key: Option<KeyId>,
    pub topic: String,
}

impl Door {
    pub fn new(directory: Arc<Directory>, counters: Arc<LinkCounters>) -> Door {
        Door { directory: ArcSwap::new(directory), known: Mutex::default(), counters }
    }

    /// From now on packets are judged by this directory.
    pub fn follow(&self, directory: Arc<Directory>) {
        self.directory.store(directory);
    }

    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Streams have come this far; one without a position is no longer heard.
    pub fn learn(&self, positions: impl Iterator<Item = (KeyId, Option<Position>)>) {
        let mut known = self.known();
        for (key, position) in positions {
            match position {
                Some(position) => known.horizon.insert(key, position),
                None => known.horizon.remove(&key),
            };
        }
    }

    /// Judges messages of a link, in order. True beside a packet: two commits share one number.
    pub fn open(
        &self,
        messages: Vec<Frames>,
        directory: &Directory,
        budget: &mut Budget,
        now: Time,
    ) -> Vec<Result<(Trusted, bool), Refused>> {
        let parsed = messages.into_iter().map(|frames| {
            let topic = frames.slice(0);
            Packet::parse(frames).map_err(|why| self.refused(why.into(), None, &topic))
        });
        let parsed: Vec<_> = parsed.collect();
        let known = self.known();
        let horizon = |packet: &Packet| known.horizon.get(&packet.header().key).copied();
        let horizons = parsed.iter().map(|packet| packet.as_ref().ok().and_then(horizon));
        let horizons: Vec<Option<Position>> = horizons.collect();
        drop(known);
        let cached = None; // asked for below: what one packet brings, the next one finds
        let checked = parsed.into_iter().zip(horizons).map(|(packet, horizon)| {
            let packet = packet?;
            let (key, topic) = (packet.header().key, packet.topic().clone());
            let context = Context { directory, horizon, cached, now };
            open::check(packet, &context, budget)
                .map_err(|why| self.refused(why, Some(key), topic.as_bytes()))
        });
        let hashed = open::hash(checked.collect());
        hashed.map(|hashed| self.verify(hashed?, directory, budget, now)).collect()
    }

    fn verify(
        &self,
        hashed: Hashed,
        directory: &Directory,
        budget: &mut Budget,
        now: Time,
    ) -> Result<(Trusted, bool), Refused> {
        let packet = hashed.packet();
        let (key, topic) = (packet.header().key, packet.topic().clone());
        let cached = self.known().commits.find(CommitId::of(packet)).copied();
        let context = Context { directory, horizon: None, cached: cached.as_ref(), now };
        let opened = hashed
            .verify(&context, budget)
            .map_err(|why| self.refused(why, Some(key), topic.as_bytes()))?;
        if let Some(verified) = opened.verified {
            self.known().commits.insert(verified);
        }
        if opened.fork {
            self.counters.fork();
        }
        Ok((opened.trusted, opened.fork))
    }

    fn refused(&self, why: Refusal, key: Option<KeyId>, topic: &[u8]) -> Refused {
        self.counters.refused(why);
        // Only for people: a hostile topic is cut and escaped.
        let topic = topic[..topic.len().min(64)].escape_ascii().to_string();
        Refused { why, key, topic }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
