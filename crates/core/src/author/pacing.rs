//! When to sign: a token bucket of one signature per τ, burst 4.
//!
//! It protects the verifier, which pays twice what the signer pays. While there is a token a commit
//! is made at once; without one, messages queue and share the next signature. A commit that is full
//! needs no token: its signature is shared by as many messages as one ever is.

use core::time::Duration;

use crate::Time;

const BURST: u32 = 4;

/// How late the caller's timers may be.
const LATE: Duration = Duration::from_millis(20);

/// τ by how long the bucket has been empty.
const STAGES: [(Duration, Duration); 3] = [
    (Duration::from_secs(1), Duration::from_millis(2)),
    (Duration::from_millis(100), Duration::from_millis(1)),
    (Duration::ZERO, Duration::from_micros(250)),
];

/// The bucket.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    tokens: u32,
    /// When the next token comes; meaningful below [`BURST`].
    next: Time,
    /// Since when every token was taken as it came.
    empty_since: Option<Time>,
    /// Something waits for a token. One that comes late, as timers do, has not lain unused.
    waited: bool,
}

impl Pacing {
    /// A full bucket.
    pub fn new() -> Pacing {
        Pacing { tokens: BURST, next: Time(0), empty_since: None, waited: false }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Time) -> bool {
        self.refill(now);
        if self.tokens == 0 {
            self.waited = true;
            return false;
        }
        self.waited = false;
        if self.tokens == BURST {
            self.next = now + self.interval(now);
        }
        self.tokens -= 1;
        if self.tokens == 0 {
            self.empty_since.get_or_insert(now);
        }
        true
    }

    /// When there will be a token, if there is none.
    pub fn next_token(&self) -> Option<Time> {
        (self.tokens == 0).then_some(self.next)
    }

    fn refill(&mut self, now: Time) {
        let woke = self.waited && now - self.next < LATE;
        while self.tokens < BURST && self.next <= now {
            self.tokens += 1;
            self.next = self.next + self.interval(now);
        }
        if woke && self.tokens > 1 {
            (self.tokens, self.next) = (1, now + self.interval(now));
        }
        if self.tokens > 1 {
            self.empty_since = None; // a token lay unused: idle again
        }
    }

    fn interval(&self, now: Time) -> Duration {
        let empty = self.empty_since.map_or(Duration::ZERO, |since| now - since);
        STAGES.iter().find(|(from, _)| empty >= *from).map_or(STAGES[2].1, |(_, tau)| *tau)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signatures made in `span` by a publisher that always has something to say.
    fn signatures(pacing: &mut Pacing, from: Time, span: Duration) -> usize {
        let end = from + span;
        let (mut now, mut made) = (from, 0);
        while now < end {
            if pacing.take(now) {
                made += 1;
            } else if let Some(next) = pacing.next_token() {
                now = next;
            }
        }
        made
    }

    #[test]
    fn a_busy_publisher_signs_ever_more_rarely_and_recovers_when_idle() {
        let mut pacing = Pacing::new();
        let start = Time(1_000_000);
        let quick = signatures(&mut pacing, start, Duration::from_millis(100));
        assert!((395..=410).contains(&quick), "{quick}");
        let slower = signatures(&mut pacing, Time(1_100_000), Duration::from_millis(900));
        assert!((890..=910).contains(&slower), "{slower}");
        let slowest = signatures(&mut pacing, Time(2_000_000), Duration::from_secs(1));
        assert!((495..=510).contains(&slowest), "{slowest}");
        let idle = Time(3_500_000);
        assert!((0..BURST).all(|_| pacing.take(idle)));
        assert_eq!(pacing.next_token(), Some(idle + Duration::from_micros(250)));
    }

    /// Regression: a caller that woke up a millisecond late found four tokens and counted as idle,
    /// so that a publisher of 10,000 messages a second signed 4,000 times a second for ever.
    #[test]
    fn who_wakes_up_late_is_no_less_busy() {
        let mut pacing = Pacing::new();
        let (mut now, mut made) = (Time(0), 0);
        while now < Time(3_000_000) {
            now = match pacing.take(now) {
                true => {
                    made += usize::from(now >= Time(2_000_000));
                    now + Duration::from_micros(100) // the next message
                }
                false => Time(pacing.next_token().unwrap().0.next_multiple_of(1_000)),
            };
        }
        assert!(made <= 510, "{made} signatures in the last second");
    }
}
