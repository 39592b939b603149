//! Whether a journal or recording proves itself.
//!
//! One thread walks the files and judges their order; the others check commits: structure, Merkle
//! proofs, and one signature each, against the key and the name that the segment itself carries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_core::directory::Directory;
use selvedge_core::open::Trusted;
use selvedge_core::seal::{Commit, PublicKey};
use selvedge_core::topic::Name;
use selvedge_core::{KeyId, Position};
use selvedge_journal::{Entry, Item, ScanError};

use super::finding::{Fault, Findings, Report};
use super::walk::{Found, Walk, sources};
use super::{Speaker, opened, position};

/// Records that may wait for a thread: with the largest commits some 64 MiB.
const WAITING: usize = 64;

/// How to verify.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may say what today, if that matters.
    pub directory: Option<Arc<Directory>>,
    /// Threads that check commits; 0: one for each processor.
    pub threads: usize,
}

/// Verifies all files at `path`.
///
/// # Errors
/// [`ScanError`] if there is nothing to verify.
pub fn verify(path: &Path, options: &Options) -> Result<Report, ScanError> {
    let mut sources = sources(path)?;
    let mut report = Report { files: sources.len(), ..Report::default() };
    let mut findings = Findings::default();
    for (at, source) in sources.iter_mut().enumerate() {
        report.bytes += source.bytes;
        let gone = ScanError::NoHeader(source.path.clone());
        match &source.header {
            Err(_) => {
                let error = std::mem::replace(&mut source.header, Err(gone)).err();
                let fault = Fault::Unreadable(error.unwrap_or(ScanError::NoHeader(path.into())));
                findings.add(at, 0, None, fault);
            }
            Ok(header) => {
                let ours = options.directory.as_ref().map(|directory| directory.fabric());
                if let Some(ours) = ours.filter(|ours| ours.as_str() != header.owner.fabric) {
                    let theirs = header.owner.fabric.clone();
                    findings.add(at, 0, None, Fault::OtherFabric { theirs, ours: ours.clone() });
                }
            }
        }
    }
    let paths: Vec<PathBuf> = sources.iter().map(|source| source.path.clone()).collect();
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (sender, jobs) = sync_channel(WAITING);
    let jobs = Mutex::new(jobs);
    let mut order = Order::new(Walk::new(sources), sender);
    let checked: Vec<Checked> = std::thread::scope(|scope| {
        let check = || check_all(&jobs, options.directory.as_deref());
        let checking: Vec<_> = (0..threads).map(|_| scope.spawn(check)).collect();
        order.walk(&mut findings);
        let names = order.close();
        let mut checked: Vec<Checked> =
            checking.into_iter().filter_map(|thread| thread.join().ok()).collect();
        checked.push(Checked { names, ..Checked::default() });
        checked
    });
    let mut names = BTreeMap::new();
    for part in checked {
        report.commits += part.commits;
        report.messages += part.messages;
        names.extend(part.names);
        findings.merge(part.findings);
    }
    findings.report(&paths, &names, &mut report);
    Ok(report)
}

/// A commit to be checked.
struct Job {
    file: usize,
    offset: u64,
    speaker: Arc<Own>,
    /// Its owner's journal holds whole commits.
    whole: bool,
    entry: Entry,
}

impl Job {
    /// A tip that says something of what is before it; it has no numbers.
    fn is_note(&self) -> bool {
        self.entry.from == self.entry.upto
    }
}

/// What a segment itself says of a stream, as a directory: its own door.
struct Own {
    key: KeyId,
    name: Name,
    directory: Directory,
}

impl Own {
    fn new(fabric: &str, key: KeyId, speaker: Speaker) -> Option<Own> {
        let Speaker { name, key: public } = speaker;
        let fabric: Name = fabric.parse().ok()?;
        let text = format!(
            "format = 1\nfabric = \"{fabric}\"\n\
             [services.{name}]\nkey = \"{public}\"\ntopics = [\"#\"]\n"
        );
        let directory = Directory::from_text("segment", &text).ok()?;
        Some(Own { key, name, directory })
    }
}

