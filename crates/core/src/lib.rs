//! The rules and byte formats of Selvedge: everything that decides, nothing that does.
//!
//! No socket, file, clock, thread or random source is reachable from here, so the same code runs
//! under tokio, in a simulation and on a bare target. Callers pass [`Now`] and bytes in, and get
//! values, effects and errors out.
//!
//! | module | rule |
//! |---|---|
//! | [`topic`] | what a topic, a pattern and a name are; match, intersection, containment |
//! | [`directory`] | `endpoints.toml`: parse, last good, difference, who may say what |
//! | [`wire`] | ZMTP 3.1: greeting, commands, frames, who subscribed to which prefix |
//! | [`seal`] | the bytes that are signed: packets, commits, tips, Merkle proofs |
//! | [`open`] | the only door: from a received packet to a [`open::Trusted`] one, or a `Refusal` |
//! | [`epochs`] | which epoch begins, and how earlier ones ended |
//! | [`author`] | drafts → numbers → commits; when to sign, when to send a tip |
//! | [`fanout`] | peers, their prefixes and queues; who gets what next; MARK |
//! | [`subscriber`] | trusted packets → order, duplicates, holes, `Lost` |
//! | [`limits`] | every bound, with its reason and the memory it can cost |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod author;
pub mod directory;
pub mod epochs;
pub mod fanout;
pub mod limits;
pub mod open;
pub mod position;
pub mod seal;
pub mod subscriber;
pub mod time;
pub mod topic;
pub mod wire;

pub use position::{KeyId, Position};
pub use time::{Now, Time, Wall};
