//! What is appended.

use bytes::Bytes;

use crate::format::{MAX_BODY, MAX_PREAMBLE, RECORD_HEADER};
use crate::{Place, Span};

/// One record, to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The stream that it belongs to; an opaque id.
    pub stream: u64,
    /// Its first place, at or after the end of all that is held of the stream.
    pub from: Place,
    /// The first place after it: everything of this stream in `from..upto` that the journal holds
    /// is in this record; of a later epoch if it likes. Equal to `from` in a note, which holds no
    /// place, and is read by whoever reads on over its place from before it.
    pub upto: Place,
    /// Microseconds since 1970, for retention by age.
    pub time_us: u64,
    /// Who speaks on this stream, opaque, at most [`MAX_PREAMBLE`] bytes. It is written before the
    /// stream's first record in each segment, and again where it changes.
    pub preamble: &'a [u8],
    /// What is to be kept, one after another; together at most [`MAX_BODY`] bytes, which may be
    /// none.
    pub body: &'a [Bytes],
}

/// A record that cannot be written, whatever the disk does. Nothing of its batch was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It would end before it begins.
    #[error("a record cannot end before it begins: {0}")]
    Backwards(Span),
    /// Something of the stream is held at or after its first place.
    #[error("{record} begins before {end}, where what is held of its stream ends")]
    OutOfOrder {
        /// The record.
        record: Span,
        /// The first place that it could begin at.
        end: Place,
    },
    /// Its preamble, its body, or all of the batch is too long.
    #[error("{what} of {bytes} bytes is longer than {limit}: append less at once")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
}

impl Record<'_> {
    /// Its stream and places.
    pub fn span(&self) -> Span {
        Span { stream: self.stream, from: self.from, upto: self.upto }
    }

    /// Bytes of its body.
    pub(crate) fn body_len(&self) -> usize {
        self.body.iter().map(Bytes::len).fold(0, usize::saturating_add)
    }

    /// Bytes that it takes in a segment at most.
    pub(crate) fn room(&self) -> usize {
        (2 * RECORD_HEADER + self.preamble.len()).saturating_add(self.body_len())
    }

    /// Whether it can be written at all, its order aside.
    pub(crate) fn check(&self) -> Result<(), BadRecord> {
        let within = |what, bytes, limit| match bytes <= limit {
            true => Ok(()),
            false => Err(BadRecord::TooLong { what, bytes, limit }),
        };
        within("a preamble", self.preamble.len(), MAX_PREAMBLE)?;
        within("a body", self.body_len(), MAX_BODY)?;
        match self.from <= self.upto {
            true => Ok(()),
            false => Err(BadRecord::Backwards(self.span())),
        }
    }
}
