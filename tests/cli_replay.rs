//! Does `replay` give again what was said: all of it, exactly that, and an end in time?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/kept.rs"]
mod kept;

use std::fs;
use std::time::{Duration, Instant};

use cli::{Fabric, Running, ends, succeeds, text};
use kept::{Voice, flip, record_of, segment};
use rustix::process::Signal;
use serde_json::Value;

/// `web`, speaking: its journal answers.
fn speaking(fabric: &Fabric) -> Running {
    fabric.start(&["publish", "org.example.z", "--name", "web"])
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{number}\n")).collect()
}

fn bodies(lines: &str) -> Vec<String> {
    let body = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["body"].as_str().unwrap().to_owned()
    };
    lines.lines().map(body).collect()
}

fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["id"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn replayed_messages_are_the_live_ones_with_id_number_and_all() {
    let fabric = Fabric::journaled();
    let tail = fabric.start(&["tail", "--count", "50"]);
    tail.says("services may say");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    let mut publish = fabric.start(&publish);
    publish.write(lines(50).as_bytes());
    let live = succeeds(&tail.output());
    assert_eq!(bodies(&live), numbers(50));
    let replay = fabric.run(&["replay", "--from", &ids(&live)[0]]);
    assert_eq!(succeeds(&replay), live);
    publish.close_input();
    succeeds(&publish.output());
    let journal = fabric.path("state/web.journal");
    assert_eq!(succeeds(&fabric.run(&["replay", "--file", text(&journal)])), live);
}

#[test]
fn a_range_of_ids_gives_exactly_that_range() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", &lines(40));
    let journal = fabric.path("state/web.journal");
    let all = succeeds(&fabric.run(&["replay", "--file", text(&journal)]));
    let ids = ids(&all);
    let _web = speaking(&fabric);
    for source in [&["--file", text(&journal)][..], &[]] {
        for (from, to) in [(0, 39), (3, 17), (5, 5), (38, 39)] {
            let range = ["replay", "--from", &ids[from], "--to", &ids[to]];
            let came = succeeds(&fabric.run(&[&range, source].concat()));
            let expected: Vec<&str> = all.lines().skip(from).take(to + 1 - from).collect();
            assert_eq!(came.lines().collect::<Vec<_>>(), expected, "{from} to {to} {source:?}");
        }
        let came = succeeds(&fabric.run(&[&["replay", "--to", &ids[9]], source].concat()));
        assert_eq!(came.lines().count(), 10);
    }
}

#[test]
fn a_range_of_times_gives_exactly_that_range() {
    let fabric = Fabric::new();
    let web = Voice::new("test", "web", &fabric.path("web.key"));
    let second = |seq: u64| 1_700_000_000_000_000 + seq * 1_000_000;
    let commits: Vec<_> = (0..10)
        .map(|seq| web.commit(7, seq, second(seq), "org.example.a", &seq.to_string()))
        .collect();
    let file = fabric.path("rec");
    web.recording(&file, &commits);
    let replay = ["replay", "--file", text(&file)];
    let range = ["--from", "2023-11-14T22:13:22Z", "--to", "2023-11-14T22:13:25Z"];
    let came = succeeds(&fabric.run(&[&replay[..], &range].concat()));
    assert_eq!(bodies(&came), ["2", "3", "4", "5"]);
}

#[test]
fn all_messages_are_replayed_not_the_first_alone() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", &lines(5_000));
    fabric.say("org.example.other", "x\n");
    let _web = speaking(&fabric);
    let came = succeeds(&fabric.run(&["replay", "org.example.a"]));
    assert_eq!(bodies(&came), numbers(5_000));
    let came = succeeds(&fabric.run(&["replay", "--count", "7"]));
    assert_eq!(bodies(&came), numbers(7));
}

