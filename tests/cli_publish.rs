//! Does `publish` send what it was told, say what it did not, and end as it promises?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use cli::{Fabric, Running, ends, succeeds};
use rustix::process::Signal;
use serde_json::{Value, json};

const WEB: [&str; 4] = ["publish", "org.example.a", "--name", "web"];

/// A tail that ends after `count` messages.
fn tail(fabric: &Fabric, count: &str) -> Running {
    fabric.start(&["tail", "--count", count, "--timeout", "60"])
}

/// Of each message that a tail showed.
fn shown(tail: Running, key: &str) -> Vec<Value> {
    let lines = succeeds(&tail.output());
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()[key].clone()).collect()
}

#[test]
fn one_message_reaches_who_listens() {
    let fabric = Fabric::new();
    let tail = tail(&fabric, "1");
    let body = ["--body", "-hello", "--wait", "60"];
    succeeds(&fabric.run(&[&WEB[..], &body].concat()));
    assert_eq!(shown(tail, "body"), ["-hello"]);
}

#[test]
fn one_message_that_nobody_listens_to_fails() {
    let fabric = Fabric::new();
    let output = fabric.run(&[&WEB[..], &["--body", "x", "--wait", "0.05"]].concat());
    ends(&output, 1, "nobody listened to org.example.a within 0.05 s");
}

#[test]
fn each_line_is_a_message_and_half_a_line_too() {
    let fabric = Fabric::new();
    let tail = tail(&fabric, "4");
    let input = "one\n\nzwei \u{e9}\nhalf";
    succeeds(&fabric.run_with(&[&WEB[..], &["--wait", "60"]].concat(), input.as_bytes()));
    assert_eq!(shown(tail, "body"), ["one", "", "zwei \u{e9}", "half"]);
}

#[test]
fn lines_that_nobody_hears_are_no_failure() {
    let fabric = Fabric::new();
    succeeds(&fabric.run_with(&WEB, b"one\ntwo\n"));
    let waiting = fabric.run_with(&[&WEB[..], &["--wait", "0.05"]].concat(), b"one\n");
    ends(&waiting, 0, "nobody listens to org.example.a yet");
}

#[test]
fn bodies_have_the_type_that_was_asked_for() {
    let fabric = Fabric::new();
    for (kind, input, key, expected) in [
        ("json", &b"{\"a\": [1, 2.50]}"[..], "body", json!({"a": [1, 2.5]})),
        ("msgpack", b"{\"a\": [1, null, \"x\"]}", "body", json!({"a": [1, null, "x"]})),
        ("bytes", b"\xff\x00", "body_base64", json!("/wA=")),
    ] {
        let tail = tail(&fabric, "1");
        let args = [&WEB[..], &["--wait", "60", "--type", kind]].concat();
        succeeds(&fabric.run_with(&args, input));
        let line: Value = serde_json::from_str(&succeeds(&tail.output())).unwrap();
        assert_eq!((&line["type"], &line[key]), (&json!(kind), &expected));
    }
}

#[test]
fn headers_are_signed_with_the_message() {
    let fabric = Fabric::new();
    let tail = tail(&fabric, "1");
    let headers = ["--header", "user=a=b", "--header", "priority=3"];
    let args = [&WEB[..], &["--wait", "60", "--body", "x"], &headers].concat();
    succeeds(&fabric.run(&args));
    assert_eq!(shown(tail, "headers"), [json!({"user": "a=b", "priority": 3})]);
}

