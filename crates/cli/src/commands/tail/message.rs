//! One message as a line: JSON for programs, or text for a terminal.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use selvedge::{ContentType, Headers, Message};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::msgpack;
use crate::output::{self, escape};

/// How messages are shown.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Json,
    Text { colour: bool },
}

impl Form {
    /// Appends the line of `message`.
    pub fn write(self, message: &Message, out: &mut Vec<u8>) {
        match self {
            Form::Json => json(message, out),
            Form::Text { colour } => out.extend(text(message, colour).into_bytes()),
        }
        out.push(b'\n');
    }
}

/// The keys, in their order.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    topic: &'a str,
    publisher: &'a str,
    epoch: u64,
    seq: u64,
    tseq: u64,
    time: String,
    r#type: &'a str,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Appends `message` as one JSON object in one line.
pub fn json(message: &Message, out: &mut Vec<u8>) {
    let body = body_as_json(message);
    let line = Line {
        id: message.id(),
        topic: message.topic().as_str(),
        publisher: message.publisher().as_str(),
        epoch: message.position.epoch,
        seq: message.position.seq,
        tseq: message.tseq,
        time: output::time(message.time),
        r#type: &type_name(message.ctype),
        headers: message.headers().unwrap_or_default(), // its publisher's fault, counted
        body_base64: body.is_none().then(|| BASE64_STANDARD.encode(&message.body)),
        body,
    };
    // Writing to a Vec does not fail, nor do keys that are texts.
    let _ = serde_json::to_writer(out, &line);
}

/// The body, if it is text or JSON or becomes JSON without loss; in one line.
fn body_as_json(message: &Message) -> Option<Box<RawValue>> {
    match message.ctype {
        ContentType::TEXT => to_raw_value(std::str::from_utf8(&message.body).ok()?).ok(),
        ContentType::JSON => {
            let json = std::str::from_utf8(&message.body).ok()?;
            // In JSON a line break stands between values only: a space means the same.
            RawValue::from_string(json.replace(['\n', '\r'], " ")).ok()
        }
        ContentType::MESSAGE_PACK => RawValue::from_string(msgpack::to_json(&message.body)?).ok(),
        _ => None,
    }
}

pub fn type_name(ctype: ContentType) -> std::borrow::Cow<'static, str> {
    match ctype.name() {
        Some(name) => name.into(),
        None => format!("{:#06x}", ctype.0).into(),
    }
}

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";

/// `time topic publisher {headers} body`, nothing in it that could steer a terminal.
fn text(message: &Message, colour: bool) -> String {
    let paint = |style: &'static str| if colour { style } else { "" };
    let (reset, dim, bold, green) = (paint(RESET), paint(DIM), paint(BOLD), paint(GREEN));
    let (time, topic, publisher) =
        (output::time(message.time), &message.topic(), &message.publisher());
    // Writing to a String does not fail.
    let mut out = String::new();
    let _ = write!(out, "{dim}{time}{reset} {bold}{topic}{reset} {green}{publisher}{reset} ");
    let headers = message.headers().unwrap_or_default();
    if headers != Headers::new() {
        out.push_str(dim);
        escape(&serde_json::to_string(&headers).unwrap_or_default(), &mut out);
        out.push_str(reset);
        out.push(' ');
    }
    match (message.ctype, std::str::from_utf8(&message.body), body_as_json(message)) {
        (ContentType::TEXT, Ok(body), _) => escape(body, &mut out),
        (_, _, Some(json)) => escape(json.get(), &mut out),
        _ => {
            let (kind, bytes) = (type_name(message.ctype), message.body.len());
            let body = BASE64_STANDARD.encode(&message.body);
            let _ = write!(out, "{dim}{kind}, {bytes} bytes in base64:{reset} {body}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use selvedge::Origin;

    use super::*;

    fn message(ctype: ContentType, body: &'static [u8]) -> Message {
        let (publisher, topic) = ("web".parse().unwrap(), "org.example.up".parse().unwrap());
        Message {
            origin: Origin { publisher, topic, packet: body.into() }.into(),
            key: selvedge::KeyId(1),
            position: selvedge::Position::new(7, 8),
            tseq: 9,
            ctype,
            time: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
            body: body.into(),
            extension: Headers::new().with("user", "a\nmy").encode().unwrap(),
            index: 0,
        }
    }

    fn line(form: Form, message: &Message) -> String {
        let mut out = Vec::new();
        form.write(message, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_has_the_keys_in_their_order() {
        let line = line(Form::Json, &message(ContentType::TEXT, b"a\nb"));
        let expected = concat!(
            r#"{"id":"web/7/8","topic":"org.example.up","publisher":"web","epoch":7,"seq":8,"#,
            r#""tseq":9,"time":"2023-11-14T22:13:20.000001Z","type":"text","#,
            r#""headers":{"user":"a\nmy"},"body":"a\nb"}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn a_body_is_json_or_base64() {
        for (ctype, body, expected) in [
            (ContentType::JSON, &b"{\n \"a\": 1e999 }\r\n"[..], r#""body":{  "a": 1e999 }"#),
            (ContentType::JSON, b"{", r#""body_base64":"ew==""#),
            (ContentType::JSON, b"\"\xff\"", r#""body_base64":"Iv8i""#),
            (ContentType::TEXT, b"\xff", r#""body_base64":"/w==""#),
            (ContentType::MESSAGE_PACK, b"\x91\x01", r#""body":[1]"#),
            (ContentType::MESSAGE_PACK, b"\x91", r#""body_base64":"kQ==""#),
            (ContentType::BYTES, b"a", r#""body_base64":"YQ==""#),
            (ContentType(0x8001), b"a", r#""type":"0x8001""#),
        ] {
            let line = line(Form::Json, &message(ctype, body));
            assert!(line.contains(expected), "{line}");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
        }
    }

    #[test]
    fn a_terminal_gets_nothing_that_steers_it() {
        let steering = message(ContentType::TEXT, b"\x1b[2Jred\nalert");
        let shown = line(Form::Text { colour: false }, &steering);
        assert_eq!(
            shown,
            "2023-11-14T22:13:20.000001Z org.example.up web {\"user\":\"a\\nmy\"} \
             \\u{1b}[2Jred\\nalert\n"
        );
        assert!(line(Form::Text { colour: true }, &steering).contains(BOLD));
        let bytes = line(Form::Text { colour: false }, &message(ContentType::BYTES, b"\x1b"));
        assert!(bytes.ends_with("bytes, 1 bytes in base64: Gw==\n"), "{bytes}");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_last_second() {
        let mut message = message(ContentType::TEXT, b"");
        message.time = UNIX_EPOCH + Duration::from_micros(u64::MAX);
        assert!(line(Form::Json, &message).contains("9999-12-31T23:59:59"));
    }
}
