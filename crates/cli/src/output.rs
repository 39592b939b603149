//! The only way to standard output and standard error.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// 9999-12-31T23:59:59: the last second that a time of four-digit years can name.
const LAST_SECOND: u64 = 253_402_300_799;

/// Standard output was closed by its reader: no failure, there is just nothing left to do.
#[derive(Debug)]
pub struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints `text` as it is, at once.
///
/// # Errors
/// [`ReaderGone`], or what the system says.
pub fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// Prints a line.
///
/// # Errors
/// As [`print`].
pub fn line(text: &str) -> anyhow::Result<()> {
    print(format!("{text}\n").as_bytes())
}

/// Waits until whoever reads standard output is gone, even if nothing is written.
pub async fn reader_gone() {
    let (tell, gone) = oneshot::channel();
    std::thread::spawn(move || {
        let out = io::stdout();
        // Nothing is asked for: only an error or a hang-up ends it.
        let mut watched = [PollFd::new(&out, PollFlags::empty())];
        while let Err(Errno::INTR) = poll(&mut watched, None) {}
        let _ = tell.send(()); // nobody waits any more
    });
    let _ = gone.await;
}

/// Prints `text` as it is on standard error: what goes beside a result for machines.
pub fn aside(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes()); // nobody left to tell
}

/// Tells the user something on standard error; control characters are shown, not sent.
pub fn say(text: &str) {
    let mut line = String::from("selvedge: ");
    for (at, part) in text.split('\n').enumerate() {
        line.push_str(if at > 0 { "\n" } else { "" });
        escape(part, &mut line);
    }
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes()); // nobody left to tell
}

/// Whether the user lets terminals be coloured (<https://no-color.org>).
pub fn colour_wanted() -> bool {
    let no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Appends `text` with everything that could steer a terminal made visible.
pub fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "{}", character.escape_unicode()); // a String takes all
            }
            _ if character.is_control() => out.extend(character.escape_default()),
            _ => out.push(character),
        }
    }
}

/// RFC 3339, in UTC, with microseconds. What is later than the format can say is its last second.
pub fn time(time: SystemTime) -> String {
    let last = UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
    humantime::format_rfc3339_micros(time.min(last)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let mut out = String::new();
        escape("a\u{1b}[2Jb\r\n\u{9b}c\u{202e}é\t\\", &mut out);
        assert_eq!(out, "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}é\\t\\");
    }
}
