//! What a topic of this fabric must look like, for `check` and for publishers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::topic::{BadPattern, Name, Pattern, Topic};

/// `prefix.field.field…`, and any further segments after the last field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    prefix: Topic,
    fields: Vec<Name>,
    pattern: Pattern,
}

/// A topic that does not follow the scheme, and what it should look like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topic {topic} is outside the scheme of this fabric: {scheme}")]
pub struct OutsideScheme {
    /// The topic.
    pub topic: Topic,
    /// The scheme as people read it: `org.example.<service>.<event>`.
    pub scheme: String,
}

impl Scheme {
    /// A scheme of at least one field; no segment of a topic may stand for two of them.
    ///
    /// # Errors
    /// [`BadPattern`] if no topic of at most 255 bytes could follow it, or `prefix` is reserved.
    pub fn new(prefix: Topic, fields: Vec<Name>) -> Result<Scheme, BadPattern> {
        let mut pattern = String::from(prefix.as_str());
        fields.iter().for_each(|_| pattern.push_str(".*"));
        pattern.push_str(".#");
        Ok(Scheme { pattern: pattern.as_str().try_into()?, prefix, fields })
    }

    /// What all topics start with.
    pub fn prefix(&self) -> &Topic {
        &self.prefix
    }

    /// What the segments after the prefix are called.
    pub fn fields(&self) -> &[Name] {
        &self.fields
    }

    /// The pattern that matches exactly the topics that follow the scheme.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether `topic` follows the scheme; the fabric's own topics (`$tip.web`) always do.
    ///
    /// # Errors
    /// [`OutsideScheme`] says what was expected.
    pub fn check(&self, topic: &Topic) -> Result<(), OutsideScheme> {
        if topic.is_reserved() || self.pattern.matches(topic) {
            return Ok(());
        }
        let scheme = alloc::format!("{self}");
        Err(OutsideScheme { topic: topic.clone(), scheme })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        self.fields.iter().try_for_each(|field| write!(f, ".<{field}>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_the_prefix_and_a_segment_for_each_field() {
        let fields = ["service", "event"].map(|f| f.parse().unwrap()).to_vec();
        let scheme = Scheme::new("org.example".parse().unwrap(), fields).unwrap();
        for (topic, good) in [
            ("org.example.web.up", true),
            ("org.example.web.disk.up", true),
            ("org.example.web", false),
            ("org.examples.web.up", false),
            ("$tip.web", true),
        ] {
            assert_eq!(scheme.check(&topic.parse().unwrap()).is_ok(), good, "{topic}");
        }
        let outside = scheme.check(&"a".parse().unwrap()).unwrap_err();
        assert_eq!(
            alloc::format!("{outside}"),
            "the topic a is outside the scheme of this fabric: org.example.<service>.<event>"
        );
    }
}
