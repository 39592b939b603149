//! Signed headers: the extension of a message, one MessagePack map of at most 1,024 bytes.
//!
//! Text keys are the application's, their values text. Integer keys are the fabric's own:
//!
//! | key | meaning | value |
//! |---|---|---|
//! | 1 | schema | text |
//! | 2 | traceparent (W3C Trace Context) | text |
//! | 3 | origin, of a bridged message | text |
//! | 4 | expires, microseconds since 1970 | unsigned integer |
//! | 5 | correlation | text |
//! | 6 | reply topic | text |
//! | 7 | cause: id of the message that led to this one | text |
//! | 8 | priority | 0 to 9 |
//! | 9 | idempotency | text |
//!
//! Keys unknown here are left alone. Each value is written in its shortest form, keys in order.
//!
//! Where headers are written by name ([`Headers::set`], [`serde::Serialize`]) these nine have the
//! names of their fields, and one of the application's of the same name gives way.

use std::collections::BTreeMap;

use bytes::Bytes;
use rmp::Marker;
use rmp::decode::{self, RmpRead as _};
use rmp::encode;
use selvedge_core::limits::EXTENSION_BYTES;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// The fabric's own, by key 1 to 9.
const NAMES: [&str; 9] = [
    "schema",
    "traceparent",
    "origin",
    "expires_us",
    "correlation",
    "reply_topic",
    "cause",
    "priority",
    "idempotency",
];

/// Headers of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Headers {
    /// The application's own.
    pub text: BTreeMap<String, String>,
    /// Which schema the body follows.
    pub schema: Option<String>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// Where a bridge got it from.
    pub origin: Option<String>,
    /// Not worth handling after this, in microseconds since 1970.
    pub expires_us: Option<u64>,
    /// Ties a reply to its request.
    pub correlation: Option<String>,
    /// Where to reply.
    pub reply_topic: Option<String>,
    /// The id of the message that led to this one.
    pub cause: Option<String>,
    /// 0 to 9.
    pub priority: Option<u8>,
    /// The same for two messages that ask for the same thing.
    pub idempotency: Option<String>,
}

/// Headers that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeaders {
    /// Too long altogether.
    #[error("headers take {0} bytes as MessagePack; {EXTENSION_BYTES} are allowed")]
    TooLong(usize),
    /// A priority over 9.
    #[error("a priority is 0 to 9, not {0}")]
    Priority(u8),
    /// One of the fabric's own, and its value is no such number.
    #[error("the header {0} is a whole number, not {1:?}")]
    Number(&'static str, String),
}

/// An extension that is not one map of the described form: its publisher's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the headers are no MessagePack map of the described form")]
pub struct Undecodable;

