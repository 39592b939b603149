//! How far it is, for whoever waits at a terminal while the messages go elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Of files, how much of them was read; of the fabric, only how much came.
const OF_FILES: &str = "{bar:30} {percent:>3} %, {msg} messages, {eta} to go";
const OF_FABRIC: &str = "{spinner} {msg} messages in {elapsed}";

/// How often it is drawn at rest.
const DRAWN: Duration = Duration::from_millis(200);

/// A line on standard error; nothing unless that is a terminal and standard output is none.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    messages: u64,
}

impl Bar {
    /// Of so many bytes, if anybody knows.
    pub fn new(bytes: Option<u64>) -> Bar {
        let bar = match (io::stderr().is_terminal() && !io::stdout().is_terminal(), bytes) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(bytes)) => ProgressBar::new(bytes).with_style(style(OF_FILES)),
            (true, None) => ProgressBar::new_spinner().with_style(style(OF_FABRIC)),
        };
        if !bar.is_hidden() {
            bar.enable_steady_tick(DRAWN);
        }
        Bar { bar, messages: 0 }
    }

    /// A message more was shown.
    pub fn shown(&mut self) {
        self.messages += 1;
        if !self.bar.is_hidden() {
            self.bar.set_message(self.messages.to_string());
        }
    }

    /// So many bytes were read.
    pub fn read(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Says something else on standard error meanwhile.
    pub fn aside(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    /// Takes it away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
