//! The log, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::LevelFilter;

use crate::options::Common;
use crate::output;

/// Logs from now on: text, or JSON lines with `json`; from `default` on unless the user says.
pub fn start(common: &Common, default: LevelFilter, json: bool) {
    let level = common.log.map_or(default, LevelFilter::from);
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        let colour = io::stderr().is_terminal() && output::colour_wanted();
        builder.with_ansi(colour).with_target(false).init();
    }
}
