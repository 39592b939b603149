//! From what a user writes to messages.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use selvedge::{ContentType, Headers, Outgoing, Topic};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// What bodies are.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(missing_docs, reason = "the names say it, and would be repeated in the help")]
pub enum Type {
    Text,
    Json,
    Msgpack,
    Bytes,
}

impl Type {
    /// The message of this type that `text` stands for.
    ///
    /// # Errors
    /// If `text` is no such thing.
    pub fn message(self, topic: Topic, text: &[u8]) -> anyhow::Result<Outgoing> {
        Ok(match self {
            Type::Text => {
                let text = std::str::from_utf8(text);
                Outgoing::text(topic, text.context("not UTF-8; --type bytes sends it as it is")?)?
            }
            Type::Json => {
                serde_json::from_slice::<&RawValue>(text).context("not JSON")?;
                Outgoing::raw(topic, ContentType::JSON, text.to_vec())?
            }
            Type::Msgpack => {
                let value: Value = serde_json::from_slice(text).context("not JSON")?;
                Outgoing::value(topic, &value)?
            }
            Type::Bytes => Outgoing::raw(topic, ContentType::BYTES, text.to_vec())?,
        })
    }
}

/// A line that says all of a message. The body is sent as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine<'a> {
    topic: String,
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
}

/// The message that a line `{"topic", "body", "headers"?}` stands for.
///
/// # Errors
/// If it is no such line.
pub fn from_json_line(text: &[u8]) -> anyhow::Result<Outgoing> {
    let line: JsonLine<'_> = serde_json::from_slice(text)
        .context("not a JSON object of \"topic\", \"body\" and perhaps \"headers\"")?;
    let mut headers = Headers::new();
    for (name, value) in &line.headers {
        match value {
            Value::String(text) => headers.set(name, text)?,
            Value::Number(number) if matches!(name.as_str(), "priority" | "expires_us") => {
                headers.set(name, &number.to_string())?;
            }
            _ => bail!("the header {name:?} is not a text"),
        }
    }
    let body = line.body.get().to_owned();
    Ok(Outgoing::raw(&*line.topic, ContentType::JSON, body)?.headers(&headers)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_that_are_none_are_refused() {
        for line in [
            "",
            "7",
            r#"{"topic": "a"}"#,
            r#"{"topic": "a", "body": }"#,
            r#"{"topic": "a..b", "body": 1}"#,
            r#"{"topic": "a", "body": 1, "header": {}}"#,
            r#"{"topic": "a", "body": 1, "headers": {"user": 1}}"#,
            r#"{"topic": "a", "body": 1, "headers": {"priority": 10}}"#,
            r#"{"topic": "a", "body": 1} x"#,
        ] {
            assert!(from_json_line(line.as_bytes()).is_err(), "{line}");
        }
        let good = br#"{"topic": "a", "body": [1], "headers": {"user": "amy", "priority": 3}}"#;
        assert_eq!(from_json_line(good).unwrap().topic().as_str(), "a");
    }

    #[test]
    fn bodies_are_what_they_claim_to_be() {
        let topic: Topic = "a".parse().unwrap();
        for (kind, bad) in [
            (Type::Text, &b"\xff"[..]),
            (Type::Json, b"{"),
            (Type::Json, b"1 2"),
            (Type::Msgpack, b""),
        ] {
            assert!(kind.message(topic.clone(), bad).is_err(), "{kind:?} {bad:?}");
        }
        assert!(Type::Bytes.message(topic, b"\xff").is_ok());
    }
}
