//! One signature, many messages: the bytes of packets, commits and tips, version 1.
//!
//! ```text
//! seal frame, integers little-endian
//!   0  "SV" | version u8 = 1 | suite u8 = 1 (Ed25519, SHA-256)
//!   4  key_id u64 | 12 epoch u64 | 20 commit u64 | 28 first u64 | 36 time_us u64
//!  44  n u16 | m u16                                            bytes 0..48 are signed
//!  48  signature 64
//! 112  index u16 | k u8 | flags u8 = 0
//! 116  k × 32 sibling hashes
//!      head: count u16 | tseq u64 |
//!      count × { off u16 | ctype u16 | ext_len u16 | len u32 | ts_us u64 | extension }
//! ```
//! What is hashed is what is sent; nothing is ever encoded again. [`Packet::parse`] checks the
//! structure of what came, [`Unsealed::seal`] makes what goes.

mod commit;
mod content;
mod header;
mod key;
pub mod merkle;
mod packet;
mod record;
mod tip;
mod used;

pub use commit::{Commit, Draft, Group, Identity, Sealed, Unsealed, entry_bytes};
pub use content::ContentType;
pub use header::{COMMIT_BYTES, Foreign, HEADER, Header, signed_bytes};
pub use key::{BadKey, PublicKey, SecretKey, key_id};
pub use packet::{Entries, Entry, Malformed, Packet};
pub use record::NoRecord;
pub use tip::{BadTip, EPOCHS, EpochEnd, RECENT, Recent, Tip, VOIDS, Void};
pub use used::Used;

/// The offset that a tip's entry has: it takes no number.
pub const TIP_OFF: u16 = 0xffff;
