//! What is wrong with a directory file, and where.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Problems told of one file. A directory of garbage costs this many texts and no more.
const PROBLEMS_PER_FILE: usize = 1_000;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something is not taken as it is written; its last good form stays, if it had one.
    Error,
    /// Taken as it is written, and probably not meant so.
    Warning,
    /// Worth knowing; only `check` looks for these.
    Note,
}

/// One thing that is wrong, shown as `file:line:column: text`. Sorts by place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The file, as its reader called it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1; one more than the line has if something is missing at its end.
    pub column: u32,
    /// How bad it is.
    pub severity: Severity,
    /// A lower-case sentence without its final dot.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, column, severity, text } = self;
        let severity = match severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        };
        write!(f, "{file}:{line}:{column}: {severity}{text}")
    }
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    /// The start of a file: for what has no better place.
    pub const START: Place = Place { line: 1, column: 1 };

    /// A problem here.
    pub fn problem(self, file: &str, severity: Severity, text: impl Into<String>) -> Problem {
        let Place { line, column } = self;
        Problem { file: file.into(), line, column, severity, text: text.into() }
    }
}

/// From byte offsets to places, at the same price however long a line is.
struct Places<'a> {
    text: &'a str,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
    /// Characters that start before each multiple of [`Places::STEP`] bytes.
    characters: Vec<usize>,
}

impl<'a> Places<'a> {
    const STEP: usize = 512;

    fn new(text: &'a str) -> Places<'a> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = core::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let mut before = 0;
        let characters = text.as_bytes().chunks(Places::STEP).map(|chunk| {
            let here = before;
            before += starts(chunk);
            here
        });
        Places { text, lines, characters: characters.collect() }
    }

    fn at(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.characters_before(offset) - self.characters_before(start) + 1;
        Place {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let step = offset / Places::STEP;
        match self.characters.get(step) {
            Some(before) => before + starts(&self.text.as_bytes()[step * Places::STEP..offset]),
            None => self.characters.last().map_or(0, |before| {
                before + starts(&self.text.as_bytes()[(step - 1) * Places::STEP..offset])
            }),
        }
    }
}

/// How many characters start in these bytes of UTF-8.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// Collects the problems of one file.
pub(super) struct Log<'a> {
    file: &'a str,
    places: Places<'a>,
    problems: Vec<Problem>,
    errors: usize,
}

impl<'a> Log<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Log<'a> {
        Log { file, places: Places::new(text), problems: Vec::new(), errors: 0 }
    }

    /// Where the byte at `offset` stands; the end of the file if there is none.
    pub fn place(&self, offset: usize) -> Place {
        self.places.at(offset)
    }

    /// Something that cannot be taken.
    pub fn error(&mut self, offset: usize, text: impl Into<String>) {
        self.errors += 1;
        self.push(offset, Severity::Error, text.into());
    }

    /// Something that is taken and probably not meant.
    pub fn warning(&mut self, offset: usize, text: impl Into<String>) {
        self.push(offset, Severity::Warning, text.into());
    }

    fn push(&mut self, offset: usize, severity: Severity, text: String) {
        if self.problems.len() < PROBLEMS_PER_FILE {
            self.problems.push(self.place(offset).problem(self.file, severity, text));
        }
    }

    /// Errors so far: what was read between two equal counts is good.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// All that were told, at most 1,000.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_the_end_has_a_place() {
        let text = "é=1\nab\n";
        let places = Places::new(text);
        for (offset, line, column) in
            [(0, 1, 1), (2, 1, 2), (4, 1, 4), (5, 2, 1), (7, 2, 3), (8, 3, 1), (99, 3, 1)]
        {
            assert_eq!(places.at(offset), Place { line, column }, "{offset}");
        }
        assert_eq!(Places::new("").at(0), Place::START);
    }

    #[test]
    fn long_lines_have_right_columns() {
        let text = "é".repeat(2_000);
        let places = Places::new(&text);
        for (at, (offset, _)) in text.char_indices().enumerate() {
            assert_eq!(places.at(offset), Place { line: 1, column: at as u32 + 1 });
        }
        assert_eq!(places.at(4_000).column, 2_001);
    }
}
