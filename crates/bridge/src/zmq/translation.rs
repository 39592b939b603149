//! What a foreign message becomes. No socket, no clock.
//!
//! A message of several frames is a topic and payloads, each a message of its own; one of a single
//! frame is a payload without a topic. A payload is, in this order:
//!
//! 1. fedmsg's envelope: a JSON object in which `topic` and `msg_id` are strings and `msg` is an
//!    object. The body is `msg`, as it is written there. `msg_id`, `timestamp`, `i` and `username`
//!    become headers of these names, if they are strings or numbers. The rest is not taken:
//!    `crypto`, `signature` and `certificate` tell of the envelope, which ends here. Its `topic`
//!    counts where the message has no topic frame.
//! 2. JSON: an object or array, whole.
//! 3. text, if it is UTF-8. JSON that is broken is text, too.
//! 4. bytes.

use bytes::Bytes;
use selvedge::headers::BadHeaders;
use selvedge::{ContentType, Headers, Topic};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Dropped, Prefix, prefix};

/// How the frame after the topic begins at a Selvedge socket: magic, version 1, suite 1.
const SEAL: &[u8] = b"SV\x01\x01";

/// What JSON takes for space.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Turns foreign messages into ours.
#[derive(Debug)]
pub(super) struct Translation {
    prefix: Option<Prefix>,
    origin: String,
    /// The header `origin`, encoded.
    origin_alone: Bytes,
}

/// A message to publish.
#[derive(Debug)]
pub(super) struct Translated {
    pub topic: Topic,
    pub ctype: ContentType,
    pub body: Bytes,
    /// The headers, encoded.
    pub extension: Bytes,
    /// Headers were left out for which there is no room; the origin never is.
    pub headers_left_out: bool,
}

/// A payload and what was found out about it.
struct Content<'a> {
    ctype: ContentType,
    body: Bytes,
    envelope: Option<Object<'a>>,
}

/// The keys of a JSON object that matter here.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    #[serde(borrow)]
    msg_id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    i: Option<&'a RawValue>,
    #[serde(borrow)]
    username: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    publisher: Option<&'a RawValue>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
}

impl Translation {
    /// # Errors
    /// If `origin` is too long for the headers of a message.
    pub fn new(prefix: Option<Prefix>, origin: String) -> Result<Translation, BadHeaders> {
        let origin_alone = with_origin(&origin).encode()?;
        Ok(Translation { prefix, origin, origin_alone })
    }

    /// The messages in `frames`, in order.
    pub fn of(&self, frames: &[Bytes]) -> Vec<Result<Translated, Dropped>> {
        match frames {
            [payload] => vec![self.payload(None, payload)],
            [_, seal, ..] if seal.starts_with(SEAL) => vec![Err(Dropped::Returned)],
            [topic, payloads @ ..] => {
                let topic = Some(&topic[..]).filter(|topic| !topic.is_empty());
                payloads.iter().map(|payload| self.payload(topic, payload)).collect()
            }
            [] => Vec::new(),
        }
    }

    fn payload(&self, topic: Option<&[u8]>, payload: &Bytes) -> Result<Translated, Dropped> {
        let Content { ctype, body, envelope } = content(payload)?;
        let named = envelope.as_ref().and_then(|envelope| string(envelope.topic?));
        let topic = match topic {
            Some(topic) => Some(std::str::from_utf8(topic).map_err(|_| Dropped::BadTopic)?),
            None => named.as_deref(),
        };
        let topic = self.topic(topic)?;
        let extension = match envelope {
            Some(envelope) => envelope.headers(&self.origin).encode(),
            None => Ok(self.origin_alone.clone()),
        };
        let headers_left_out = extension.is_err();
        let extension = extension.unwrap_or_else(|_| self.origin_alone.clone());
        Ok(Translated { topic, ctype, body, extension, headers_left_out })
    }

    fn topic(&self, topic: Option<&str>) -> Result<Topic, Dropped> {
        match (&self.prefix, topic) {
            (Some(prefix), topic) => prefix.map(topic),
            (None, Some(topic)) => prefix::parse(topic.to_owned()),
            (None, None) => Err(Dropped::NoTopic),
        }
    }
}

