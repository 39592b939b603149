//! Where a record stands in its stream.

use std::fmt;

/// A place in a stream: compared as a pair, epoch first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which start of whoever speaks; opaque, only compared.
    pub epoch: u64,
    /// The number within the epoch.
    pub seq: u64,
}

impl Place {
    /// The place `seq` in `epoch`.
    pub const fn new(epoch: u64, seq: u64) -> Place {
        Place { epoch, seq }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.seq)
    }
}

/// The places `from..upto` of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The stream's id.
    pub stream: u64,
    /// The first place.
    pub from: Place,
    /// The first place after it that does not belong to it.
    pub upto: Place,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.to_le_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, " {}..{}", self.from, self.upto)
    }
}

/// Adds a range that begins at or after the end of the last; adjacent ones become one.
pub(crate) fn join(ranges: &mut Vec<(Place, Place)>, from: Place, upto: Place) {
    match ranges.last_mut() {
        Some(last) if last.1 == from => last.1 = upto,
        _ => ranges.push((from, upto)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_ranges_join_and_others_do_not() {
        let place = |seq| Place::new(1, seq);
        let mut ranges = Vec::new();
        join(&mut ranges, place(0), place(2));
        join(&mut ranges, place(2), place(3));
        join(&mut ranges, place(4), Place::new(2, 0));
        join(&mut ranges, Place::new(2, 0), Place::new(2, 1));
        assert_eq!(ranges, [(place(0), place(3)), (place(4), Place::new(2, 1))]);
    }

    #[test]
    fn a_span_shows_its_stream_as_key_ids_are_shown() {
        let span = Span { stream: 0x01, from: Place::new(7, 1), upto: Place::new(7, 3) };
        assert_eq!(span.to_string(), "0100000000000000 7/1..7/3");
    }
}
