//! One signature, many messages: the bytes of packets, commits and tips, version 1.

mod key;

pub use key::{BadKey, PublicKey, SecretKey, key_id};
