//! How a foreign topic becomes one of ours.

use std::fmt;
use std::str::FromStr;

use selvedge::Topic;

use super::Dropped;

/// What is put before foreign topics, or in the place of how they begin. Whole segments both.
///
/// Written `NEW` (`a.b` becomes `NEW.a.b`) or `OLD=NEW` (`OLD.a` becomes `NEW.a`, `OLD` becomes
/// `NEW`, and all else is not taken).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    old: Option<Topic>,
    new: Topic,
}

/// A text that is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic is expected, such as org.example, or two, such as old.prefix=org.example")]
pub struct BadPrefix;

impl Prefix {
    /// Puts `new` before every topic.
    pub fn before(new: Topic) -> Prefix {
        Prefix { old: None, new }
    }

    /// Puts `new` in the place of `old`.
    pub fn instead_of(old: Topic, new: Topic) -> Prefix {
        Prefix { old: Some(old), new }
    }

    /// How all topics begin that this can map, to be asked of the foreign side.
    pub(super) fn subscription(&self) -> &str {
        self.old.as_ref().map_or("", Topic::as_str)
    }

    /// The topic here of what has `topic` there, or none.
    pub(super) fn map(&self, topic: Option<&str>) -> Result<Topic, Dropped> {
        let rest = match (&self.old, topic) {
            (Some(_), None) => return Err(Dropped::NoTopic),
            (None, None) => return Ok(self.new.clone()),
            (None, Some(topic)) => topic,
            (Some(old), Some(topic)) => match topic.strip_prefix(old.as_str()) {
                Some("") => return Ok(self.new.clone()),
                Some(rest) => rest.strip_prefix('.').ok_or(Dropped::OutsidePrefix)?,
                None => return Err(Dropped::OutsidePrefix),
            },
        };
        parse(format!("{}.{rest}", self.new.as_str()))
    }
}

/// A topic that an application may speak on.
pub(super) fn parse(text: String) -> Result<Topic, Dropped> {
    let topic = Topic::new(text.into()).map_err(|_| Dropped::BadTopic)?;
    if topic.is_reserved() { Err(Dropped::BadTopic) } else { Ok(topic) }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Prefix, BadPrefix> {
        let topic = |text: &str| parse(text.to_owned()).map_err(|_| BadPrefix);
        match text.split_once('=') {
            Some((old, new)) => Ok(Prefix::instead_of(topic(old)?, topic(new)?)),
            None => Ok(Prefix::before(topic(text)?)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.old {
            Some(old) => write!(f, "{}={}", old.as_str(), self.new.as_str()),
            None => f.write_str(self.new.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(prefix: &str, topic: Option<&str>) -> Result<String, Dropped> {
        let prefix: Prefix = prefix.parse().unwrap();
        prefix.map(topic).map(|topic| topic.as_str().to_owned())
    }

    #[test]
    fn it_goes_before_or_instead_of_whole_segments() {
        for (prefix, topic, expected) in [
            ("new", Some("a.b"), Ok("new.a.b")),
            ("new", None, Ok("new")),
            ("new", Some("a b"), Err(Dropped::BadTopic)),
            ("new", Some(""), Err(Dropped::BadTopic)),
            ("new", Some("$tip.a"), Err(Dropped::BadTopic)),
            ("a.b=new.c", Some("a.b.d"), Ok("new.c.d")),
            ("a.b=new.c", Some("a.b"), Ok("new.c")),
            ("a.b=new.c", Some("a.bc"), Err(Dropped::OutsidePrefix)),
            ("a.b=new.c", Some("new.c"), Err(Dropped::OutsidePrefix)),
            ("a.b=new.c", Some("a.b."), Err(Dropped::BadTopic)),
            ("a.b=new.c", None, Err(Dropped::NoTopic)),
        ] {
            assert_eq!(mapped(prefix, topic), expected.map(str::to_owned), "{prefix} {topic:?}");
        }
        assert_eq!(mapped("new", Some(&"x".repeat(252))), Err(Dropped::BadTopic));
    }

    #[test]
    fn only_topics_make_one() {
        for text in ["", "=", "a=", "=b", "a=b=c", "$tip.a", "a.", "a b"] {
            assert_eq!(text.parse::<Prefix>(), Err(BadPrefix), "{text}");
        }
        for text in ["a.b", "a.b=c"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }
}
