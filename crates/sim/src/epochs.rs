//! What a publisher remembers of its epochs across restarts, by the rules of its state file.

use std::collections::BTreeMap;

use selvedge_core::seal::{EPOCHS, EpochEnd};

/// How far a journal goes in each epoch of which it holds something.
pub type Ends = BTreeMap<u64, u64>;

/// Newest first. Every change is durable at once: the file is replaced as a whole and synced.
#[derive(Clone, Debug, Default)]
pub struct Epochs(Vec<Line>);

#[derive(Clone, Debug)]
enum Line {
    Ended(EpochEnd),
    /// It runs, or was cut off, in this run of the machine.
    Began {
        epoch: u64,
        boot: u64,
    },
}

impl Epochs {
    /// Begins a new epoch, above every earlier one; how those ended, newest first.
    /// `boot` is the run of the machine, and a journal is `sound` if nothing in it was damaged:
    /// else more may have been sent than it holds.
    pub fn begin(
        &mut self,
        wall: u64,
        held: Option<&Ends>,
        boot: u64,
        sound: bool,
    ) -> (u64, Vec<EpochEnd>) {
        let earlier = self.earlier(held, boot, sound);
        let lines = self.0.iter().map(|line| match line {
            Line::Ended(end) => end.epoch,
            Line::Began { epoch, .. } => *epoch,
        });
        let last = lines.chain(earlier.iter().map(|end| end.epoch)).max();
        let epoch = wall.max(last.unwrap_or_default() + 1);
        self.0 = vec![Line::Began { epoch, boot }];
        self.0.extend(earlier.iter().copied().map(Line::Ended));
        (epoch, earlier)
    }

    /// The newest epoch, if there was one.
    pub fn newest(&self) -> Option<u64> {
        self.0.first().map(|line| match line {
            Line::Ended(end) => end.epoch,
            Line::Began { epoch, .. } => *epoch,
        })
    }

    /// Notes that the running epoch ended cleanly before number `end`.
    pub fn end(&mut self, end: u64) {
        if let Some(epoch) = self.newest() {
            self.0[0] = Line::Ended(EpochEnd { epoch, end, clean: true });
        }
    }

    /// What was sent in the running epoch is in doubt: its journal lost some of it.
    pub fn doubt(&mut self) {
        if let Some(Line::Began { boot, .. }) = self.0.first_mut() {
            *boot = u64::MAX;
        }
    }

    fn earlier(&self, held: Option<&Ends>, boot: u64, sound: bool) -> Vec<EpochEnd> {
        let mut ends = BTreeMap::new();
        for (&epoch, &end) in held.into_iter().flatten() {
            ends.insert(epoch, EpochEnd { epoch, end, clean: false });
        }
        for line in &self.0 {
            match line {
                Line::Ended(end) => {
                    ends.insert(end.epoch, *end);
                }
                Line::Began { epoch, boot: then } => {
                    let end = held.and_then(|held| held.get(epoch)).copied().unwrap_or_default();
                    let clean = held.is_some() && sound && *then == boot;
                    ends.insert(*epoch, EpochEnd { epoch: *epoch, end, clean });
                }
            }
        }
        ends.into_values().rev().take(EPOCHS).collect()
    }
}
