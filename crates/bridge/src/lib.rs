//! Bridges: what is said elsewhere becomes messages of a fabric, and the other way round.
//!
//! A bridge is an ordinary service or an ordinary subscriber. Into the fabric it speaks under its
//! own name and key, within the topics that the directory allows it, and says in the signed header
//! `origin` where it has a message from: subscribers believe the bridge, and nobody behind it. Out
//! of the fabric it puts what it has verified; whoever reads it there believes the bridge.
//!
//! A bridge runs in a process of its own. The foreign side is spoken to with a library for that
//! side, whose weaknesses are then nobody else's.
#![forbid(unsafe_code)]

pub mod zmq;
