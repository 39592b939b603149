//! A seeded world for the machines: a virtual clock, links made of bytes, and a ledger of what was
//! said that finds out what became of it. No socket, no thread, no real time.

pub mod ledger;
pub mod link;
pub mod node;
pub mod plan;
pub mod random;
pub mod world;
