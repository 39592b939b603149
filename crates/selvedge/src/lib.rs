//! Not yet here.

pub mod directory;
pub mod keys;
