//! Speaking under a name: who may, from where, and the core's author with its key and its epoch.
//!
//! A publisher says messages and tips with it, a relay only its tip.

use std::io;
use std::path::Path;

use selvedge_core::author::{self, Author, Input, Output};
use selvedge_core::directory::{Directory, Endpoint};
use selvedge_core::limits::BODIES;
use selvedge_core::seal::{Identity, SecretKey};
use selvedge_core::topic::Name;
use selvedge_core::{KeyId, Position};

use crate::clock::Clock;
use crate::net::{BindError, Listener};
use crate::outlet::Outlet;
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
}

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
    epochs: Epochs,
    clock: Clock,
    effects: Vec<Output>,
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
        Ok((Voice::begin(identity, state, None)?, listener))
    }

    /// Begins a new epoch, durable before this returns.
    pub(crate) fn begin(
        identity: Identity,
        state: &Path,
        pack: Option<u16>,
    ) -> Result<Voice, StateError> {
        let epochs = Epochs::begin(state, &identity.publisher)?;
        let config = author::Config {
            key: identity.key_id(),
            publisher: identity.publisher.clone(),
            epoch: epochs.epoch,
            earlier: epochs.earlier.clone(),
            pack: pack.map_or(BODIES, usize::from),
            jitter: epochs.epoch,
        };
        let author = Author::new(config);
        let clock = Clock::new();
        Ok(Voice { author, identity, epochs, clock, effects: Vec::new(), closed: false })
    }

    /// Hands `input` to the author, and what comes of it, signed, to the outlet.
    pub fn say(&mut self, input: Input, outlet: &mut Outlet) {
        self.author.handle(self.clock.now(), input, &mut self.effects);
        // Sealing answers at once, and so leads to further effects: first come, first done.
        let mut effects = std::mem::take(&mut self.effects);
        let mut next = 0;
        while next < effects.len() {
            let effect = std::mem::replace(&mut effects[next], Output::Closed);
            next += 1;
            match effect {
                Output::Seal(unsealed) => {
                    let commit = unsealed.seal(&self.identity);
                    self.author.handle(self.clock.now(), Input::Sealed(commit), &mut effects);
                }
                Output::Send(commit) => outlet.send(&commit),
                Output::Closed => self.closed = true,
            }
        }
        effects.clear();
        self.effects = effects;
    }

    /// Waits until the author wants [`Input::Tick`]. Cancel safe.
    pub async fn due(&self) {
        self.clock.at(self.author.deadline()).await;
    }

    /// The stream that it speaks on.
    pub fn key_id(&self) -> KeyId {
        self.identity.key_id()
    }

    /// The place that the next message will have. What lies before it was handed to the outlet.
    pub fn next(&self) -> Position {
        self.author.next()
    }

    /// Bytes waiting for a number.
    pub fn queued(&self) -> usize {
        self.author.queued()
    }

    /// Whether [`Input::Close`] was carried out: the last tip was handed to the outlet.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Notes that the epoch ended cleanly.
    ///
    /// # Errors
    /// What the system says; subscribers are then told of an unclean end.
    pub fn end(&self) -> io::Result<()> {
        self.epochs.end(self.next().seq)
    }
}
