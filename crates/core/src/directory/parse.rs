//! From the text of one file to what it defines, with the place of everything that is wrong.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::Form;
use super::problem::{Log, Place, Problem};
use super::{Scheme, entry_parse};
use crate::KeyId;
use crate::seal::PublicKey;
use crate::topic::{Name, Topic};

/// The newest format that is known here.
pub(super) const FORMAT: u64 = 1;

pub(super) type Value<'i> = Spanned<DeValue<'i>>;
pub(super) type Key<'i> = Spanned<Cow<'i, str>>;

/// What the main file says for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub format: u64,
    pub fabric: Name,
}

/// What one file defines.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    pub head: Option<Head>,
    pub scheme: Option<Scheme>,
    pub definitions: Vec<Definition>,
    pub revoked: BTreeSet<KeyId>,
}

/// One entry of a file.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub name: Name,
    pub at: Place,
    /// `None`: something in it is wrong.
    pub form: Option<Form>,
}

/// Which parts must not replace their last good form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub file: bool,
    pub scheme: bool,
    pub revoked: bool,
}

impl Faults {
    pub const ALL: Faults = Faults { file: true, scheme: true, revoked: true };
}

/// What came out of one file.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub parsed: Parsed,
    pub faults: Faults,
    pub problems: Vec<Problem>,
}

/// Reads a file. `head` is the main file's if this is a drop-in. `keys` remembers what each name
/// had before: checking a key costs more than all the rest.
pub(super) fn parse(
    file: &str,
    content: &[u8],
    head: Option<&Head>,
    keys: &dyn Fn(&str) -> Vec<PublicKey>,
) -> Outcome {
    let (text, invalid) = match core::str::from_utf8(content) {
        Ok(text) => (text, None),
        Err(error) => {
            let good = content.get(..error.valid_up_to()).unwrap_or_default();
            (core::str::from_utf8(good).unwrap_or_default(), Some(error.valid_up_to()))
        }
    };
    let mut log = Log::new(file, text);
    if let Some(at) = invalid {
        log.error(at, "the file is not UTF-8 from here on");
        return broken(log);
    }
    match DeTable::parse(text) {
        Ok(table) => Parser { log, head, keys, newer: false }.file(table.get_ref()),
        Err(error) => {
            let at = error.span().map_or(text.len(), |span| span.start);
            log.error(at, error.message());
            broken(log)
        }
    }
}

fn broken(log: Log<'_>) -> Outcome {
    Outcome { parsed: Parsed::default(), faults: Faults::ALL, problems: log.into_problems() }
}

/// One reading of one file.
pub(super) struct Parser<'a> {
    pub log: Log<'a>,
    head: Option<&'a Head>,
    pub keys: &'a dyn Fn(&str) -> Vec<PublicKey>,
    /// Whether the file's format is newer than ours, so that unknown keys are to be expected.
    newer: bool,
}

