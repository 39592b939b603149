//! Does a journal keep what it promises, whatever the disk and its process go through?
//!
//! Each history is a seed: appends, syncs, power cuts, kills, full and failing disks, flipped bits,
//! retention. After each reopening what is held is compared with what must be, and what may be.
//! `SEED=n` reruns one with its trace.

#[path = "../crates/sim/src/random.rs"]
#[allow(dead_code)]
mod random;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use random::Random;
use selvedge_journal::disk::Sim;
use selvedge_journal::{
    AppendError, Chunk, Item, Journal, Options, Owner, Place, Record, Span, inspect, scan,
};

const FOLDER: &str = "/state/journal";
const HISTORIES: u64 = 400;
const STEPS: u64 = 60;

/// What was appended, and how sure it is.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    upto: Place,
    body: Vec<u8>,
    time_us: u64,
    durable: bool,
    /// Lost by a failed sync, and found again: nothing can make sure of it, for the kernel takes it
    /// for written.
    ghost: bool,
}

type Model = BTreeMap<(u64, Place), Kept>;

struct History {
    random: Random,
    disk: Sim,
    journal: Option<Journal>,
    model: Model,
    /// What a failed sync lost while the disk took nothing else either: until something later is
    /// durable, a reopened journal may find it after all.
    ghosts: Model,
    /// Something was appended since.
    later: bool,
    /// The next place of each stream; they are never used twice but after an error.
    next: [Place; 3],
    clock: u64,
    /// How often something of interest happened, by its name.
    seen: BTreeMap<&'static str, u64>,
    trace: Vec<String>,
}

