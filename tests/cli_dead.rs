//! Does `dead` list what a subscriber could not handle, and have it handed over again?
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/cli.rs"]
mod cli;

use cli::{Fabric, ends, succeeds};
use selvedge::{Outcome, Start, Subscriber, directory};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Hears one message of `web` under the name `indexer`; whether it can be handled.
fn handle(fabric: &Fabric, outcome: &Outcome, body: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let inside = runtime.enter();
    let watched = directory::watch(&fabric.directory(), None).unwrap();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let handler = move |_| {
        stopping.cancel();
        std::future::ready(outcome.clone())
    };
    let subscriber = Subscriber::to(watched.directory.clone()).name("indexer".parse().unwrap());
    let subscriber = subscriber.state(fabric.path("state")).start(Start::Oldest).connect().unwrap();
    drop(inside);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| runtime.block_on(subscriber.run(handler, stop)));
        if !body.is_empty() {
            let args = ["publish", "org.example.a", "--name", "web", "--wait", "60", "--body"];
            succeeds(&fabric.run(&[&args[..], &[body]].concat()));
        }
        run.join().unwrap().unwrap();
    });
}

#[test]
fn it_lists_and_requeues() {
    let fabric = Fabric::new();
    ends(&fabric.run(&["dead", "list", "indexer"]), 1, "no subscriber indexer");
    handle(&fabric, &Outcome::DeadLetter { why: "bad\u{1b}food".to_owned() }, "x");

    let list = succeeds(&fabric.run(&["dead", "list", "indexer"]));
    assert!(list.contains("org.example.a") && list.contains("bad\\u{1b}food"), "{list}");
    let line = succeeds(&fabric.run(&["dead", "list", "indexer", "--json"]));
    let line: Value = serde_json::from_str(&line).unwrap();
    let id = line["id"].as_str().unwrap();
    assert!(id.starts_with("web/") && line["tries"] == 1 && line["requeued"] == false, "{line}");

    ends(&fabric.run(&["dead", "requeue", "indexer"]), 2, "<ID>...");
    ends(&fabric.run(&["dead", "requeue", "indexer", "web/1/1"]), 1, "no dead letter web/1/1");
    ends(&fabric.run(&["dead", "requeue", "indexer", id]), 0, "1 to be handed over");
    let list = succeeds(&fabric.run(&["dead", "list", "indexer"]));
    assert!(list.contains("(requeued)"), "{list}");
    // Nobody publishes: this is the one that was dead.
    handle(&fabric, &Outcome::Ack, "");
    assert_eq!(succeeds(&fabric.run(&["dead", "list", "indexer"])), "");
}
