//! The keys of `[services.NAME]` and `[relays.NAME]`.

use alloc::format;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;

use toml::de::{DeTable, DeValue};

use super::entry::{Date, Durability, Form, Journal, Relay, Retain, Service, Via};
use super::parse::{Key, Parser, Value, at, integer, kind};
use super::{BadValue, Endpoint};
use crate::limits::BODIES;
use crate::seal::PublicKey;
use crate::topic::{Name, Pattern};

const SERVICE: &str = "endpoint key topics group bind readers journal durability retain pack prefer \
                       expires";
const RELAY: &str = "endpoint key carries bind readers journal retain expires";

/// What services and relays both have.
#[derive(Default)]
struct Common {
    endpoints: Vec<Endpoint>,
    keys: Vec<PublicKey>,
    bind: Option<Endpoint>,
    readers: Vec<Name>,
    journal: Journal,
    retain: Retain,
    expires: Option<Date>,
}

impl Common {
    /// Takes a key that both kinds know; false if it is none of them.
    fn take(&mut self, p: &mut Parser<'_>, name: &str, key: &Key<'_>, value: &Value<'_>) -> bool {
        match key.get_ref().as_ref() {
            "endpoint" => self.endpoints = p.list(value),
            "key" => self.keys = public_keys(p, name, value),
            "bind" => self.bind = p.parsed(value),
            "readers" => self.readers = p.list(value),
            "journal" => self.journal = journal(p, value),
            "retain" => self.retain = retain(p, value),
            "expires" => self.expires = date(p, value),
            _ => return false,
        }
        true
    }
}

/// Reads `[services.NAME]`, whose name stands at `place`.
pub(super) fn service(
    p: &mut Parser<'_>,
    name: &str,
    place: usize,
    table: &DeTable<'_>,
) -> Option<Form> {
    let mut common = Common::default();
    let mut topics = Vec::<Pattern>::new();
    let (mut group, mut durability, mut pack, mut prefer) = (None, None, None, Vec::new());
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "topics" => topics = p.list(value),
            "group" => group = p.parsed::<Name>(value),
            "durability" => durability = p.parsed::<Durability>(value),
            "pack" => pack = self::pack(p, value),
            "prefer" => prefer = p.list::<Via>(value),
            _ if common.take(p, name, key, value) => {}
            _ => p.unknown(key, "a service", SERVICE),
        }
    }
    need(p, table, place, &["key", "topics"], name);
    let Common { endpoints, keys, bind, readers, journal, retain, expires } = common;
    let topics = topics.into();
    Some(Form::Service(Arc::new(Service {
        endpoints,
        keys,
        topics,
        group,
        bind,
        readers,
        journal,
        durability,
        retain,
        pack,
        prefer,
        expires,
    })))
}

/// Reads `[relays.NAME]`.
pub(super) fn relay(
    p: &mut Parser<'_>,
    name: &str,
    place: usize,
    table: &DeTable<'_>,
) -> Option<Form> {
    let mut common = Common::default();
    let mut carries = Vec::new();
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "carries" => carries = p.list(value),
            _ if common.take(p, name, key, value) => {}
            _ => p.unknown(key, "a relay", RELAY),
        }
    }
    need(p, table, place, &["endpoint", "key", "carries"], name);
    let Common { endpoints, keys, bind, readers, journal, retain, expires } = common;
    Some(Form::Relay(Arc::new(Relay {
        endpoints,
        keys,
        carries,
        bind,
        readers,
        journal,
        retain,
        expires,
    })))
}

fn need(p: &mut Parser<'_>, table: &DeTable<'_>, place: usize, keys: &[&str], name: &str) {
    for key in keys.iter().filter(|key| !table.contains_key(**key)) {
        p.log.error(place, format!("{name} lacks {key}"));
    }
}

fn public_keys(p: &mut Parser<'_>, name: &str, value: &Value<'_>) -> Vec<PublicKey> {
    let known = (p.keys)(name);
    p.list_with(value, |text| {
        let same = known.iter().find(|key| key.to_string() == text);
        same.copied().map_or_else(|| text.parse::<PublicKey>().map_err(|e| e.to_string()), Ok)
    })
}

fn pack(p: &mut Parser<'_>, value: &Value<'_>) -> Option<u16> {
    let pack = integer(value).and_then(|pack| u16::try_from(pack).ok());
    let pack = pack.filter(|pack| (1..=BODIES).contains(&usize::from(*pack)));
    if pack.is_none() {
        p.log.error(at(value), format!("pack is a whole number from 1 to {BODIES}"));
    }
    pack
}

fn journal(p: &mut Parser<'_>, value: &Value<'_>) -> Journal {
    match value.get_ref() {
        DeValue::Boolean(false) => Journal::Off,
        DeValue::Boolean(true) => Journal::State,
        DeValue::String(_) => p.parsed(value).unwrap_or_default(),
        _ => {
            p.log.error(at(value), BadValue::Journal.to_string());
            Journal::Off
        }
    }
}

fn retain(p: &mut Parser<'_>, value: &Value<'_>) -> Retain {
    let mut retain = Retain::default();
    for (key, value) in p.table(value, "retain").into_iter().flatten() {
        let text = match key.get_ref().as_ref() {
            "bytes" | "age" => p.text(value),
            _ => {
                p.unknown(key, "retain", "bytes age");
                continue;
            }
        };
        let Some(text) = text else { continue };
        let taken = match key.get_ref().as_ref() {
            "bytes" => Retain::parse_bytes(text).map(|bytes| retain.bytes = Some(bytes)),
            _ => Retain::parse_age(text).map(|age| retain.age = Some(age)),
        };
        if let Err(error) = taken {
            p.log.error(at(value), error.to_string());
        }
    }
    retain
}

fn date(p: &mut Parser<'_>, value: &Value<'_>) -> Option<Date> {
    let date = match value.get_ref() {
        DeValue::Datetime(at) if at.time.is_none() => at.date,
        _ => None,
    };
    if date.is_none() {
        let text = format!("a date without quotes is wanted (2027-06-30), not {}", kind(value));
        p.log.error(at(value), text);
    }
    date.map(|date| Date { year: date.year, month: date.month, day: date.day })
}
