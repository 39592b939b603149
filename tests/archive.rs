//! Does a relay with a journal answer for publishers that are gone, and do subscribers find their
//! way between direct, one relay and another without losing or doubling anything?

#[path = "support/fabric.rs"]
mod fabric;

use std::ops::Range;

use fabric::{Fabric, Hearing, LIMIT, say, soon, until};
use selvedge::subscriber::Start;
use selvedge::{Event, Subscriber};

const KEPT: &str = "journal = true";

/// What a subscriber hears that begins with the oldest there is.
fn oldest(fabric: &Fabric, via: &[&str]) -> Hearing {
    let builder = Subscriber::to(fabric.directory())
        .name("reader".parse().unwrap())
        .state(fabric.folder.path().join("reader"))
        .start(Start::Oldest);
    Hearing::new(via.iter().fold(builder, |to, relay| to.via(relay.parse().unwrap())))
}

async fn all(hearing: &mut Hearing, numbers: Range<u64>) {
    for expected in numbers {
        match hearing.event().await {
            Event::Message(message) => assert_eq!(message.decode::<u64>().unwrap(), expected),
            Event::Lost(lost) => panic!("{lost:?} before {expected}"),
        }
    }
}

#[tokio::test]
async fn what_a_dead_publisher_said_comes_from_the_relays_journal() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.add_relay("edge", KEPT);
    let relay = fabric.relay("edge", &[]);
    let publisher = fabric.publisher("web");
    fabric::heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..500).await;
    let mut live = oldest(&fabric, &["edge"]);
    all(&mut live, 0..500).await;
    drop(live);
    say(&publisher, "web.a", 500..1_000).await;
    soon("a close", publisher.close(LIMIT)).await.unwrap();
    // The relay is restarted, too: all that it knows is in its journal.
    relay.kill().await;
    let mut back = oldest(&fabric, &["edge"]);
    let _relay = fabric.relay("edge", &[]);
    // The last one was not asked beyond before: it comes again.
    all(&mut back, 499..1_000).await;
    assert_eq!(back.count("lost_ranges"), 0);
}

#[tokio::test]
async fn a_new_subscriber_gets_the_whole_history_from_an_archive_alone() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.add_relay("edge", KEPT);
    let _relay = fabric.relay("edge", &[]);
    for round in 0..3 {
        let publisher = fabric.publisher("web");
        fabric::heard(&publisher, "web.a").await;
        say(&publisher, "web.a", round * 100..round * 100 + 100).await;
        soon("a close", publisher.close(LIMIT)).await.unwrap();
    }
    let mut hearing = oldest(&fabric, &["edge"]);
    all(&mut hearing, 0..300).await;
}

/// What a subscriber hears that begins with the oldest the relay has.
fn archived(fabric: &Fabric, name: &str) -> Hearing {
    let builder = Subscriber::to(fabric.relays_only())
        .name(name.parse().unwrap())
        .state(fabric.folder.path().join(name))
        .start(Start::Oldest);
    Hearing::new(builder.via("edge".parse().unwrap()))
}

#[tokio::test]
async fn a_restarted_archive_serves_all_epochs_of_a_dead_publisher() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.add_relay("edge", KEPT);
    let relay = fabric.relay("edge", &[]);
    let mut first = archived(&fabric, "first");
    let mut away = archived(&fabric, "away");
    for round in 0..3 {
        let publisher = fabric.publisher("web");
        fabric::heard(&publisher, "web.a").await;
        say(&publisher, "web.a", round * 100..round * 100 + 100).await;
        soon("a close", publisher.close(LIMIT)).await.unwrap();
        all(&mut first, round * 100..round * 100 + 100).await;
        if round == 0 {
            all(&mut away, 0..100).await;
        }
    }
    drop((first, away));
    relay.kill().await;
    let _relay = fabric.relay("edge", &[]);
    let mut new = archived(&fabric, "new");
    all(&mut new, 0..300).await;
    // Its last one was not asked beyond before: it comes again.
    let mut back = archived(&fabric, "away");
    all(&mut back, 99..300).await;
    assert_eq!((new.count("lost_ranges"), back.count("lost_ranges")), (0, 0));
}

