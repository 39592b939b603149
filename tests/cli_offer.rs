//! Does `publish --via` succeed when the relay has it on its disk, and only then?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use std::path::Path;
use std::process::Command;

use cli::{Fabric, Running, ends, succeeds, text};
use rustix::process::Signal;
use serde_json::Value;

/// `web` cannot be dialled; `edge` keeps a journal.
fn fabric() -> Fabric {
    let fabric = Fabric::new();
    let endpoint = format!("endpoint = \"ipc://{}\"\n", fabric.path("web").display());
    fabric.edit(&endpoint, "");
    fabric.edit("carries = [\"#\"]", "carries = [\"#\"]\njournal = true");
    fabric
}

fn relay(fabric: &Fabric) -> Running {
    let relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("the relay edge runs");
    relay
}

fn offer(fabric: &Fabric, body: &str, more: &[&str]) -> std::process::Output {
    let args = ["publish", "org.example.a", "--name", "web", "--via", "edge", "--body", body];
    fabric.run(&[&args, more].concat())
}

/// The bodies of everything that a new reader gets from the relay.
fn archived(fabric: &Fabric, count: usize) -> Vec<String> {
    let count = count.to_string();
    let args =
        ["tail", "--via", "edge", "--start", "oldest", "--name", "reader", "--count", &count];
    let lines = succeeds(&fabric.run(&args));
    let body = |line: &str| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["body"].as_str().map_or_else(|| message["body"].to_string(), str::to_owned)
    };
    lines.lines().map(body).collect()
}

#[test]
fn what_was_accepted_survives_a_kill_of_the_relay() {
    let fabric = fabric();
    let first = relay(&fabric);
    for body in ["1", "2", "3"] {
        succeeds(&offer(&fabric, body, &[]));
    }
    first.signal(Signal::KILL);
    drop(first);
    let _second = relay(&fabric);
    succeeds(&offer(&fabric, "4", &[]));
    assert_eq!(archived(&fabric, 4), ["1", "2", "3", "4"]);
}

#[test]
fn with_the_relay_down_it_fails() {
    let fabric = fabric();
    ends(&offer(&fabric, "1", &["--wait", "0.3"]), 1, "no relay has taken 1 messages");
}

#[test]
fn what_is_spooled_is_delivered_by_the_next_run_in_order() {
    let fabric = fabric();
    let spool = fabric.path("spool");
    let spooled = ["--spool", text(&spool), "--wait", "0.3"];
    for body in ["1", "2"] {
        let output = offer(&fabric, body, &spooled);
        ends(&output, 0, "kept in");
    }
    let _relay = relay(&fabric);
    let output = offer(&fabric, "3", &["--spool", text(&spool)]);
    ends(&output, 0, "");
    assert!(!spool.join("web").exists(), "all of it was delivered");
    assert_eq!(archived(&fabric, 3), ["1", "2", "3"]);
}

#[test]
fn many_lines_of_many_topics_arrive_in_order() {
    let fabric = fabric();
    let _relay = relay(&fabric);
    let line = |i: u32| format!("{{\"topic\":\"org.example.t{}\",\"body\":{i}}}\n", i % 7);
    let lines: String = (0..3_000).map(line).collect();
    let args = ["publish", "--jsonl", "--name", "web", "--via", "edge"];
    succeeds(&fabric.run_with(&args, lines.as_bytes()));
    let expected: Vec<String> = (0..3_000).map(|i| i.to_string()).collect();
    assert_eq!(archived(&fabric, 3_000), expected);
}

#[test]
fn two_runs_at_once_both_succeed() {
    let fabric = fabric();
    let _relay = relay(&fabric);
    let args =
        |body| ["publish", "org.example.a", "--name", "web", "--via", "edge", "--body", body];
    let (one, two) = (fabric.start(&args("x")), fabric.start(&args("x")));
    succeeds(&one.output());
    succeeds(&two.output());
    assert_eq!(archived(&fabric, 2), ["x", "x"]);
}

