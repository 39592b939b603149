//! Sets of positions as disjoint ranges `from..upto`: what MARKs pass, what did not come.

use alloc::collections::BTreeMap;

use crate::Position;
use crate::limits::RANGES;

/// Disjoint, not touching, bounded in number. Ranges may reach from one epoch into a later one.
#[derive(Clone, Debug, Default)]
pub struct Ranges(BTreeMap<Position, Position>);

impl Ranges {
    /// Adds `from..upto`. Of more than [`RANGES`] the highest are forgotten: what comes first is
    /// needed first, nobody's far claims displace it, and a claim forgotten is a hole, which is
    /// never silent.
    pub fn add(&mut self, mut from: Position, mut upto: Position) {
        if from >= upto {
            return;
        }
        if let Some((&start, &end)) = self.0.range(..=from).next_back()
            && end >= from
        {
            from = start;
            upto = upto.max(end);
        }
        while let Some((&start, &end)) = self.0.range(from..=upto).next() {
            self.0.remove(&start);
            upto = upto.max(end);
        }
        self.0.insert(from, upto);
        if self.0.len() > RANGES {
            self.0.pop_last();
        }
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `from..upto` out.
    pub fn remove(&mut self, from: Position, upto: Position) {
        if from >= upto {
            return;
        }
        let touched = self.0.range(..upto).rev().take_while(|(_, end)| **end > from);
        let touched: smallvec::SmallVec<[(Position, Position); 4]> =
            touched.map(|(start, end)| (*start, *end)).collect();
        for (start, end) in touched {
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, from);
            }
            if end > upto {
                self.0.insert(upto, end);
            }
        }
    }

    /// Forgets everything below `position`.
    pub fn forget_below(&mut self, position: Position) {
        if self.0.first_key_value().is_some_and(|(start, _)| *start < position) {
            self.remove(Position::default(), position);
        }
    }

    /// The end of the range that `position` lies in.
    pub fn end_at(&self, position: Position) -> Option<Position> {
        let (_, end) = self.0.range(..=position).next_back()?;
        (*end > position).then_some(*end)
    }

    /// Where the first range above `position` begins.
    pub fn start_above(&self, position: Position) -> Option<Position> {
        self.0.range(position..).map(|(start, _)| *start).find(|start| *start > position)
    }

    /// The part that lies in `from..upto`.
    pub fn clone_within(&self, from: Position, upto: Position) -> Ranges {
        let mut part = Ranges::default();
        if let Some(end) = self.end_at(from) {
            part.add(from, end.min(upto));
        }
        for (start, end) in self.0.range(from..upto.max(from)) {
            part.add(*start, (*end).min(upto));
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(seq: u64) -> Position {
        Position::new(1, seq)
    }

    #[test]
    fn ranges_behave_like_a_set_of_numbers() {
        let mut ranges = Ranges::default();
        let mut set = alloc::collections::BTreeSet::new();
        let mut random = 7u64;
        for _ in 0..2_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (from, len) = (random >> 33 & 63, random >> 40 & 7);
            if random >> 63 == 0 {
                ranges.add(at(from), at(from + len));
                set.extend(from..from + len);
            } else {
                ranges.remove(at(from), at(from + len));
                set.retain(|seq| !(from..from + len).contains(seq));
            }
            let inside = (0..80).filter(|seq| ranges.end_at(at(*seq)).is_some());
            assert_eq!(inside.collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            assert!(ranges.0.iter().zip(ranges.0.iter().skip(1)).all(|(a, b)| a.1 < b.0));
        }
    }
}
