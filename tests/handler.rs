//! Does a running handler get each event in order, again when it fails, and nothing past a halt?

#[path = "support/fabric.rs"]
mod fabric;

use std::cell::RefCell;
use std::time::Duration;

use fabric::{Fabric, say, soon};
use selvedge::subscriber::{Exhausted, RunError};
use selvedge::{Event, Outcome, Start, Subscriber};
use tokio_util::sync::CancellationToken;

fn connect(fabric: &Fabric) -> Subscriber {
    fabric.named("indexer").start(Start::Oldest).connect().unwrap()
}

fn again(why: &str, times: u32, then: Exhausted) -> Outcome {
    Outcome::Retry { why: why.to_owned(), times, backoff: Duration::from_millis(1), then }
}

/// The publisher and the number of a message.
fn said(event: &Event) -> (String, u64) {
    match event {
        Event::Message(message) => (message.publisher().to_string(), message.decode().unwrap()),
        Event::Lost(lost) => panic!("{lost:?}"),
    }
}

/// Runs a handler until it has seen `count` messages handled; returns what it was given.
async fn run(
    fabric: &Fabric,
    count: usize,
    mut outcome: impl FnMut(&(String, u64), &[(String, u64)]) -> Outcome,
) -> (Vec<(String, u64)>, Result<(), RunError>) {
    let (stop, seen) = (CancellationToken::new(), RefCell::new(Vec::new()));
    let mut handled = 0;
    let handler = |event: Event| {
        let outcome = outcome(&said(&event), &seen.borrow());
        seen.borrow_mut().push(said(&event));
        handled += usize::from(outcome == Outcome::Ack);
        if handled == count {
            stop.cancel();
        }
        std::future::ready(outcome)
    };
    let end = soon("the handler", connect(fabric).run(handler, stop.clone())).await;
    (seen.into_inner(), end)
}

#[tokio::test]
async fn what_is_tried_again_holds_up_its_own_stream_only() {
    let fabric = Fabric::journaled(&["web", "db"]);
    let (web, db) = (fabric.publisher("web"), fabric.publisher("db"));
    say(&web, "web.a", 0..10).await;
    say(&db, "db.a", 0..10).await;
    let mut slow = None;
    let (seen, end) = run(&fabric, 20, |(name, number), seen| {
        // Who comes to number 3 first cannot handle it before the last of the other was.
        let is_slow = *number == 3 && slow.get_or_insert_with(|| name.clone()) == name;
        let last = seen.iter().any(|(other, number)| other != name && *number == 9);
        match is_slow && !last {
            true => again("too early", u32::MAX, Exhausted::Halt),
            false => Outcome::Ack,
        }
    })
    .await;
    end.unwrap();
    assert!(seen.len() > 20);
    for name in ["web", "db"] {
        let mut numbers: Vec<u64> =
            seen.iter().filter(|(by, _)| by == name).map(|(_, number)| *number).collect();
        numbers.dedup();
        assert_eq!(numbers, Vec::from_iter(0..10), "{name}");
    }
}

#[tokio::test]
async fn a_halt_names_the_message_and_the_next_run_begins_with_it() {
    let fabric = Fabric::journaled(&["web"]);
    let web = fabric.publisher("web");
    say(&web, "web.a", 0..10).await;
    for outcome in
        [Outcome::Halt { why: "disk full".to_owned() }, again("disk full", 2, Exhausted::Halt)]
    {
        let (_, end) = run(&fabric, 10, |(_, number), _| match number {
            4 => outcome.clone(),
            _ => Outcome::Ack,
        })
        .await;
        let error = end.unwrap_err().to_string();
        let id = format!("web/{}/4", web.epoch());
        assert!(error.contains(&id) && error.contains("disk full"), "{error}");
    }
    let (seen, end) = run(&fabric, 6, |_, _| Outcome::Ack).await;
    end.unwrap();
    assert_eq!(seen.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn it_is_tried_as_often_as_was_said() {
    let fabric = Fabric::journaled(&["web"]);
    let web = fabric.publisher("web");
    say(&web, "web.a", 0..1).await;
    let (seen, end) = run(&fabric, 1, |_, _| again("no", 3, Exhausted::Halt)).await;
    assert!(matches!(end, Err(RunError::Halted { .. })));
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn what_was_handled_before_a_shutdown_does_not_come_again() {
    let fabric = Fabric::journaled(&["web"]);
    let web = fabric.publisher("web");
    say(&web, "web.a", 0..10).await;
    run(&fabric, 4, |_, _| Outcome::Ack).await.1.unwrap();
    let (seen, _) = run(&fabric, 6, |_, _| Outcome::Ack).await;
    assert_eq!(seen[0].1, 4);
}
