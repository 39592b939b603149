//! What a connection makes of a peer's bytes: an event, something ignored, or a fault.

use alloc::string::String;
use bytes::Bytes;

use super::command::{Ask, Mark};
use super::frame::Frames;
use super::handshake::Peer;

/// What the peer said, in the order in which it said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Write this now: READY, once the peer's greeting is complete.
    Send(Bytes),
    /// The handshake is done; all else comes after it.
    Ready(Peer),
    /// To a publisher: one more subscription to this prefix, at most 255 bytes.
    Subscribe(Bytes),
    /// To a publisher: one subscription to this prefix fewer.
    Cancel(Bytes),
    /// To a subscriber: a message. Whether it is a packet is for the caller to find out.
    Message(Frames),
    /// Answer with [`super::pong`] and this context of at most 16 bytes. The TTL a peer may send
    /// with it is not reported: no connection is closed on its word.
    Ping(Bytes),
    /// The answer to a ping.
    Pong,
    /// To a subscriber from a peer that sent X-Selvedge.
    Mark(Mark),
    /// To a publisher from a peer that sent X-Selvedge.
    Ask(Ask),
    /// To a relay that takes offers, from a peer that sent X-Selvedge: a message, which may be a
    /// packet.
    Offer(Frames),
    /// Dropped, for a counter; the connection goes on.
    Ignored(Ignored),
}

/// Why something a peer sent was dropped. One counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// A command of an unknown name, or READY again.
    UnknownCommand,
    /// A known command that is not for this role, or not for a peer without X-Selvedge.
    Misdirected,
    /// A message to a publisher that is no subscription.
    UpstreamMessage,
    /// A subscription or cancel of a prefix over 255 bytes, which can match nothing.
    LongPrefix,
}

/// How the peer broke the protocol or a limit. The connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The first bytes are not those of ZMTP 2 or later.
    #[error("the peer does not speak ZMTP: its first bytes are no signature")]
    Signature,
    /// ZMTP 1 or 2; the revision byte it sent.
    #[error("the peer speaks ZMTP revision {0}; 3.0 is the oldest understood (libzmq 4.0)")]
    OldVersion(u8),
    /// Another security mechanism, which is named.
    #[error("the peer wants the security mechanism {0:?}; only NULL is spoken here")]
    Mechanism(String),
    /// Something else than READY or ERROR after the greeting.
    #[error("the peer did not send READY after its greeting")]
    NotReady,
    /// The properties of READY do not add up.
    #[error("the properties in the peer's READY are malformed")]
    Metadata,
    /// Not the other half of PUB and SUB; what it is instead, empty if it did not say.
    #[error("the peer is a {0:?} socket, which does not go with this one")]
    SocketType(String),
    /// The peer sent ERROR, with its reason.
    #[error("the peer refused the connection: {0:?}")]
    Refused(String),
    /// Reserved bits in a frame's flags, or a command that announces more frames.
    #[error("a frame has the flags {0:#04x}, which mean nothing")]
    Flags(u8),
    /// A message frame that announces more than may be.
    #[error("a frame of {len} bytes is announced; {limit} are allowed")]
    FrameTooLarge {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// A message that grows beyond what may be.
    #[error("a message grows beyond {limit} bytes")]
    PacketTooLarge {
        /// Bytes allowed, frame headers included.
        limit: usize,
    },
    /// A message of too many frames.
    #[error("a message has more than {limit} frames")]
    TooManyParts {
        /// Frames allowed.
        limit: usize,
    },
    /// A command that announces more than may be.
    #[error("a command of {len} bytes is announced; {limit} are allowed")]
    CommandTooLarge {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// A command whose name is empty or longer than the command.
    #[error("a command has no name")]
    Nameless,
    /// PING without its TTL or with a context over 16 bytes.
    #[error("a PING is malformed")]
    Ping,
    /// MARK without all of its fields.
    #[error("a MARK is too short")]
    Mark,
    /// ASK without all of its fields.
    #[error("an ASK is too short")]
    Ask,
    /// OFFER of something else than one message.
    #[error("an OFFER holds something else than one message")]
    Offer,
}