impl Headers {
    /// No headers.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// With one header of the application's more.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Headers {
        self.text.insert(name.into(), value.into());
        self
    }

    /// Sets the header of this name: one of the fabric's own, else one of the application's.
    ///
    /// # Errors
    /// [`BadHeaders`] if the header is a number and `value` is not, or out of bounds.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), BadHeaders> {
        let number = |name| BadHeaders::Number(name, value.to_owned());
        let slot = match name {
            "schema" => &mut self.schema,
            "traceparent" => &mut self.traceparent,
            "origin" => &mut self.origin,
            "correlation" => &mut self.correlation,
            "reply_topic" => &mut self.reply_topic,
            "cause" => &mut self.cause,
            "idempotency" => &mut self.idempotency,
            "expires_us" => {
                self.expires_us = Some(value.parse().map_err(|_| number("expires_us"))?);
                return Ok(());
            }
            "priority" => {
                let priority = value.parse().map_err(|_| number("priority"))?;
                self.priority = Some(priority);
                return if priority > 9 { Err(BadHeaders::Priority(priority)) } else { Ok(()) };
            }
            _ => {
                self.text.insert(name.to_owned(), value.to_owned());
                return Ok(());
            }
        };
        *slot = Some(value.to_owned());
        Ok(())
    }

    /// The extension: nothing if there is no header.
    ///
    /// # Errors
    /// [`BadHeaders`] if they are too long or a value is out of bounds.
    pub fn encode(&self) -> Result<Bytes, BadHeaders> {
        if let Some(priority) = self.priority.filter(|priority| *priority > 9) {
            return Err(BadHeaders::Priority(priority));
        }
        let own = self.own();
        let count = own.iter().flatten().count()
            + usize::from(self.expires_us.is_some())
            + usize::from(self.priority.is_some())
            + self.text.len();
        let mut out = Vec::new();
        if count > 0 {
            // Writing to a Vec cannot fail.
            let _ = self.write(&mut out, own, count);
        }
        match out.len() {
            len if len > EXTENSION_BYTES => Err(BadHeaders::TooLong(len)),
            _ => Ok(out.into()),
        }
    }

    /// The fabric's own text headers, by key 1 to 9; 4 and 8 are numbers.
    fn own(&self) -> [Option<&str>; 9] {
        [
            self.schema.as_deref(),
            self.traceparent.as_deref(),
            self.origin.as_deref(),
            None,
            self.correlation.as_deref(),
            self.reply_topic.as_deref(),
            self.cause.as_deref(),
            None,
            self.idempotency.as_deref(),
        ]
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        own: [Option<&str>; 9],
        count: usize,
    ) -> Result<(), encode::ValueWriteError> {
        // Each header takes at least two bytes, so a count that does not fit is too long anyway.
        encode::write_map_len(out, u32::try_from(count).unwrap_or(u32::MAX))?;
        for (key, value) in (1u64..).zip(own) {
            match (key, value) {
                (_, Some(text)) => {
                    encode::write_uint(out, key)?;
                    encode::write_str(out, text)?;
                }
                (4, None) => {
                    if let Some(expires) = self.expires_us {
                        encode::write_uint(out, key)?;
                        encode::write_uint(out, expires)?;
                    }
                }
                (8, None) => {
                    if let Some(priority) = self.priority {
                        encode::write_uint(out, key)?;
                        encode::write_uint(out, priority.into())?;
                    }
                }
                _ => {}
            }
        }
        for (name, value) in &self.text {
            encode::write_str(out, name)?;
            encode::write_str(out, value)?;
        }
        Ok(())
    }

    /// Reads an extension.
    ///
    /// # Errors
    /// [`Undecodable`] if it is neither empty nor one map of the described form, without a key
    /// twice or bytes after it.
    pub fn decode(extension: &[u8]) -> Result<Headers, Undecodable> {
        if extension.is_empty() {
            return Ok(Headers::default());
        }
        let mut headers = Headers::default();
        let rest = &mut &*extension;
        let count = decode::read_map_len(rest).map_err(|_| Undecodable)?;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..count {
            match Key::read(rest)? {
                Key::Text(name) => {
                    let value = text(rest)?;
                    if headers.text.insert(name, value).is_some() {
                        return Err(Undecodable);
                    }
                }
                Key::Number(key) if !seen.insert(key) => return Err(Undecodable),
                Key::Number(key) => headers.read_own(key, rest)?,
            }
        }
        if rest.is_empty() { Ok(headers) } else { Err(Undecodable) }
    }

    fn read_own(&mut self, key: u64, rest: &mut &[u8]) -> Result<(), Undecodable> {
        let slot = match key {
            1 => &mut self.schema,
            2 => &mut self.traceparent,
            3 => &mut self.origin,
            4 => {
                self.expires_us = Some(number(rest)?);
                return Ok(());
            }
            5 => &mut self.correlation,
            6 => &mut self.reply_topic,
            7 => &mut self.cause,
            8 => {
                let priority = number(rest)?;
                let priority = u8::try_from(priority).ok().filter(|priority| *priority <= 9);
                self.priority = Some(priority.ok_or(Undecodable)?);
                return Ok(());
            }
            9 => &mut self.idempotency,
            _ => return skip(rest),
        };
        *slot = Some(text(rest)?);
        Ok(())
    }
}

impl Serialize for Headers {
    /// One map by name, numbers as numbers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = NAMES.into_iter().zip(self.own());
        let own: Vec<(&str, &str)> =
            own.filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        let numbers = [("expires_us", self.expires_us), ("priority", self.priority.map(u64::from))];
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &own {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in numbers.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
            map.serialize_entry(name, &value)?;
        }
        let shadowed = |name: &str| {
            own.iter().any(|(own, _)| *own == name)
                || numbers.iter().any(|(own, value)| *own == name && value.is_some())
        };
        for (name, value) in self.text.iter().filter(|(name, _)| !shadowed(name)) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

enum Key {
    Text(String),
    Number(u64),
}

impl Key {
    fn read(rest: &mut &[u8]) -> Result<Key, Undecodable> {
        match rest.first().map(|byte| Marker::from_u8(*byte)) {
            Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16) => text(rest).map(Key::Text),
            _ => number(rest).map(Key::Number),
        }
    }
}

fn text(rest: &mut &[u8]) -> Result<String, Undecodable> {
    let (text, after) = decode::read_str_from_slice(*rest).map_err(|_| Undecodable)?;
    *rest = after;
    Ok(text.to_owned())
}

fn number(rest: &mut &[u8]) -> Result<u64, Undecodable> {
    decode::read_int(rest).map_err(|_| Undecodable)
}