#[test]
fn a_dead_endpoint_ends_it_in_time_and_is_named() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", "1\n");
    let began = Instant::now();
    let replay = fabric.run(&["replay", "org.example.#", "--via", "edge", "--wait", "0.5"]);
    ends(&replay, 1, "nothing of web came: no answer from edge");
    let replay = fabric.run(&["replay", "org.example.#", "--wait", "0.5"]);
    ends(&replay, 1, "nothing of web came: no answer from edge, web");
    assert!(began.elapsed() < Duration::from_secs(30));
    // The others come all the same.
    let _web = speaking(&fabric);
    let replay = fabric.run(&["replay", "--wait", "0.5"]);
    ends(&replay, 1, "nothing of db came: no answer from ");
    assert_eq!(bodies(&String::from_utf8(replay.stdout).unwrap()), ["1"]);
}

#[test]
fn both_epochs_come_after_a_restart() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", "0\n1\n");
    fabric.say("org.example.a", "2\n3\n");
    let journal = fabric.path("state/web.journal");
    let _web = speaking(&fabric);
    let relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("connected to web");
    let heard = fabric.path("heard"); // by the relay
    let record = ["record", text(&heard), "--via", "edge", "--from", "oldest", "--count", "4"];
    succeeds(&fabric.run(&record));
    let (file, via) = (["--file", text(&journal)], ["--via", "edge"]);
    for source in [&file[..], &via, &[]] {
        let came = fabric.run(&[&["replay", "org.example.#"], source].concat());
        let text = String::from_utf8(came.stdout).unwrap();
        let errors = String::from_utf8(came.stderr).unwrap();
        assert_eq!(bodies(&text), numbers(4), "{source:?} {errors}");
        let ids = ids(&text);
        assert_eq!(ids[0].rsplit('/').next(), ids[2].rsplit('/').next(), "number 0 twice");
        assert_eq!(came.status.code(), Some(0), "{source:?} {errors}");
    }
}

#[test]
fn what_a_publisher_that_is_gone_has_said_comes_from_an_archive() {
    let fabric = Fabric::journaled();
    let relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("the relay edge runs");
    let tail = fabric.start(&["tail", "--via", "edge", "--count", "20"]);
    tail.says("connected to edge");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    succeeds(&fabric.run_with(&publish, lines(20).as_bytes()));
    assert_eq!(bodies(&succeeds(&tail.output())), numbers(20));
    for args in [&["--via", "edge"][..], &["--wait", "1"]] {
        let came = fabric.run(&[&["replay", "org.example.#"], args].concat());
        let errors = String::from_utf8(came.stderr).unwrap();
        let text = String::from_utf8(came.stdout).unwrap();
        assert_eq!((bodies(&text), came.status.code()), (numbers(20), Some(0)), "{errors}");
    }
    let unknown = fabric.run(&["replay", "org.db.#", "--via", "edge", "--wait", "0.1"]);
    ends(&unknown, 1, "nothing of db came: edge knows nothing of it");
}

#[test]
fn what_only_an_archive_still_holds_is_waited_for() {
    let fabric = Fabric::journaled();
    let mut relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("the relay edge runs");
    let tail = fabric.start(&["tail", "--via", "edge", "--count", "3"]);
    tail.says("connected to edge");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    succeeds(&fabric.run_with(&publish, b"0\n1\n2\n"));
    succeeds(&tail.output());
    // Its publisher forgets it all, and is found first.
    fs::remove_dir_all(fabric.path("state/web.journal")).unwrap();
    let _web = speaking(&fabric);
    relay.signal(Signal::STOP);
    let replay = fabric.start(&["replay", "org.example.#", "--wait", "60"]);
    replay.says("connected to web");
    // One that waits less ends without the archive, and says so.
    let hasty = fabric.run(&["replay", "org.example.#", "--wait", "0.6"]);
    ends(&hasty, 0, "edge did not answer: what only it still holds is left out");
    assert_eq!(hasty.stdout, b"");
    relay.signal(Signal::CONT);
    let came = replay.output();
    assert_eq!(bodies(&succeeds(&came)), numbers(3));
    relay.signal(Signal::TERM);
    assert_eq!(relay.end().code(), Some(0));
}

