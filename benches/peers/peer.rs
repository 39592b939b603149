//! What a peer is, and where its parts meet.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::case::{Case, Transport};
use crate::measure::{Publishing, Subscribing};
use crate::{engine, libzmq, signed, tcp, zeromq_crate};

/// All there are, in the order of reports.
pub const PEERS: [Peer; 6] =
    [signed::PEER, engine::PEER, libzmq::PEER, libzmq::ONE_FRAME, zeromq_crate::PEER, tcp::PEER];

/// Something that carries messages from processes to others.
pub struct Peer {
    /// How reports and `--only` call it.
    pub name: &'static str,
    /// Binds, says where, and sends every body until there are no more. Returns when all is taken,
    /// unless the process has to live on for that: bodies are asked for until everybody has all.
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
}

/// Where to bind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Place {
    /// Any port of the loopback interface.
    Tcp,
    /// This path.
    Ipc(PathBuf),
}

/// Where messages come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Who says them.
    pub publishers: Vec<String>,
    /// Who sends them on, if they are not heard directly.
    pub relay: Option<String>,
}

impl Peer {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Peer> {
        PEERS.iter().find(|peer| peer.name == name)
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
    /// The endpoint, with `port` for one that the system chooses.
    pub fn endpoint(&self, port: &str) -> String {
        match self {
            Place::Tcp => format!("tcp://127.0.0.1:{port}"),
            Place::Ipc(path) => format!("ipc://{}", path.display()),
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