#[tokio::test]
async fn however_often_a_publisher_restarts_nothing_is_lost_to_who_was_away() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.keep_journal("web");
    fabric.add_relay("edge", KEPT);
    for round in 0..20 {
        let publisher = fabric.publisher("web");
        say(&publisher, "web.a", round * 2..round * 2 + 2).await;
        soon("a close", publisher.close(LIMIT)).await.unwrap();
    }
    let publisher = fabric.publisher("web");
    let mut direct = oldest(&fabric, &[]);
    all(&mut direct, 0..40).await;
    // The relay hears it all at once; then its disk is all there is.
    let relay = fabric.relay("edge", &[]);
    let mut relayed = archived(&fabric, "relayed");
    all(&mut relayed, 0..40).await;
    drop(publisher);
    relay.kill().await;
    let _relay = fabric.relay("edge", &[]);
    let mut new = archived(&fabric, "new");
    all(&mut new, 0..40).await;
    let heard = [direct, relayed, new];
    assert!(heard.iter().all(|hearing| hearing.count("lost_ranges") == 0));
}

#[tokio::test]
async fn a_publisher_with_a_journal_fills_what_a_relay_missed() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").more = KEPT.to_owned();
    fabric.add_relay("edge", KEPT);
    let publisher = fabric.publisher("web");
    say(&publisher, "web.a", 0..300).await;
    let relay = fabric.relay("edge", &[]);
    let mut hearing = oldest(&fabric, &["edge"]);
    let r =
        tokio::time::timeout(std::time::Duration::from_secs(8), all(&mut hearing, 0..300)).await;
    if r.is_err() {
        while let Ok(n) = hearing.notices.try_recv() {
            eprintln!("{n:?}");
        }
        eprintln!("{:?}", hearing.subscriber.counters().snapshot());
        panic!();
    }
    relay.kill().await;
    say(&publisher, "web.a", 300..600).await;
    let _relay = fabric.relay("edge", &[]);
    all(&mut hearing, 300..600).await;
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn one_of_two_relays_is_enough_and_two_double_nothing() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").more = KEPT.to_owned();
    fabric.add_relay("a", KEPT);
    fabric.add_relay("b", KEPT);
    let publisher = fabric.publisher("web");
    let mut relays = [Some(fabric.relay("a", &[])), Some(fabric.relay("b", &[]))];
    let heard = || fabric::peers(&publisher, "peers") == 2;
    until("both relays", heard).await;
    fabric::heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..100).await;
    let mut hearing = oldest(&fabric, &["a", "b"]);
    all(&mut hearing, 0..100).await;
    for round in 1..6u64 {
        let (gone, name) = [(0, "a"), (1, "b")][(round % 2) as usize];
        relays[gone].take().unwrap().kill().await;
        say(&publisher, "web.a", round * 100..round * 100 + 50).await;
        relays[gone] = Some(fabric.relay(name, &[]));
        say(&publisher, "web.a", round * 100 + 50..round * 100 + 100).await;
        all(&mut hearing, round * 100..round * 100 + 100).await;
    }
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn what_a_full_disk_refused_is_asked_for_again() {
    let mut fabric = Fabric::journaled(&["web"]);
    fabric.add_relay("edge", "journal = true\nretain = { bytes = \"8MiB\" }"); // segments of 1 MiB
    let _relay = fabric.relay("edge", &[]);
    let publisher = fabric.publisher("web");
    let mut live = archived(&fabric, "live");
    let (topic, padding) = ("web.a".parse::<selvedge::Topic>().unwrap(), "x".repeat(50_000));
    let mut next = 0..;
    let mut say = |count: usize| {
        for number in next.by_ref().take(count) {
            publisher.publish(topic.clone(), &(number, &padding)).unwrap();
        }
    };
    say(5);
    for _ in 0..5 {
        live.message().await;
    }
    // Where no new segment can be made, the disk is as good as full.
    let (journal, away) = (fabric.folder.path().join("edge/edge.journal"), fabric.folder.path());
    std::fs::rename(&journal, away.join("away")).unwrap();
    say(50);
    for _ in 0..50 {
        live.message().await; // all the same
    }
    std::fs::rename(away.join("away"), &journal).unwrap();
    say(5);
    let mut new = archived(&fabric, "new");
    for expected in 0..60u64 {
        let (number, _) = new.message().await.decode::<(u64, String)>().unwrap();
        assert_eq!(number, expected);
    }
}