/// What `payload` is.
fn content(payload: &Bytes) -> Result<Content<'_>, Dropped> {
    let plain = |ctype| Ok(Content { ctype, body: payload.clone(), envelope: None });
    let Ok(text) = std::str::from_utf8(payload) else { return plain(ContentType::BYTES) };
    // Neither parse recurses: what is not looked at is passed over level by level.
    match text.trim_start_matches(SPACE).bytes().next() {
        Some(b'[') if serde_json::from_str::<IgnoredAny>(text).is_ok() => plain(ContentType::JSON),
        Some(b'{') => match serde_json::from_str::<Object<'_>>(text) {
            Ok(object) if object.carries_an_id() => Err(Dropped::Returned),
            Ok(object) => match object.wrapped() {
                Some(msg) if returned(msg) => Err(Dropped::Returned),
                Some(msg) => {
                    let body = payload.slice_ref(msg.as_bytes());
                    Ok(Content { ctype: ContentType::JSON, body, envelope: Some(object) })
                }
                None => plain(ContentType::JSON),
            },
            Err(_) => plain(ContentType::TEXT),
        },
        _ => plain(ContentType::TEXT),
    }
}

impl<'a> Object<'a> {
    /// The body, if this is fedmsg's envelope.
    fn wrapped(&self) -> Option<&'a str> {
        string(self.topic?)?;
        string(self.msg_id?)?;
        Some(self.msg?.get()).filter(|msg| msg.starts_with('{'))
    }

    /// Whether this is what the other direction puts out: `id` is made of the parts beside it.
    fn carries_an_id(&self) -> bool {
        let id = || {
            let (publisher, id) = (string(self.publisher?)?, string(self.id?)?);
            Some(id == format!("{publisher}/{}/{}", self.epoch?.get(), self.seq?.get()))
        };
        id().unwrap_or(false)
    }

    fn headers(&self, origin: &str) -> Headers {
        let fields = [
            ("msg_id", self.msg_id),
            ("timestamp", self.timestamp),
            ("i", self.i),
            ("username", self.username),
        ];
        let mut headers = with_origin(origin);
        for (name, value) in fields {
            if let Some(value) = value.and_then(scalar) {
                headers = headers.with(name, value);
            }
        }
        headers
    }
}

fn with_origin(origin: &str) -> Headers {
    let mut headers = Headers::new();
    headers.origin = Some(origin.to_owned());
    headers
}

