//! ZMTP 3.1 (RFC 37), NULL mechanism, PUB and SUB, without a socket.
//!
//! [`Connection`] turns the bytes that a peer sent into [`Event`]s; [`greeting`], [`ready`],
//! [`subscribe`] and their like are the bytes to send; [`Frames`] is one message; [`Interest`] is
//! who subscribed to what. Every length that a peer announces is compared with a limit before it is
//! used, and nothing is reserved for what was merely announced.
//!
//! Not here: when to ping, when a handshake took too long, what to write to whom.

mod command;
mod connection;
mod event;
mod frame;
mod handshake;
mod interest;

pub use command::{Ask, Mark, cancel, offer, ping, pong, subscribe};
pub use connection::{Connection, Limits};
pub use event::{Event, Fault, Ignored};
pub use frame::{FrameHeader, Frames, NotOneMessage, first_frame, header, put_frame};
pub use handshake::{Peer, Role, greeting, ready};
pub use interest::{Full, Interest, matches};
