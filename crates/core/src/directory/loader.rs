//! From the files as they are now to the next directory, keeping what was last good.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::parse::{Faults, Head, Outcome, Parsed, parse};
use super::problem::Place;
use super::settle::{Entry, Held, Settled, settle};
use super::{Changes, Directory, Problem, Severity, render};
use crate::Time;
use crate::limits::{DIRECTORY_FILE_BYTES, DIRECTORY_FILES, MASS_REMOVAL_WAIT};
use crate::topic::Name;

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What problems call it: its path.
    pub name: String,
    /// Its bytes, or why it cannot be read (a lower-case sentence without its final dot).
    pub content: Result<Vec<u8>, String>,
}

/// The main file and those beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `endpoints.toml`.
    pub main: File,
    /// `endpoints.d/*.toml`, sorted by name.
    pub drop_ins: Vec<File>,
    /// Why the folder of drop-ins could not be listed; a folder that is not there has no files.
    pub unlisted: Option<String>,
}

impl Files {
    /// A main file and nothing beside it.
    pub fn one(name: &str, text: &str) -> Files {
        let main = File { name: name.into(), content: Ok(text.as_bytes().to_vec()) };
        Files { main, drop_ins: Vec::new(), unlisted: None }
    }
}

/// What the files as they are now come to.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The next directory; `None` if it is the same as before, or there is nothing usable yet.
    pub directory: Option<Arc<Directory>>,
    /// All that is wrong now, by place; not only what is newly so.
    pub problems: Vec<Problem>,
    /// From the previous directory to the next.
    pub changes: Changes,
}

/// Holds what was last good. Feed it all files whenever one may have changed, and at its
/// [`Loader::deadline`].
#[derive(Debug, Default)]
pub struct Loader {
    main: Read,
    drop_ins: BTreeMap<Arc<str>, Read>,
    unlisted: Option<String>,
    /// What the directory says now, and which file said so.
    entries: BTreeMap<Name, Entry>,
    held: Option<Held>,
    directory: Option<Arc<Directory>>,
    problems: Vec<Problem>,
    /// Whether all this comes from an earlier run and no main file has confirmed the fabric.
    restored: bool,
}

/// One file: what it last said, and what is wrong with it now.
#[derive(Debug, Default)]
struct Read {
    /// Digest of what was last looked at.
    seen: Option<[u8; 32]>,
    good: Parsed,
    problems: Vec<Problem>,
    readable: bool,
}

/// What separates the files in [`Loader::export`]; the parser of TOML takes it for a comment.
const SECTION: &str = "#: ";

impl Loader {
    /// A loader that has seen nothing.
    pub fn new() -> Loader {
        Loader::default()
    }

    /// A loader that has seen what an earlier one exported. It has no directory before its first
    /// update; what that finds broken or missing stays as it was exported. If the main file turns
    /// out to be for another fabric, all is forgotten.
    pub fn restored(exported: &str) -> Loader {
        let mut loader = Loader::new();
        let Some(files) = sections(exported) else { return loader };
        loader.update(Time(0), &files);
        let reads = loader.drop_ins.values_mut().chain([&mut loader.main]);
        for read in reads {
            read.seen = None;
            read.good.forget_places();
        }
        Loader { directory: None, problems: Vec::new(), held: None, restored: true, ..loader }
    }

    /// What is good now, file by file: text that a person can read and [`Loader::restored`] takes.
    /// Empty while there is no directory.
    pub fn export(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_export(&mut text);
        text
    }

    fn write_export(&self, text: &mut String) -> core::fmt::Result {
        let (Some(head), Some(_)) = (&self.main.good.head, &self.directory) else {
            return Ok(());
        };
        let mut by_file = BTreeMap::<Option<&str>, Vec<_>>::new();
        by_file.insert(None, Vec::new());
        for name in self.drop_ins.keys() {
            by_file.insert(Some(name), Vec::new());
        }
        for (name, entry) in &self.entries {
            by_file.entry(entry.file.as_deref()).or_default().push((name, &entry.form));
        }
        for (file, entries) in by_file {
            let shown = file.unwrap_or("endpoints.toml");
            if shown.contains(char::is_control) {
                continue; // never read either
            }
            writeln!(text, "{SECTION}{shown}")?;
            if file.is_none() {
                render::head(text, head, self.main.good.scheme.as_ref())?;
            }
            for (name, form) in entries {
                render::form(text, name, form)?;
            }
            let read = file.map_or(Some(&self.main), |file| self.drop_ins.get(file));
            let revoked = read.into_iter().flat_map(|read| &read.good.revoked);
            render::revoked(text, revoked.copied())?;
        }
        Ok(())
    }

