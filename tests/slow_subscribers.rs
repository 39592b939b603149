//! Does a subscriber that is slow, paused or stalled harm nobody but itself, and learn what it
//! missed?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use std::collections::BTreeSet;
use std::ops::Range;

use fabric::{Fabric, LIMIT, heard, peers, say, soon, until};
use raw::Raw;
use selvedge::publisher::PublishError;
use selvedge::{ContentType, Event, Outgoing, Publisher, Reason};
use selvedge_core::limits::STALLED;
use selvedge_core::wire;

/// What may wait for one peer in these tests.
const QUEUE: usize = 1 << 20;

fn publisher(fabric: &Fabric) -> Publisher {
    let mut options = fabric.options("web");
    options.queues.queue_bytes = QUEUE;
    Publisher::start(fabric.directory(), options).unwrap()
}

/// Bodies of 10 kB that start with these numbers.
async fn say_much(publisher: &Publisher, numbers: Range<u64>) {
    for number in numbers {
        let mut body = vec![0; 10_000];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let message = || Outgoing::raw("web.a", ContentType::BYTES, body.clone()).unwrap();
        while let Err(why) = publisher.send(message()) {
            assert!(matches!(why, PublishError::Full), "{why}");
            publisher.ready().await;
        }
    }
}

fn number(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[..8].try_into().unwrap())
}

#[tokio::test]
async fn one_that_stops_reading_is_bounded_and_cut_off_after_ten_seconds() {
    let fabric = Fabric::new(&["web"]);
    let publisher = publisher(&fabric);
    let mut stalled = Raw::subscriber(fabric.port("web").address(), false).await;
    stalled.send(&wire::subscribe(b"web.", 1)).await;
    heard(&publisher, "web.a").await;
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    // 30 MB: more than sockets and queue take together. The other one keeps up.
    for start in (0..3_000).step_by(20) {
        say_much(&publisher, start..start + 20).await;
        for expected in start..start + 20 {
            assert_eq!(number(&hearing.message().await.body), expected);
        }
        let waiting = peers(&publisher, "queue_bytes");
        assert!(waiting <= QUEUE as u64 + (2 << 20), "{waiting} bytes wait");
    }
    assert!(peers(&publisher, "dropped_peer_full") > 0);
    assert_eq!(peers(&publisher, "peers"), 2);
    tokio::time::pause();
    tokio::time::advance(STALLED / 4).await;
    tokio::time::resume();
    say(&publisher, "web.b", 0..1).await;
    assert_eq!(hearing.numbers(1).await, [0]);
    assert_eq!(peers(&publisher, "cut_off_stalled"), 0);
    tokio::time::pause();
    tokio::time::advance(STALLED).await;
    tokio::time::resume();
    until("it to be cut off", || peers(&publisher, "cut_off_stalled") == 1).await;
    assert_eq!(peers(&publisher, "peers"), 1);
    until("its queue to be gone", || peers(&publisher, "queue_bytes") == 0).await;
    stalled.closed().await;
    say(&publisher, "web.b", 1..2).await;
    assert_eq!(hearing.numbers(1).await, [1]);
}

#[tokio::test]
async fn one_that_reads_slowly_is_not_cut_off() {
    let fabric = Fabric::new(&["web"]);
    let publisher = publisher(&fabric);
    let mut slow = Raw::subscriber(fabric.port("web").address(), false).await;
    slow.send(&wire::subscribe(b"web.", 1)).await;
    heard(&publisher, "web.a").await;
    say_much(&publisher, 0..3_000).await;
    until("all to be queued or dropped", || {
        peers(&publisher, "messages_queued") + peers(&publisher, "dropped_peer_full") == 3_000
    })
    .await;
    for _ in 0..5 {
        // Enough that the kernel tells the publisher of room.
        slow.take(4 << 20).await;
        let before = peers(&publisher, "messages_written");
        until("it to be given more", || {
            peers(&publisher, "messages_written") > before || peers(&publisher, "queue_bytes") == 0
        })
        .await;
        tokio::time::pause();
        tokio::time::advance(STALLED * 8 / 10).await;
        tokio::time::resume();
        if peers(&publisher, "queue_bytes") == 0 {
            break;
        }
    }
    assert_eq!(peers(&publisher, "cut_off_stalled"), 0);
    assert_eq!(peers(&publisher, "peers"), 1);
}

#[tokio::test]
async fn what_was_dropped_for_a_selvedge_subscriber_arrives_as_lost() {
    let fabric = Fabric::new(&["web"]);
    let publisher = publisher(&fabric);
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    // 200 MB: more than its inbox, the sockets and the queue take together.
    say_much(&publisher, 0..20_000).await;
    until("all to be queued or dropped", || {
        peers(&publisher, "messages_queued") + peers(&publisher, "dropped_peer_full") == 20_000
    })
    .await;
    assert!(peers(&publisher, "dropped_peer_full") > 0);
    say(&publisher, "web.b", 20_000..20_001).await;
    let (mut delivered, mut lost) = (BTreeSet::new(), BTreeSet::new());
    while delivered.len() + lost.len() < 20_001 {
        match hearing.event().await {
            Event::Message(message) => assert!(delivered.insert(message.position.seq)),
            Event::Lost(range) => {
                assert_eq!(range.reason, Reason::NotHeld);
                assert!((range.from.seq..range.to.seq).all(|seq| lost.insert(seq)));
            }
        }
    }
    assert!(delivered.is_disjoint(&lost));
    assert!(delivered.union(&lost).copied().eq(0..20_001));
    // What came after a hole and found no room to wait for its end is lost with it.
    let at_the_door = lost.len() as u64 - peers(&publisher, "dropped_peer_full");
    assert_eq!(at_the_door > 0, hearing.count("held_full") > 0);
}

#[tokio::test]
async fn a_pause_within_the_bounds_loses_nothing() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    // 100 MB: more than the inbox takes, and less than inbox and queue.
    say_much(&publisher, 0..5_000).await;
    until("half to be in the inbox", || hearing.count("delivered") == 5_000).await;
    say_much(&publisher, 5_000..10_000).await;
    until("all to be queued", || peers(&publisher, "messages_queued") == 10_000).await;
    for expected in 0..10_000 {
        assert_eq!(number(&hearing.message().await.body), expected);
    }
    soon("all written", publisher.flush(LIMIT)).await.unwrap();
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn a_close_writes_all_to_a_slow_one_that_goes_on_talking() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut slow = Raw::subscriber(fabric.port("web").address(), false).await;
    slow.send(&wire::subscribe(b"web.", 1)).await;
    heard(&publisher, "web.a").await;
    say_much(&publisher, 0..2_000).await;
    let closing = tokio::spawn(publisher.close(LIMIT));
    let mut numbers = Vec::new();
    while numbers.len() < 2_000 {
        slow.send(&wire::ping(0, &[])).await;
        loop {
            let (flags, body) = slow.frame().await;
            if flags & 4 == 0 && body.len() == 10_000 {
                numbers.push(number(&body));
            }
            if flags & 5 == 0 {
                break;
            }
        }
    }
    assert!(numbers.into_iter().eq(0..2_000));
    soon("the close", closing).await.unwrap().unwrap();
}
