//! A relay: hears many publishers, and sends on what passed the door, the same bytes.
//!
//! It is a subscriber and a fan-out, and needs no trust: it can delay or withhold, which tips and
//! topic numbers expose, and cannot forge. Several side by side are safe, because duplicates end at
//! each door; a ring is, because what lies below a stream's position is not sent on. It says
//! nothing itself but its own tip.
//!
//! With a journal it is an archive: it keeps what it sends on, answers for publishers that are
//! gone, goes on where it was after a restart, and takes what publishers offer that cannot be
//! dialled.
#![forbid(unsafe_code)]

mod offers;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use selvedge::directory::{Directory, Relay};
use selvedge::inlet::{OFFERING, Start};
use selvedge::journal::{Done, Journal, Kept, Step};
use selvedge::outlet::{self, Offer};
use selvedge::{Inlet, KeyId, LinkCounters, Listener, Name, Notices, Outlet, Pattern};
use selvedge::{PeerCounters, Position, StartError, Topic, Voice, inlet, journal, state};
use selvedge_core::author::Input;
use selvedge_core::fanout::{self, PeerId};
use selvedge_core::limits::{BODY_BYTES_HARD, HOLD_BYTES};
use selvedge_core::open::Refusal;
use selvedge_core::seal::{Header, Packet, SecretKey};
use selvedge_core::subscriber::{Delivery, LinkId, Output};
use selvedge_core::wire::{Frames, Mark};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use offers::Offers;
use refused::Refused;

/// How long to go on writing after the shutdown.
const DRAIN: Duration = Duration::from_secs(30);

/// How a relay is to be.
#[derive(Debug)]
pub struct Config {
    /// Its name in the directory.
    pub name: Name,
    /// Its private key: signs its own tip, nothing that it relays.
    pub key: SecretKey,
    /// The folder of its state; [`state::default_folder`] unless set.
    pub state: PathBuf,
    /// A listener bound already, instead of the directory's `bind` or `endpoint`.
    pub listener: Option<Listener>,
    /// Other relays to hear too, beside the services themselves.
    pub via: Vec<Name>,
    /// Bounds of the queues for peers.
    pub queues: fanout::Config,
    /// Whether to hear nobody while 4 MiB wait for peers. Publishers are then held up at the pace
    /// of the slowest peer, instead of that peer missing messages: between batch jobs that hold,
    /// too. One that hangs holds up all for ten seconds, and is cut off then. A relay with a
    /// journal needs none of this.
    pub hold: bool,
    /// Told what happens to links.
    pub notices: Notices,
}

impl Config {
    /// With defaults for all but name and key.
    pub fn new(name: Name, key: SecretKey) -> Config {
        Config {
            name,
            key,
            state: state::default_folder(),
            listener: None,
            via: Vec::new(),
            queues: fanout::Config::default(),
            hold: false,
            notices: Notices::default(),
        }
    }
}

/// What a relay did, readable while it runs.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Towards publishers.
    pub links: Arc<LinkCounters>,
    /// Towards subscribers.
    pub peers: Arc<PeerCounters>,
}

/// A relay that is bound and not running yet.
#[derive(Debug)]
pub struct Node {
    name: Name,
    carries: Vec<Pattern>,
    voice: Voice,
    inlet: Inlet,
    outlet: Outlet,
    journal: Option<Journal>,
    /// Where what the journal holds of each stream ends, and what is to follow begins.
    since: BTreeMap<KeyId, Position>,
    offers: Offers,
    refused: Refused,
    /// Up to where peers were told of each stream.
    told: BTreeMap<KeyId, Position>,
    /// Bytes waiting for peers beyond which nobody is heard.
    most_queued: usize,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Runs a relay until `shutdown`, then goes on writing what waits for at most 30 s.
///
/// # Errors
/// [`StartError`] if it cannot start; once it runs, nothing that a peer or the directory does ends
/// it.
pub async fn run(
    directory: watch::Receiver<Arc<Directory>>,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    Node::start(directory, config)?.run(shutdown).await;
    Ok(())
}

impl Node {
    /// Binds the relay's socket and connects to publishers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub fn start(
        mut directory: watch::Receiver<Arc<Directory>>,
        config: Config,
    ) -> Result<Node, StartError> {
        let now = directory.borrow_and_update().clone();
        let Config { name, key, state, listener, via, queues, hold, notices } = config;
        let (voice, listener) = Voice::relay(&now, &name, key, &state, listener)?;
        let carries = carried(&now, &name);
        let journal = kept(&now, &name, &voice, &state)?;
        let since = journal.as_ref().map(Journal::ends).unwrap_or_default();
        let options = inlet::Options {
            patterns: carries.clone(),
            via,
            begin: since.iter().map(|(key, end)| (*key, Start::At(*end))).collect(),
            others: if journal.is_some() { Start::Oldest } else { Start::Now },
            myself: Some(name.clone()),
            body_bytes: BODY_BYTES_HARD,
            notices,
            ..inlet::Options::default()
        };
        let reader = journal.as_ref().map(Journal::reader);
        let serves = outlet::Options { queues, journal: reader, offers: true };
        let mut outlet = Outlet::new(listener, serves);
        since.iter().for_each(|(key, end)| outlet.passed(*key, *end));
        let inlet = Inlet::new(directory.clone(), options);
        let most_queued = if hold { HOLD_BYTES } else { usize::MAX };
        Ok(Node {
            name,
            carries,
            voice,
            inlet,
            outlet,
            journal,
            since,
            offers: Offers::default(),
            refused: Refused::default(),
            told: BTreeMap::new(),
            most_queued,
            directory,
        })
    }

