//! Names of fabrics, services and relays: `[a-z0-9][a-z0-9_-]{0,62}`.

use alloc::sync::Arc;
use core::fmt;

/// A name that follows the grammar. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text outside the grammar of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 of a-z 0-9 _ - and starts with a letter or digit")]
pub struct BadName;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = BadName;
    fn try_from(text: &str) -> Result<Name, BadName> {
        let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let good = (1..=63).contains(&bytes.len())
            && letter(&bytes[0])
            && bytes.iter().all(|b| letter(b) || *b == b'_' || *b == b'-');
        if good { Ok(Name(text.into())) } else { Err(BadName) }
    }
}

impl core::str::FromStr for Name {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Name, BadName> {
        Name::try_from(text)
    }
}

impl core::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_lower_case_names_pass() {
        let long = "a".repeat(64);
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "é", long.as_str()] {
            assert_eq!(Name::try_from(bad), Err(BadName), "{bad:?}");
        }
        for good in ["a", "0", "web-01_x", &long[..63]] {
            assert_eq!(Name::try_from(good).as_ref().map(Name::as_str), Ok(good));
        }
    }
}
