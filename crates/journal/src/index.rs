//! What is held and where, in memory: per segment and stream the offsets of its records.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use bytes::Bytes;

use crate::place::join;
use crate::{Place, Span};

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub segments: BTreeMap<u64, Entry>,
    pub streams: BTreeMap<u64, Stream>,
}

/// A segment.
#[derive(Debug)]
pub(crate) struct Entry {
    pub path: PathBuf,
    pub salt: u64,
    /// Where its last record ends.
    pub end: u64,
    /// The newest time of a record in it or before it.
    pub newest_us: u64,
}

/// What is held of a stream, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub preamble: Bytes,
    pub parts: VecDeque<Part>,
}

/// What one segment holds of a stream; never empty.
#[derive(Debug)]
pub(crate) struct Part {
    pub segment: u64,
    /// Where the records begin.
    pub offsets: Vec<u32>,
    /// What they hold, adjacent ones joined.
    pub ranges: Vec<(Place, Place)>,
}

impl Part {
    /// How many of its records begin before `offset`.
    fn before(&self, offset: u64) -> usize {
        self.offsets.partition_point(|at| u64::from(*at) < offset)
    }

    /// The first place after all of it.
    pub fn end(&self) -> Place {
        self.ranges.last().map_or_else(Place::default, |range| range.1)
    }
}

impl Stream {
    /// The first place after all that is held.
    pub fn end(&self) -> Option<Place> {
        self.parts.back().map(Part::end)
    }

    /// The last record's segment and offset.
    pub fn last(&self) -> Option<(u64, u32)> {
        let part = self.parts.back()?;
        Some((part.segment, *part.offsets.last()?))
    }

    /// What is held, adjacent ranges joined.
    pub fn held(&self) -> Vec<(Place, Place)> {
        let mut joined = Vec::new();
        let ranges = self.parts.iter().flat_map(|part| &part.ranges);
        ranges.for_each(|&(from, upto)| join(&mut joined, from, upto));
        joined.retain(|(from, upto)| from < upto); // a note holds no place
        joined
    }
}

impl Index {
    /// The first place after all that is held of a stream.
    pub fn end(&self, stream: u64) -> Option<Place> {
        self.streams.get(&stream)?.end()
    }

    /// A record was written to a segment that is listed; it begins at or after its stream's end.
    pub fn add(&mut self, segment: u64, offset: u32, span: Span, time_us: u64) {
        if let Some(entry) = self.segments.get_mut(&segment) {
            entry.newest_us = entry.newest_us.max(time_us);
        }
        let parts = &mut self.streams.entry(span.stream).or_default().parts;
        if parts.back().is_none_or(|part| part.segment != segment) {
            parts.back_mut().into_iter().for_each(|part| {
                part.offsets.shrink_to_fit();
                part.ranges.shrink_to_fit();
            });
            parts.push_back(Part { segment, offsets: Vec::new(), ranges: Vec::new() });
        }
        if let Some(part) = parts.back_mut() {
            part.offsets.push(offset);
            join(&mut part.ranges, span.from, span.upto);
        }
    }

    /// How many records the newest segment holds at or after `offset`.
    pub fn count(&self, segment: u64, offset: u64) -> usize {
        let parts = self.streams.values().filter_map(|stream| stream.parts.back());
        let ours = parts.filter(|part| part.segment == segment);
        ours.map(|part| part.offsets.len() - part.before(offset)).sum()
    }

    /// Who speaks on a stream.
    pub fn introduce(&mut self, stream: u64, preamble: &[u8]) {
        let known = &mut self.streams.entry(stream).or_default().preamble;
        if known != preamble {
            *known = Bytes::copy_from_slice(preamble);
        }
    }

    /// The oldest segment is gone, and all that it held.
    pub fn remove(&mut self, segment: u64) {
        self.segments.remove(&segment);
        self.streams.retain(|_, stream| {
            if stream.parts.front().is_some_and(|part| part.segment == segment) {
                stream.parts.pop_front();
            }
            !stream.parts.is_empty()
        });
    }

    /// What the newest segment holds at or after `offset` is gone: of each stream what is at or
    /// after its place in `from`. Says what that was.
    pub fn take_back(
        &mut self,
        segment: u64,
        offset: u64,
        from: &BTreeMap<u64, Place>,
    ) -> Vec<Span> {
        let mut gone = Vec::new();
        for (&id, &from) in from {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let Some(part) = stream.parts.back_mut().filter(|part| part.segment == segment) else {
                continue;
            };
            let upto = part.end();
            gone.extend((from < upto).then_some(Span { stream: id, from, upto }));
            part.offsets.truncate(part.before(offset));
            part.ranges.retain_mut(|range| {
                range.1 = range.1.min(from);
                range.0 < range.1
            });
            if part.offsets.is_empty() {
                stream.parts.pop_back();
            }
            if stream.parts.is_empty() {
                self.streams.remove(&id);
            }
        }
        if let Some(entry) = self.segments.get_mut(&segment) {
            entry.end = entry.end.min(offset);
        }
        gone
    }
}
