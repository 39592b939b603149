//! What a service or an archive keeps: a thread that writes its journal, and reads for peers.
//!
//! Everything that is to be sent goes through [`Journal::push`] and comes out of [`Journal::done`]
//! in the same order, once it is written: so nothing is sent that is not held. What waits while the
//! thread writes is written, and synced if anything of it asks for that, together.
//!
//! What it holds of a stream that is not its owner's has to be without holes where it ends, or what
//! could not be written would never be asked for again. So after a failure nothing more of such a
//! stream is written until [`Step::Again`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as orders;
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_core::author;
use selvedge_core::directory::{Journal as Configured, Retain};
use selvedge_core::epochs::Held;
use selvedge_core::fanout::{Answer, PeerId, Stored};
use selvedge_core::limits::REPLAY_BYTES;
use selvedge_core::seal::{Commit, EpochEnd, Identity, PublicKey, Void};
use selvedge_core::topic::Name;
use selvedge_core::{KeyId, Position};
use selvedge_journal::{
    AppendError, Journal as Writer, OpenError, Options, Owner, Place, Reader, Record, disk,
};
use tokio::sync::mpsc;

use crate::clock::wall;

/// Bytes that a journal keeps if nobody says: a day of a busy service.
pub const RETAIN_BYTES: u64 = 1 << 30;

/// Steps written together at most.
const BATCH: usize = 64;

/// How often what is too old or too much is removed.
const RETENTION: Duration = Duration::from_secs(5);

/// One thing that a node tells its peers, in order.
#[derive(Debug)]
pub enum Step {
    /// A commit, or a tip.
    Commit {
        /// The commit.
        commit: Commit,
        /// How it is kept; none: it is not.
        kept: Option<Kept>,
    },
    /// See [`selvedge_core::fanout::Input::Passed`].
    Passed {
        /// The stream.
        key: KeyId,
        /// The next number that may come.
        upto: Position,
    },
    /// See [`selvedge_core::fanout::Input::Gone`].
    Gone {
        /// The stream.
        key: KeyId,
        /// The next number that may come.
        upto: Position,
    },
    /// A tip that tells something of what is before `at`, and is kept there. See
    /// [`selvedge_core::fanout::Input::Evidence`].
    Note {
        /// Where in its stream.
        at: Position,
        /// The tip.
        tip: Commit,
        /// Who said it: [`speaker`].
        speaker: Bytes,
    },
    /// What comes of this stream follows again on what is held.
    Again {
        /// The stream.
        key: KeyId,
    },
    /// All steps before are to be on the disk when this is given back.
    Sync,
}

impl Step {
    /// The stream of which it keeps something.
    pub fn keeps(&self) -> Option<KeyId> {
        match self {
            Step::Commit { commit, kept: Some(_) } => Some(commit.header.key),
            Step::Note { tip, .. } => Some(tip.header.key),
            _ => None,
        }
    }

    /// Whether it, and all before it, is to be on the disk when it is given back.
    fn syncs(&self) -> bool {
        match self {
            Step::Sync => true,
            Step::Commit { kept, .. } => kept.as_ref().is_some_and(|kept| kept.durable),
            _ => false,
        }
    }
}

/// How a commit is kept.
#[derive(Debug)]
pub struct Kept {
    /// Everything from here to its end is in it.
    pub from: Position,
    /// Who said it: [`speaker`].
    pub speaker: Bytes,
    /// Whether it has to be on the disk before it is sent.
    pub durable: bool,
}

/// A step that was written, or could not be.
#[derive(Debug)]
pub struct Done {
    /// The step.
    pub step: Step,
    /// Whether it, and what was written with it, is held.
    pub written: Result<(), Arc<AppendError>>,
}

impl Done {
    /// The streams of which something is not held for all that.
    pub fn refused(&self) -> impl Iterator<Item = KeyId> {
        let error = self.written.as_ref().err();
        let step = self.step.keeps().filter(|_| error.is_some());
        step.into_iter().chain(error.into_iter().flat_map(|error| lost(error)))
    }
}

