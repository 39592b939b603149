//! Not yet here.

pub mod keys;
