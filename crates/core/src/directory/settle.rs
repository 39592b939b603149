//! One form for each name, one name for each key: what all files together say.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Endpoint;
use super::entry::Form;
use super::parse::Definition;
use super::problem::{Place, Problem, Severity};
use crate::limits::{MASS_REMOVAL_ENTRIES, MASS_REMOVAL_WAIT};
use crate::topic::Name;
use crate::{KeyId, Time};

/// What the directory says under one name.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub form: Form,
    /// The drop-in that says so; `None`: the main file.
    pub file: Option<Arc<str>>,
    pub at: Place,
}

/// Entries that vanished in too great a number to be believed at once.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub missing: BTreeSet<Name>,
    /// When they were first found missing.
    pub since: Time,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Settled {
    pub entries: BTreeMap<Name, Entry>,
    pub held: Option<Held>,
    pub problems: Vec<Problem>,
}

/// A place in a file; `None` is the main one.
type Spot<'a> = (Option<&'a Arc<str>>, &'a Definition);

/// Unites the definitions of all files. What is wrong keeps the form it had in `before`, in which
/// no two names have a key in common; nor have they in the result.
pub(super) fn settle<'a>(
    now: Time,
    main: &str,
    files: impl Iterator<Item = (Option<&'a Arc<str>>, &'a [Definition])>,
    before: &BTreeMap<Name, Entry>,
    held: Option<&Held>,
) -> Settled {
    let mut spots = BTreeMap::<&Name, Vec<Spot<'_>>>::new();
    for (file, definitions) in files {
        for definition in definitions {
            spots.entry(&definition.name).or_default().push((file, definition));
        }
    }
    let mut settling = Settling { main, before, entries: BTreeMap::new(), problems: Vec::new() };
    let held = settling.keep_vanished(now, &spots, held);
    for (name, spots) in &spots {
        settling.choose(name, spots);
    }
    settling.one_name_per_key();
    settling.warn_of_shared_endpoints();
    let Settling { entries, problems, .. } = settling;
    Settled { entries, held, problems }
}

struct Settling<'a> {
    main: &'a str,
    before: &'a BTreeMap<Name, Entry>,
    entries: BTreeMap<Name, Entry>,
    problems: Vec<Problem>,
}