/// Passes one value of any kind, without recursion: nested values only add to what is still to
/// come, and each takes at least a byte.
fn skip(rest: &mut &[u8]) -> Result<(), Undecodable> {
    let mut values = 1usize;
    while values > 0 {
        values -= 1;
        let marker = decode::read_marker(rest).map_err(|_| Undecodable)?;
        let (bytes, more) = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                (0, 0)
            }
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixExt1 => (2, 0),
            Marker::FixExt2 => (3, 0),
            Marker::FixExt4 => (5, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            Marker::FixStr(len) => (usize::from(len), 0),
            Marker::Str8 | Marker::Bin8 => (length(rest, 1)?, 0),
            Marker::Str16 | Marker::Bin16 => (length(rest, 2)?, 0),
            Marker::Str32 | Marker::Bin32 => (length(rest, 4)?, 0),
            Marker::Ext8 => (length(rest, 1)? + 1, 0),
            Marker::Ext16 => (length(rest, 2)? + 1, 0),
            Marker::Ext32 => (length(rest, 4)? + 1, 0),
            Marker::FixArray(len) => (0, usize::from(len)),
            Marker::Array16 => (0, length(rest, 2)?),
            Marker::Array32 => (0, length(rest, 4)?),
            Marker::FixMap(len) => (0, 2 * usize::from(len)),
            Marker::Map16 => (0, 2 * length(rest, 2)?),
            Marker::Map32 => (0, 2 * length(rest, 4)?),
            Marker::Reserved => return Err(Undecodable),
        };
        *rest = rest.get(bytes..).ok_or(Undecodable)?;
        values = values.saturating_add(more);
    }
    Ok(())
}

fn length(rest: &mut &[u8], bytes: usize) -> Result<usize, Undecodable> {
    let mut len = [0; 4];
    rest.read_exact_buf(&mut len[4 - bytes..]).map_err(|_| Undecodable)?;
    usize::try_from(u32::from_be_bytes(len)).map_err(|_| Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_in_their_shortest_form() {
        let mut headers = Headers::new().with("user", "amy");
        headers.priority = Some(3);
        headers.expires_us = Some(300);
        headers.cause = Some("web/1/2".into());
        let bytes = headers.encode().unwrap();
        let expected = b"\x84\x04\xcd\x01\x2c\x07\xa7web/1/2\x08\x03\xa4user\xa3amy";
        assert_eq!(&bytes[..], expected);
        assert_eq!(Headers::decode(&bytes), Ok(headers));
        assert_eq!(Headers::new().encode(), Ok(Bytes::new()));
    }

    #[test]
    fn by_name_they_are_the_fabrics_own_or_the_applications() {
        let mut headers = Headers::new().with("cause", "gives way");
        for (name, value) in [("user", "amy"), ("cause", "web/1/2"), ("priority", "3")] {
            headers.set(name, value).unwrap();
        }
        assert_eq!((headers.priority, headers.cause.as_deref()), (Some(3), Some("web/1/2")));
        let json = serde_json::to_string(&headers).unwrap();
        assert_eq!(json, r#"{"cause":"web/1/2","priority":3,"user":"amy"}"#);
        assert_eq!(headers.set("priority", "10"), Err(BadHeaders::Priority(10)));
        let soon = Err(BadHeaders::Number("expires_us", "soon".into()));
        assert_eq!(headers.set("expires_us", "soon"), soon);
    }

    #[test]
    fn unknown_keys_are_passed_whatever_they_hold() {
        // {99: [{1: nil}, bin 2], "a": "b"}
        let bytes = b"\x82\x63\x92\x81\x01\xc0\xc4\x02xx\xa1a\xa1b";
        assert_eq!(Headers::decode(bytes), Ok(Headers::new().with("a", "b")));
    }

    #[test]
    fn what_is_no_such_map_is_undecodable() {
        for bytes in [
            &b"\x81"[..],
            b"\xc0",
            b"\x82\xa1a\xa1b\xa1a\xa1c",
            b"\x82\x01\xa1b\x01\xa1c",
            b"\x81\xa1a\x01",
            b"\x81\x08\x0a",
            b"\x80x",
            b"\xdf\xff\xff\xff\xff",
            b"\x81\x63\xdd\xff\xff\xff\xff",
        ] {
            assert_eq!(Headers::decode(bytes), Err(Undecodable), "{bytes:?}");
        }
    }

    #[test]
    fn headers_beyond_the_bounds_are_refused_before_they_are_sent() {
        let long = Headers::new().with("a", "x".repeat(1_100));
        assert!(matches!(long.encode(), Err(BadHeaders::TooLong(_))));
        let urgent = Headers { priority: Some(10), ..Headers::new() };
        assert_eq!(urgent.encode(), Err(BadHeaders::Priority(10)));
    }
}