    /// What it does, readable while it runs.
    pub fn counters(&self) -> Counters {
        Counters { links: self.inlet.counters(), peers: self.outlet.counters() }
    }

    /// Until `shutdown`, and the drain after it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.say(Input::Tick); // the first tip
        let mut outputs = Vec::new();
        let mut done = Vec::new();
        loop {
            let room = self.outlet.queued_bytes() < self.most_queued;
            tokio::select! {
                () = self.inlet.turn(&mut outputs), if room => {}
                () = self.outlet.turn() => self.offered(&mut outputs),
                () = written(&mut self.journal, &mut done) => {}
                () = self.refused.due() => self.ask_again(&mut outputs),
                turn = self.voice.turn() => {
                    let mut steps = Vec::new();
                    self.voice.take(turn, &mut steps);
                    steps.iter().for_each(|step| self.outlet.step(step));
                }
                Ok(()) = self.directory.changed() => {
                    let now = self.directory.borrow_and_update().clone();
                    self.carries = carried(&now, &self.name);
                    self.inlet.want(self.carries.clone());
                }
                () = shutdown.cancelled() => break,
            }
            outputs.drain(..).for_each(|output| self.pass_on(output));
            let held = |key| self.journal.as_ref().map(|j| j.held(key)).unwrap_or_default();
            if self.offers.ready(|key| self.inlet.position(key), held) {
                self.step(Step::Sync);
            }
            done.drain(..).for_each(|done| self.tell(done));
            // Of streams that are not our own, only their authors can make tips; the next comes.
            let ours = self.voice.key_id();
            if self.outlet.tips_wanted().any(|key| key == ours) {
                self.say(Input::TipWanted);
            }
        }
        self.drain().await;
    }

    /// Keeps what is to be kept, and lets peers have it after that.
    fn pass_on(&mut self, output: Output) {
        match output {
            Output::Deliver(delivery) => self.deliver(delivery),
            Output::Tip(trusted) => {
                self.step(Step::Commit { commit: trusted.to_commit(), kept: None });
            }
            Output::Passed { key, upto } => self.step(Step::Passed { key, upto }),
            Output::Started { key, at, .. } => {
                self.since.insert(key, at);
                self.step(Step::Passed { key, upto: at });
            }
            Output::Lost(lost) => {
                let since = self.since.entry(lost.key).or_default();
                *since = lost.to.max(*since);
                self.step(Step::Gone { key: lost.key, upto: lost.to });
            }
            Output::Evidence { key, at, tip } => {
                self.since.insert(key, at);
                let speaker = self.speaker(key, tip.publisher());
                self.step(Step::Note { at, tip: tip.to_commit(), speaker });
            }
            Output::Ask { .. } | Output::Superseded { .. } => {} // done, and told as a notice
        }
    }

    fn deliver(&mut self, mut delivery: Delivery) {
        // The wire matches bytes, patterns segments.
        delivery.packets.retain(|trusted| self.carries(trusted.packet().topic()));
        let commit = delivery.to_commit();
        let messages = commit.packets.iter().map(|packet| u64::from(packet.numbers)).sum();
        self.inlet.counters().delivered(messages);
        let (key, end) = (delivery.key, commit.header.end());
        let from = self.since.insert(key, end).unwrap_or(commit.header.start());
        let kept = self.journal.is_some().then(|| self.speaker(key, &delivery.publisher));
        let kept = kept.map(|speaker| Kept { from, speaker, durable: false });
        self.step(Step::Commit { commit, kept });
    }

    fn speaker(&self, key: KeyId, name: &Name) -> bytes::Bytes {
        match self.directory.borrow().speaker(key) {
            Ok(speaker) => journal::speaker(&speaker.key, name),
            Err(_) => bytes::Bytes::new(), // gone since it was delivered
        }
    }

    fn step(&mut self, step: Step) {
        match &mut self.journal {
            Some(journal) => journal.push(step),
            None => self.tell(Done { step, written: Ok(()) }),
        }
    }

    /// What could not be kept is asked for again, from where what is held ends.
    fn ask_again(&mut self, out: &mut Vec<Output>) {
        let ends = self.journal.as_ref().map(Journal::ends).unwrap_or_default();
        for key in self.refused.take() {
            self.step(Step::Again { key });
            let end = ends.get(&key).copied();
            self.since.extend(end.map(|end| (key, end)));
            let start = end.map_or(Start::Oldest, Start::At);
            tracing::info!("{key} is asked for again: {start:?}");
            self.inlet.set_back(key, start, out);
            for (peer, mark) in self.offers.set_back(key) {
                self.outlet.answer(peer, &mark);
            }
        }
    }

    /// Lets peers have what is kept, or could not be: what is not held is in no MARK later.
    fn tell(&mut self, done: Done) {
        self.refused.note(&done);
        if !self.is_told(&done.step) {
            self.outlet.step(&done.step);
        }
        if let (Step::Sync, Some(journal)) = (done.step, &self.journal) {
            self.offers.synced(done.written.is_ok(), journal, &mut self.outlet);
        }
    }

    /// Whether peers had it before it could be kept.
    fn is_told(&mut self, step: &Step) -> bool {
        let Step::Commit { commit, .. } = step else { return false };
        let (told, end) = (self.told.entry(commit.header.key).or_default(), commit.header.end());
        let is_told = end <= *told && commit.header.n > 0;
        *told = end.max(*told);
        is_told
    }

    /// Says what is the relay's own: its tip.
    fn say(&mut self, input: Input) {
        let mut steps = Vec::new();
        self.voice.say(input, &mut steps);
        steps.iter().for_each(|step| self.outlet.step(step));
    }

    /// Takes what peers offered.
    fn offered(&mut self, out: &mut Vec<Output>) {
        for offer in self.outlet.offers() {
            match offer {
                Offer::Packet(peer, frames) => {
                    let named = Packet::parse(frames.clone()).map(|packet| *packet.header());
                    if let Err(why) = self.offer(peer, frames, out) {
                        self.refuse(peer, named.ok(), &why);
                    }
                }
                Offer::Gone(peer) => {
                    self.offers.gone(peer);
                    self.inlet.offered(LinkId(OFFERING | peer.0), out);
                }
            }
        }
    }

    fn refuse(&mut self, peer: PeerId, named: Option<Header>, why: &NotTaken) {
        let (none, flags) = (Position::default(), Mark::REFUSED);
        let mark = named.map(|header| (header.key, header.start(), header.end()));
        let (key, from, upto) = mark.unwrap_or((KeyId(0), none, none));
        tracing::warn!("{key} {from} to {upto} was offered and is refused: {why}");
        self.outlet.answer(peer, &Mark { key, from, upto, flags });
    }

    fn offer(
        &mut self,
        peer: PeerId,
        frames: Frames,
        out: &mut Vec<Output>,
    ) -> Result<(), NotTaken> {
        if self.journal.is_none() {
            return Err(NotTaken::NoJournal(self.name.clone()));
        }
        let topic = Topic::new(frames.slice(0)).map_err(|_| NotTaken::NotCarried)?;
        if !topic.is_reserved() && !self.carries(&topic) {
            return Err(NotTaken::NotCarried);
        }
        let offered = self.inlet.offer(LinkId(OFFERING | peer.0), frames, out)?;
        match self.offers.took(peer, offered) {
            true => Ok(()),
            false => Err(NotTaken::TooMany),
        }
    }

    fn carries(&self, topic: &Topic) -> bool {
        self.carries.iter().any(|pattern| pattern.matches(topic))
    }

    /// Hears nobody any more, and writes what waits.
    async fn drain(mut self) {
        let mut done = Vec::new();
        while self.journal.as_ref().is_some_and(|journal| journal.steps() > 0) {
            written(&mut self.journal, &mut done).await;
            done.drain(..).for_each(|done| self.tell(done));
        }
        self.say(Input::Close);
        drop((self.inlet, self.journal));
        let deadline = Instant::now() + DRAIN;
        while self.outlet.waiting() > 0 {
            if timeout_at(deadline, self.outlet.turn()).await.is_err() {
                tracing::warn!(messages = self.outlet.waiting(), "not written at the deadline");
                break;
            }
        }
        if let Err(error) = self.voice.end() {
            tracing::warn!("cannot note the clean end of the epoch: {error}");
        }
        self.outlet.close().await;
    }
}

/// Why an offer is not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0} keeps no journal; set journal = true in its entry of the directory")]
    NoJournal(Name),
    #[error("this relay does not carry its topic")]
    NotCarried,
    #[error("too many offers of this peer wait")]
    TooMany,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The journal that the directory gives this relay, if it does.
fn kept(
    directory: &Directory,
    name: &Name,
    voice: &Voice,
    state: &Path,
) -> Result<Option<Journal>, StartError> {
    let Some(relay) = directory.relay(name.as_str()) else { return Ok(None) };
    let folder = journal::folder(&relay.journal, state, name);
    let open = |folder: PathBuf| Journal::open(&folder, voice.identity(), &relay.retain);
    Ok(folder.map(open).transpose()?)
}

/// Waits for steps that were written; for ever without a journal.
async fn written(journal: &mut Option<Journal>, done: &mut Vec<Done>) {
    match journal {
        Some(journal) => journal.done(done).await,
        None => std::future::pending().await,
    }
}

/// What this relay is to condense; nothing once the directory no longer lists it.
fn carried(directory: &Directory, name: &Name) -> Vec<Pattern> {
    let relay: Option<&Relay> = directory.relay(name.as_str());
    relay.map(|relay| relay.carries.clone()).unwrap_or_default()
}