impl Settling<'_> {
    /// Keeps names that no file has any more if they are suspiciously many: more than half of more
    /// than ten, until the same are still missing 30 s later.
    fn keep_vanished(
        &mut self,
        now: Time,
        spots: &BTreeMap<&Name, Vec<Spot<'_>>>,
        held: Option<&Held>,
    ) -> Option<Held> {
        let gone = self.before.keys().filter(|name| !spots.contains_key(name));
        let missing: BTreeSet<Name> = gone.cloned().collect();
        let all = self.before.len();
        if all <= MASS_REMOVAL_ENTRIES || missing.len() <= all / 2 {
            return None;
        }
        let same = held.filter(|held| held.missing == missing);
        let since = same.map_or(now, |held| held.since);
        if now >= since + MASS_REMOVAL_WAIT {
            return None;
        }
        let text = format!(
            "{} of {all} entries vanished at once ({}); they stay until a second look {} s later \
             finds the same",
            missing.len(),
            some_of(missing.iter()),
            MASS_REMOVAL_WAIT.as_secs(),
        );
        self.problems.push(Place::START.problem(self.main, Severity::Error, text));
        for name in &missing {
            if let Some(entry) = self.before.get(name) {
                self.entries.insert(name.clone(), Entry { at: Place::START, ..entry.clone() });
            }
        }
        Some(Held { missing, since })
    }

    /// The one good definition of a name, or its last good form.
    fn choose(&mut self, name: &Name, spots: &[Spot<'_>]) {
        let before = self.before.get(name);
        if let [_, _, ..] = spots {
            self.defined_twice(name, spots);
        }
        let own = before.and_then(|b| spots.iter().find(|(f, _)| f.cloned() == b.file));
        let Some((file, definition)) = own.or(spots.first()).copied() else { return };
        let form = match (&definition.form, before) {
            (Some(form), _) if spots.len() == 1 => {
                // An equal form stays the same allocation, and so the same connections.
                let same = before.map(|b| &b.form).filter(|before| *before == form);
                same.unwrap_or(form).clone()
            }
            (_, Some(before)) => before.form.clone(),
            (_, None) => return,
        };
        let entry = Entry { form, file: file.cloned(), at: definition.at };
        self.entries.insert(name.clone(), entry);
    }

    fn defined_twice(&mut self, name: &Name, spots: &[Spot<'_>]) {
        let outcome = match self.before.contains_key(name) {
            true => "its last good form stays",
            false => "neither is taken",
        };
        for (at, (file, definition)) in spots.iter().enumerate() {
            let other = spots[usize::from(at == 0)]; // the first, for all but itself
            let there = self.shown(other.0.map(|f| &**f), other.1.at);
            let text = format!("{name} is defined here and at {there}; {outcome}");
            self.error(file.map(|f| &**f), definition.at, text);
        }
    }

    /// Where two names claim a key, the one that had it before keeps it; the others stay as they
    /// were. Everyone who goes back owns all his keys, so each goes back at most once.
    fn one_name_per_key(&mut self) {
        let mut claims = BTreeMap::<KeyId, BTreeSet<Name>>::new();
        for (name, entry) in &self.entries {
            claim(&mut claims, name, entry);
        }
        let mut open: Vec<KeyId> = claims.keys().copied().collect();
        while let Some(key) = open.pop() {
            let Some(names) = claims.get(&key).filter(|names| names.len() > 1).cloned() else {
                continue;
            };
            let owner = names.iter().find(|name| self.owned(name, key));
            for name in names.iter().filter(|name| Some(*name) != owner) {
                let other = owner.or_else(|| names.iter().find(|other| *other != name));
                self.key_claimed_twice(key, name, other);
            }
            for name in names.iter().filter(|name| Some(*name) != owner) {
                let Some(wrong) = self.entries.remove(name) else { continue };
                for key in wrong.form.keys() {
                    claims.entry(key.id()).or_default().remove(name);
                }
                let Some(before) = self.before.get(name) else { continue };
                let back = Entry { form: before.form.clone(), ..wrong };
                claim(&mut claims, name, &back);
                open.extend(back.form.keys().iter().map(|key| key.id()));
                self.entries.insert(name.clone(), back);
            }
        }
    }

    fn owned(&self, name: &Name, key: KeyId) -> bool {
        let before = self.before.get(name);
        before.is_some_and(|entry| entry.form.keys().iter().any(|own| own.id() == key))
    }

    fn key_claimed_twice(&mut self, key: KeyId, name: &Name, other: Option<&Name>) {
        let (Some(entry), Some((other, theirs))) =
            (self.entries.get(name), other.and_then(|name| self.entries.get_key_value(name)))
        else {
            return;
        };
        let there = self.shown(theirs.file.as_deref(), theirs.at);
        let text = format!(
            "{name} has the key {key}, which {other} has at {there}; a key belongs to one name"
        );
        let (file, at) = (entry.file.clone(), entry.at);
        self.error(file.as_deref(), at, text);
    }

    fn warn_of_shared_endpoints(&mut self) {
        let mut seen = BTreeMap::<&Endpoint, &Name>::new();
        let mut shared = Vec::new();
        for (name, entry) in &self.entries {
            for endpoint in entry.form.endpoints() {
                if let Some(other) = seen.insert(endpoint, name) {
                    let text = format!("{name} and {other} have the same endpoint {endpoint}");
                    let file = entry.file.as_deref().unwrap_or(self.main);
                    shared.push(entry.at.problem(file, Severity::Warning, text));
                }
            }
        }
        self.problems.append(&mut shared);
    }

    fn error(&mut self, file: Option<&str>, at: Place, text: String) {
        let file = file.unwrap_or(self.main);
        self.problems.push(at.problem(file, Severity::Error, text));
    }

    fn shown(&self, file: Option<&str>, at: Place) -> String {
        format!("{}:{}:{}", file.unwrap_or(self.main), at.line, at.column)
    }
}

fn claim(claims: &mut BTreeMap<KeyId, BTreeSet<Name>>, name: &Name, entry: &Entry) {
    for key in entry.form.keys() {
        claims.entry(key.id()).or_default().insert(name.clone());
    }
}

/// The first few, so that a problem stays a line.
fn some_of<'a>(names: impl ExactSizeIterator<Item = &'a Name>) -> String {
    let more = names.len() > 5;
    let first: Vec<&str> = names.take(5).map(Name::as_str).collect();
    format!("{}{}", first.join(", "), if more { ", …" } else { "" })
}