#[test]
fn json_lines_say_topic_body_and_headers() {
    let fabric = Fabric::new();
    let tail = fabric.start(&["tail", "org.example.b.#", "--count", "2", "--timeout", "60"]);
    let input = concat!(
        r#"{"topic": "org.example.b.x", "body": {"big": 123456789012345678901234567890}}"#,
        "\n",
        r#"{"topic": "org.example.c", "body": 0}"#,
        "\n",
        r#"{"topic": "org.example.b", "body": null, "headers": {"user": "amy"}}"#,
    );
    let args = ["publish", "--jsonl", "--name", "web", "--wait", "60"];
    succeeds(&fabric.run_with(&args, input.as_bytes()));
    let lines = succeeds(&tail.output());
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].contains(r#""type":"json""#), "{}", lines[0]);
    assert!(
        lines[0].ends_with(r#""body":{"big": 123456789012345678901234567890}}"#),
        "{}",
        lines[0]
    );
    assert!(lines[1].ends_with(r#""headers":{"user":"amy"},"body":null}"#), "{}", lines[1]);
}

#[test]
fn a_bad_line_ends_it_and_what_came_before_is_sent() {
    const DENIED: &[u8] = br#"{"topic": "org.example.a", "body": 1}
        {"topic": "org.db.a", "body": 1}"#;
    let fabric = Fabric::new();
    for (args, input) in [
        (&["--type", "json", "org.example.a"][..], &b"1\n{\n3\n"[..]),
        (&["--type", "msgpack", "org.example.a"], b"1\n\n3\n"),
        (&["org.example.a"], b"1\n\xff\n3\n"),
        (&["--jsonl"], DENIED),
    ] {
        let tail = tail(&fabric, "1");
        let args = [&["publish", "--name", "web", "--wait", "60"], args].concat();
        ends(&fabric.run_with(&args, input), 1, "selvedge: line 2: ");
        assert_eq!(shown(tail, "seq"), [0]);
    }
}

#[test]
fn a_topic_that_the_service_may_not_say_is_refused_at_once() {
    let fabric = Fabric::new();
    let publish = |topic| {
        // Neither a listener nor standard input is waited for.
        let mut running = fabric.start(&["publish", topic, "--name", "web", "--wait", "60"]);
        let status = running.end();
        (status.code(), running.says("selvedge: "))
    };
    let (code, said) = publish("org.db.a");
    assert_eq!(code, Some(1));
    assert!(said.contains("it may say org.example.#"), "{said}");
    assert_eq!(publish("$tip.web").0, Some(1));
    fabric.edit(
        "[services.web]",
        "[scheme]\nprefix = \"org\"\nfields = [\"s\", \"e\"]\n[services.web]",
    );
    let (code, said) = publish("org.example");
    assert_eq!(code, Some(1));
    assert!(said.contains("outside the scheme of this fabric: org.<s>.<e>"), "{said}");
}

#[test]
fn wrong_usage_is_told_apart() {
    let fabric = Fabric::new();
    for (args, says) in [
        (&["publish"][..], "--name"),
        (&["publish", "--name", "web"], "TOPIC"),
        (&["publish", "a..b", "--name", "web"], "no empty segment"),
        (&["publish", "a", "--name", "web", "--type", "xml"], "msgpack"),
        (&["publish", "a", "--name", "web", "--header", "x"], "NAME=VALUE"),
        (&["publish", "a", "--name", "web", "--wait=-1"], "number of seconds"),
        (&["publish", "a", "--name", "web", "--jsonl"], "--jsonl"),
        (&["publish", "--name", "web", "--jsonl", "--body", "x"], "--jsonl"),
    ] {
        ends(&fabric.run(args), 2, says);
    }
    let too_long = format!("x={}", "y".repeat(1_100));
    let args = [&WEB[..], &["--body", "x", "--header", &too_long]].concat();
    ends(&fabric.run(&args), 1, "1024 are allowed");
}

#[test]
fn a_signal_sends_what_was_read_and_ends_well() {
    let fabric = Fabric::new();
    let mut publish = fabric.start(&[&WEB[..], &["--wait", "60"]].concat());
    let tail = fabric.start(&["tail"]);
    publish.write(b"one\n");
    assert!(tail.line().contains("\"body\":\"one\""));
    publish.signal(Signal::TERM); // its input is still open
    assert_eq!(publish.end().code(), Some(0));
}

#[test]
fn many_lines_all_come_in_order() {
    let fabric = Fabric::new();
    let tail = tail(&fabric, "20000");
    let input: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    succeeds(&fabric.run_with(&[&WEB[..], &["--wait", "60"]].concat(), input.as_bytes()));
    let bodies = shown(tail, "body");
    let expected: Vec<Value> = (0..20_000).map(|number| number.to_string().into()).collect();
    assert!(bodies == expected);
}
