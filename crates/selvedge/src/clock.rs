//! The host's clocks, as the core wants them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_core::{Now, Time, Wall};
use tokio::time::Instant;

/// Monotonic time counts from the making of the clock. It is tokio's, which tests may pause.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        Now { time: self.time(), wall: wall() }
    }

    /// The monotonic clock.
    pub fn time(&self) -> Time {
        Time(micros(self.start.elapsed()))
    }

    /// When a deadline of the core comes; `None` if there is none.
    pub async fn at(&self, deadline: Option<Time>) {
        match deadline {
            Some(Time(due)) => {
                tokio::time::sleep_until(self.start + Duration::from_micros(due)).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Microseconds since 1970, 0 before.
pub fn wall() -> Wall {
    wall_of(SystemTime::now())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970 at that time, 0 before.
pub fn wall_of(time: SystemTime) -> Wall {
    Wall(time.duration_since(UNIX_EPOCH).map_or(0, micros))
}