#[test]
fn a_flipped_bit_costs_one_record_which_is_told() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", &lines(5_000));
    let journal = fabric.path("state/web.journal");
    let file = segment(&journal);
    // Neither the first record nor the last: a commit has at most 1,024 messages.
    let (offset, from, upto) = record_of(&file, 2_000);
    flip(&file, offset + 64 + 200);
    let expected: Vec<String> =
        (0..from).chain(upto..5_000).map(|number| number.to_string()).collect();
    let _web = std::cell::OnceCell::new();
    for source in [&["--file", text(&journal)][..], &["org.example.a"]] {
        if source.len() == 1 {
            let _ = _web.set(speaking(&fabric));
        }
        let replay = fabric.run(&[&["replay"], source].concat());
        ends(&replay, 1, "lost: web/");
        let errors = String::from_utf8(replay.stderr).unwrap();
        let told = errors.lines().filter(|line| line.contains("lost: ")).collect::<Vec<_>>();
        assert_eq!(told.len(), 1, "{errors}");
        assert!(told[0].contains(&format!("/{from} up to web/")), "{errors}");
        assert!(told[0].contains(&format!("/{upto}, not included")), "{errors}");
        assert_eq!(bodies(&String::from_utf8(replay.stdout).unwrap()), expected, "{source:?}");
    }
}

#[test]
fn distances_in_time_are_kept_at_a_speed() {
    let fabric = Fabric::new();
    let web = Voice::new("test", "web", &fabric.path("web.key"));
    let commits: Vec<_> = (0..3)
        .map(|seq| web.commit(7, seq, seq * 400_000, "org.example.a", &seq.to_string()))
        .collect();
    let file = fabric.path("rec");
    web.recording(&file, &commits);
    for (speed, least) in [("1", 800), ("2", 400)] {
        let began = Instant::now();
        let came = fabric.run(&["replay", "--file", text(&file), "--speed", speed]);
        assert_eq!(bodies(&succeeds(&came)), numbers(3));
        assert!(began.elapsed() >= Duration::from_millis(least), "{speed}");
    }
    let began = Instant::now();
    succeeds(&fabric.run(&["replay", "--file", text(&file), "--speed", "100"]));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn bad_input_is_told_clearly() {
    let fabric = Fabric::journaled();
    let web = Voice::new("test", "web", &fabric.path("web.key"));
    let body = "x".repeat(500);
    let commits: Vec<_> =
        (0..50).map(|seq| web.commit(7, seq, 1_000, "org.example.a", &body)).collect();
    let good = fabric.path("good");
    web.recording(&good, &commits);
    let whole = fs::read(&good).unwrap();
    let newer = [&whole[..8], &[9], &whole[9..2_056], &[9], &whole[2_057..]].concat();
    let foreign = fabric.path("foreign");
    Voice::new("other", "web", &fabric.path("web.key")).recording(&foreign, &commits);
    for (name, bytes, says) in [
        ("text", b"no recording".to_vec(), "is no segment or recording"),
        ("newer", newer, "has format 9, newer than 1"),
        ("cut", whole[..whole.len() / 2].to_vec(), "was cut off"),
        ("other", fs::read(&foreign).unwrap(), "is of fabric \"other\", and the directory of test"),
    ] {
        let path = fabric.path(&format!("bad.{name}"));
        fs::write(&path, bytes).unwrap();
        ends(&fabric.run(&["replay", "--file", text(&path)]), 1, says);
    }
    let file = ["replay", "--file", text(&good)];
    for (args, code, says) in [
        (["--from", "web/7/9", "--to", "web/7/8"], 2, "--from is after --to"),
        (["--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"], 2, "after --to"),
        (["--from", "web/7/1", "--to", "db/7/8"], 2, "two publishers"),
        (["--from", "yesterday", "--to", "web/7/8"], 2, "publisher/epoch/seq"),
        (["--from", "nobody/7/1", "--to", "nobody/7/8"], 1, "add [services.nobody]"),
        (["--speed", "0", "--count", "1"], 2, "above 0"),
    ] {
        ends(&fabric.run(&[&file[..], &args].concat()), code, says);
        ends(&fabric.run(&[&["replay"], &args[..]].concat()), code, says);
    }
}
