//! What a topic, a pattern and a name are.
//!
//! One ASCII grammar at both ends: dot-separated segments of `A-Z a-z 0-9 _ -`, 1 to 255 bytes.
//! A first segment that starts with `$` marks a topic of the fabric itself (`$tip.web`).

mod name;
mod pattern;

pub use name::{BadName, Name};
pub use pattern::{BadPattern, Pattern};

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::limits::TOPIC_BYTES;

/// A topic that follows the grammar. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Bytes);

/// Why a text is no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// No byte at all.
    #[error("a topic needs at least one segment")]
    Empty,
    /// More than 255 bytes.
    #[error("a topic has at most {TOPIC_BYTES} bytes")]
    TooLong,
    /// Two dots in a row, or a dot at an end.
    #[error("a topic has no empty segment: no dot at its start or end, no two in a row")]
    EmptySegment,
    /// A byte outside the grammar, and where it stands.
    #[error("a topic consists of A-Z a-z 0-9 _ - and dots; byte {at} is none of them")]
    Byte {
        /// Offset in bytes from the start of the topic.
        at: usize,
    },
}

impl Topic {
    /// Parses `text`, keeping it without a copy.
    ///
    /// # Errors
    /// [`BadTopic`] says which rule of the grammar does not hold.
    pub fn new(text: Bytes) -> Result<Topic, BadTopic> {
        check(&text)?;
        Ok(Topic(text))
    }

    /// Where `publisher` sends its heartbeat: `$tip.<publisher>`.
    pub fn tip(publisher: &Name) -> Topic {
        Topic::reserved(b"$tip.", publisher)
    }

    /// Where `publisher` tells its state: `$state.<publisher>`.
    pub fn state(publisher: &Name) -> Topic {
        Topic::reserved(b"$state.", publisher)
    }

    fn reserved(prefix: &[u8], publisher: &Name) -> Topic {
        let mut text = Vec::from(prefix);
        text.extend_from_slice(publisher.as_str().as_bytes());
        Topic(Bytes::from(text))
    }

    /// Whether it belongs to the fabric itself and no pattern matches it.
    pub fn is_reserved(&self) -> bool {
        self.0.first() == Some(&b'$')
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default() // the grammar is ASCII
    }

    /// The same topic in memory of its own: a topic that came keeps a whole read buffer alive.
    pub fn detached(&self) -> Topic {
        Topic(Bytes::copy_from_slice(&self.0))
    }

    /// The bytes of the topic frame.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// One pass over the bytes: length, alphabet, segments.
fn check(text: &[u8]) -> Result<(), BadTopic> {
    if text.is_empty() {
        return Err(BadTopic::Empty);
    }
    if text.len() > TOPIC_BYTES {
        return Err(BadTopic::TooLong);
    }
    let skip = usize::from(text[0] == b'$');
    let mut segment = 0;
    for (at, byte) in text.iter().enumerate().skip(skip) {
        match byte {
            b'.' if segment == 0 => return Err(BadTopic::EmptySegment),
            b'.' => segment = 0,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => segment += 1,
            _ => return Err(BadTopic::Byte { at }),
        }
    }
    if segment == 0 { Err(BadTopic::EmptySegment) } else { Ok(()) }
}

impl TryFrom<&str> for Topic {
    type Error = BadTopic;
    fn try_from(text: &str) -> Result<Topic, BadTopic> {
        check(text.as_bytes())?;
        Ok(Topic(Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl core::str::FromStr for Topic {
    type Err = BadTopic;
    fn from_str(text: &str) -> Result<Topic, BadTopic> {
        Topic::try_from(text)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_has_one_error_for_each_way_to_break_it() {
        let long = "a".repeat(256);
        for (text, expected) in [
            ("", Err(BadTopic::Empty)),
            ("$", Err(BadTopic::EmptySegment)),
            (".a", Err(BadTopic::EmptySegment)),
            ("a.", Err(BadTopic::EmptySegment)),
            ("a..b", Err(BadTopic::EmptySegment)),
            ("a.b*", Err(BadTopic::Byte { at: 3 })),
            ("a.$b", Err(BadTopic::Byte { at: 2 })),
            ("a\0b", Err(BadTopic::Byte { at: 1 })),
            ("é", Err(BadTopic::Byte { at: 0 })),
            (long.as_str(), Err(BadTopic::TooLong)),
            (&long[..255], Ok(())),
            ("$tip.web", Ok(())),
            ("org.example.Stg_1.a-b", Ok(())),
        ] {
            assert_eq!(Topic::try_from(text).map(|_| ()), expected, "{text:?}");
        }
    }
}
