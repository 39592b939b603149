//! ZeroMQ applications that know nothing of Selvedge: [`from`] reads them, [`to`] feeds them.
//!
//! # Loops
//! Both directions may be in use between the same two sides, and a message must not circulate:
//! - What [`to`] puts out carries its id (`publisher/epoch/seq`). [`from`] refuses and counts
//!   whatever carries one, and whatever was taken from a Selvedge socket as it is (a seal in its
//!   second frame). So a message enters a fabric once, however the foreign side is wired, as long
//!   as it is passed on there as it is; hence no fabric can be fed from another through here.
//! - What [`from`] publishes says where it is from, in the signed header `origin`. A [`to`] that is
//!   told the same origin leaves it out: it would go where it came from.
//!
//! # What the foreign side can do to this process
//! Both sides are spoken to with the `zeromq` crate (0.7.0 was looked at), which trusts its peers
//! more than the fabric's own engine does. Known, and the reason for a process of its own under a
//! service manager that restarts it and bounds its memory:
//! - A peer that announces a frame too large for this machine ends the process (memory is reserved
//!   for what is announced); a smaller one may fill it. Bodies over the publisher's bound are
//!   dropped only once they are here.
//! - A peer that sends PING (`ZMQ_HEARTBEAT_IVL`) is disconnected by it, and connected again here
//!   with a growing delay. Leave heartbeats off at the peer.
//! - It sets no TCP keepalive: a peer whose host is gone without a word is noticed only by
//!   [`from::Config::idle`].
//! - For each subscriber of [`to`] up to 100,000 messages wait, of whatever size; what comes on top
//!   is dropped, and the crate does not say how much. Connections that never finish their handshake
//!   stay.
//! - Two peers of one bound socket that give themselves the same identity replace each other.
//!
//! What is done about the rest: a connecting socket is made anew for each connection, with a bound
//! on connecting and the handshake together, so that neither a half-open peer nor the crate's own
//! way to reconnect (PULL has none) can keep a bridge silent.

mod counters;
pub mod from;
mod link;
mod prefix;
pub mod to;
mod translation;

pub use counters::Dropped;
pub use prefix::{BadPrefix, Prefix};
pub use zeromq::Endpoint;
