//! When a message is shown again: as long after the first as it was said, so many times faster.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Nobody waits longer.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    Max,
    Times(f64),
}

/// Parses a speed.
pub fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("a number above 0, such as 1 or 0.5, or max is expected".to_owned()),
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    speed: Speed,
    /// The first message's time, and when it was shown.
    base: Option<(SystemTime, Instant)>,
}

impl Pace {
    pub fn new(speed: Speed) -> Pace {
        Pace { speed, base: None }
    }

    /// Until when to wait with a message that was said at this time, if at all.
    pub fn due(&mut self, said: SystemTime, now: Instant) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        let (first, began) = *self.base.get_or_insert((said, now));
        let distance = said.duration_since(first).unwrap_or_default().as_secs_f64() / times;
        let distance = Duration::try_from_secs_f64(distance).unwrap_or(LONGEST).min(LONGEST);
        began.checked_add(distance).filter(|due| *due > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn messages_keep_their_distances_and_what_is_late_is_shown_at_once() {
        let (said, now) = (SystemTime::UNIX_EPOCH + 100 * SECOND, Instant::now());
        let mut pace = Pace::new(Speed::Times(2.0));
        assert_eq!(pace.due(said, now), None, "the first");
        assert_eq!(pace.due(said + 10 * SECOND, now), Some(now + 5 * SECOND));
        assert_eq!(pace.due(said + 10 * SECOND, now + 2 * SECOND), Some(now + 5 * SECOND));
        assert_eq!(pace.due(said + 10 * SECOND, now + 5 * SECOND), None);
        assert_eq!(pace.due(said - 10 * SECOND, now), None, "of another clock");
        let mut slow = Pace::new(Speed::Times(0.5));
        slow.due(said, now);
        assert_eq!(slow.due(said + SECOND, now), Some(now + 2 * SECOND));
    }

    #[test]
    fn no_speed_is_too_slow_or_too_fast() {
        let (said, now) = (SystemTime::UNIX_EPOCH, Instant::now());
        for (text, due) in [("1e-300", Some(now + LONGEST)), ("1e300", None), ("max", None)] {
            let mut pace = Pace::new(speed(text).unwrap());
            pace.due(said, now);
            assert_eq!(pace.due(said + SECOND, now), due, "{text}");
        }
        for text in ["0", "-1", "inf", "nan", "fast"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
