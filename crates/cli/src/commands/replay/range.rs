//! From where to where.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use selvedge::{KeyId, Message, Name, Position};

use crate::options;

/// What comes out of a source, in the order of its stream.
#[derive(Debug)]
pub enum Item {
    /// A message within the range.
    Message(Message),
    /// Something is wrong within the range: a loss, or what did not pass the door.
    Bad { key: Option<KeyId>, text: String },
    /// Something that may be missing, for all anybody knows.
    Note(String),
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Microseconds since 1970, by the messages' own times.
    Time(u64),
    /// A message.
    Id { publisher: Name, at: Position },
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Bound, String> {
        let id = |text: &str| {
            let mut parts = text.split('/');
            let (publisher, epoch, seq) = (parts.next()?, parts.next()?, parts.next()?);
            let at = Position::new(epoch.parse().ok()?, seq.parse().ok()?);
            let publisher = publisher.parse().ok()?;
            parts.next().is_none().then_some(Bound::Id { publisher, at })
        };
        let bound = options::time(text).map(Bound::Time).or_else(|| id(text));
        bound.ok_or_else(|| {
            "a time such as 2026-11-22T19:00:00Z or an id, publisher/epoch/seq, is expected"
                .to_owned()
        })
    }
}

/// Both ends, each included.
#[derive(Clone, Debug, Default)]
pub struct Range {
    from: Option<Bound>,
    to: Option<Bound>,
}

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    Before,
    Within,
    After,
}

impl Range {
    /// # Errors
    /// If there can be nothing in it.
    pub fn new(from: Option<Bound>, to: Option<Bound>) -> Result<Range, String> {
        match (&from, &to) {
            (Some(Bound::Time(from)), Some(Bound::Time(to))) if from > to => {
                Err("--from is after --to: exchange them".to_owned())
            }
            (Some(Bound::Id { publisher: a, .. }), Some(Bound::Id { publisher: b, .. }))
                if a != b =>
            {
                Err(format!(
                    "--from is a message of {a} and --to one of {b}: numbers of two publishers \
                     cannot be compared; use times"
                ))
            }
            (Some(Bound::Id { at: from, .. }), Some(Bound::Id { at: to, .. })) if from > to => {
                Err("--from is after --to: exchange them".to_owned())
            }
            _ => Ok(Range { from, to }),
        }
    }

    /// The only publisher in it, if an end is a message's id.
    pub fn publisher(&self) -> Option<&Name> {
        [&self.from, &self.to].into_iter().flatten().find_map(|bound| match bound {
            Bound::Id { publisher, .. } => Some(publisher),
            Bound::Time(_) => None,
        })
    }

    /// Its first place, if that is a message's.
    pub fn first(&self) -> Option<Position> {
        match self.from {
            Some(Bound::Id { at, .. }) => Some(at),
            _ => None,
        }
    }

    /// The place after its last one, if that is a message's.
    pub fn end(&self) -> Option<Position> {
        match self.to {
            Some(Bound::Id { at, .. }) => Some(at.after()),
            _ => None,
        }
    }

    /// When it begins, in microseconds since 1970; 0 if that is no time.
    pub fn since(&self) -> u64 {
        match self.from {
            Some(Bound::Time(time)) => time,
            _ => 0,
        }
    }

    pub fn of(&self, message: &Message) -> Lies {
        let time = message.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let is_before = |bound: &Bound| match bound {
            Bound::Time(from) => time < u128::from(*from),
            Bound::Id { at, .. } => message.position < *at,
        };
        let is_after = |bound: &Bound| match bound {
            Bound::Time(to) => time > u128::from(*to),
            Bound::Id { at, .. } => message.position > *at,
        };
        if self.from.as_ref().is_some_and(is_before) {
            Lies::Before
        } else if self.to.as_ref().is_some_and(is_after) {
            Lies::After
        } else {
            Lies::Within
        }
    }
}

/// Lets through what lies within a range. Where that is a time, a loss lies where the message after
/// it does.
#[derive(Debug, Default)]
pub struct Filter {
    range: Range,
    held: BTreeMap<KeyId, Vec<String>>,
}

impl Filter {
    pub fn new(range: Range) -> Filter {
        Filter { range, held: BTreeMap::new() }
    }

    pub fn message(&mut self, message: Message, out: &mut Vec<Item>) -> Lies {
        let lies = self.range.of(&message);
        let held = self.held.remove(&message.key);
        if lies != Lies::Before {
            let key = Some(message.key);
            out.extend(held.into_iter().flatten().map(|text| Item::Bad { key, text }));
        }
        if lies == Lies::Within {
            out.push(Item::Message(message));
        }
        lies
    }

    /// A loss of `from..to`, and the words for it.
    pub fn lost(
        &mut self,
        key: KeyId,
        from: Position,
        to: Position,
        words: impl FnOnce(Position, Position) -> String,
        out: &mut Vec<Item>,
    ) {
        let from = self.range.first().map_or(from, |first| from.max(first));
        let to = self.range.end().map_or(to, |end| to.min(end));
        if from >= to {
            return;
        }
        let text = words(from, to);
        match self.range.since() {
            0 => out.push(Item::Bad { key: Some(key), text }),
            _ => self.held.entry(key).or_default().push(text),
        }
    }

    /// Nothing more comes.
    pub fn end(&mut self, out: &mut Vec<Item>) {
        for (key, held) in std::mem::take(&mut self.held) {
            out.extend(held.into_iter().map(|text| Item::Bad { key: Some(key), text }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> Option<Bound> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_bound_is_a_time_or_an_id() {
        assert_eq!(bound("1970-01-01T00:00:01.5Z"), Some(Bound::Time(1_500_000)));
        let id = Bound::Id { publisher: "web".parse().unwrap(), at: Position::new(7, 8) };
        assert_eq!(bound("web/7/8"), Some(id));
        for text in ["", "web", "web/7", "web/7/8/9", "web/7/-1", "No/7/8", "yesterday"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }

    #[test]
    fn ends_that_enclose_nothing_are_refused() {
        let (early, late) = (bound("2026-01-01T00:00:00Z"), bound("2027-01-01T00:00:00Z"));
        let (low, high) = (bound("web/7/8"), bound("web/7/9"));
        for (from, to) in [(&early, &late), (&low, &high), (&low, &low), (&early, &high)] {
            assert!(Range::new(from.clone(), to.clone()).is_ok());
        }
        for (from, to) in [(&late, &early), (&high, &low), (&low, &bound("db/7/9"))] {
            assert!(Range::new(from.clone(), to.clone()).is_err());
        }
    }
}
