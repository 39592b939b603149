//! Does `tail` show what was asked for, and end as it promises?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use cli::{Fabric, ends, succeeds};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[test]
fn a_message_is_a_json_line_with_these_keys_in_this_order() {
    let fabric = Fabric::new();
    let tail = fabric.start(&["tail", "--count", "1", "--timeout", "60"]);
    let args =
        ["publish", "org.example.a", "--name", "web", "--wait", "60", "--body", "a\u{1b}\nb"];
    succeeds(&fabric.run(&args));
    let line = succeeds(&tail.output());
    let mut rest = &*line;
    for key in
        ["id", "topic", "publisher", "epoch", "seq", "tseq", "time", "type", "headers", "body"]
    {
        let (_, after) = rest.split_once(&format!("\"{key}\":")).expect(key);
        rest = after;
    }
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 10, "{line}");
    assert_eq!(value["id"], format!("web/{}/0", value["epoch"]));
    assert_eq!((&value["seq"], &value["tseq"]), (&0.into(), &1.into()));
    assert_eq!(value["body"], "a\u{1b}\nb");
    let time = value["time"].as_str().unwrap();
    assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
}

#[test]
fn only_what_was_asked_for_is_shown() {
    let fabric = Fabric::new();
    let topics = ["org.example.a", "org.example.a.up", "org.example.a.b.up", "org.example.x"];
    let input = topics.map(|topic| format!("{{\"topic\": \"{topic}\", \"body\": 1}}\n")).concat();
    for (args, expected) in [
        (&["org.example.*.up", "org.example.x"][..], &[topics[1], topics[3]][..]),
        (&["org.example.*"], &[topics[0], topics[3]]),
        (&["--from", "web"], &topics),
        (&["--from", "web", "--from", "db", "org.#"], &topics),
    ] {
        let count = expected.len().to_string();
        let tail = fabric.start(&[&["tail", "--count", &count, "--timeout", "60"], args].concat());
        let publish = ["publish", "--jsonl", "--name", "web", "--wait", "60"];
        succeeds(&fabric.run_with(&publish, input.as_bytes()));
        let lines = succeeds(&tail.output());
        assert_eq!(lines.lines().map(topic).collect::<Vec<_>>(), expected, "{args:?}");
    }
}

fn topic(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["topic"].as_str().unwrap().to_owned()
}

#[test]
fn what_nobody_may_say_is_said_once_and_waited_for() {
    let fabric = Fabric::new();
    let tail = fabric.start(&["tail", "org.other.#", "--count", "1"]);
    tail.says("nobody in the directory may say anything that matches org.other.#");
    fabric.edit("org.db.#", "org.other.#");
    let args = ["publish", "org.other.a", "--name", "db", "--wait", "60", "--body", "now"];
    succeeds(&fabric.run(&args));
    assert!(tail.line().contains("\"body\":\"now\""));
}

#[test]
fn a_timeout_fails_if_messages_were_counted_on() {
    let fabric = Fabric::new();
    ends(&fabric.run(&["tail", "--timeout", "0.05", "--count", "2"]), 1, "0 of 2 messages");
    succeeds(&fabric.run(&["tail", "--timeout", "0.05"]));
}

#[test]
fn signals_end_it_well() {
    let fabric = Fabric::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut tail = fabric.start(&["tail"]);
        tail.says("services may say what is wanted");
        tail.signal(signal);
        assert_eq!(tail.end().code(), Some(0));
    }
}

#[test]
fn it_ends_quietly_with_its_reader() {
    let fabric = Fabric::new();
    let mut command = fabric.command(&["tail"]);
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    let mut publish = fabric.start(&["publish", "org.example.a", "--name", "web", "--wait", "60"]);
    publish.write(b"one\n");
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"body\":\"one\""));
    drop(lines); // and nothing more is said
    let output = tail.wait_with_output().unwrap();
    let errors = succeeds(&output) + &String::from_utf8(output.stderr).unwrap();
    assert!(!errors.contains("Broken pipe") && !errors.contains("nobody reads"), "{errors}");
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_it_from_ending() {
    let fabric = Fabric::new();
    let mut command = fabric.command(&["tail"]);
    let tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let line = "x".repeat(1_000) + "\n";
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    succeeds(&fabric.run_with(&publish, line.repeat(1_000).as_bytes()));
    kill_process(Pid::from_child(&tail), Signal::TERM).unwrap();
    succeeds(&tail.wait_with_output().unwrap());
}

#[test]
fn a_relay_is_heard_instead_of_the_service() {
    let fabric = Fabric::new();
    let relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("the relay edge runs");
    let tail = fabric.start(&["tail", "--via", "edge", "--count", "1"]);
    tail.says("connected to edge");
    let mut publish = fabric.start(&["publish", "org.example.a", "--name", "web", "--wait", "60"]);
    let line = tail.line_after(|| publish.write(b"one\n"));
    assert!(line.contains("\"publisher\":\"web\""), "{line}");
    assert_eq!(tail.output().status.code(), Some(0));
}

#[test]
fn wrong_usage_is_told_apart() {
    let fabric = Fabric::new();
    for args in [
        ["tail", "a..b"],
        ["tail", "#.a"],
        ["tail", "--count=0"],
        ["tail", "--timeout=soon"],
        ["tail", "--from=No!"],
        ["tail", "--log=loud"],
        ["tail", "--nonsense"],
    ] {
        ends(&fabric.run(&args), 2, "error: ");
    }
}

#[test]
fn under_a_name_it_goes_on_where_it_was() {
    let fabric = Fabric::new();
    fabric.edit("topics = [\"org.example.#\"]", "journal = true\ntopics = [\"org.example.#\"]");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    let tail = ["tail", "--name", "shown", "--start", "oldest", "--timeout", "60", "--count"];
    let mut running = fabric.start(&[&tail[..], &["2"]].concat());
    succeeds(&fabric.run_with(&publish, b"1\n2\n3\n"));
    let first: Vec<_> = [running.line(), running.line()].iter().map(|line| body(line)).collect();
    assert!(running.end().success());
    let running = fabric.start(&[&tail[..], &["2"]].concat());
    succeeds(&fabric.run_with(&publish, b"4\n"));
    let rest = succeeds(&running.output());
    assert_eq!(first, ["1", "2"]);
    assert_eq!(rest.lines().map(body).collect::<Vec<_>>(), ["3", "4"]);
}

#[test]
fn a_start_that_is_none_is_wrong_usage() {
    let fabric = Fabric::new();
    ends(&fabric.run(&["tail", "--start", "yesterday"]), 2, "now, oldest, ");
}

fn body(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["body"].as_str().unwrap().to_owned()
}
