//! After an fdatasync that failed: it is never tried again on that file, for the kernel may have
//! dropped what it could not write, and would then report success.

use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;

use bytes::Bytes;

use crate::format::{Kind, RecordHeader};
use crate::journal::write;
use crate::segment::Segment;
use crate::walk::{Found, Walk};
use crate::{AppendError, Journal, Place, Record, Span};

/// Bytes that are written again at once.
const PIECE: usize = 1 << 20;

/// A record that was written again: where, and what it is.
type Moved = (u64, Span, u64);

impl Journal {
    /// Writes what the old segment holds and is not durable into a new one, which is made durable
    /// and returned; or it is not held any more. When a journal is `opened`, that would take along
    /// what was durable long ago: then nothing is touched.
    pub(crate) fn rescue(
        &mut self,
        mut old: Segment,
        source: io::Error,
        opened: bool,
    ) -> Result<Segment, AppendError> {
        let (number, synced) = (old.header.number, old.synced);
        let previous = std::mem::replace(&mut self.previous, (number, synced));
        let rewritten = self.rewrite(&old);
        if opened && rewritten.is_none() {
            self.previous = previous;
            return Err(AppendError::Write { file: old.path.clone(), source });
        }
        let mut index = write(&self.index);
        let lost = index.take_back(number, synced, &self.unsynced);
        self.unsynced.clear();
        let outcome = match rewritten {
            Some((segment, records)) => {
                self.list(&mut index, &segment);
                for (offset, span, time_us) in records {
                    index.add(segment.header.number, offset as u32, span, time_us);
                }
                for (stream, preamble) in &segment.introduced {
                    index.introduce(*stream, preamble);
                }
                Ok(segment)
            }
            None => Err(AppendError::Lost { file: old.path.clone(), source, lost }),
        };
        drop(index);
        // If this fails, the header of the next segment still says where this one ends.
        old.take_back();
        outcome
    }

    /// A new segment with all that was not durable, and is now; or none.
    fn rewrite(&mut self, old: &Segment) -> Option<(Segment, Vec<Moved>)> {
        let mut new = self.create_file().ok()?;
        let due = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.count(old.header.number, old.synced)
        };
        let moved = copy(old, &mut new, self.unsynced.clone());
        let moved = moved.filter(|moved| moved.len() == due && new.sync().is_ok());
        if moved.is_none() {
            new.take_back();
            let _ = self.disk.remove(&new.path); // empty by now, if it stays
        }
        moved.map(|moved| (new, moved))
    }
}

/// Copies what is not durable, not before its stream's place in `wanted`, and reads back as it was
/// written.
fn copy(old: &Segment, new: &mut Segment, mut wanted: BTreeMap<u64, Place>) -> Option<Vec<Moved>> {
    let mut walk = Walk::new(old.file(), old.header.salt, old.synced, old.end);
    let (mut moved, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(found) = walk.next() {
        let Found::Record { offset, header } = found else { continue };
        let due = wanted.get_mut(&header.stream).filter(|due| header.from >= **due);
        let Some(due) = due.filter(|_| header.kind == Kind::Record) else { continue };
        *due = header.upto;
        piece.push((header, [Bytes::copy_from_slice(walk.body(offset, &header))]));
        bytes += header.size() as usize;
        if bytes >= PIECE {
            append(old, new, &piece, &mut moved)?;
            piece.clear();
            bytes = 0;
        }
    }
    append(old, new, &piece, &mut moved)?;
    Some(moved)
}

fn append(
    old: &Segment,
    new: &mut Segment,
    piece: &[(RecordHeader, [Bytes; 1])],
    moved: &mut Vec<Moved>,
) -> Option<()> {
    let records = piece.iter().map(|(header, body)| {
        let RecordHeader { stream, from, upto, time_us, .. } = *header;
        let preamble = old.introduced.get(&stream).map_or(&[][..], Vec::as_slice);
        Record { stream, from, upto, time_us, preamble, body }
    });
    let records: Vec<_> = records.collect();
    let offsets = new.append(&records, 0).ok()?;
    let placed = records.iter().zip(offsets);
    moved.extend(placed.map(|(record, offset)| (offset, record.span(), record.time_us)));
    Some(())
}
