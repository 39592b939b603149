//! Does `record` write what was said, so that another machine can read and believe it?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use std::fs;

use cli::{Fabric, ends, succeeds, text};
use rustix::process::Signal;

#[test]
fn what_is_recorded_reads_on_another_machine_as_it_was_heard() {
    let fabric = Fabric::journaled();
    let file = fabric.path("rec");
    let tail = fabric.start(&["tail", "--count", "4"]);
    tail.says("services may say");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    let mut publish = fabric.start(&publish);
    publish.write(b"1\n2\n3\n4\n");
    let heard = succeeds(&tail.output());
    let record = ["record", text(&file), "--from", "oldest", "--count", "4"];
    succeeds(&fabric.run(&record));
    let there = Fabric::new(); // other keys, no state
    fs::copy(fabric.directory(), there.directory()).unwrap();
    let copy = there.path("copy");
    fs::copy(&file, &copy).unwrap();
    succeeds(&there.run(&["journal", "verify", "--strict", text(&copy)]));
    assert_eq!(succeeds(&there.run(&["replay", "--file", text(&copy)])), heard);
}

#[test]
fn history_is_recorded_from_where_one_likes() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", "1\n2\n");
    fabric.say("org.example.b", "3\n4\n");
    let _publish = fabric.start(&["publish", "org.example.a", "--name", "web"]);
    let recorded = |file: &str, args: &[&str], count: usize| {
        let file = fabric.path(file);
        let count = count.to_string();
        let record = ["record", text(&file), "--timeout", "60", "--count", &count];
        succeeds(&fabric.run(&[&record, args].concat()));
        succeeds(&fabric.run(&["replay", "--file", text(&file)]))
    };
    let all = recorded("all", &["--from", "oldest"], 4);
    assert_eq!(all.lines().count(), 4, "{all}");
    let b = recorded("b", &["org.example.b", "--from", "oldest"], 2);
    assert!(all.ends_with(&b) && b.lines().count() == 2, "{b}");
    let time = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["time"].as_str().unwrap().to_owned()
    };
    let third = time(all.lines().nth(2).unwrap());
    let late = recorded("late", &["--from", &third], 2);
    assert_eq!(late, b);
}

#[test]
fn a_file_that_exists_is_not_touched() {
    let fabric = Fabric::new();
    let file = fabric.path("rec");
    fs::write(&file, "mine").unwrap();
    ends(&fabric.run(&["record", text(&file), "--timeout", "1"]), 1, "written to a new file only");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn signals_finish_it_in_order() {
    let fabric = Fabric::new();
    for (name, signal) in [("term", Signal::TERM), ("int", Signal::INT)] {
        let file = fabric.path(name);
        let record = fabric.start(&["record", text(&file)]);
        record.says("services may say what is wanted");
        record.signal(signal);
        succeeds(&record.output());
        let shown = succeeds(&fabric.run(&["journal", "inspect", text(&file)]));
        assert!(shown.contains("a recording of fabric test, closed"), "{shown}");
        succeeds(&fabric.run(&["journal", "verify", text(&file)]));
    }
}

#[test]
fn messages_that_were_counted_on_and_did_not_come_are_a_failure() {
    let fabric = Fabric::new();
    let file = fabric.path("rec");
    let args = ["record", text(&file), "--timeout", "0.05", "--count", "2"];
    ends(&fabric.run(&args), 1, "0 of 2 messages");
    succeeds(&fabric.run(&["journal", "verify", text(&file)]));
}
