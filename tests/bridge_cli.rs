//! Does `bridge zmq` tell wrong usage, failures and losses clearly, and end as it should?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;

use cli::{Fabric, Running, ends};
use rustix::process::Signal;

const HERE: &str = "tcp://127.0.0.1:1";

#[test]
fn wrong_usage_is_told() {
    let fabric = Fabric::new();
    for (args, says) in [
        (&[][..], "<--from <ENDPOINT>|--to <ENDPOINT>>"),
        (&["--from", HERE, "--to", HERE, "--name", "web"], "cannot be used with"),
        (&["--from", HERE], "--name <SERVICE>"),
        (&["--from", "127.0.0.1:1", "--name", "web"], "invalid value '127.0.0.1:1'"),
        (&["--from", "udp://127.0.0.1:1", "--name", "web"], "invalid value"),
        (&["--from", HERE, "--name", "web", "--prefix", "a b"], "a topic is expected"),
        (&["--from", HERE, "--name", "web", "org.#"], "cannot be used with"),
        (&["--from", HERE, "--name", "web", "--via", "edge"], "cannot be used with"),
        (&["--to", HERE, "--name", "web"], "cannot be used with"),
        (&["--to", HERE, "--pull"], "cannot be used with"),
        (&["--to", HERE, "org.#.up"], "invalid value 'org.#.up'"),
    ] {
        let args = [&["bridge", "zmq"], args].concat();
        ends(&fabric.run(&args), 2, says);
    }
    ends(&fabric.run(&["bridge"]), 2, "zmq");
}

#[test]
fn what_cannot_be_is_a_failure() {
    let fabric = Fabric::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp://{}", taken.local_addr().unwrap());
    let (taken, long) = (taken.as_str(), "x".repeat(1_100));
    for (args, says) in [
        (&["--from", HERE, "--name", "nobody"][..], "no service nobody"),
        (&["--from", HERE, "--name", "web", "--key", "/nowhere"], "/nowhere"),
        (&["--from", HERE, "--name", "web", "--origin", &long], "the origin is too long"),
        (&["--from", taken, "--bind", "--pull", "--name", "web"], "cannot bind tcp://127.0.0.1"),
        (&["--to", taken], "cannot bind tcp://127.0.0.1"),
        (&["--to", HERE, "--via", "nobody"], "no relay nobody"),
    ] {
        let args = [&["bridge", "zmq"], args].concat();
        ends(&fabric.run(&args), 1, says);
    }
}

#[test]
fn sigterm_ends_it_well_and_says_what_it_did() {
    let fabric = Fabric::new();
    let from = ["bridge", "zmq", "--from", HERE, "--name", "web", "--log", "info"];
    for (args, says) in [
        (&from[..], "the bridge web reads"),
        (&["bridge", "zmq", "--to", "tcp://127.0.0.1:0"], "the bridge feeds"),
    ] {
        let mut bridge = fabric.start(args);
        bridge.says(says);
        bridge.signal(Signal::HUP);
        bridge.signal(Signal::TERM);
        assert_eq!(bridge.end().code(), Some(0));
        bridge.says("has ended");
    }
}

#[test]
fn what_the_journal_does_not_take_is_told() {
    let fabric = Fabric::new();
    fabric.edit("topics = [\"org.example.#\"]", "topics = [\"org.example.#\"]\njournal = true");
    let push = zmq::Context::new().socket(zmq::PUSH).unwrap();
    push.set_linger(0).unwrap();
    push.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = push.get_last_endpoint().unwrap().unwrap();
    let bridge = ["bridge", "zmq", "--pull", "--name", "web", "--from", &endpoint];
    let bridge = fabric.command(&[&bridge[..], &["--prefix", "org.example"]].concat());
    // No file may be larger than a few KiB, as on a disk that is full.
    let mut limited = std::process::Command::new("/bin/sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]);
    limited.arg(bridge.get_program()).args(bridge.get_args()).env_clear();
    limited.envs(bridge.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let bridge = Running::new(limited);
    bridge.says("connected to");
    push.send(vec![b'x'; 20_000], 0).unwrap();
    bridge.says("the journal takes nothing");
    bridge.signal(Signal::TERM);
    ends(&bridge.output(), 1, "not all that was read was sent: 0 messages not signed yet");
}
