//! What a peer is, and where its parts meet.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::case::{Case, Transport};
use crate::measure::{Publishing, Subscribing};
use crate::servers::Server;
#[cfg(feature = "zenoh")]
use crate::zenoh;
#[cfg(feature = "brokers")]
use crate::{amqp, mqtt, nats, redis};
use crate::{engine, libzmq, signed, tcp, zeromq_crate};

/// All there are, in the order of reports.
pub const PEERS: &[Peer] = &[
    signed::PEER,
    engine::PEER,
    libzmq::PEER,
    libzmq::ONE_FRAME,
    zeromq_crate::PEER,
    tcp::PEER,
    #[cfg(feature = "zenoh")]
    zenoh::PEER,
    #[cfg(feature = "brokers")]
    nats::PEER,
    #[cfg(feature = "brokers")]
    redis::PEER,
    #[cfg(feature = "brokers")]
    mqtt::PEER,
    #[cfg(feature = "brokers")]
    amqp::PEER,
];

/// Something that carries messages from processes to others.
pub struct Peer {
    /// How reports and `--only` call it.
    pub name: &'static str,
    /// Binds (or connects to its server), says where, and sends every body until there are no more.
    /// Returns when all is taken, unless the process has to live on for that: bodies are asked for
    /// until everybody has all.
    pub publish: fn(&mut Publishing) -> Result<()>,
    /// Connects there and hands over every body until no more are due, or none came for
    /// [`crate::measure::SILENCE`].
    pub subscribe: fn(&mut Subscribing, way: &Way) -> Result<()>,
    /// What stands between the two.
    pub middle: Middle,
    /// Whether it has a transport for processes of one host.
    pub ipc: bool,
    /// Whether messages have topics.
    pub topics: bool,
    /// Whether it drops what subscribers do not take in time, and cannot be told not to.
    pub drops: bool,
}

/// What a peer can put between publishers and subscribers.
pub enum Middle {
    /// Nothing.
    None,
    /// In relayed cases, a process that binds, says where, and sends on what publishers say until
    /// it is killed.
    Relay(fn(publishers: &[String], place: &Place) -> Result<()>),
    /// In every case, a program of somebody else. All connect to it, and publishers are held back
    /// by the [`crate::window`].
    Server(&'static Server),
}

/// Where to bind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Place {
    /// Any port of the loopback interface.
    Tcp,
    /// This path.
    Ipc(PathBuf),
    /// Not at all: connect to a server at this address.
    Server(String),
}

/// Where messages come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Who says them.
    pub publishers: Vec<String>,
    /// Who sends them on, if they are not heard directly: a relay's endpoint or a server's address.
    pub relay: Option<String>,
}

impl Peer {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Peer> {
        PEERS.iter().find(|peer| peer.name == name)
    }

    /// The program of its server, if it needs one, of those named by option or one that is found;
    /// else the reason, for the user.
    pub fn program(&self, named: &[(String, PathBuf)]) -> Result<Option<PathBuf>, String> {
        match self.middle {
            Middle::Server(server) => server.find(named).map(Some),
            Middle::None | Middle::Relay(_) => Ok(None),
        }
    }

    /// Whether it can take part.
    pub fn can(&self, case: &Case) -> bool {
        let relays = matches!(self.middle, Middle::Relay(_));
        (!case.relayed || relays)
            && (case.transport == Transport::Tcp || self.ipc)
            && (case.topics == 1 || self.topics)
    }
}

impl Place {
    /// The endpoint, or the server's address; with `port` for one that the system chooses.
    pub fn endpoint(&self, port: &str) -> String {
        match self {
            Place::Tcp => format!("tcp://127.0.0.1:{port}"),
            Place::Ipc(path) => format!("ipc://{}", path.display()),
            Place::Server(address) => address.clone(),
        }
    }
}

impl Way {
    /// Where to connect.
    pub fn endpoints(&self) -> &[String] {
        match &self.relay {
            Some(relay) => std::slice::from_ref(relay),
            None => &self.publishers,
        }
    }
}