/// Which file, and where in it.
type Spot = (usize, u64);

/// The thread that walks.
struct Order {
    walk: Walk,
    jobs: SyncSender<Job>,
    fabric: String,
    owner: Option<KeyId>,
    is_recording: bool,
    ended: bool,
    /// Of the file that is walked.
    speakers: BTreeMap<KeyId, Option<Arc<Own>>>,
    names: BTreeMap<KeyId, Name>,
    /// Where what was read of each stream ends, and where in the files that stands.
    ends: BTreeMap<KeyId, (Position, Spot)>,
    /// Damages of which it is not known what they were: they are what is missing around them.
    unknown: Vec<(Spot, usize)>,
}

impl Order {
    fn new(walk: Walk, jobs: SyncSender<Job>) -> Order {
        Order {
            walk,
            jobs,
            fabric: String::new(),
            owner: None,
            is_recording: false,
            ended: true,
            speakers: BTreeMap::new(),
            names: BTreeMap::new(),
            ends: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    fn walk(&mut self, findings: &mut Findings) {
        let mut last = (0, 0);
        while let Some((file, offset, found)) = self.walk.next() {
            last = (file, offset);
            let was_ended = std::mem::replace(&mut self.ended, false);
            match found {
                Found::File => self.file(file, findings),
                Found::Item(Item::End) => self.ended = true,
                Found::Item(Item::Preamble { stream, preamble }) => {
                    self.introduce(KeyId(stream), Speaker::read(KeyId(stream), &preamble));
                }
                Found::Item(Item::Record { stream, entry }) => {
                    self.record(file, offset, KeyId(stream), entry, findings);
                }
                Found::Item(Item::Damage { bytes, span: Some(span) }) => {
                    let key = KeyId(span.stream);
                    let (from, upto) = (position(span.from), position(span.upto));
                    self.ends.insert(key, (upto, (file, offset)));
                    let fault = Fault::Damaged { bytes, lost: vec![(key, from, upto)] };
                    findings.add(file, offset, Some(key), fault);
                }
                Found::Item(Item::Damage { bytes, span: None }) => {
                    let fault = Fault::Damaged { bytes, lost: Vec::new() };
                    let kept = findings.add(file, offset, None, fault);
                    self.unknown.extend(kept.map(|kept| ((file, offset), kept)));
                }
                Found::Torn { bytes } => findings.tell(file, offset, Fault::Torn { bytes }),
                Found::Cut { bytes } => {
                    self.ended = was_ended;
                    findings.tell(file, offset, Fault::Cut { bytes });
                }
            }
        }
        if self.is_recording && !self.ended {
            findings.tell(last.0, last.1, Fault::NoEnd);
        }
    }

    fn file(&mut self, file: usize, findings: &mut Findings) {
        self.speakers.clear();
        let Some(Ok(header)) = self.walk.sources().get(file).map(|source| &source.header) else {
            return;
        };
        self.fabric.clone_from(&header.owner.fabric);
        self.is_recording = header.number == 0;
        let owner = PublicKey::from_bytes(&header.owner.key);
        self.owner = owner.ok().map(|key| key.id());
        if self.fabric.parse::<Name>().is_err() {
            findings.tell(file, 0, Fault::NoSpeaker);
        }
    }

    fn introduce(&mut self, key: KeyId, speaker: Option<Speaker>) {
        self.names.extend(speaker.iter().map(|speaker| (key, speaker.name.clone())));
        let own = speaker.and_then(|speaker| Own::new(&self.fabric, key, speaker));
        self.speakers.insert(key, own.map(Arc::new));
    }

    fn record(
        &mut self,
        file: usize,
        offset: u64,
        key: KeyId,
        entry: Entry,
        findings: &mut Findings,
    ) {
        let (from, upto) = (position(entry.from), position(entry.upto));
        let before = self.ends.get(&key).copied();
        match before {
            Some((end, _)) if from < end => {
                findings.add(file, offset, Some(key), Fault::Order { from, upto, end });
            }
            Some((end, spot)) if from > end => {
                let between = self.unknown.iter().rev().take_while(|(damage, _)| *damage > spot);
                between.for_each(|(_, kept)| findings.was(*kept, key, end, from));
            }
            _ => {}
        }
        let end = before.map_or(upto, |(end, _)| end.max(upto));
        self.ends.insert(key, (end, (file, offset)));
        let Some(Some(speaker)) = self.speakers.get(&key).cloned() else {
            findings.add(file, offset, Some(key), Fault::NoSpeaker);
            return;
        };
        let whole = self.owner == Some(key);
        // Fails only if all threads are gone.
        let _ = self.jobs.send(Job { file, offset, speaker, whole, entry });
    }

    /// No more commits will come.
    fn close(self) -> BTreeMap<KeyId, Name> {
        self.names
    }
}

/// What one thread has found.
#[derive(Default)]
struct Checked {
    findings: Findings,
    names: BTreeMap<KeyId, Name>,
    commits: u64,
    messages: u64,
}

fn check_all(jobs: &Mutex<Receiver<Job>>, directory: Option<&Directory>) -> Checked {
    let mut checked = Checked::default();
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return checked };
        let (file, offset, key) = (job.file, job.offset, Some(job.speaker.key));
        let mut fault = |fault| {
            checked.findings.add(file, offset, key, fault);
        };
        let packets = check(&job, &mut fault);
        if !job.is_note() {
            checked.commits += 1;
            checked.messages += packets.iter().map(|t| u64::from(t.packet().count())).sum::<u64>();
        }
        if let Some(directory) = directory {
            allowed(&job, &packets, directory, &mut checked.findings);
        }
    }
}

