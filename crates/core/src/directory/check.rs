//! What `check` says: every problem, and what is legal but worth knowing.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::entry::{Form, Service, Via};
use super::settle::Entry;
use super::{Directory, Files, Loader, Problem, Severity};
use crate::Time;
use crate::topic::{Name, Pattern};

/// Pairs of services with common topics told at most; finding them all could be quadratic.
const OVERLAPS: usize = 100;

/// What is to be said about a set of files.
#[derive(Clone, Debug)]
pub struct Report {
    /// What a process without a last good form would make of them.
    pub directory: Option<Arc<Directory>>,
    /// Errors, warnings and notes, by place.
    pub problems: Vec<Problem>,
}

/// Looks at the files as a process does that starts with them, and adds notes: overlapping
/// topics, services nobody can reach, keys listed though revoked, relays preferred that do not
/// exist, topics outside the scheme.
pub fn check(files: &Files) -> Report {
    let mut loader = Loader::new();
    let update = loader.update(Time(0), files);
    let mut problems = update.problems;
    if let Some(directory) = &update.directory {
        let mut notes = Notes { main: &files.main.name, directory, problems: Vec::new() };
        for (name, entry) in loader.entries() {
            notes.of_entry(name, entry);
        }
        notes.overlaps(&loader);
        problems.append(&mut notes.problems);
        problems.sort();
    }
    Report { directory: update.directory, problems }
}

struct Notes<'a> {
    main: &'a str,
    directory: &'a Directory,
    problems: Vec<Problem>,
}

impl Notes<'_> {
    fn say(&mut self, entry: &Entry, severity: Severity, text: String) {
        let file = entry.file.as_deref().unwrap_or(self.main);
        self.problems.push(entry.at.problem(file, severity, text));
    }

    fn of_entry(&mut self, name: &Name, entry: &Entry) {
        for key in entry.form.keys() {
            if self.directory.revoked.contains(&key.id()) {
                let text = format!("the key {} of {name} is revoked; take it out", key.id());
                self.say(entry, Severity::Warning, text);
            }
        }
        let Form::Service(service) = &entry.form else { return };
        if service.endpoints.is_empty() && !self.carried(service) {
            let text = format!("{name} has no endpoint and no relay carries it: unreachable");
            self.say(entry, Severity::Warning, text);
        }
        for via in &service.prefer {
            if let Via::Relay(relay) = via
                && self.directory.relay(relay.as_str()).is_none()
            {
                let text = format!("{name} prefers the relay {relay}, which does not exist");
                self.say(entry, Severity::Warning, text);
            }
        }
        let Some(scheme) = self.directory.scheme() else { return };
        for topics in service.topics.iter().filter(|topics| !topics.intersects(scheme.pattern())) {
            let text = format!("{name} may say {topics}, all of it outside the scheme {scheme}");
            self.say(entry, Severity::Warning, text);
        }
    }

    fn carried(&self, service: &Service) -> bool {
        service.topics.iter().any(|topics| self.directory.who_carries(topics).next().is_some())
    }

    /// Two patterns can only meet if the wire prefix of one starts with that of the other, so
    /// sorted by prefix each looks no further than its own.
    fn overlaps(&mut self, loader: &Loader) {
        let mut all: Vec<(&str, &Pattern, &Name, &Service)> = Vec::new();
        for (name, service) in self.directory.services() {
            all.extend(service.topics.iter().map(|t| (t.wire_prefix(), t, name, service)));
        }
        all.sort_by_key(|(prefix, topics, name, _)| (*prefix, *topics, *name));
        let mut told = BTreeSet::new();
        for (at, (prefix, mine, name, service)) in all.iter().enumerate() {
            let near = all[at + 1..].iter().take_while(|(next, ..)| next.starts_with(prefix));
            for (_, theirs, other, with) in near {
                let one = name == other || (service.group.is_some() && service.group == with.group);
                if one || !mine.intersects(theirs) || !told.insert((*name, *other)) {
                    continue;
                }
                let Some(entry) = loader.entries().get(*name) else { continue };
                if told.len() > OVERLAPS {
                    let text = format!("more than {OVERLAPS} pairs of services have common topics");
                    return self.say(entry, Severity::Note, text);
                }
                let text = format!("{name} ({mine}) and {other} ({theirs}) have common topics");
                self.say(entry, Severity::Note, text);
            }
        }
    }
}