#[test]
fn a_relay_without_a_journal_takes_nothing() {
    let fabric = fabric();
    fabric.edit("\njournal = true", "");
    let relay = relay(&fabric);
    ends(&offer(&fabric, "1", &["--wait", "1"]), 1, "it keeps no journal");
    relay.says("edge keeps no journal");
}

#[test]
fn what_the_relays_directory_denies_is_refused_and_named() {
    let fabric = fabric();
    let relay = relay(&fabric);
    // Directories reach hosts at different times.
    let theirs = fabric.path("theirs.toml");
    let ours = std::fs::read_to_string(fabric.directory()).unwrap();
    std::fs::write(&theirs, ours.replace("org.example.#", "org.#")).unwrap();
    let args = ["--directory", text(&theirs), "publish", "org.other", "--name", "web"];
    let more = ["--via", "edge", "--body", "x", "--wait", "1"];
    ends(&fabric.run(&[&args[..], &more].concat()), 1, "its directory denies it");
    relay.says("the directory does not allow this key this topic");
}

#[test]
fn an_unknown_relay_is_named() {
    let fabric = fabric();
    let args = ["publish", "org.example.a", "--name", "web", "--via", "nowhere", "--body", "x"];
    ends(&fabric.run(&args), 1, "no relay nowhere");
}

#[test]
fn a_git_hook_says_what_was_pushed() {
    let fabric = fabric();
    let _relay = relay(&fabric);
    let git = |folder: &Path, args: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-C"]).arg(folder).args(args);
        // The hook finds the binary, and the fabric.
        let selvedge = Path::new(env!("CARGO_BIN_EXE_selvedge")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        git.env("PATH", format!("{}:{path}", selvedge.display()));
        git.env("SELVEDGE_DIRECTORY", fabric.directory());
        git.env("SELVEDGE_KEY", fabric.path("web.key"));
        git.env("STATE_DIRECTORY", fabric.path("state"));
        git.env("SELVEDGE_NAME", "web").env("SELVEDGE_RELAY", "edge");
        git.env("SELVEDGE_TOPIC", "org.example.git.push");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", fabric.path("."));
        succeeds(&git.output().unwrap());
    };
    let (bare, work) = (fabric.path("shop.git"), fabric.path("work"));
    git(&fabric.path("."), &["init", "-q", "--bare", text(&bare)]);
    git(&fabric.path("."), &["init", "-q", text(&work)]);
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/post-receive");
    std::fs::copy(hook, bare.join("hooks/post-receive")).unwrap();
    git(&work, &["commit", "-q", "--allow-empty", "-m", "first"]);
    git(&work, &["push", "-q", text(&bare), "HEAD:refs/heads/main"]);
    let said: Value = serde_json::from_str(&archived(&fabric, 1)[0]).unwrap();
    assert_eq!((&said["repository"], &said["ref"]), (&"shop".into(), &"refs/heads/main".into()));
}

/// Answers come in order, and a tip was answered only after all that it tells of had come: more
/// than the publisher offers without an answer.
#[test]
fn a_tip_does_not_hold_up_what_lies_before_it() {
    let fabric = fabric();
    let spool = fabric.path("spool");
    let args = ["publish", "org.example.a", "--name", "web", "--via", "edge"];
    let spooled = [&args[..], &["--spool", text(&spool), "--wait", "0.3"]].concat();
    let lines = format!("{}\n", "x".repeat(1_000)).repeat(4_000);
    ends(&fabric.run_with(&spooled, lines.as_bytes()), 0, "kept in");
    let _relay = relay(&fabric);
    let delivering = [&args[..], &["--spool", text(&spool), "--body", "end", "--wait", "60"]];
    succeeds(&fabric.run(&delivering.concat()));
    assert!(!spool.join("web").exists(), "all of it was delivered");
}
