//! Back to text: what a person can read and the parser takes again.

use core::fmt::{self, Display, Formatter, Write as _};

use super::entry::Form;
use super::parse::{FORMAT, Head};
use super::{Directory, Journal, Relay, Retain, Scheme, Service};
use crate::KeyId;
use crate::topic::Name;

impl Display for Directory {
    /// As one `endpoints.toml` that gives the same directory again.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        head(f, &Head { format: FORMAT, fabric: self.fabric.clone() }, self.scheme.as_ref())?;
        self.services().try_for_each(|(name, service)| self::service(f, name, service))?;
        self.relays().try_for_each(|(name, relay)| self::relay(f, name, relay))?;
        revoked(f, self.revoked())
    }
}

/// `format`, `fabric` and `[scheme]`.
pub(super) fn head(f: &mut impl fmt::Write, head: &Head, scheme: Option<&Scheme>) -> fmt::Result {
    writeln!(f, "format = {}\nfabric = {}", head.format, Quoted(&head.fabric))?;
    let Some(scheme) = scheme else { return Ok(()) };
    writeln!(f, "\n[scheme]\nprefix = {}", Quoted(scheme.prefix()))?;
    list(f, "fields", scheme.fields())
}

/// One entry.
pub(super) fn form(f: &mut impl fmt::Write, name: &Name, form: &Form) -> fmt::Result {
    match form {
        Form::Service(service) => self::service(f, name, service),
        Form::Relay(relay) => self::relay(f, name, relay),
    }
}

/// `[revoked]`, if any key is.
pub(super) fn revoked(f: &mut impl fmt::Write, keys: impl Iterator<Item = KeyId>) -> fmt::Result {
    let mut keys = keys.peekable();
    if keys.peek().is_none() {
        return Ok(());
    }
    f.write_str("\n[revoked]\nkeys = [\n")?;
    keys.try_for_each(|key| writeln!(f, "    {},", Quoted(&key)))?;
    f.write_str("]\n")
}

fn service(f: &mut impl fmt::Write, name: &Name, service: &Service) -> fmt::Result {
    writeln!(f, "\n[services.{name}]")?;
    list(f, "endpoint", &service.endpoints)?;
    list(f, "key", &service.keys)?;
    list(f, "topics", &service.topics)?;
    value(f, "group", service.group.as_ref())?;
    value(f, "bind", service.bind.as_ref())?;
    list(f, "readers", &service.readers)?;
    journal(f, &service.journal)?;
    value(f, "durability", service.durability.as_ref())?;
    retain(f, &service.retain)?;
    bare(f, "pack", service.pack.as_ref())?;
    list(f, "prefer", &service.prefer)?;
    bare(f, "expires", service.expires.as_ref())
}

fn relay(f: &mut impl fmt::Write, name: &Name, relay: &Relay) -> fmt::Result {
    writeln!(f, "\n[relays.{name}]")?;
    list(f, "endpoint", &relay.endpoints)?;
    list(f, "key", &relay.keys)?;
    list(f, "carries", &relay.carries)?;
    value(f, "bind", relay.bind.as_ref())?;
    list(f, "readers", &relay.readers)?;
    journal(f, &relay.journal)?;
    retain(f, &relay.retain)?;
    bare(f, "expires", relay.expires.as_ref())
}

fn journal(f: &mut impl fmt::Write, journal: &Journal) -> fmt::Result {
    match journal {
        Journal::Off => Ok(()),
        Journal::State => f.write_str("journal = true\n"),
        Journal::At(path) => value(f, "journal", Some(path)),
    }
}

fn retain(f: &mut impl fmt::Write, retain: &Retain) -> fmt::Result {
    value(f, "retain.bytes", retain.bytes_shown().as_ref())?;
    value(f, "retain.age", retain.age_shown().as_ref())
}

/// `key = "item"`, or a list if there are several; nothing if there is none.
fn list(f: &mut impl fmt::Write, key: &str, items: &[impl Display]) -> fmt::Result {
    let [first, rest @ ..] = items else { return Ok(()) };
    if rest.is_empty() {
        return value(f, key, Some(first));
    }
    write!(f, "{key} = [{}", Quoted(first))?;
    rest.iter().try_for_each(|item| write!(f, ", {}", Quoted(item)))?;
    f.write_str("]\n")
}

fn value(f: &mut impl fmt::Write, key: &str, value: Option<&impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {}", Quoted(value)))
}

fn bare(f: &mut impl fmt::Write, key: &str, value: Option<&impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {value}"))
}

/// A basic string of TOML. No text of a directory has control characters.
struct Quoted<'a, T>(&'a T);

impl<T: Display> Display for Quoted<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escape(f), "{}", self.0)?;
        f.write_char('"')
    }
}

struct Escape<'a, 'f>(&'a mut Formatter<'f>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.split_inclusive(['"', '\\']).try_for_each(|part| {
            match part.strip_suffix(['"', '\\']) {
                Some(plain) => {
                    self.0.write_str(plain)?;
                    self.0.write_char('\\')?;
                    self.0.write_str(&part[plain.len()..])
                }
                None => self.0.write_str(part),
            }
        })
    }
}
