//! Services and relays: what one entry of a directory says.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use super::Endpoint;
use crate::Wall;
use crate::seal::PublicKey;
use crate::topic::{Name, Pattern};

/// `[services.NAME]`: one process of a service that publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Addresses of the same process, tried in turn; none: reached through relays only.
    pub endpoints: Vec<Endpoint>,
    /// At least one. All verify; the first signs.
    pub keys: Vec<PublicKey>,
    /// What it may say, at least one pattern; nothing else is believed.
    pub topics: Arc<[Pattern]>,
    /// What ties several entries of one service together.
    pub group: Option<Name>,
    /// Where to listen, if not where `endpoints` says.
    pub bind: Option<Endpoint>,
    /// Services that may read it; empty: everyone. Reserved, not enforced yet.
    pub readers: Vec<Name>,
    /// Whether and where it keeps what it said.
    pub journal: Journal,
    /// What a receipt waits for unless a message says otherwise.
    pub durability: Option<Durability>,
    /// How much its journal keeps.
    pub retain: Retain,
    /// Most bodies in one packet, 1 to 1,024.
    pub pack: Option<u16>,
    /// By which way to receive it, best first.
    pub prefer: Vec<Via>,
    /// The last day on which the entry counts. Reserved, not enforced yet.
    pub expires: Option<Date>,
}

/// `[relays.NAME]`: a process that condenses many publishers into one stream of their packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Addresses of the same process, tried in turn; at least one.
    pub endpoints: Vec<Endpoint>,
    /// At least one. They sign `$tip.NAME` and `$state.NAME` and nothing else.
    pub keys: Vec<PublicKey>,
    /// What it passes on, at least one pattern.
    pub carries: Vec<Pattern>,
    /// Where to listen, if not where `endpoints` says.
    pub bind: Option<Endpoint>,
    /// Services that may read it; empty: everyone. Reserved, not enforced yet.
    pub readers: Vec<Name>,
    /// With a journal it is an archive.
    pub journal: Journal,
    /// How much its journal keeps.
    pub retain: Retain,
    /// The last day on which the entry counts. Reserved, not enforced yet.
    pub expires: Option<Date>,
}

/// `journal = true`, or the path of its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// `false`, or no such key: nothing is kept.
    #[default]
    Off,
    /// `true`: in the state directory.
    State,
    /// In this folder, an absolute path.
    At(String),
}

/// `durability = "log"` or `"buffered"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A receipt waits for the disk: survives a power cut.
    Log,
    /// A receipt waits for the kernel: survives the end of the process.
    Buffered,
}

/// `retain = { bytes = "10GiB", age = "7d" }`: whichever is reached first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// Bytes on disk: a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`.
    pub bytes: Option<u64>,
    /// Age of a message: a whole number and `s`, `m`, `h` or `d`.
    pub age: Option<Duration>,
}

/// One of `prefer = ["edge", "direct"]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// From the service itself.
    Direct,
    /// Through the relay of this name.
    Relay(Name),
}

/// A day of the Gregorian calendar, in UTC: `2027-06-30`, a TOML date without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Date {
    /// The first moment after this day; zero if that is before 1970.
    pub fn end(self) -> Wall {
        // Days since 0000-03-01, so that a leap day is the last of its year.
        let march = i64::from(self.month <= 2);
        let year = i64::from(self.year) - march;
        let month = i64::from(self.month) + 12 * march - 3;
        let in_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let since_1970 = 365 * year + leaps + in_year - 719_468;
        let days = u64::try_from(since_1970 + 1).unwrap_or_default();
        Wall(days * 86_400 * 1_000_000)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A text that is not one of the words or quantities a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// Of `durability`.
    #[error("durability is \"log\" or \"buffered\"")]
    Durability,
    /// Of `retain.bytes`.
    #[error("an amount is a whole number and B, KiB, MiB, GiB or TiB, such as \"10GiB\"")]
    Bytes,
    /// Of `retain.age`.
    #[error("an age is a whole number and s, m, h or d, such as \"7d\"")]
    Age,
    /// Of `prefer`.
    #[error("a way to prefer is \"direct\" or the name of a relay")]
    Via,
    /// Of `journal`.
    #[error("a journal is true, false, or the absolute path of a folder")]
    Journal,
}

