//! One file for each command: its arguments, and `run`.

pub mod check;
pub mod keygen;
pub mod pubkey;
