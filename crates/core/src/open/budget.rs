//! How much bad work one link may cause before a key is no longer listened to on it.

use alloc::collections::BTreeMap;

use super::Refusal;
use crate::limits::{BAD_SEALS, MUTED};
use crate::{KeyId, Time};

/// Bad seals of one link, by key. Only keys of the directory get here, so it is bounded by them.
#[derive(Debug, Default)]
pub struct Budget {
    keys: BTreeMap<KeyId, Bad>,
}

#[derive(Debug, Default)]
struct Bad {
    seals: u32,
    until: Option<Time>,
}

impl Budget {
    /// Whether packets of `key` are refused unseen; the pause over, counting starts again.
    pub fn is_muted(&mut self, key: KeyId, now: Time) -> bool {
        match self.keys.get(&key).and_then(|bad| bad.until) {
            Some(until) if now < until => true,
            Some(_) => {
                self.keys.remove(&key);
                false
            }
            None => false,
        }
    }

    /// Counts a bad proof or signature, and hands back the refusal.
    pub(super) fn bad(&mut self, key: KeyId, now: Time, why: Refusal) -> Refusal {
        let bad = self.keys.entry(key).or_default();
        bad.seals += 1;
        if bad.seals >= BAD_SEALS {
            bad.until = Some(now + MUTED);
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_bad_seals_mute_a_key_for_a_minute() {
        let (mut budget, key, now) = (Budget::default(), KeyId(1), Time(5));
        for _ in 0..BAD_SEALS {
            assert!(!budget.is_muted(key, now));
            budget.bad(key, now, Refusal::BadProof);
        }
        assert!(budget.is_muted(key, now));
        assert!(!budget.is_muted(KeyId(2), now));
        assert!(!budget.is_muted(key, now + MUTED));
    }
}
