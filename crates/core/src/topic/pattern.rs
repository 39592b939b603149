//! Patterns: `*` stands for one segment, a final `#` for the rest (`a.#` matches `a` too).

use alloc::sync::Arc;
use core::fmt;

use super::Topic;
use crate::limits::TOPIC_BYTES;

/// What a service may say, a relay carries, or a subscriber wants. Cheap to clone.
///
/// No pattern matches a reserved topic (one that starts with `$`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: Arc<str>,
    /// Bytes before the first wildcard: a topic that matches has the same. All of it, without one.
    literal: u8,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// No byte, an empty segment, or over 255 bytes.
    #[error("a pattern has 1 to {TOPIC_BYTES} bytes and no empty segment")]
    Shape,
    /// `#` before the end.
    #[error("# stands only at the end of a pattern, as a segment of its own")]
    Hash,
    /// A segment that is neither `*` nor made of the topic alphabet.
    #[error("a segment of a pattern is *, a final #, or consists of A-Z a-z 0-9 _ -")]
    Segment,
}

impl Pattern {
    /// The pattern that matches every topic of applications.
    pub fn all() -> Pattern {
        Pattern::checked("#")
    }

    /// Of a text that follows the grammar.
    fn checked(text: &str) -> Pattern {
        let literal = text.find(['*', '#']).unwrap_or(text.len()) as u8; // at most 255 bytes
        Pattern { text: Arc::from(text), literal }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `topic` is one of those that this pattern stands for.
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.is_reserved() {
            return false;
        }
        let topic = &topic.as_bytes()[..];
        let (literal, wild) = self.text.as_bytes().split_at(self.literal.into());
        let Some(rest) = topic.strip_prefix(literal) else {
            // `a.#` matches `a` too.
            return wild == b"#" && literal.strip_suffix(b".") == Some(topic);
        };
        // Nearly all patterns end here: without a wildcard, or with one `#`.
        match wild {
            b"" => rest.is_empty(),
            b"#" => true,
            _ => segments_match(wild, rest),
        }
    }

    /// Whether some topic matches both.
    pub fn intersects(&self, other: &Pattern) -> bool {
        let (mut mine, mut theirs) = (self.segments(), other.segments());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }

    /// Whether every topic that matches `other` matches this one.
    pub fn covers(&self, other: &Pattern) -> bool {
        let (mut mine, mut theirs) = (self.segments(), other.segments());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (None, None) => return true,
                (_, Some("#")) => return false,
                (Some(a), Some(b)) if a == "*" || a == b => {}
                _ => return false,
            }
        }
    }

    /// The longest byte prefix shared by all topics that match: what is subscribed to on the wire.
    pub fn wire_prefix(&self) -> &str {
        match self.text.split_at(self.literal.into()) {
            (literal, "#") => literal.strip_suffix('.').unwrap_or(literal),
            (literal, _) => literal,
        }
    }

    /// The segments, with a leading `#` written as `*.#`: no topic has no segment at all.
    fn segments(&self) -> impl Iterator<Item = &str> {
        let first = if &*self.text == "#" { Some("*") } else { None };
        first.into_iter().chain(self.text.split('.'))
    }
}

fn segments_match(pattern: &[u8], text: &[u8]) -> bool {
    let mut segments = text.split(|byte| *byte == b'.');
    for want in pattern.split(|byte| *byte == b'.') {
        if want == b"#" {
            return true;
        }
        match segments.next() {
            Some(segment) if want == b"*" || want == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

impl TryFrom<&str> for Pattern {
    type Error = BadPattern;
    fn try_from(text: &str) -> Result<Pattern, BadPattern> {
        if text.is_empty() || text.len() > TOPIC_BYTES {
            return Err(BadPattern::Shape);
        }
        let mut rest = text.split('.').peekable();
        while let Some(segment) = rest.next() {
            match segment {
                "" => return Err(BadPattern::Shape),
                "*" => {}
                "#" if rest.peek().is_none() => {}
                "#" => return Err(BadPattern::Hash),
                s if s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {}
                _ => return Err(BadPattern::Segment),
            }
        }
        Ok(Pattern::checked(text))
    }
}

impl core::str::FromStr for Pattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Pattern, BadPattern> {
        Pattern::try_from(text)
    }
}

impl From<&Topic> for Pattern {
    /// The pattern that matches just this topic.
    fn from(topic: &Topic) -> Pattern {
        Pattern::checked(topic.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn matching_goes_by_segments_not_by_bytes() {
        for (p, t, expected) in [
            ("abc", "abcfoo", false),
            ("abc", "abc", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "ab", false),
            ("a.*", "a", false),
            ("a.*", "a.b", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            ("#", "x.y", true),
            ("*", "x.y", false),
            ("#", "$tip.web", false),
        ] {
            assert_eq!(pattern(p).matches(&t.parse().unwrap()), expected, "{p} {t}");
        }
    }

    #[test]
    fn the_wire_prefix_never_excludes_a_match() {
        for (p, prefix) in
            [("a.b", "a.b"), ("a.#", "a"), ("#", ""), ("*", ""), ("a.*.c", "a."), ("a.b.*", "a.b.")]
        {
            assert_eq!(pattern(p).wire_prefix(), prefix, "{p}");
        }
    }

    #[test]
    fn containment_and_intersection_agree_on_small_cases() {
        for (p, q, covers, intersects) in [
            ("#", "a.*", true, true),
            ("*.#", "#", true, true),
            ("*.*.#", "#", false, true),
            ("a.#", "a", true, true),
            ("a", "a.#", false, true),
            ("a.*", "*.b", false, true),
            ("a.b", "a.c", false, false),
            ("a.*", "a.*.c", false, false),
            ("a.#", "b.#", false, false),
        ] {
            assert_eq!(pattern(p).covers(&pattern(q)), covers, "{p} covers {q}");
            assert_eq!(pattern(p).intersects(&pattern(q)), intersects, "{p} meets {q}");
        }
    }

    #[test]
    fn a_pattern_outside_the_grammar_says_which_rule() {
        for (text, why) in [
            ("", BadPattern::Shape),
            ("a..b", BadPattern::Shape),
            ("a.#.b", BadPattern::Hash),
            ("a#", BadPattern::Segment),
            ("a.b*", BadPattern::Segment),
            ("$tip.#", BadPattern::Segment),
        ] {
            assert_eq!(Pattern::try_from(text), Err(why), "{text:?}");
        }
    }
}
