//! Walking a segment from record to record, over damage to the next good one.

use std::sync::Arc;

use memchr::memmem;

use crate::disk::File;
use crate::format::{FIRST_RECORD, RECORD_HEADER, RECORD_MAGIC, RecordHeader};
use crate::window::Window;

/// Bytes that are looked at in one go.
const STEP: usize = 1 << 16;

/// One thing that stands in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record whose bytes are as written.
    Record { offset: u64, header: RecordHeader },
    /// Bytes that are no record. If only the body is bad, the header says what it was.
    Damage { offset: u64, bytes: u64, header: Option<RecordHeader> },
}

/// Walks a segment. The zeroes of reserved room at its end are nothing.
#[derive(Debug)]
pub(crate) struct Walk {
    window: Window,
    salt: u64,
    offset: u64,
}

impl Walk {
    /// Walks the bytes `from..limit`; a record begins at `from`.
    pub fn new(file: Arc<dyn File>, salt: u64, from: u64, limit: u64) -> Walk {
        Walk { window: Window::new(file, limit), salt, offset: from.max(FIRST_RECORD) }
    }

    /// Whether the disk could not read some of it; that is found as damage, or as zeroes.
    pub fn unreadable(&self) -> bool {
        self.window.unreadable()
    }

    /// What stands next, if anything.
    pub fn next(&mut self) -> Option<Found> {
        let offset = self.offset;
        if offset >= self.window.limit() {
            return None;
        }
        let Some(header) = self.header(offset) else { return self.damage() };
        let end = offset.saturating_add(header.size());
        self.offset = end.min(self.window.limit());
        if end <= self.window.limit() && self.body_is_good(offset, &header) {
            return Some(Found::Record { offset, header });
        }
        Some(Found::Damage { offset, bytes: self.offset - offset, header: Some(header) })
    }

    /// The body of a record that was found.
    pub fn body(&mut self, offset: u64, header: &RecordHeader) -> &[u8] {
        self.window.at(offset + RECORD_HEADER as u64, header.body_len as usize)
    }

    fn header(&mut self, offset: u64) -> Option<RecordHeader> {
        RecordHeader::decode(self.window.at(offset, RECORD_HEADER), self.salt, offset)
    }

    fn body_is_good(&mut self, offset: u64, header: &RecordHeader) -> bool {
        let (mut at, end) = (offset + RECORD_HEADER as u64, offset + header.size());
        let mut crc = 0;
        while at < end {
            let piece = self.window.at(at, STEP.min((end - at) as usize));
            if piece.is_empty() {
                return false;
            }
            crc = crc32c::crc32c_append(crc, piece);
            at += piece.len() as u64;
        }
        crc == header.body_crc
    }

    /// No record begins here: goes on to where the next one does. What follows the last byte that
    /// is not zero is no damage, if no record follows.
    fn damage(&mut self) -> Option<Found> {
        let (offset, limit) = (self.offset, self.window.limit());
        let (mut at, mut end) = (offset, offset);
        while at < limit {
            // One header more than a step, so that none is cut in two.
            let piece = self.window.at(at, STEP + RECORD_HEADER);
            if piece.is_empty() {
                break;
            }
            let salt = self.salt;
            let mut hits = memmem::find_iter(piece, RECORD_MAGIC).take_while(|hit| *hit < STEP);
            let good = |hit: &usize| {
                RecordHeader::decode(&piece[*hit..], salt, at + *hit as u64).is_some()
            };
            if let Some(hit) = hits.find(good) {
                self.offset = at + hit as u64;
                return Some(Found::Damage { offset, bytes: self.offset - offset, header: None });
            }
            if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += STEP as u64;
        }
        self.offset = limit;
        (end > offset).then_some(Found::Damage { offset, bytes: end - offset, header: None })
    }
}
