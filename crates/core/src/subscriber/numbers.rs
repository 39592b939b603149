//! Which numbers of a commit came: a bit for each.

use alloc::vec::Vec;

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Numbers below a bound, counted from the commit's first.
#[derive(Clone, Debug)]
pub struct Numbers {
    words: Vec<u64>,
    bound: usize,
    count: usize,
}

impl Numbers {
    /// None of the numbers below `bound`.
    pub fn below(bound: u16) -> Numbers {
        let bound = usize::from(bound);
        Numbers { words: alloc::vec![0; bound.div_ceil(WORD)], bound, count: 0 }
    }

    /// Adds a number; one that is not below the bound changes nothing.
    pub fn add(&mut self, number: u16) {
        let number = usize::from(number);
        let bit = 1 << (number % WORD);
        if let Some(word) = self.words.get_mut(number / WORD).filter(|_| number < self.bound) {
            self.count += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Whether a number came.
    pub fn has(&self, number: u64) -> bool {
        self.next(number, true) == number && number < self.bound as u64
    }

    /// Whether all came.
    pub fn is_full(&self) -> bool {
        self.count >= self.bound
    }

    /// The first number from `from` on that came, or, unless `came`, did not; the bound if there is
    /// none.
    pub fn next(&self, from: u64, came: bool) -> u64 {
        let bound = self.bound as u64;
        if from >= bound {
            return bound;
        }
        let (first, shift) = (from as usize / WORD, from as usize % WORD);
        for (at, word) in self.words.iter().enumerate().skip(first) {
            let wanted = if came { *word } else { !*word };
            let wanted = if at == first { wanted >> shift << shift } else { wanted };
            if wanted != 0 {
                return ((at * WORD) as u64 + u64::from(wanted.trailing_zeros())).min(bound);
            }
        }
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_words_and_at_the_ends() {
        let mut numbers = Numbers::below(130);
        (60..70).chain([0, 129, 129, 130, 200]).for_each(|number| numbers.add(number));
        assert_eq!(numbers.count, 12);
        for (from, came, missing) in
            [(0, 0, 1), (1, 60, 1), (60, 60, 70), (65, 65, 70), (70, 129, 70), (130, 130, 130)]
        {
            assert_eq!((numbers.next(from, true), numbers.next(from, false)), (came, missing));
        }
        assert!(numbers.has(129) && !numbers.has(130) && !numbers.has(1));
        (0..130).for_each(|number| numbers.add(number));
        assert!(numbers.is_full() && numbers.next(0, false) == 130);
    }

    #[test]
    fn of_no_numbers_all_came() {
        let numbers = Numbers::below(0);
        assert!(numbers.is_full() && numbers.next(0, true) == 0 && !numbers.has(0));
    }
}
