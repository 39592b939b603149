//! Does `relay` run, log and end as a service manager expects?

#[path = "support/cli.rs"]
mod cli;

use cli::Fabric;
use rustix::process::Signal;

#[test]
fn sigterm_ends_it_well() {
    let fabric = Fabric::new();
    let mut relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("the relay edge runs");
    relay.signal(Signal::TERM);
    assert_eq!(relay.end().code(), Some(0));
    relay.says("the relay edge has ended");
    assert!(!fabric.path("edge").exists(), "its socket is removed");
}

#[test]
fn sighup_looks_at_the_directory_and_goes_on() {
    let fabric = Fabric::new();
    let mut relay = fabric.start(&["relay", "--name", "edge"]);
    relay.says("the relay edge runs");
    fabric.edit("org.db.#", "org.db2.#");
    relay.signal(Signal::HUP);
    relay.says("another directory");
    relay.signal(Signal::INT);
    assert_eq!(relay.end().code(), Some(0));
}

#[test]
fn its_log_is_json_if_asked_for() {
    let fabric = Fabric::new();
    let relay = fabric.start(&["relay", "--name", "edge", "--json"]);
    let line = relay.says("the relay edge runs");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "the relay edge runs");
}
