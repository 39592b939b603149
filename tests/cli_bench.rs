//! Does `bench` measure between two processes, and say so when it cannot?

#[path = "support/cli.rs"]
mod cli;

use cli::{Fabric, Running, ends, succeeds};
use rustix::process::Signal;
use serde_json::Value;

/// The two endpoints and the secret, as arguments.
fn arguments(fabric: &Fabric, secret: &str) -> Vec<String> {
    let endpoint = |name| format!("ipc://{}", fabric.path(name).display());
    vec![endpoint("listener"), endpoint("sender"), "--secret".into(), secret.into()]
}

fn command(fabric: &Fabric, role: &str, secret: &str, more: &[&str]) -> Running {
    let ends = arguments(fabric, secret);
    let args = ["bench", role].into_iter().chain(ends.iter().map(String::as_str));
    fabric.start(&args.chain(more.iter().copied()).collect::<Vec<_>>())
}

fn listening(fabric: &Fabric) -> Running {
    let listener = command(fabric, "listen", "abc", &["--json"]);
    listener.says("listening at");
    listener
}

fn report(fabric: &Fabric, more: &[&str]) -> Value {
    let output = command(fabric, "send", "abc", more).output();
    serde_json::from_str(&succeeds(&output)).expect("one report")
}

#[test]
fn one_listener_counts_run_after_run() {
    let fabric = Fabric::new();
    let mut listener = listening(&fabric);
    let saturated = report(&fabric, &["--count", "2000", "--topics", "7", "--json"]);
    assert_eq!((&saturated["messages"], &saturated["lost"]), (&2_000.into(), &0.into()));
    assert!(saturated["messages_per_second"].as_f64().unwrap() > 0.0);
    assert!(saturated["listener_cpu_ns"].as_f64().unwrap() > 0.0);
    assert!(saturated["delay"].is_null());
    let paced = report(&fabric, &["--rate", "1000", "--seconds", "0.1", "--json"]);
    assert_eq!((&paced["messages"], &paced["lost"]), (&100.into(), &0.into()));
    let delay = |name: &str| paced["delay"][name].as_f64().unwrap();
    assert!(0.0 < delay("p50_us") && delay("p50_us") <= delay("p999_us"));
    for messages in [2_000, 100] {
        let heard: Value = serde_json::from_str(&listener.line()).unwrap();
        assert_eq!(heard["messages"], messages);
    }
    listener.signal(Signal::TERM);
    assert_eq!(listener.end().code(), Some(0));
}

#[test]
fn with_another_secret_nobody_is_heard() {
    let fabric = Fabric::new();
    let _listener = listening(&fabric);
    let output = command(&fabric, "send", "abd", &["--count", "1", "--wait", "1"]).output();
    ends(&output, 1, "nobody answers at ipc://");
}
