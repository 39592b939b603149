//! What a publisher remembers of its epochs across restarts, as its state file does.

use selvedge_core::Wall;
use selvedge_core::epochs::{self, Held, Noted};
use selvedge_core::seal::EpochEnd;

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
    /// Begins a new epoch; how earlier ones ended. `boot` is the run of the machine.
    pub fn begin(&mut self, wall: u64, held: Option<&Held>, boot: u64) -> (u64, Vec<EpochEnd>) {
        let noted = self.0.iter().map(|line| match line {
            Line::Ended(end) => Noted::Ended(*end),
            Line::Began { epoch, boot: then } => {
                Noted::Began { epoch: *epoch, runs_on: *then == boot }
            }
        });
        let noted: Vec<Noted> = noted.collect();
        let (epoch, earlier) = epochs::begin(Wall(wall), &noted, held);
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
}
