//! What a publisher's own journal should hold and does not.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Position;
use crate::seal::{EpochEnd, Void};

/// Numbers that will never come: what lies between the ranges that are `held`, in rising order, and
/// what is missing at the end of an epoch. What lies before the first was kept long enough.
pub fn voids(held: &[(Position, Position)], earlier: &[EpochEnd]) -> Vec<Void> {
    let Some((oldest, _)) = held.first() else { return Vec::new() };
    let mut reached = BTreeMap::from([(oldest.epoch, oldest.seq)]);
    let mut voids = Vec::new();
    for (from, upto) in held {
        let at = reached.insert(upto.epoch, upto.seq).unwrap_or_default();
        if at < from.seq {
            voids.push(Void { epoch: from.epoch, from: at, to: from.seq });
        }
    }
    for end in earlier.iter().rev().filter(|end| end.epoch >= oldest.epoch) {
        let at = reached.get(&end.epoch).copied().unwrap_or_default();
        if at < end.end {
            voids.push(Void { epoch: end.epoch, from: at, to: end.end });
        }
    }
    voids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_and_at_the_end_is_void_and_what_retention_took_is_not() {
        let at = Position::new;
        let held = [(at(3, 5), at(3, 7)), (at(3, 9), at(3, 10)), (at(4, 2), at(4, 4))];
        let ended = |epoch, end| EpochEnd { epoch, end, clean: true };
        let found = voids(&held, &[ended(4, 4), ended(3, 12), ended(2, 9)]);
        let void = |epoch, from, to| Void { epoch, from, to };
        assert_eq!(found, [void(3, 7, 9), void(4, 0, 2), void(3, 10, 12)]);
        assert_eq!(voids(&[], &[ended(3, 12)]), []);
    }
}