impl FromStr for Durability {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Durability, BadValue> {
        match text {
            "log" => Ok(Durability::Log),
            "buffered" => Ok(Durability::Buffered),
            _ => Err(BadValue::Durability),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Log => "log",
            Durability::Buffered => "buffered",
        })
    }
}

impl FromStr for Via {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Via, BadValue> {
        match text {
            "direct" => Ok(Via::Direct),
            name => name.parse().map(Via::Relay).map_err(|_| BadValue::Via),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Direct => f.write_str("direct"),
            Via::Relay(name) => name.fmt(f),
        }
    }
}

impl FromStr for Journal {
    type Err = BadValue;
    /// The path form only.
    fn from_str(text: &str) -> Result<Journal, BadValue> {
        let good = text.starts_with('/') && !text.contains(char::is_control);
        if good { Ok(Journal::At(text.into())) } else { Err(BadValue::Journal) }
    }
}

/// Units of an amount, largest first, so that the first that divides it is shown.
const BYTES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// Units of an age.
const SECONDS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Reads `text` as a whole number and one of `units`; `None` if it is not, or overflows.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The way back.
fn shown(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    let (unit, factor) = whole.or(units.last()).copied().unwrap_or_default();
    alloc::format!("{}{unit}", amount / factor.max(1))
}

impl Retain {
    /// Reads an amount, as of `retain.bytes`.
    ///
    /// # Errors
    /// [`BadValue::Bytes`].
    pub fn parse_bytes(text: &str) -> Result<u64, BadValue> {
        quantity(text, &BYTES).ok_or(BadValue::Bytes)
    }

    /// Reads an age, as of `retain.age`.
    ///
    /// # Errors
    /// [`BadValue::Age`].
    pub fn parse_age(text: &str) -> Result<Duration, BadValue> {
        quantity(text, &SECONDS).map(Duration::from_secs).ok_or(BadValue::Age)
    }

    /// The amount as [`Retain::parse_bytes`] reads it.
    pub(super) fn bytes_shown(&self) -> Option<String> {
        self.bytes.map(|bytes| shown(bytes, &BYTES))
    }

    /// The age as [`Retain::parse_age`] reads it.
    pub(super) fn age_shown(&self) -> Option<String> {
        self.age.map(|age| shown(age.as_secs(), &SECONDS))
    }
}

/// What stands under one name. Shared, so that an entry nobody touched is the same allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Service(Arc<Service>),
    Relay(Arc<Relay>),
}

impl Form {
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Form::Service(service) => &service.keys,
            Form::Relay(relay) => &relay.keys,
        }
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Form::Service(service) => &service.endpoints,
            Form::Relay(relay) => &relay.endpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_back_in_their_largest_unit() {
        for (text, bytes, back) in
            [("10GiB", 10 << 30, "10GiB"), ("1024B", 1024, "1KiB"), ("0KiB", 0, "0B")]
        {
            assert_eq!(Retain::parse_bytes(text), Ok(bytes));
            assert_eq!(shown(bytes, &BYTES), back);
        }
        assert_eq!(Retain::parse_age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(shown(90, &SECONDS), "90s");
        for bad in ["", "7", "d", "-7d", "7 d", "7w", "99999999999999999999d", "999999999TiB"] {
            assert_eq!(quantity(bad, &SECONDS), None, "{bad:?}");
            assert_eq!(quantity(bad, &BYTES), None, "{bad:?}");
        }
    }

    #[test]
    fn a_date_ends_when_the_next_day_begins() {
        for (year, month, day, seconds) in [
            (1970, 1, 1, 86_400),
            (2000, 2, 29, 951_868_800),
            (2027, 6, 30, 1_814_400_000),
            (1969, 12, 31, 0),
            (0, 1, 1, 0),
        ] {
            let end = Date { year, month, day }.end();
            assert_eq!(end, Wall(seconds * 1_000_000), "{year}-{month}-{day}");
        }
    }
}