    /// The directory as it is now.
    pub fn directory(&self) -> Option<&Arc<Directory>> {
        self.directory.as_ref()
    }

    /// When to look again even if no file changes: what vanished is believed then, if it is still
    /// gone.
    pub fn deadline(&self) -> Option<Time> {
        self.held.as_ref().map(|held| held.since + MASS_REMOVAL_WAIT)
    }

    /// Takes the files as they are now.
    pub fn update(&mut self, now: Time, files: &Files) -> Update {
        let mut changed = self.read_main(&files.main);
        let Some(head) = self.main.good.head.clone() else {
            self.problems = self.main.problems.clone();
            return Update { problems: self.problems.clone(), ..Update::default() };
        };
        changed |= self.read_drop_ins(files, &head);
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if !changed && !due && self.directory.is_some() {
            return Update { problems: self.problems.clone(), ..Update::default() };
        }
        self.settle(now, &files.main.name, head)
    }

    /// Reads the main file if it is not as before. A fabric cannot change: what was signed for one
    /// is nothing in another, so it takes a new process.
    fn read_main(&mut self, file: &File) -> bool {
        let seen = digest(file, 0);
        if self.main.seen == Some(seen) {
            return false;
        }
        let mut outcome = self.parse(file, None);
        let ours = self.main.good.head.as_ref().map(|head| &head.fabric);
        let theirs = outcome.parsed.head.as_ref().map(|head| &head.fabric);
        if let (Some(ours), Some(theirs), false) = (ours, theirs, outcome.faults.file)
            && ours != theirs
        {
            if self.restored {
                *self = Loader::new();
            } else {
                let text = format!("the fabric was {ours} and is {theirs}; restart to change it");
                outcome.problems.push(Place::START.problem(&file.name, Severity::Error, text));
                outcome.faults = Faults::ALL;
            }
        }
        self.main.take(seen, file, outcome);
        self.restored &= !self.main.readable;
        true
    }

    /// Reads the drop-ins that are not as before, and forgets those that are gone.
    fn read_drop_ins(&mut self, files: &Files, head: &Head) -> bool {
        let too_many = files.drop_ins.len() > DIRECTORY_FILES;
        let unlisted = match &files.unlisted {
            None if too_many => Some(format!("there are more than {DIRECTORY_FILES} drop-ins")),
            other => other.clone(),
        };
        let mut changed = self.unlisted != unlisted;
        self.unlisted = unlisted;
        for file in files.drop_ins.iter().take(DIRECTORY_FILES) {
            let seen = digest(file, head.format);
            if self.drop_ins.get(&*file.name).is_some_and(|read| read.seen == Some(seen)) {
                continue;
            }
            let outcome = self.parse(file, Some(head));
            let read = self.drop_ins.entry(Arc::from(&*file.name)).or_default();
            read.take(seen, file, outcome);
            changed = true;
        }
        // A folder that vanished whole takes the main file with it: that removes nobody.
        if self.unlisted.is_none() && self.main.readable {
            let listed: alloc::collections::BTreeSet<&str> =
                files.drop_ins.iter().map(|file| &*file.name).collect();
            let before = self.drop_ins.len();
            self.drop_ins.retain(|name, _| listed.contains(&**name));
            changed |= self.drop_ins.len() != before;
        }
        changed
    }

