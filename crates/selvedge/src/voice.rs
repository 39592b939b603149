//! Speaking under a name: who may, from where, and the core's author with its key and its epoch.
//!
//! A publisher says messages and tips with it, a relay only its tip.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use selvedge_core::author::{self, Author, Input, Output};
use selvedge_core::directory::{Directory, Endpoint};
use selvedge_core::limits::PACK;
use selvedge_core::seal::{Commit, Identity, SecretKey, Used};
use selvedge_core::topic::Name;
use selvedge_core::{KeyId, Position};
use selvedge_journal::AppendError;

use crate::clock::Clock;
use crate::journal::{self, Done, Journal, Kept, Step};
use crate::net::{BindError, Listener};
use crate::state::{Epochs, StateError};

/// Why a service or relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory has no entry of this name.
    #[error("the directory has no {kind} {name}; add [{kind}s.{name}], or correct the name")]
    Unknown {
        /// `service` or `relay`.
        kind: &'static str,
        /// The name.
        name: Name,
    },
    /// The directory lists other keys for the name: nobody would believe it.
    #[error(
        "the directory lists another key for {name}; its entry needs key = \"{ours}\", or {name} \
         another key file"
    )]
    KeyMismatch {
        /// The service or relay.
        name: Name,
        /// The public half of the key that was given.
        ours: String,
    },
    /// The key is revoked.
    #[error("the key of {0} is revoked in the directory; make a new one")]
    Revoked(Name),
    /// The entry has neither `endpoint` nor `bind`.
    #[error("the directory gives {0} no endpoint to bind")]
    NoEndpoint(Name),
    /// The endpoint cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The epoch cannot be made durable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] selvedge_journal::OpenError),
}

impl StartError {
    /// Whether another process has what this one needs, and may be done with it soon.
    pub fn is_locked(&self) -> bool {
        matches!(
            self,
            StartError::State(StateError::Locked { .. })
                | StartError::Journal(selvedge_journal::OpenError::Locked { .. })
        )
    }
}

/// What a voice waited for: [`Voice::take`] it.
#[derive(Debug)]
pub struct Turn(Vec<Done>);

/// How often the voice looks what its journal still holds.
const LOOK: Duration = Duration::from_secs(1);

/// Whether the directory lists `key` for `name`, whose entry has `keys`.
pub(crate) fn entitled<'a>(
    directory: &Directory,
    name: &Name,
    key: &SecretKey,
    keys: impl IntoIterator<Item = &'a selvedge_core::seal::PublicKey>,
) -> Result<(), StartError> {
    let public = key.public();
    if !keys.into_iter().any(|listed| *listed == public) {
        let ours = public.to_string();
        return Err(StartError::KeyMismatch { name: name.clone(), ours });
    }
    match directory.speaker(public.id()) {
        Ok(_) => Ok(()),
        Err(_) => Err(StartError::Revoked(name.clone())),
    }
}

/// The listener that was given, or a new one where the entry says.
pub(crate) fn listener(
    given: Option<Listener>,
    name: &Name,
    bind: Option<&Endpoint>,
    endpoints: &[Endpoint],
) -> Result<Listener, StartError> {
    match (given, bind.or(endpoints.first())) {
        (Some(listener), _) => Ok(listener),
        (None, Some(endpoint)) => Ok(Listener::bind(endpoint)?),
        (None, None) => Err(StartError::NoEndpoint(name.clone())),
    }
}

/// See the module.
#[derive(Debug)]
pub struct Voice {
    author: Author,
    identity: Identity,
    used: Used,
    epochs: Epochs,
    clock: Clock,
    effects: Vec<Output>,
    journal: Option<Journal>,
    /// Numbers that have to be on the disk before they are sent, those that are there aside.
    durable: VecDeque<Range<u64>>,
    /// The place before which everything was handed out, or failed.
    sent: Position,
    looked: Instant,
    closed: bool,
}

