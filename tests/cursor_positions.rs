//! Does a cursor move past what was handled, past what matches nothing, and past nothing else?

#[path = "support/fabric.rs"]
mod fabric;

use fabric::{Fabric, Hearing, heard, say, soon, until};
use selvedge::cursor::{self, Place};
use selvedge::{Event, KeyId, Position, Start};

fn connect(fabric: &Fabric, pattern: &str) -> Hearing {
    let to = fabric.named("indexer").start(Start::Oldest);
    Hearing::new(to.pattern(pattern.parse().unwrap()))
}

fn place(fabric: &Fabric, name: &str) -> Option<Place> {
    let places = cursor::read(fabric.folder.path(), &"indexer".parse().unwrap());
    places.unwrap().unwrap().get(&key(fabric, name)).copied()
}

fn key(fabric: &Fabric, name: &str) -> KeyId {
    fabric.services[name].key.public().id()
}

fn at(epoch: u64, seq: u64) -> Option<Place> {
    Some(Place::At(Position::new(epoch, seq)))
}

#[tokio::test]
async fn a_message_is_passed_when_the_next_one_is_asked_for_and_not_before() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = connect(&fabric, "#");
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..3).await;
    for number in 0..3 {
        let message = hearing.message().await;
        assert_eq!((message.decode::<u64>().unwrap(), message.position.seq), (number, number));
        hearing.subscriber.flush().await.unwrap();
        assert_eq!(place(&fabric, "web"), at(publisher.epoch(), number));
    }
    let nothing_more = tokio::select! {
        biased;
        event = hearing.subscriber.next() => event,
        () = std::future::ready(()) => None,
    };
    assert!(nothing_more.is_none());
    hearing.subscriber.flush().await.unwrap();
    assert_eq!(place(&fabric, "web"), at(publisher.epoch(), 3));
}

#[tokio::test]
async fn what_is_handled_is_written_without_a_flush() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = connect(&fabric, "#");
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..2).await;
    hearing.message().await;
    hearing.message().await;
    until("a write", || place(&fabric, "web") == at(publisher.epoch(), 1)).await;
}

#[tokio::test]
async fn acks_may_come_in_any_order_and_pass_only_what_has_none_before_it() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = Hearing::new(fabric.named("indexer").start(Start::Oldest).explicit_acks(3));
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..4).await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(hearing.message().await);
    }
    for (acked, passed) in [(2, 0), (1, 0), (0, 3)] {
        let full = at_hand(hearing.subscriber.next()).await;
        assert!(full.is_none(), "more than three are outstanding");
        hearing.subscriber.ack(&taken[acked]);
        hearing.subscriber.flush().await.unwrap();
        assert_eq!(place(&fabric, "web"), at(publisher.epoch(), passed), "{acked}");
    }
    assert_eq!(hearing.message().await.position.seq, 3);
}

/// What is there already.
async fn at_hand(next: impl Future<Output = Option<Event>>) -> Option<Event> {
    tokio::select! {
        biased;
        event = next => event,
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn what_matches_nothing_is_passed_too() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = connect(&fabric, "web.wanted");
    heard(&publisher, "web.wanted").await;
    // One prefix has a packet on the wire that the pattern does not match, the other none.
    say(&publisher, "web.other", 0..5).await;
    say(&publisher, "web.wanted.not", 5..10).await;
    let expected = at(publisher.epoch(), 10);
    soon("a cursor that moves", async {
        while place(&fabric, "web") != expected {
            assert!(at_hand(hearing.subscriber.next()).await.is_none());
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drop_writes_what_was_handled() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = connect(&fabric, "#");
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..100).await;
    hearing.numbers(100).await;
    drop(hearing);
    assert_eq!(place(&fabric, "web"), at(publisher.epoch(), 99));
}
