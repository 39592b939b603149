//! From the fabric: publishers' journals, and relays'.
//!
//! A stream is through when it has come as far as its publisher went when he first had told all
//! that he holds, or else all relays that bring it; or past the end of the range. One that does not
//! move for so long as one may wait is given up and named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use selvedge::directory::{Directory, Journal, Watched};
use selvedge::inlet::{self, Inlet, Reach, Start};
use selvedge::{KeyId, Message, Name, Pattern, Position};
use selvedge_core::subscriber::{Delivery, Output};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::range::{Filter, Item, Lies, Range};
use crate::commands::tail::lost_words;
use crate::{notices, output};

/// Bytes that may wait while streams are merged by time; then the order is given up.
const MERGE_BYTES: usize = 64 << 20;

/// Before every message; how far whoever knows nothing of a stream says that it goes.
const NOWHERE: Position = Position::new(0, 0);

/// What is asked of the fabric.
#[derive(Debug)]
pub struct Asked {
    pub patterns: Vec<Pattern>,
    /// Only through these relays; none: directly, and through all relays that keep a journal.
    pub via: Vec<Name>,
    pub range: Range,
    /// How long a stream may stand still.
    pub wait: Duration,
    /// All streams by the times of their messages, not each as it comes.
    pub by_time: bool,
}

/// Streams that are heard from the range's beginning to its end.
#[derive(Debug)]
pub struct Fabric {
    /// Dropped first: that links go down in the end is no news.
    _told: AbortOnDropHandle<()>,
    inlet: Inlet,
    _watched: Watched,
    patterns: Vec<Pattern>,
    range: Range,
    filter: Filter,
    wait: Duration,
    began: Instant,
    streams: BTreeMap<KeyId, Stream>,
    outputs: Vec<Output>,
    merge: Option<Merge>,
    ended: bool,
}

#[derive(Debug)]
struct Stream {
    publisher: Name,
    at: Position,
    /// When it came there.
    moved: Instant,
    /// Where it is through, once all links have said how far they go.
    limit: Option<Position>,
    is_open: bool,
}

impl Fabric {
    /// Begins to ask. Must be called within a tokio runtime.
    pub fn ask(watched: Watched, asked: Asked) -> Fabric {
        let (notices, told) = notices::channel();
        let told = tokio::spawn(notices::tell_each(told, |line| output::say(&line.text)));
        let Asked { patterns, via, range, wait, by_time } = asked;
        let directory = watched.directory.borrow().clone();
        let mut options = inlet::Options {
            patterns: patterns.clone(),
            from: range.publisher().cloned().into_iter().collect(),
            direct: via.is_empty(),
            via: if via.is_empty() { archives(&directory) } else { via },
            others: Start::Oldest,
            gather: wait / 2, // the rest is for their answers
            notices,
            ..inlet::Options::default()
        };
        if let (Some(name), Some(first)) = (range.publisher(), range.first())
            && let Some(service) = directory.service(name.as_str())
        {
            let begin = service.keys.iter().map(|key| (key.id(), Start::At(first)));
            options.begin = begin.collect();
        }
        let mut fabric = Fabric {
            _told: AbortOnDropHandle::new(told),
            inlet: Inlet::new(watched.directory.clone(), options),
            _watched: watched,
            patterns,
            filter: Filter::new(range.clone()),
            range,
            wait,
            began: Instant::now(),
            streams: BTreeMap::new(),
            outputs: Vec::new(),
            merge: by_time.then(Merge::default),
            ended: false,
        };
        fabric.limit(&fabric.inlet.reach());
        fabric.ended = fabric.streams.is_empty();
        fabric
    }

    /// So long nothing was taken: that no stream moved means nothing.
    pub fn rested(&mut self, time: Duration) {
        self.streams.values_mut().for_each(|stream| stream.moved += time);
    }

