//! A publisher's epochs across its restarts: which one begins, and how earlier ones ended.
//!
//! Who was killed had written everything to his journal that he sent, and the kernel keeps that
//! until the machine itself goes down. So an epoch that was cut off ended cleanly where the journal
//! ends, if the machine has run on since and nothing in the journal is damaged.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Wall;
use crate::seal::{EPOCHS, EpochEnd};

/// What a publisher has noted of one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// How it ended.
    Ended(EpochEnd),
    /// That it began, and nothing since: it was cut off.
    Began {
        /// Which epoch.
        epoch: u64,
        /// Whether the machine has run on since, and nothing was lost of what was sent.
        runs_on: bool,
    },
}

/// What a publisher's journal holds.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// How far it goes in each epoch of which it holds something.
    pub ends: BTreeMap<u64, u64>,
    /// Whether it is there, and nothing of it is damaged: what a killed process wrote is all in it.
    pub intact: bool,
}

/// The epoch that begins now: above every earlier one, whatever the clock says; and how earlier
/// ones ended, newest first, at most [`EPOCHS`]. `held` is none without a journal.
pub fn begin(now: Wall, noted: &[Noted], held: Option<&Held>) -> (u64, Vec<EpochEnd>) {
    let earlier = earlier(noted, held);
    let noted = noted.iter().map(|noted| match noted {
        Noted::Ended(end) => end.epoch,
        Noted::Began { epoch, .. } => *epoch,
    });
    let last = noted.chain(earlier.iter().map(|end| end.epoch)).max();
    (now.0.max(last.unwrap_or_default().saturating_add(1)), earlier)
}

/// Of an epoch that was cut off only a journal knows how far it went.
fn earlier(noted: &[Noted], held: Option<&Held>) -> Vec<EpochEnd> {
    let mut ends = BTreeMap::new();
    for (&epoch, &end) in held.into_iter().flat_map(|held| &held.ends) {
        ends.insert(epoch, EpochEnd { epoch, end, clean: false });
    }
    for noted in noted {
        let ended = match *noted {
            Noted::Ended(end) => end,
            Noted::Began { epoch, runs_on } => {
                let end = held.and_then(|held| held.ends.get(&epoch)).copied();
                let clean = runs_on && held.is_some_and(|held| held.intact);
                EpochEnd { epoch, end: end.unwrap_or_default(), clean }
            }
        };
        ends.insert(ended.epoch, ended);
    }
    ends.into_values().rev().take(EPOCHS).collect()
}