/// Whether an object in an envelope carries an id.
fn returned(msg: &str) -> bool {
    serde_json::from_str::<Object<'_>>(msg).is_ok_and(|object| object.carries_an_id())
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A string, or a number as it is written.
fn scalar(value: &RawValue) -> Option<String> {
    match value.get().bytes().next()? {
        b'"' => string(value),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &str = r#" {"topic": "org.fed.git", "msg_id": "2019-7", "i": 3,
        "crypto": "x509", "timestamp": 1549311982.5, "username": "apache",
        "signature": "…", "certificate": null, "msg": { "a": [1e999] }}"#;

    fn translated(prefix: &str, frames: &[&[u8]]) -> Vec<Result<Translated, Dropped>> {
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| prefix.parse().unwrap());
        let frames: Vec<Bytes> = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
        Translation::new(prefix, "there".into()).unwrap().of(&frames)
    }

    fn one(prefix: &str, frames: &[&[u8]]) -> Result<Translated, Dropped> {
        let mut all = translated(prefix, frames);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn a_payload_is_json_text_or_bytes() {
        for (payload, ctype) in [
            (&b""[..], ContentType::TEXT),
            (b"7", ContentType::TEXT),
            (b"{\"a\": \xff}", ContentType::BYTES),
            (b"\r\n\t {\"a\":[{}]} ", ContentType::JSON),
            (b"[1, 2]", ContentType::JSON),
            (b"[1, 2", ContentType::TEXT),
            (b"[1] 2", ContentType::TEXT),
            (b"{\"a\":}", ContentType::TEXT),
            (b"{\"topic\":\"a\",\"msg_id\":\"b\",\"msg\":7}", ContentType::JSON),
            (b"{\"topic\":\"a\",\"msg_id\":8,\"msg\":{}}", ContentType::JSON),
        ] {
            let made = one("", &[b"a.b", payload]).unwrap();
            let (topic, body) = (made.topic.as_str(), &made.body[..]);
            assert_eq!((topic, made.ctype, body), ("a.b", ctype, payload));
            assert_eq!(made.extension, &b"\x81\x03\xa5there"[..]);
        }
    }

    #[test]
    fn an_envelope_is_opened() {
        for frames in [&[ENVELOPE.as_bytes()][..], &[b"org.fed.git", ENVELOPE.as_bytes()]] {
            let made = one("org.fed=org.example", frames).unwrap();
            assert_eq!((made.topic.as_str(), made.ctype), ("org.example.git", ContentType::JSON));
            assert_eq!(&made.body[..], br#"{ "a": [1e999] }"#);
            let headers = Headers::decode(&made.extension).unwrap();
            let fields = [
                ("i", "3"),
                ("msg_id", "2019-7"),
                ("timestamp", "1549311982.5"),
                ("username", "apache"),
            ];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(headers.text, fields.into());
            assert_eq!(headers.origin.as_deref(), Some("there"));
        }
    }

    #[test]
    fn headers_without_room_leave_the_origin() {
        let envelope = ENVELOPE.replace("apache", &"a".repeat(1_000));
        let made = one("", &[envelope.as_bytes()]).unwrap();
        assert!(made.headers_left_out);
        assert_eq!(made.extension, &b"\x81\x03\xa5there"[..]);
        assert!(Translation::new(None, "x".repeat(1_100)).is_err());
    }

    #[test]
    fn payloads_are_messages_and_topics_are_needed() {
        let bodies = translated("new", &[b"a", b"1", b"2", b""]);
        let bodies = bodies.into_iter().map(|made| made.unwrap().body);
        assert!(bodies.eq([&b"1"[..], b"2", b""]));
        assert!(translated("new", &[]).is_empty());
        for (prefix, frames, expected) in [
            ("", &[&b"7"[..]][..], Err(Dropped::NoTopic)),
            ("", &[b"", b"7"], Err(Dropped::NoTopic)),
            ("new", &[b"7"], Ok("new")),
            ("new", &[b"", b"7"], Ok("new")),
            ("", &[b"a b", b"7"], Err(Dropped::BadTopic)),
            ("", &[b"a\xff", b"7"], Err(Dropped::BadTopic)),
            ("", &[b"$tip.a", b"7"], Err(Dropped::BadTopic)),
            ("old=new", &[b"older", b"7"], Err(Dropped::OutsidePrefix)),
        ] {
            let made = one(prefix, frames).map(|made| made.topic.as_str().to_owned());
            assert_eq!(made, expected.map(str::to_owned), "{prefix} {frames:?}");
        }
    }

    #[test]
    fn what_was_in_a_fabric_is_refused() {
        let ours = r#"{"id":"web/7/8","topic":"a","publisher":"web","epoch":7,"seq":8,"body":1}"#;
        let wrapped = format!(r#"{{"topic":"a","msg_id":"b","msg":{ours}}}"#);
        let sealed: &[&[u8]] = &[b"a", b"SV\x01\x01 and so on", b"body"];
        for frames in [&[b"a", ours.as_bytes()][..], &[b"a", wrapped.as_bytes()], sealed] {
            assert_eq!(one("", frames).map(|_| ()), Err(Dropped::Returned));
        }
        for theirs in [
            ours.replace("web/7/8", "web/7/9"),
            ours.replace("\"epoch\":7,", ""),
            ours.replace("\"web/7/8\"", "5"),
        ] {
            assert_eq!(one("", &[b"a", theirs.as_bytes()]).unwrap().ctype, ContentType::JSON);
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
        assert_eq!(one("", &[b"a", deep.as_bytes()]).unwrap().ctype, ContentType::JSON);
        let deep = &deep[5..deep.len() - 1];
        assert_eq!(one("", &[b"a", deep.as_bytes()]).unwrap().ctype, ContentType::JSON);
    }
}