impl History {
    fn new(seed: u64) -> History {
        let mut history = History {
            random: Random::new(seed),
            disk: Sim::new(seed),
            journal: None,
            model: Model::new(),
            ghosts: Model::new(),
            later: false,
            next: [Place::new(1, 0); 3],
            clock: 0,
            seen: BTreeMap::new(),
            trace: Vec::new(),
        };
        history.open();
        history
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(100) {
                0..45 => self.append(),
                45..65 => self.sync(),
                65..72 => self.crash(),
                72..79 => self.kill(),
                79..83 => self.close(),
                83..87 => self.flip(),
                87..90 => self.retain(),
                90..94 => self.full(),
                94..97 => self.fail_syncs(),
                97..98 => self.read_only(),
                _ => self.read_somewhere(),
            }
            self.compare();
        }
        self.crash();
        self.compare();
    }

    fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
        self.trace.push(what.to_owned());
    }

    fn open(&mut self) {
        let owner = Owner { fabric: "f".into(), name: "n".into(), key: [1; 32] };
        let segment_bytes = 12 << 10;
        let retain_bytes = Some(60 << 10);
        let options = Options { segment_bytes, retain_bytes, ..Options::new(owner) };
        self.disk.set_capacity(u64::MAX);
        self.disk.set_read_only(false);
        self.disk.fail_syncs(u32::from(self.random.percent(20)));
        let disk = Arc::new(self.disk.clone());
        self.journal = None;
        self.journal = Some(Journal::open(disk, Path::new(FOLDER), options).unwrap());
        let held = self.held();
        self.model.extend(
            std::mem::take(&mut self.ghosts)
                .into_iter()
                .filter(|(key, ghost)| held.get(key).is_some_and(|held| held.body == ghost.body)),
        );
        // Opening makes durable what it found.
        self.model.values_mut().for_each(|kept| kept.durable = !kept.ghost);
    }

    fn append(&mut self) {
        let mut batch = Vec::new();
        let mut next = self.next;
        for _ in 0..self.random.within(1, 6) {
            let stream = self.random.below(3);
            let at = &mut next[stream as usize];
            match self.random.below(20) {
                0 => *at = Place::new(at.epoch + 1, 0),
                1 => at.seq += self.random.within(1, 9),
                _ => {}
            }
            let from = *at;
            at.seq += self.random.within(1, 40);
            self.clock += 1;
            let (upto, time_us, body) = (*at, self.clock, self.body());
            batch
                .push(((stream, from), Kept { upto, body, time_us, durable: false, ghost: false }));
        }
        let bodies: Vec<_> =
            batch.iter().map(|(_, kept)| [Bytes::from(kept.body.clone())]).collect();
        let records = batch.iter().zip(&bodies).map(|(((stream, from), kept), body)| {
            let (stream, from, upto, time_us) = (*stream, *from, kept.upto, kept.time_us);
            Record { stream, from, upto, time_us, preamble: b"who", body }
        });
        let records: Vec<_> = records.collect();
        match self.journal.as_mut().unwrap().append(&records) {
            Ok(()) => {
                self.note("append");
                self.next = next;
                self.model.extend(batch);
                self.later = true;
            }
            Err(AppendError::Lost { lost, .. }) => self.lose(&lost),
            Err(AppendError::Write { .. }) => {
                self.note("append refused");
                self.disk.set_capacity(u64::MAX);
                self.disk.set_read_only(false);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Random bytes; or the image of a segment, with all its records.
    fn body(&mut self) -> Vec<u8> {
        if self.random.percent(5) {
            let files = inspect(&self.disk, Path::new(FOLDER)).unwrap();
            let image = files.last().and_then(|file| self.disk.contents(file));
            let mut image = image.unwrap_or_default();
            image.truncate(9000);
            return image.split_off(image.len().min(4096));
        }
        let len = *self.random.pick(&[0, 1, 100, 300, 600, 3000]);
        (0..len).map(|_| self.random.next() as u8).collect()
    }

    fn lose(&mut self, lost: &[Span]) {
        self.note("lost by a failed sync");
        let gone = |stream, from| {
            lost.iter().any(|span| span.stream == stream && span.from <= from && from < span.upto)
        };
        for ((stream, from), kept) in &self.model {
            assert!(!(gone(*stream, *from) && kept.durable), "a durable record is lost");
        }
        self.later = false;
        for (key, kept) in std::mem::take(&mut self.model) {
            match gone(key.0, key.1) {
                true => self.ghosts.insert(key, Kept { ghost: true, ..kept }),
                false => self.model.insert(key, kept),
            };
        }
    }

    fn sync(&mut self) {
        match self.journal.as_mut().unwrap().sync() {
            Ok(()) => {
                self.note("sync");
                if self.later {
                    self.ghosts.clear();
                }
                self.model.values_mut().for_each(|kept| kept.durable = !kept.ghost);
            }
            Err(AppendError::Lost { lost, .. }) => self.lose(&lost),
            Err(error) => panic!("{error}"),
        }
    }

    fn crash(&mut self) {
        self.disk = self.disk.crash();
        let before = self.model.clone();
        self.open();
        // Opening declared all of it durable: what was not may be missing.
        let held = self.held();
        for (key, kept) in before {
            if !kept.durable && !held.contains_key(&key) {
                self.model.remove(&key);
                self.note("lost by a power cut");
            }
        }
        self.note("power cut");
    }

    fn kill(&mut self) {
        self.disk = self.disk.kill();
        self.open();
        self.note("kill");
    }

    fn close(&mut self) {
        self.disk.set_read_only(false);
        match self.journal.take().unwrap().close() {
            Ok(()) => {}
            Err(AppendError::Lost { lost, .. }) => self.lose(&lost),
            Err(AppendError::Write { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.open();
        self.note("close");
    }

    /// One bit, somewhere in a segment's records: whatever it hits, that is lost and no more.
    fn flip(&mut self) {
        let files = inspect(&self.disk, Path::new(FOLDER)).unwrap();
        if files.is_empty() {
            return;
        }
        let file = self.random.pick(&files).clone();
        let walk = scan(&self.disk, &file).unwrap();
        let mut items: Vec<_> = walk.collect();
        items.retain(|(_, item)| !matches!(item, Item::Damage { .. }));
        let Some((offset, item)) = items.get(self.random.below(items.len() as u64) as usize) else {
            return;
        };
        let len = match item {
            Item::Record { entry, .. } => 64 + entry.body.len(),
            Item::Preamble { preamble, .. } => 64 + preamble.len(),
            _ => 64,
        };
        let bit = offset * 8 + self.random.below(len as u64 * 8);
        // Of what was written again after a failed sync, the older copy does not count any more.
        let has = |file| scan(&self.disk, file).unwrap().any(|(_, other)| other == *item);
        let counts = files.iter().rfind(|file| has(file)) == Some(&file);
        assert!(self.disk.flip(&file, bit));
        if let Item::Record { stream, entry } = item
            && counts
        {
            let key = (*stream, entry.from);
            if self.model.get(&key).is_some_and(|kept| kept.body == entry.body[..]) {
                self.model.remove(&key);
            }
        }
        self.note("flip");
        self.kill();
    }

    fn retain(&mut self) {
        let journal = self.journal.as_mut().unwrap();
        if journal.retain(0).is_ok_and(|retained| retained.segments > 0) {
            let held = self.held();
            self.model.retain(|key, _| held.contains_key(key));
            assert!(self.journal.as_ref().unwrap().reader().bytes() < 80 << 10);
            self.note("retention");
        }
    }

    fn full(&mut self) {
        let files = inspect(&self.disk, Path::new(FOLDER)).unwrap();
        let used = files.iter().map(|file| self.disk.contents(file).unwrap().len() as u64);
        let room = *self.random.pick(&[0, 100, 1_000, 5_000]);
        self.disk.set_capacity(used.sum::<u64>() + room);
        self.note("full");
    }

    fn fail_syncs(&mut self) {
        self.disk.fail_syncs(*self.random.pick(&[1, 1, 2]));
        self.note("failing sync");
    }

    fn read_only(&mut self) {
        self.disk.set_read_only(true);
        self.note("read-only");
    }

    /// Any range, in chunks of any size, is what the model says.
    fn read_somewhere(&mut self) {
        let stream = self.random.below(3);
        let keys: Vec<_> = self.model.keys().filter(|key| key.0 == stream).copied().collect();
        if keys.is_empty() {
            return;
        }
        let (a, b) = (*self.random.pick(&keys), *self.random.pick(&keys));
        let (from, upto) = (a.1.min(b.1), a.1.max(b.1));
        let max_bytes = *self.random.pick(&[1, 700, 5_000, 100_000]);
        let read = read(self.journal.as_ref().unwrap(), stream, from, upto, max_bytes);
        let expected = self.model.range((stream, Place::default())..(stream, upto));
        let expected: Vec<_> = expected.filter(|(_, kept)| kept.upto > from).collect();
        let keys = |found: &Model| found.keys().copied().collect::<Vec<_>>();
        assert_eq!(keys(&read), expected.iter().map(|(key, _)| **key).collect::<Vec<_>>());
        self.note("read");
    }

    /// Everything that the journal holds.
    fn held(&self) -> Model {
        let journal = self.journal.as_ref().unwrap();
        let end = Place::new(u64::MAX, u64::MAX);
        (0..3).flat_map(|stream| read(journal, stream, Place::default(), end, 1 << 20)).collect()
    }

    /// What is held is what must be: nothing else, nothing less, and `held` says so.
    fn compare(&mut self) {
        let held = self.held();
        let only = |of: &Model, not: &Model| -> Vec<_> {
            of.keys().filter(|key| !not.contains_key(key)).copied().collect()
        };
        let (more, less) = (only(&held, &self.model), only(&self.model, &held));
        assert!(more.is_empty() && less.is_empty(), "too many: {more:?}, missing: {less:?}");
        for (key, kept) in &self.model {
            let found = &held[key];
            let same = (found.upto, found.time_us) == (kept.upto, kept.time_us);
            assert!(same && found.body == kept.body, "another record at {key:?}");
        }
        let reader = self.journal.as_ref().unwrap().reader();
        for stream in 0..3 {
            let mut joined: Vec<(Place, Place)> = Vec::new();
            for ((_, from), kept) in self.model.iter().filter(|((of, _), _)| *of == stream) {
                match joined.last_mut() {
                    Some(last) if last.1 == *from => last.1 = kept.upto,
                    _ => joined.push((*from, kept.upto)),
                }
            }
            assert_eq!(reader.held(stream), joined);
        }
    }
}

fn read(journal: &Journal, stream: u64, from: Place, upto: Place, max_bytes: usize) -> Model {
    let reader = journal.reader();
    let (mut next, mut found) = (from, Model::new());
    loop {
        let Chunk { records, end } = reader.read(stream, next, upto, max_bytes).unwrap();
        assert!(end || !records.is_empty());
        for entry in records {
            next = entry.upto;
            let (upto, time_us, body) = (entry.upto, entry.time_us, entry.body.to_vec());
            found.insert(
                (stream, entry.from),
                Kept { upto, body, time_us, durable: true, ghost: false },
            );
        }
        if end {
            return found;
        }
    }
}

#[test]
fn what_was_synced_survives_and_nothing_else_appears() {
    let one = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = one.map_or(0..HISTORIES, |seed| seed..seed + 1);
    let mut seen = BTreeMap::new();
    for seed in seeds {
        let mut history = History::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.run()));
        if let Err(panic) = outcome {
            eprintln!("SEED={seed}: {}", history.trace.join(", "));
            std::panic::resume_unwind(panic);
        }
        for (what, times) in history.seen {
            *seen.entry(what).or_insert(0) += times;
        }
    }
    println!("{seen:?}");
    let everything = [
        "append refused",
        "lost by a failed sync",
        "lost by a power cut",
        "retention",
        "flip",
        "read-only",
    ];
    for what in everything {
        assert!(
            one.is_some() || seen.get(what).is_some_and(|times| *times > 20),
            "{what}: {seen:?}"
        );
    }
}