impl Voice {
    /// The voice of a relay, which says nothing but its tip, and the listener that it is heard on.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub fn relay(
        directory: &Directory,
        name: &Name,
        key: SecretKey,
        state: &Path,
        given: Option<Listener>,
    ) -> Result<(Voice, Listener), StartError> {
        let unknown = || StartError::Unknown { kind: "relay", name: name.clone() };
        let relay = directory.relay(name.as_str()).ok_or_else(unknown)?;
        entitled(directory, name, &key, &relay.keys)?;
        let listener = listener(given, name, relay.bind.as_ref(), &relay.endpoints)?;
        let identity =
            Identity { fabric: directory.fabric().clone(), publisher: name.clone(), key };
        Ok((Voice::begin(identity, state, None, None, false)?, listener))
    }

    /// Begins a new epoch, durable before this returns. One that `offers` holds what is not
    /// confirmed: tell [`Input::Oldest`].
    pub(crate) fn begin(
        identity: Identity,
        state: &Path,
        pack: Option<u16>,
        journal: Option<Journal>,
        offers: bool,
    ) -> Result<Voice, StateError> {
        let key = identity.key_id();
        let ends = journal.as_ref().map(|journal| journal.epochs(key));
        let epochs = Epochs::begin(state, &identity.publisher, ends.as_ref())?;
        let sent = Position::new(epochs.epoch, 0);
        let config = author::Config {
            key,
            publisher: identity.publisher.clone(),
            epoch: epochs.epoch,
            earlier: epochs.earlier.clone(),
            oldest: match &journal {
                Some(journal) => Some(journal.oldest(key).unwrap_or(sent)),
                None => offers.then_some(sent),
            },
            voids: journal.as_ref().map_or(Vec::new(), |j| j.voids(key, &epochs.earlier)),
            pack: pack.map_or(PACK, usize::from),
            jitter: epochs.epoch,
        };
        Ok(Voice {
            author: Author::new(config),
            identity,
            used: Used::default(),
            epochs,
            clock: Clock::new(),
            effects: Vec::new(),
            journal,
            durable: VecDeque::new(),
            sent,
            looked: Instant::now(),
            closed: false,
        })
    }

    /// Hands `input` to the author, and what comes of it, signed, to the journal, or to `out`.
    pub fn say(&mut self, input: Input, out: &mut Vec<Step>) {
        self.author.handle(self.clock.now(), input, &mut self.effects);
        // Sealing answers at once, and so leads to further effects: first come, first done.
        let mut effects = std::mem::take(&mut self.effects);
        let mut next = 0;
        while next < effects.len() {
            let effect = std::mem::replace(&mut effects[next], Output::Closed);
            next += 1;
            match effect {
                Output::Seal(unsealed) => {
                    let commit = unsealed.seal(&self.identity, &mut self.used);
                    self.author.handle(self.clock.now(), Input::Sealed(commit), &mut effects);
                }
                Output::Send(commit) => self.send(commit, out),
                Output::Closed => self.closed = true,
            }
        }
        effects.clear();
        self.effects = effects;
    }

    /// These numbers have to be on the disk before they are sent. Said before they are.
    pub(crate) fn durable(&mut self, numbers: Range<u64>) {
        match self.durable.back_mut() {
            Some(last) if last.end == numbers.start => last.end = numbers.end,
            _ => self.durable.push_back(numbers),
        }
    }

    fn send(&mut self, commit: Commit, out: &mut Vec<Step>) {
        let (from, end) = (commit.header.start(), commit.header.end());
        let Some(journal) = &mut self.journal else {
            self.sent = end;
            return out.push(Step::Commit { commit, kept: None });
        };
        let durable = self.durable.front().is_some_and(|numbers| numbers.start < end.seq);
        while self.durable.front().is_some_and(|numbers| numbers.end <= end.seq) {
            self.durable.pop_front();
        }
        let identity = &self.identity;
        let speaker = || journal::speaker(&identity.key.public(), &identity.publisher);
        let is_tip = commit.header.n == 0;
        if commit.header.commit == 0 && is_tip {
            // How earlier epochs ended: newer tips may not have room for it one day.
            journal.push(Step::Note { at: from, tip: commit.clone(), speaker: speaker() });
        }
        let kept = (!is_tip).then(|| Kept { from, speaker: speaker(), durable });
        journal.push(Step::Commit { commit, kept });
    }

    /// Waits until a tip or a signature is due, or something was written to the journal. Cancel
    /// safe.
    pub async fn turn(&mut self) -> Turn {
        let deadline = self.author.deadline();
        let mut done = Vec::new();
        let written = async {
            match &mut self.journal {
                Some(journal) => journal.done(&mut done).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = written => Turn(done),
            () = self.clock.at(deadline) => Turn(Vec::new()),
        }
    }

    /// Hands what was written to `out`; returns the numbers that the journal did not take: they
    /// are never sent.
    pub fn take(&mut self, turn: Turn, out: &mut Vec<Step>) -> Vec<Range<u64>> {
        let Turn(done) = turn;
        let errors = done.iter().filter_map(|done| done.written.as_ref().err());
        if let Some(error) = errors.last().cloned() {
            self.lost(&error, out);
        }
        let mut failed = Vec::new();
        for Done { step, written } in done {
            let Step::Commit { commit, kept } = &step else { continue }; // a note: its tip comes
            let header = commit.header;
            self.sent = header.end();
            if kept.is_some() && written.is_err() {
                let numbers = header.first..header.end().seq;
                self.say(Input::Void(numbers.clone()), out);
                out.push(Step::Gone { key: header.key, upto: header.end() });
                failed.push(numbers);
            } else {
                out.push(step);
            }
        }
        self.look(out);
        self.say(Input::Tick, out);
        failed
    }

    /// What the journal lost that was sent already will not come again, either.
    fn lost(&mut self, error: &AppendError, out: &mut Vec<Step>) {
        let AppendError::Lost { lost, .. } = error else { return };
        let (key, epoch) = (self.key_id().0, self.epochs.epoch);
        for span in lost.iter().filter(|span| span.stream == key && span.upto.epoch == epoch) {
            let from = if span.from.epoch == epoch { span.from.seq } else { 0 };
            self.say(Input::Void(from..span.upto.seq), out);
        }
        if let Err(error) = self.epochs.doubt() {
            tracing::error!("cannot note that the journal lost something: {error}");
        }
    }

    /// Lets tips tell what the journal still holds.
    fn look(&mut self, out: &mut Vec<Step>) {
        if self.looked.elapsed() >= LOOK
            && let Some(journal) = &self.journal
        {
            self.looked = Instant::now();
            let oldest = journal.oldest(self.key_id());
            let oldest = oldest.unwrap_or(Position::new(self.epochs.epoch, 0));
            self.say(Input::Oldest(oldest), out);
        }
    }

    /// Who speaks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The stream that it speaks on.
    pub fn key_id(&self) -> KeyId {
        self.identity.key_id()
    }

    /// The place before which everything was handed out, or could not be written.
    pub fn sent(&self) -> Position {
        self.sent
    }

    /// Bytes that are signed and wait for the journal.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.journal.as_ref().map_or(0, Journal::waiting)
    }

    /// Bytes waiting for a number.
    pub fn queued(&self) -> usize {
        self.author.queued()
    }

    /// Whether [`Input::Close`] was carried out: the last tip was handed out.
    pub fn is_closed(&self) -> bool {
        self.closed && self.journal.as_ref().is_none_or(|journal| journal.steps() == 0)
    }

    /// Notes that the epoch ended cleanly.
    ///
    /// # Errors
    /// What the system says; subscribers are then told of an unclean end.
    pub fn end(&self) -> io::Result<()> {
        self.epochs.end(self.author.next().seq)
    }
}