impl Parser<'_> {
    fn file(mut self, table: &DeTable<'_>) -> Outcome {
        let mut parsed = Parsed::default();
        let mut faults = Faults::default();
        let format = self.format(table);
        self.newer = format.is_some_and(|format| format > FORMAT);
        let fabric = self.fabric(table);
        parsed.head = format.zip(fabric).map(|(format, fabric)| Head { format, fabric });
        let mut inner = 0; // errors inside parts, which are no fault of the whole file
        for (key, value) in table {
            let before = self.log.errors();
            match key.get_ref().as_ref() {
                "format" | "fabric" => {}
                "services" => inner += self.entries(value, &mut parsed, entry_parse::service),
                "relays" => inner += self.entries(value, &mut parsed, entry_parse::relay),
                "scheme" if self.head.is_none() => {
                    parsed.scheme = self.scheme(value);
                    faults.scheme = self.log.errors() > before;
                    inner += self.log.errors() - before;
                }
                "revoked" => {
                    parsed.revoked = self.revoked(value);
                    faults.revoked = self.log.errors() > before;
                    inner += self.log.errors() - before;
                }
                "scheme" => self.log.error(at(key), "[scheme] belongs into the main file"),
                _ => {
                    self.unknown(key, "a directory", "format fabric scheme services relays revoked")
                }
            }
        }
        if self.head.is_some() && table.is_empty() {
            // Seen for a moment while a file is rewritten in place.
            self.log.error(0, "the file is empty; delete it to remove its entries");
        }
        faults.file = self.log.errors() > inner;
        Outcome { parsed, faults, problems: self.log.into_problems() }
    }

    fn format(&mut self, table: &DeTable<'_>) -> Option<u64> {
        let Some((key, value)) = table.get_key_value("format") else {
            if self.head.is_none() {
                self.log.error(0, "the file lacks format = 1");
            }
            return self.head.map(|head| head.format);
        };
        let format = integer(value).filter(|format| *format >= 1);
        match format {
            None => self.log.error(at(value), "format is a whole number from 1"),
            Some(format) if format > FORMAT => {
                let text = format!("format {format} is newer than {FORMAT}, which is known here");
                self.log.warning(at(key), text);
            }
            Some(_) => {}
        }
        format
    }

    fn fabric(&mut self, table: &DeTable<'_>) -> Option<Name> {
        let ours = self.head.map(|head| &head.fabric);
        let Some(value) = table.get("fabric") else {
            if ours.is_none() {
                self.log.error(0, "the file lacks fabric = \"NAME\"");
            }
            return ours.cloned();
        };
        let fabric: Name = self.parsed(value)?;
        if let Some(ours) = ours.filter(|ours| **ours != fabric) {
            let text = format!("this file is for the fabric {fabric}, the main file for {ours}");
            self.log.error(at(value), text);
        }
        Some(fabric)
    }

    fn scheme(&mut self, value: &Value<'_>) -> Option<Scheme> {
        let mut prefix = None;
        let mut fields = Vec::new();
        for (key, value) in self.table(value, "[scheme]")? {
            match key.get_ref().as_ref() {
                "prefix" => prefix = self.parsed::<Topic>(value),
                "fields" => fields = self.list::<Name>(value),
                _ => self.unknown(key, "[scheme]", "prefix fields"),
            }
        }
        let Some(prefix) = prefix.filter(|_| !fields.is_empty()) else {
            self.log.error(at(value), "[scheme] needs a prefix and at least one of fields");
            return None;
        };
        let scheme = Scheme::new(prefix, fields);
        scheme.map_err(|error| self.log.error(at(value), error.to_string())).ok()
    }

    fn revoked(&mut self, value: &Value<'_>) -> BTreeSet<KeyId> {
        let mut revoked = BTreeSet::new();
        for (key, value) in self.table(value, "[revoked]").into_iter().flatten() {
            match key.get_ref().as_ref() {
                "keys" => {
                    for (at, text) in self.texts(value) {
                        let key = text.parse::<PublicKey>().map(|key| key.id());
                        match key.or_else(|_| text.parse::<KeyId>()) {
                            Ok(id) => drop(revoked.insert(id)),
                            Err(_) => self.log.error(at, REVOKED),
                        }
                    }
                }
                _ => self.unknown(key, "[revoked]", "keys"),
            }
        }
        revoked
    }

    /// Reads all entries of a section and returns the errors found inside them.
    fn entries(
        &mut self,
        value: &Value<'_>,
        parsed: &mut Parsed,
        read: fn(&mut Self, &str, usize, &DeTable<'_>) -> Option<Form>,
    ) -> usize {
        let mut inner = 0;
        for (key, value) in self.table(value, "a section of entries").into_iter().flatten() {
            let before = self.log.errors();
            let name = match Name::try_from(key.get_ref().as_ref()) {
                Ok(name) => name,
                Err(error) => {
                    self.log.error(at(key), error.to_string());
                    inner += 1;
                    continue;
                }
            };
            let form = self.table(value, "an entry");
            let form = form.and_then(|table| read(self, name.as_str(), at(key), table));
            let errors = self.log.errors() - before;
            inner += errors;
            let form = form.filter(|_| errors == 0);
            parsed.definitions.push(Definition { name, at: self.log.place(at(key)), form });
        }
        inner
    }

    /// A key that this version does not know.
    pub fn unknown(&mut self, key: &Key<'_>, inside: &str, known: &str) {
        let text = format!("unknown key {:?} in {inside}; it knows {known}", key.get_ref());
        match self.newer {
            true => self.log.warning(at(key), text),
            false => self.log.error(at(key), text),
        }
    }

    /// `value` as a table.
    pub fn table<'v, 'i>(&mut self, value: &'v Value<'i>, what: &str) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let text = format!("{what} is a table, not {}", kind(value));
            self.log.error(at(value), text);
        }
        table
    }

    /// `value` as a text.
    pub fn text<'v>(&mut self, value: &'v Value<'_>) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.log.error(at(value), format!("a text in quotes is wanted, not {}", kind(value)));
        }
        text
    }

    /// `value` as a text or a list of texts, each with its offset.
    pub fn texts<'v>(&mut self, value: &'v Value<'_>) -> Vec<(usize, &'v str)> {
        let items = match value.get_ref().as_array() {
            Some(items) => &items[..],
            None => core::slice::from_ref(value),
        };
        items.iter().filter_map(|item| self.text(item).map(|text| (at(item), text))).collect()
    }

    /// `value` as a text that parses.
    pub fn parsed<T: FromStr<Err: ToString>>(&mut self, value: &Value<'_>) -> Option<T> {
        let parsed = self.text(value)?.parse();
        parsed.map_err(|error: T::Err| self.log.error(at(value), error.to_string())).ok()
    }

    /// `value` as one or several texts that parse, at least one and none twice.
    pub fn list<T: FromStr<Err: ToString>>(&mut self, value: &Value<'_>) -> Vec<T> {
        self.list_with(value, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// [`Parser::list`] with a parser of the caller's.
    pub fn list_with<T>(
        &mut self,
        value: &Value<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts = self.texts(value);
        if texts.is_empty() {
            self.log.error(at(value), "at least one is needed");
        }
        let mut seen = BTreeMap::new();
        let mut list = Vec::with_capacity(texts.len());
        for (at, text) in texts {
            if seen.insert(text, at).is_some() {
                self.log.error(at, format!("{text:?} stands here twice"));
                continue;
            }
            match parse(text) {
                Ok(item) => list.push(item),
                Err(error) => self.log.error(at, error),
            }
        }
        list
    }
}

const REVOKED: &str =
    "a revoked key is written ed25519: and base64, or its key id in 16 hex digits";

/// Where something starts, in bytes.
pub(super) fn at<T>(spanned: &Spanned<T>) -> usize {
    spanned.span().start
}

/// What a value is, with its article.
pub(super) fn kind(value: &Value<'_>) -> String {
    let kind = value.get_ref().type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// `value` as a number of at most 63 bits that is not negative.
pub(super) fn integer(value: &Value<'_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
    u64::try_from(number).ok()
}