/// Whether a record is what it says it is; what of it verifies.
fn check(job: &Job, fault: &mut impl FnMut(Fault)) -> Vec<Trusted> {
    let (from, upto) = (position(job.entry.from), position(job.entry.upto));
    let Ok(commit) = Commit::from_record(&job.entry.body) else {
        fault(Fault::NoCommit(from, upto));
        return Vec::new();
    };
    let header = commit.header;
    let elsewhere = header.end() != upto || header.start() < from;
    if header.key != job.speaker.key || if job.is_note() { header.n > 0 } else { elsewhere } {
        let commit = (header.start(), header.end());
        fault(Fault::Mislabelled { from, upto, commit });
        return Vec::new();
    }
    let mut trusted = Vec::with_capacity(commit.packets.len());
    for packet in opened::packets(&commit, &job.speaker.directory, |_| true) {
        match packet {
            Ok(packet) => trusted.push(packet),
            Err((topic, why)) => fault(Fault::Packet { at: header.start(), topic, why }),
        }
    }
    let listed: u64 = commit.packets.iter().map(|packet| u64::from(packet.numbers)).sum();
    let offs = trusted.iter().flat_map(|t| t.packet().entries().map(|entry| entry.off));
    let distinct = offs.collect::<BTreeSet<u16>>().len() as u64;
    let held: u64 = trusted.iter().map(|t| u64::from(t.packet().count())).sum();
    let n = u64::from(header.n);
    if distinct < held || (job.whole && listed < n) {
        let numbers = distinct;
        fault(Fault::Numbers { from: header.start(), upto, numbers, of: n });
    }
    trusted
}

/// What the directory of today says of it.
fn allowed(job: &Job, packets: &[Trusted], directory: &Directory, findings: &mut Findings) {
    let key = job.speaker.key;
    let at = (job.file, job.offset, key);
    match directory.speaker(key) {
        Err(why) => findings.note(at, None, || Fault::NotListed(why)),
        Ok(speaker) if speaker.name != job.speaker.name => {
            findings.note(at, None, || Fault::OtherName(speaker.name.clone()));
        }
        Ok(speaker) => {
            let topics = packets.iter().map(|trusted| trusted.packet().topic());
            for topic in topics.filter(|topic| !speaker.may_say(topic)) {
                findings.note(at, Some(topic), || Fault::NotAllowed(topic.clone()));
            }
        }
    }
}
