//! Is a limit that the system sets for a process an error, and not its end?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use std::process::Command;

use cli::{Fabric, Running, ends, succeeds, text};

#[test]
fn a_journal_that_may_not_grow_is_full() {
    let fabric = Fabric::journaled();
    let publish = fabric.command(&["publish", "org.example.a", "--name", "web", "--receipts"]);
    // In blocks of 512 or 1,024 bytes, as the shell likes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""]);
    limited.arg(publish.get_program()).args(publish.get_args()).env_clear();
    limited.envs(publish.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = Running::new(limited);
    let line = [b"x".repeat(1_000), b"\n".to_vec()].concat();
    running.write(&line);
    assert!(running.line().starts_with("web/"));
    running.write(&line.repeat(300)); // more than there is room for, in one commit or several
    running.close_input();
    let output = running.output();
    ends(&output, 1, "not taken by the journal");
    let receipts = String::from_utf8(output.stdout).unwrap();
    assert_eq!(receipts.lines().count(), 300);
    // Not always the last one: a small commit may still fit where a large one did not.
    assert!(receipts.lines().any(|receipt| receipt == "-"));
    let journal = fabric.path("state/web.journal");
    succeeds(&fabric.run(&["journal", "verify", text(&journal)]));
}