/// The streams of which something that was written is not held any more.
fn lost(error: &AppendError) -> impl Iterator<Item = KeyId> {
    let spans = match error {
        AppendError::Lost { lost, .. } => &lost[..],
        _ => &[],
    };
    spans.iter().map(|span| KeyId(span.stream))
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    orders: orders::Sender<Step>,
    done: mpsc::UnboundedReceiver<Done>,
    reader: Reader,
    /// It was there when it was opened, and nothing of it was damaged.
    intact: bool,
    steps: usize,
    waiting: usize,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What the segments of a journal carry, so that they prove themselves: the public key and the
/// name.
pub fn speaker(key: &PublicKey, name: &Name) -> Bytes {
    [&key.as_bytes()[..], name.as_str().as_bytes()].concat().into()
}

/// Where a journal lies, if there is to be one.
pub fn folder(configured: &Configured, state: &Path, name: &Name) -> Option<PathBuf> {
    match configured {
        Configured::Off => None,
        Configured::State => Some(state.join(format!("{name}.journal"))),
        Configured::At(path) => Some(PathBuf::from(path)),
    }
}

impl Journal {
    /// Opens or makes a journal, and repairs what a crash has left.
    pub fn open(folder: &Path, who: &Identity, retain: &Retain) -> Result<Journal, OpenError> {
        let retain_bytes = match (retain.bytes, retain.age) {
            (None, None) => Some(RETAIN_BYTES),
            (bytes, _) => bytes,
        };
        let defaults = Options::new(Owner {
            fabric: who.fabric.to_string(),
            name: who.publisher.to_string(),
            key: *who.key.public().as_bytes(),
        });
        // A segment goes as a whole: of small journals, an eighth at a time.
        let most = retain_bytes.map_or(defaults.segment_bytes, |bytes| (bytes / 8).max(1 << 20));
        let segment_bytes = defaults.segment_bytes.min(most);
        let options = Options { segment_bytes, retain_bytes, retain_age: retain.age, ..defaults };
        let writer = Writer::open(Arc::new(disk::Real), folder, options)?;
        tracing::info!(folder = %folder.display(), recovery = ?writer.recovery(), "journal");
        let recovery = writer.recovery();
        let intact = recovery.segments > 0 && recovery.damages.is_empty();
        let reader = writer.reader();
        let (orders, steps) = orders::channel();
        let (sender, done) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let keeper = Keeper { writer, ours: who.key_id(), refused: BTreeMap::new() };
        let thread = thread.spawn(move || write(keeper, &steps, &sender)).ok();
        Ok(Journal { orders, done, reader, intact, steps: 0, waiting: 0, thread })
    }

    /// Reads what was written; works while the journal is written.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Writes, if it is to be kept, and then gives back through [`Journal::done`].
    pub fn push(&mut self, step: Step) {
        self.steps += 1;
        self.waiting += cost(&step);
        // Fails only if the thread is gone; then nothing comes back.
        let _ = self.orders.send(step);
    }

    /// Bytes that are not written yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Waits for steps that were written; appends some to `out`, in order. Cancel safe.
    pub async fn done(&mut self, out: &mut Vec<Done>) {
        if self.done.recv_many(out, BATCH).await == 0 {
            return std::future::pending().await; // the thread ends with this
        }
        let cost: usize = out.iter().map(|done| cost(&done.step)).sum();
        self.waiting = self.waiting.saturating_sub(cost);
        self.steps = self.steps.saturating_sub(out.len());
    }

    /// Steps that were pushed and did not come back yet.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// What is held of a stream, oldest first.
    pub fn held(&self, key: KeyId) -> Vec<(Position, Position)> {
        let held = self.reader.held(key.0).into_iter();
        held.map(|(from, upto)| (position(from), position(upto))).collect()
    }

    /// Whether all of `from..upto` is held.
    pub fn holds(&self, key: KeyId, from: Position, upto: Position) -> bool {
        let within = |(start, end): &(Position, Position)| *start <= from && upto <= *end;
        from == upto || self.held(key).iter().any(within)
    }

    /// The oldest that is held of a stream.
    pub fn oldest(&self, key: KeyId) -> Option<Position> {
        oldest(&self.reader, key)
    }

    /// What is held of each stream ends here.
    pub fn ends(&self) -> BTreeMap<KeyId, Position> {
        let streams = self.reader.streams().into_iter();
        streams.map(|stream| (KeyId(stream.stream), position(stream.end))).collect()
    }

    /// What it tells of the epochs of a stream.
    pub(crate) fn epochs(&self, key: KeyId) -> Held {
        let ends = self.held(key).into_iter().map(|(_, upto)| (upto.epoch, upto.seq)).collect();
        Held { ends, intact: self.intact }
    }

    /// Numbers that a publisher's own journal should hold and does not.
    pub fn voids(&self, key: KeyId, earlier: &[EpochEnd]) -> Vec<Void> {
        author::voids(&self.held(key), earlier)
    }
}

impl Drop for Journal {
    /// Waits until everything is written and closed.
    fn drop(&mut self) {
        (self.orders, _) = orders::channel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has nobody left to tell
        }
    }
}

fn cost(step: &Step) -> usize {
    match step {
        Step::Commit { commit, .. } | Step::Note { tip: commit, .. } => {
            commit.packets.iter().map(|packet| packet.len()).sum()
        }
        Step::Passed { .. } | Step::Gone { .. } | Step::Again { .. } | Step::Sync => 0,
    }
}

