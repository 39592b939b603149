//! Is `bridge zmq` told wrong usage and failures clearly, and does it end as it should?

#[path = "support/cli.rs"]
mod cli;

use cli::{Fabric, ends};
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
