//! Standard input by lines, read on a thread of its own: it may block for ever.

use std::io::{self, BufRead as _, BufReader, Read as _};

use tokio::sync::mpsc;

/// Longest line: an escaped body of 1 MiB and what is around it.
const LINE_BYTES: usize = 8 << 20;

/// Lines are handed over when no whole one more is at hand, or they have so many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    pub text: Vec<u8>,
}

/// Lines that came together, or why no more come.
pub type Batch = io::Result<Vec<Line>>;

/// The lines of standard input. What follows the last line's end is a line too.
pub fn of_standard_input() -> mpsc::Receiver<Batch> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut lines = Lines::new(BufReader::with_capacity(BATCH_BYTES, io::stdin().lock()));
        while let Some(batch) = lines.batch() {
            if sender.blocking_send(batch).is_err() {
                return; // nobody wants more
            }
        }
    });
    receiver
}

struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    /// An error that is told after the lines before it.
    error: Option<io::Error>,
    end: bool,
}

impl<R: io::Read> Lines<R> {
    fn new(input: BufReader<R>) -> Lines<R> {
        Lines { input, number: 0, error: None, end: false }
    }

    /// What came next; `None` at the end.
    fn batch(&mut self) -> Option<Batch> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while !self.end && self.error.is_none() {
            match self.line() {
                Ok(Some(line)) => {
                    bytes += line.text.len();
                    lines.push(line);
                    if bytes >= BATCH_BYTES || !self.input.buffer().contains(&b'\n') {
                        return Some(Ok(lines));
                    }
                }
                Ok(None) => self.end = true,
                Err(error) => self.error = Some(error),
            }
        }
        if !lines.is_empty() {
            return Some(Ok(lines));
        }
        let error = self.error.take()?;
        self.end = true;
        Some(Err(error))
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        (&mut self.input).take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        if text.last() == Some(&b'\n') {
            text.pop();
        } else if text.len() > LINE_BYTES {
            let why = format!("line {number} has more than {LINE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(Line { number, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one piece a read.
    struct Pieces<'a>(std::slice::Iter<'a, &'static [u8]>);

    impl io::Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.next() {
                Some(&b"!") => Err(io::Error::other("broken")),
                Some(piece) => io::Read::read(&mut &**piece, into),
                None => Ok(0),
            }
        }
    }

    fn batches(pieces: &[&'static [u8]]) -> Vec<Result<String, String>> {
        let mut lines = Lines::new(BufReader::new(Pieces(pieces.iter())));
        let shown =
            |line: Line| format!("{}{}", line.number, String::from_utf8(line.text).unwrap());
        std::iter::from_fn(|| lines.batch())
            .map(|batch| match batch {
                Ok(lines) => Ok(lines.into_iter().map(shown).collect::<Vec<_>>().join(" ")),
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }

    #[test]
    fn lines_are_not_held_back_by_one_that_is_not_whole() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(batches(&[b"a\nb\nc", b"d\n"]), [ok("1a 2b"), ok("3cd")]);
        assert_eq!(batches(&[b"a\n\nb"]), [ok("1a 2"), ok("3b")], "half a line at the end");
        assert_eq!(batches(&[]), []);
    }

    #[test]
    fn an_error_comes_after_the_lines_before_it() {
        assert_eq!(batches(&[b"a\n", b"!", b"b\n"]), [Ok("1a".into()), Err("broken".into())]);
    }

    #[test]
    fn a_line_without_end_is_not_read_for_ever() {
        let mut lines = Lines::new(BufReader::new(io::repeat(b'x')));
        let error = lines.batch().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "line 1 has more than 8388608 bytes");
        assert!(lines.batch().is_none());
    }
}