    /// What comes next; none once all streams are through or given up. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<Item>> {
        loop {
            if self.ended {
                return None;
            }
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = self.inlet.turn(&mut self.outputs) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            let items = self.turned();
            if !items.is_empty() {
                return Some(items);
            }
        }
    }

    fn turned(&mut self) -> Vec<Item> {
        let reaches = self.inlet.reach();
        let mut items = Vec::new();
        self.limit(&reaches);
        for output in std::mem::take(&mut self.outputs) {
            self.take(output, &mut items);
        }
        self.judge(&reaches, &mut items);
        self.ended = self.streams.values().all(|stream| !stream.is_open);
        if self.ended {
            self.filter.end(&mut items);
            // What a publisher has forgotten nobody could know to be missing.
            let silent = silent_relays(&reaches);
            let text =
                |name| format!("{name} did not answer: what only it still holds is left out");
            items.extend(silent.into_iter().map(|name| Item::Note(text(name))));
        }
        let Some(merge) = &mut self.merge else { return items };
        merge.add(items);
        let open = self.streams.iter().filter(|(_, stream)| stream.is_open);
        merge.take(open.map(|(key, _)| *key).collect())
    }

    /// Learns where streams end.
    fn limit(&mut self, reaches: &[Reach]) {
        let now = Instant::now();
        for reach in reaches {
            let stream = self.streams.entry(reach.key).or_insert_with(|| Stream {
                publisher: reach.publisher.clone(),
                at: Position::default(),
                moved: now,
                limit: None,
                is_open: true,
            });
            if stream.limit.is_none_or(|limit| limit == NOWHERE) {
                // Nobody knows better than the publisher himself.
                let own = reach.links.iter().find(|(name, _)| *name == reach.publisher);
                let all = || reach.links.iter().map(|(_, told)| *told).collect::<Option<Vec<_>>>();
                let own = own.and_then(|(_, told)| *told);
                stream.limit = own.or_else(|| all()?.into_iter().max());
            }
        }
    }

    fn take(&mut self, output: Output, items: &mut Vec<Item>) {
        match output {
            Output::Deliver(delivery) => self.deliver(&delivery, items),
            Output::Lost(lost) if self.is_open(lost.key) => {
                let (name, reason) = (lost.publisher.to_string(), lost.reason.label());
                let words = |from, to| lost_words(&name, from, to, reason);
                self.filter.lost(lost.key, lost.from, lost.to, words, items);
            }
            _ => {}
        }
    }

    fn deliver(&mut self, delivery: &Delivery, items: &mut Vec<Item>) {
        if !self.is_open(delivery.key) {
            return;
        }
        let limit = self.streams.get(&delivery.key).and_then(|stream| stream.limit);
        let mut all_after = true;
        for message in Message::all(delivery.clone()) {
            let is_wanted = self.patterns.iter().any(|pattern| pattern.matches(message.topic()));
            if is_wanted && limit.is_none_or(|limit| message.position < limit) {
                all_after &= self.filter.message(message, items) == Lies::After;
            } else {
                all_after &= is_wanted;
            }
        }
        if all_after && let Some(stream) = self.streams.get_mut(&delivery.key) {
            stream.is_open = false;
        }
    }

    fn is_open(&self, key: KeyId) -> bool {
        self.streams.get(&key).is_none_or(|stream| stream.is_open)
    }

    /// Closes the streams that are through, and gives up those that stand still.
    fn judge(&mut self, reaches: &[Reach], items: &mut Vec<Item>) {
        let now = Instant::now();
        let waited = now >= self.began + self.wait;
        for (key, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.is_open) {
            let Some(reach) = reaches.iter().find(|reach| reach.key == *key) else {
                stream.is_open = false; // no longer in the directory, and that was told
                continue;
            };
            let at = reach.at.unwrap_or_default();
            if at != stream.at {
                (stream.at, stream.moved) = (at, now);
            }
            let told = reach.links.iter().filter_map(|(_, told)| *told).max();
            let upto = stream.limit.or(told.filter(|_| waited));
            // Of a key that it does not use a publisher may know nothing; a relay should.
            let is_own = |link: &(Name, Option<Position>)| link.0 == stream.publisher;
            let upto = upto.filter(|at| *at != NOWHERE || reach.links.iter().any(is_own));
            let end = self.range.end();
            if upto.is_some_and(|upto| at >= upto) || end.is_some_and(|end| at >= end) {
                stream.is_open = false;
            } else if now >= stream.moved + self.wait {
                stream.is_open = false;
                let text = given_up(&stream.publisher, at, told, &reach.links);
                items.push(Item::Bad { key: Some(*key), text });
            }
        }
    }

    fn deadline(&self) -> Instant {
        let open = self.streams.values().filter(|stream| stream.is_open);
        let due = open.map(|stream| stream.moved + self.wait).min();
        due.unwrap_or(self.began + self.wait)
    }
}

