//! The two clocks a caller reads for the core: one that only moves forward, one that people read.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Microseconds on a monotonic clock of the caller's choice; only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// Microseconds since 1970-01-01T00:00:00Z, as the host believes. May jump; never orders anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// Both clocks, read together by the caller before it hands in an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and pacing.
    pub time: Time,
    /// For the `time_us` of a seal, and to judge age where numbers cannot.
    pub wall: Wall,
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, wait: Duration) -> Time {
        Time(self.0.saturating_add(micros(wait)))
    }
}

impl Sub for Time {
    type Output = Duration;
    /// The time passed since `earlier`; zero if `earlier` is later.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// The distance between two readings, whichever is the later.
    pub fn distance(self, other: Wall) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }
}

fn micros(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)
}
