//! Does `--exec` run a command for each message, and believe what it says?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use std::fs;

use cli::{Fabric, ends, succeeds, text};
use rustix::process::Signal;

/// Words for a shell that the user chose; without variables of ours there is no PATH.
fn shell<'a>(script: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--exec", "--", "/bin/sh", "-c", script], more].concat()
}

fn replay<'a>(journal: &'a str, exec: Vec<&'a str>) -> Vec<&'a str> {
    [vec!["replay", "--file", journal], exec].concat()
}

#[test]
fn a_command_gets_the_body_and_what_is_known_of_it() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", "one\ntwo\n");
    let journal = fabric.path("state/web.journal");
    let script = "/bin/cat; echo \" $1 $SELVEDGE_TOPIC $SELVEDGE_PUBLISHER $SELVEDGE_TYPE \
                  $SELVEDGE_SEQ $SELVEDGE_TSEQ $SELVEDGE_HEADERS $SELVEDGE_ID $SELVEDGE_TIME\"";
    let args = replay(text(&journal), shell(script, &["sh", "$HOME;#"]));
    let ran = succeeds(&fabric.run(&args));
    let shown = succeeds(&fabric.run(&["replay", "--file", text(&journal)]));
    let mut lines = ran.lines();
    for (seq, (body, line)) in ["one", "two"].iter().zip(shown.lines()).enumerate() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, time) = (message["id"].as_str().unwrap(), message["time"].as_str().unwrap());
        let tseq = seq + 1;
        let expected =
            format!("{body} $HOME;# org.example.a web text {seq} {tseq} {{}} {id} {time}");
        assert_eq!(lines.next(), Some(&*expected));
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_failure_stops_unless_told_to_go_on() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", "1\n2\n3\n");
    let journal = fabric.path("state/web.journal");
    let script = "read body; echo $body; [ $body != 2 ]";
    let args = replay(text(&journal), shell(script, &[]));
    let stopped = fabric.run(&args);
    ends(&stopped, 1, "/1 was not handled: /bin/sh ended with 1");
    assert_eq!(stopped.stdout, b"1\n2\n");
    let args = [&args[..1], &["--keep-going"], &args[1..]].concat();
    let went_on = fabric.run(&args);
    ends(&went_on, 1, "/1 was not handled: /bin/sh ended with 1");
    assert_eq!(went_on.stdout, b"1\n2\n3\n");
}

#[test]
fn a_command_that_reads_nothing_or_is_none_is_no_riddle() {
    let fabric = Fabric::journaled();
    fabric.say("org.example.a", &("x".repeat(500_000) + "\n"));
    let journal = fabric.path("state/web.journal");
    succeeds(&fabric.run(&replay(text(&journal), shell("exit 0", &[]))));
    let none = ["--exec", "--", "/nowhere/command"].to_vec();
    let ran = fabric.run(&replay(text(&journal), none));
    ends(&ran, 1, "cannot run /nowhere/command: No such file");
    let killed = fabric.run(&replay(text(&journal), shell("kill -9 $$", &[])));
    ends(&killed, 1, "was ended by signal 9");
    for args in [&["replay", "--exec"][..], &["tail", "--keep-going"], &["tail", "--", "/bin/true"]]
    {
        ends(&fabric.run(args), 2, "error: ");
    }
}

#[test]
fn tail_runs_it_for_what_comes() {
    let fabric = Fabric::new();
    let args = [vec!["tail", "--count", "2"], shell("/bin/cat; echo", &[])].concat();
    let tail = fabric.start(&args);
    tail.says("services may say");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    succeeds(&fabric.run_with(&publish, b"1\n2\n"));
    assert_eq!(succeeds(&tail.output()), "1\n2\n");
}

#[test]
fn a_signal_passes_through_to_the_command() {
    let fabric = Fabric::new();
    // A command that ends well if, and only if, it is asked to.
    let inner = [env!("CARGO_BIN_EXE_selvedge"), "tail", "org.db.#"];
    let args = [&["tail", "org.example.#", "--exec", "--"], &inner[..]].concat();
    let tail = fabric.start(&args);
    tail.says("services may say");
    let publish = ["publish", "org.example.a", "--name", "web", "--wait", "60"];
    succeeds(&fabric.run_with(&publish, b"1\n"));
    tail.says("services may say"); // the inner one
    tail.signal(Signal::TERM);
    succeeds(&tail.output());
}

#[test]
fn with_a_cursor_it_is_tried_again_and_goes_on_where_it_was() {
    let fabric = Fabric::journaled();
    let done = fabric.path("done");
    let script = "read body; /bin/mkdir $0.$body 2>/dev/null && [ $body = 2 ] && exit 1; \
                  echo $body >> $0";
    let tail = |count| {
        let tail = vec!["tail", "--name", "worker", "--count", count, "--timeout", "60"];
        fabric.start(&[tail, shell(script, &[text(&done)])].concat())
    };
    let web = fabric.start(&["publish", "org.example.a", "--name", "web"]);
    let first = tail("3");
    first.says("connected to web");
    let mut web = web;
    web.write(b"1\n2\n3\n");
    succeeds(&first.output());
    assert_eq!(fs::read_to_string(&done).unwrap(), "1\n2\n3\n");
    web.write(b"4\n5\n");
    succeeds(&tail("2").output());
    assert_eq!(fs::read_to_string(&done).unwrap(), "1\n2\n3\n4\n5\n");
}