/// The relays that can have what a publisher that is gone has said.
fn archives(directory: &Directory) -> Vec<Name> {
    let keeps = directory.relays().filter(|(_, relay)| relay.journal != Journal::Off);
    keeps.map(|(name, _)| name.clone()).collect()
}

/// The relays that were asked in vain.
fn silent_relays(reaches: &[Reach]) -> BTreeSet<&Name> {
    let links = reaches.iter().flat_map(|reach| {
        let relays = reach.links.iter().filter(|(name, _)| *name != reach.publisher);
        relays.map(|(name, told)| (name, told.is_some()))
    });
    let links: Vec<(&Name, bool)> = links.collect();
    let answered: BTreeSet<&Name> = links.iter().filter(|link| link.1).map(|link| link.0).collect();
    links.into_iter().map(|link| link.0).filter(|name| !answered.contains(name)).collect()
}

fn given_up(
    name: &Name,
    at: Position,
    told: Option<Position>,
    links: &[(Name, Option<Position>)],
) -> String {
    let asked: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
    let asked = asked.join(", ");
    match told {
        Some(NOWHERE) => format!("nothing of {name} came: {asked} knows nothing of it"),
        Some(told) => format!("{name} went no further than {name}/{at} of {name}/{told}"),
        None if at == NOWHERE => {
            format!("nothing of {name} came: no answer from {asked}")
        }
        None => format!("{name} went no further than {name}/{at}: no answer from {asked}"),
    }
}

/// Streams in the order of their messages' times, as far as each is in order itself.
#[derive(Debug, Default)]
struct Merge {
    queues: BTreeMap<KeyId, VecDeque<Item>>,
    bytes: usize,
}

impl Merge {
    fn add(&mut self, items: Vec<Item>) {
        for item in items {
            self.bytes += cost(&item);
            let key = match &item {
                Item::Message(message) => message.key,
                Item::Bad { key, .. } => key.unwrap_or(KeyId(0)),
                Item::Note(_) => KeyId(0),
            };
            self.queues.entry(key).or_default().push_back(item);
        }
    }

    /// What nothing earlier can come before, given that something of `open` streams will.
    fn take(&mut self, open: Vec<KeyId>) -> Vec<Item> {
        let mut items = Vec::new();
        while self.bytes > MERGE_BYTES || open.iter().all(|key| self.queues.contains_key(key)) {
            let time = |item: &Item| match item {
                Item::Message(message) => Some(message.time),
                Item::Bad { .. } | Item::Note(_) => None,
            };
            let earliest = self.queues.iter().min_by_key(|(_, queue)| queue.front().map(time));
            let Some(key) = earliest.map(|(key, _)| *key) else { break };
            let Some(queue) = self.queues.get_mut(&key) else { break };
            items.extend(queue.pop_front().inspect(|item| self.bytes -= cost(item)));
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
        items
    }
}

/// About what an item takes.
fn cost(item: &Item) -> usize {
    match item {
        Item::Message(message) => 256 + message.body.len(),
        Item::Bad { text, .. } | Item::Note(text) => text.len(),
    }
}
