//! Where does a stream begin for a subscriber that has no place in it?

#[path = "support/fabric.rs"]
mod fabric;

use std::time::SystemTime;

use fabric::{Fabric, Hearing, LIMIT, say, soon, until};
use selvedge::cursor::{self, Place};
use selvedge::subscriber::Builder;
use selvedge::{Publisher, Start, Subscriber};

/// Says numbers and waits until they are signed.
async fn signed(publisher: &Publisher, numbers: std::ops::Range<u64>) {
    say(publisher, "web.a", numbers).await;
    soon("a flush", publisher.flush(LIMIT)).await.unwrap();
}

async fn begins_with(builder: Builder, first: u64) -> Hearing {
    let mut hearing = Hearing::new(builder);
    assert_eq!(hearing.message().await.decode::<u64>().unwrap(), first);
    hearing
}

#[tokio::test]
async fn with_the_oldest_or_with_a_time_if_that_is_wanted() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    signed(&publisher, 0..10).await;
    let since = Start::Since(SystemTime::now());
    signed(&publisher, 10..20).await;
    let unnamed = || Subscriber::to(fabric.directory());
    begins_with(unnamed().start(Start::Oldest), 0).await;
    begins_with(unnamed().start(since), 10).await;
    begins_with(fabric.named("all").start(Start::Oldest), 0).await;
    begins_with(fabric.named("some").start(since), 10).await;
    // A start is for a new name only.
    begins_with(fabric.named("some").start(Start::Oldest), 10).await;
}

#[tokio::test]
async fn a_time_is_remembered_until_something_of_it_came() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    signed(&publisher, 0..10).await;
    let since = Start::Since(SystemTime::now());
    drop(Hearing::new(fabric.named("some").start(since)));
    let places = cursor::read(fabric.folder.path(), &"some".parse().unwrap()).unwrap().unwrap();
    assert!(places.values().all(|place| matches!(place, Place::Since { .. })));
    signed(&publisher, 10..20).await;
    begins_with(fabric.named("some"), 10).await;
}

#[tokio::test]
async fn with_what_is_said_from_now_on_unless_something_is_said() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    signed(&publisher, 0..10).await;
    let mut hearing = Hearing::new(fabric.named("new"));
    hearing.started("web").await;
    signed(&publisher, 10..20).await;
    assert_eq!(hearing.numbers(10).await, Vec::from_iter(10..20));
}

#[tokio::test]
async fn where_a_stream_began_is_on_disk_before_any_of_it_is_handed_over() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = Hearing::new(fabric.named("new"));
    hearing.started("web").await;
    // Nothing was asked for: a crash of the first handler finds it there.
    let key = fabric.services["web"].key.public().id();
    let place =
        || cursor::read(fabric.folder.path(), &"new".parse().unwrap()).unwrap().unwrap()[&key];
    until("a write", || place() != Place::Now).await;
    signed(&publisher, 0..1).await;
    let message = hearing.message().await;
    assert_eq!(place(), Place::At(message.position));
}

#[tokio::test]
async fn with_a_place_that_the_application_kept_itself() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    signed(&publisher, 0..10).await;
    let mut hearing = Hearing::new(Subscriber::to(fabric.directory()).start(Start::Oldest));
    hearing.numbers(5).await;
    let message = hearing.message().await;
    let places = [(message.key, message.position.after())].into();
    begins_with(Subscriber::to(fabric.directory()).resume(places), 6).await;
}