/// The thread: until nobody pushes any more.
fn write(mut keeper: Keeper, steps: &orders::Receiver<Step>, done: &mpsc::UnboundedSender<Done>) {
    let mut retained = Instant::now();
    let mut failing = false;
    while let Ok(first) = steps.recv() {
        let more = std::iter::from_fn(|| steps.try_recv().ok()).take(BATCH - 1);
        let batch: Vec<Step> = std::iter::once(first).chain(more).collect();
        let (written, batch) = keeper.take(batch);
        match &written {
            Err(error) if !failing => tracing::error!("the journal takes nothing: {error}"),
            Ok(()) if failing => tracing::info!("the journal takes messages again"),
            _ => {}
        }
        failing = written.is_err();
        for (step, refused) in batch {
            let written = refused.map_or_else(|| written.clone(), Err);
            // Nobody listens any more when the node has ended.
            let _ = done.send(Done { step, written });
        }
        if failing || retained.elapsed() >= RETENTION {
            retained = Instant::now();
            if let Err(error) = keeper.writer.retain(wall().0) {
                tracing::error!("cannot remove what the journal no longer keeps: {error}");
            }
        }
    }
    if let Err(error) = keeper.writer.close() {
        tracing::error!("the journal was not closed in order: {error}");
    }
}

/// The journal, and the streams of which it takes nothing.
struct Keeper {
    writer: Writer,
    ours: KeyId,
    refused: BTreeMap<KeyId, Arc<AppendError>>,
}

/// What became of a batch, beside what was refused at once.
type Taken = (Result<(), Arc<AppendError>>, Vec<(Step, Option<Arc<AppendError>>)>);

impl Keeper {
    fn take(&mut self, batch: Vec<Step>) -> Taken {
        let judged = batch.into_iter().map(|step| {
            if let Step::Again { key } = step {
                self.refused.remove(&key);
            }
            let refused = step.keeps().and_then(|key| self.refused.get(&key).cloned());
            (step, refused)
        });
        let judged: Vec<_> = judged.collect();
        let due = || judged.iter().filter(|(_, refused)| refused.is_none()).map(|(step, _)| step);
        let written = append(&mut self.writer, due()).map_err(Arc::new);
        if let Err(error) = &written {
            let keys = due().filter_map(Step::keeps).chain(lost(error));
            let theirs = keys.filter(|key| *key != self.ours);
            self.refused.extend(theirs.map(|key| (key, error.clone())));
        }
        (written, judged)
    }
}

/// Appends what is to be kept of a batch, in one write, and syncs it if anything asks for that.
fn append<'a>(
    writer: &mut Writer,
    batch: impl Iterator<Item = &'a Step> + Clone,
) -> Result<(), AppendError> {
    let kept = batch.clone().filter_map(|step| match step {
        Step::Commit { commit, kept: Some(kept) } => {
            Some((commit, kept.from, commit.header.end(), &kept.speaker))
        }
        Step::Note { at, tip, speaker } => Some((tip, *at, *at, speaker)),
        _ => None,
    });
    let kept: Vec<_> = kept.map(|kept| (kept, kept.0.to_record())).collect();
    let records: Vec<Record<'_>> = kept
        .iter()
        .map(|((commit, from, upto, preamble), body)| Record {
            stream: commit.header.key.0,
            from: place(*from),
            upto: place(*upto),
            time_us: commit.header.time.0,
            preamble,
            body,
        })
        .collect();
    if !records.is_empty() {
        writer.append(&records)?;
    }
    let mut batch = batch;
    match batch.any(Step::syncs) {
        true => writer.sync(),
        false => Ok(()),
    }
}

/// The oldest that is held of a stream.
pub(crate) fn oldest(reader: &Reader, key: KeyId) -> Option<Position> {
    reader.held(key.0).first().map(|(from, _)| position(*from))
}

/// Reads what a peer missed. What cannot be read is left out, and said.
pub fn read(reader: &Reader, peer: PeerId, key: KeyId, from: Position, upto: Position) -> Answer {
    let answer = |records, upto| Answer { peer, key, from, records, upto };
    let chunk = match reader.read(key.0, place(from), place(upto), REPLAY_BYTES) {
        Ok(chunk) => chunk,
        Err(error) => {
            tracing::error!("cannot replay: {error}");
            let after = position(error.span.upto).clamp(from.after(), upto);
            return answer(Vec::new(), after);
        }
    };
    let mut records = Vec::with_capacity(chunk.records.len());
    let mut read = from;
    for entry in chunk.records {
        read = position(entry.upto);
        match Commit::from_record(&entry.body) {
            Ok(commit) => records.push(Stored { from: position(entry.from), commit }),
            Err(error) => tracing::error!("{key} {read}: {error}"),
        }
    }
    answer(records, if chunk.end { upto } else { read })
}

fn place(position: Position) -> Place {
    Place { epoch: position.epoch, seq: position.seq }
}

fn position(place: Place) -> Position {
    Position::new(place.epoch, place.seq)
}
