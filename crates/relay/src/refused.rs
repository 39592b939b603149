//! Streams of which the journal did not take something: they are set back after a while, to be
//! asked for again from where what is held ends.

use std::collections::BTreeSet;
use std::time::Duration;

use selvedge::journal::Done;
use selvedge_core::KeyId;
use tokio::time::{Instant, sleep_until};

/// How long after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// How long at most, while the disk takes nothing: all that came since is asked for each time.
const LATEST: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub struct Refused {
    keys: BTreeSet<KeyId>,
    due: Option<Instant>,
    wait: Duration,
}

impl Default for Refused {
    fn default() -> Refused {
        Refused { keys: BTreeSet::new(), due: None, wait: FIRST }
    }
}

impl Refused {
    /// Notes what became of a step.
    pub fn note(&mut self, done: &Done) {
        if done.written.is_ok() && done.step.keeps().is_some() && self.due.is_none() {
            self.wait = FIRST;
        }
        self.keys.extend(done.refused());
        if !self.keys.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + self.wait);
            self.wait = (2 * self.wait).min(LATEST);
        }
    }

    /// Waits until streams are to be set back; for ever if there is none. Cancel safe.
    pub async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// The streams to set back now.
    pub fn take(&mut self) -> BTreeSet<KeyId> {
        self.due = None;
        std::mem::take(&mut self.keys)
    }
}