    fn parse(&self, file: &File, head: Option<&Head>) -> Outcome {
        let unreadable = |text: &str| {
            let problem = Place::START.problem(&file.name, Severity::Error, text);
            let problems = Vec::from([problem]);
            Outcome { parsed: Parsed::default(), faults: Faults::ALL, problems }
        };
        let known = |name: &str| {
            self.entries.get(name).map(|entry| entry.form.keys().to_vec()).unwrap_or_default()
        };
        match &file.content {
            _ if file.name.contains(char::is_control) => {
                unreadable("the name of this file has control characters")
            }
            Err(why) => unreadable(why),
            Ok(content) if content.len() > DIRECTORY_FILE_BYTES => {
                unreadable(&format!("the file has more than {DIRECTORY_FILE_BYTES} bytes"))
            }
            Ok(content) => parse(&file.name, content, head, &known),
        }
    }

    /// Unites what the files say into the next directory.
    fn settle(&mut self, now: Time, main: &str, head: Head) -> Update {
        let Loader { main: of_main, drop_ins, .. } = &*self;
        let reads = || {
            let drop_ins = drop_ins.iter().map(|(name, read)| (Some(name), read));
            core::iter::once((None, of_main)).chain(drop_ins)
        };
        let definitions = reads().map(|(file, read)| (file, &read.good.definitions[..]));
        let Settled { entries, held, mut problems } =
            settle(now, main, definitions, &self.entries, self.held.as_ref());
        let unlisted = self.unlisted.iter();
        problems.extend(unlisted.map(|why| Place::START.problem(main, Severity::Error, &**why)));
        problems.extend(reads().flat_map(|(_, read)| read.problems.iter().cloned()));
        problems.sort();
        let revoked = reads().flat_map(|(_, read)| &read.good.revoked).copied().collect();
        let forms = entries.iter().map(|(name, entry)| (name, &entry.form));
        let scheme = of_main.good.scheme.clone();
        let next = Directory::new(head.fabric, scheme, forms, revoked);
        (self.entries, self.held, self.problems) = (entries, held, problems);
        let mut update = Update { problems: self.problems.clone(), ..Update::default() };
        if self.directory.as_deref() != Some(&next) {
            update.changes = Changes::between(self.directory.as_deref(), &next);
            let next = Arc::new(next);
            self.directory = Some(next.clone());
            update.directory = Some(next);
        }
        update
    }

    /// Which file defines each name now, and where.
    pub(super) fn entries(&self) -> &BTreeMap<Name, Entry> {
        &self.entries
    }
}

impl Read {
    /// Takes what is good of `outcome` and keeps the rest as it was.
    fn take(&mut self, seen: [u8; 32], file: &File, outcome: Outcome) {
        let Outcome { mut parsed, faults, problems } = outcome;
        if faults.file || faults.revoked {
            parsed.revoked.append(&mut self.good.revoked);
        }
        if faults.file {
            let revoked = parsed.revoked;
            parsed = core::mem::take(&mut self.good);
            parsed.revoked = revoked;
            parsed.forget_places();
        } else if faults.scheme {
            parsed.scheme = self.good.scheme.take();
        }
        *self = Read { seen: Some(seen), good: parsed, problems, readable: file.content.is_ok() };
    }
}

impl Parsed {
    /// The text that the places were in is gone.
    fn forget_places(&mut self) {
        self.definitions.iter_mut().for_each(|definition| definition.at = Place::START);
    }
}

/// Of all that decides what comes out of a file.
fn digest(file: &File, format: u64) -> [u8; 32] {
    let (tag, bytes) = match &file.content {
        Ok(content) => (0, content.as_slice()),
        Err(why) => (1, why.as_bytes()),
    };
    let start = Sha256::new().chain_update([tag]).chain_update(format.to_le_bytes());
    start.chain_update(bytes).finalize().into()
}

/// An export, as the files it was made of; `None` if it holds none.
fn sections(exported: &str) -> Option<Files> {
    let mut files: Vec<(&str, String)> = Vec::new();
    for line in exported.lines() {
        match (line.strip_prefix(SECTION), files.last_mut()) {
            (Some(name), _) => files.push((name, String::new())),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {} // whatever the shell wrote above
        }
    }
    let mut files = files
        .into_iter()
        .map(|(name, text)| File { name: name.to_string(), content: Ok(text.into_bytes()) });
    Some(Files { main: files.next()?, drop_ins: files.collect(), unlisted: None })
}
