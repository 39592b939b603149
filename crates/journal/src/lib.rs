//! Append-only segment files of opaque records.
//!
//! A record belongs to a stream and holds a range of its places; what its body means is the
//! caller's business, and so is what is sent when. There is one writer ([`Journal`]), which appends
//! batches, makes them durable and removes old segments, and any number of [`Reader`]s that read by
//! stream and place meanwhile. Plain std, synchronous: a caller that must not wait gives it a
//! thread.
//!
//! | module | rule |
//! |---|---|
//! | `format` | the bytes below |
//! | `segment` | writing one file; what cannot be written whole is cut off again |
//! | `rescue` | an fdatasync that failed is not tried again: a new segment |
//! | `walk` | from record to record, over damage to the next good one |
//! | `recovery` | opening: everything is verified, the torn end is cut, damage is told |
//! | `index`, `reader` | what is held and where; large reads |
//! | `inspect`, `recorder` | files by themselves |
//! | [`disk`] | the real disk, and a simulated one that fails on demand |
//!
//! # What is promised
//!
//! - What [`Journal::append`] took is held after the process ends in any way; what
//!   [`Journal::sync`] or [`Journal::close`] covered, after a power cut too.
//! - A batch whose append failed, and what [`AppendError::Lost`] names, is not held, not even in
//!   part. Neither is it after a reopening, once anything later was synced; before that, a disk
//!   that refused to take it back may show it again, and then it is not sure to be durable.
//! - After a power cut without a sync before it, any subset of the records since the last one may
//!   be there, each whole. [`Reader::held`] says which places are.
//! - Damage costs the records whose bytes it hit, and no others.
//!
//! # Files
//!
//! A journal is a folder with files `NNNNNNNNNN.segment`, numbered from 1 in decimal, and `lock`,
//! which its writer holds with `flock`. A recording is one such file, under any name. Integers are
//! little-endian; CRC is CRC-32C (Castagnoli). A segment begins with two copies of its header, at 0
//! and at 2048, each zero-filled to 2048 bytes; one good copy is enough.
//!
//! ```text
//!   0  "SVJOURNL" | version u16 = 1 | f u8, length of fabric | n u8, length of name | 4 zeroes
//!  16  number u64, 0 in a recording | salt u64, random
//!  32  previous u64, the number of the segment before it, or 0
//!  40  previous_bytes u64: so many bytes of that one count, its header among them
//!  48  public key of the owner, 32 bytes
//!  80  fabric, f bytes of UTF-8 | name, n bytes of UTF-8 | CRC u32 of all before it
//! ```
//!
//! Records follow from 4096 on without a gap, and zeroes of reserved room may follow them.
//!
//! ```text
//!   0  "SVJ" | kind u8: "R" record, "P" preamble, "E" end
//!   4  body_len u32, at most 256 MiB
//!   8  stream u64 | 16 from: epoch u64, seq u64 | 32 upto: epoch u64, seq u64 | 48 time_us u64
//!  56  CRC u32 of the body
//!  60  CRC u32 of: salt u64 | offset of this record in the file u64 | the 60 bytes before
//!  64  body
//! ```
//!
//! A record with `from` = `upto` is a note: it holds no place, and is read by whoever reads on over
//! its place from before it. A preamble's body says who speaks on its stream; it stands before the
//! stream's first record in each segment. An end says that nothing is missing before it: it is
//! written when a segment or recording is finished, and more may follow if a journal is opened
//! again. Of preambles, `from`, `upto` and `time_us` are 0; of an end, `stream` too. Salt and
//! offset in the second CRC make a record good in one place of one file only: the image of a record
//! inside a body is never taken for one, and a header that is good vouches for the length of a body
//! that is not.
//!
//! # Memory
//!
//! Four bytes a record, and about 200 bytes for each stream in each segment, 32 more for each gap
//! in it. At worst, bodies of no bytes: 6 % of what is on disk; with bodies of 256 bytes 1.3 %,
//! with commits of 64 KiB nothing to speak of. A reader's call takes what it returns; opening takes
//! a window of 1 MiB, or the largest preamble.

pub mod disk;
mod error;
mod format;
mod index;
mod inspect;
mod journal;
mod place;
mod reader;
mod record;
mod recorder;
mod recovery;
mod rescue;
mod segment;
mod walk;
mod window;

pub use error::{AppendError, OpenError, RetainError, Retained};
pub use format::{MAX_BODY, MAX_PREAMBLE, Owner, SegmentHeader, VERSION};
pub use inspect::{Item, Scan, ScanError, inspect, scan};
pub use journal::{Journal, Options, SEGMENT_BYTES};
pub use place::{Place, Span};
pub use reader::{Chunk, Entry, ReadError, Reader, StreamInfo};
pub use record::{BadRecord, Record};
pub use recorder::{RecordError, Recorder};
pub use recovery::{Damage, Fault, Recovery};
