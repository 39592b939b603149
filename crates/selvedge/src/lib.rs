//! Selvedge: a brokerless pub/sub fabric.
//!
//! Every service binds its own PUB socket and signs what it says; subscribers read one shared
//! `endpoints.toml`, connect to whom they care about and believe nobody but the signer.
//!
//! [`Publisher`] says, [`Subscriber`] hears, [`directory::watch()`] follows the file. [`Outlet`]
//! and [`Inlet`] are what both are made of; a relay has one of each.
//!
//! Not promised: total order between publishers, exactly-once processing, and history whose only
//! copy is gone.

mod clock;
mod counters;
mod courier;
pub mod cursor;
pub mod dead;
pub mod directory;
mod files;
mod fork;
pub mod headers;
pub mod inlet;
pub mod journal;
pub mod keys;
mod message;
mod net;
pub mod outlet;
pub mod publisher;
pub mod recording;
pub mod state;
pub mod subscriber;
mod voice;

pub use clock::{Clock, wall};
pub use counters::{LinkCounters, PeerCounters};
pub use headers::Headers;
pub use inlet::{Inlet, Notice, Notices};
pub use message::{BadMessage, DecodeError, Event, Message, Messages, Origin, Outgoing};
pub use net::{BindError, Listener};
pub use outlet::Outlet;
pub use publisher::{Publisher, Receipt};
pub use subscriber::{Outcome, Start, Subscriber};
pub use voice::{StartError, Voice};

pub use selvedge_core::directory::Durability;
pub use selvedge_core::seal::ContentType;
pub use selvedge_core::subscriber::{Lost, Reason};
pub use selvedge_core::topic::{Name, Pattern, Topic};
pub use selvedge_core::{KeyId, Position};

/// Uniform in 0..1, to spread what many would do at once. Without randomness from the system, half.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
