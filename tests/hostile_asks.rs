//! Do ASKs of every bad kind cost their sender something, and nobody else?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use fabric::{Fabric, LIMIT, heard, peers, say, soon, until};
use raw::Raw;
use selvedge::{KeyId, Position, Publisher};
use selvedge_core::limits::REFILL_BYTES;
use selvedge_core::wire::{self, Ask};

/// Messages in the journal of `web`.
const KEPT: u64 = 20_000;

async fn publisher(fabric: &mut Fabric) -> (Publisher, KeyId) {
    fabric.service("web").more = "journal = true\ndurability = \"buffered\"".to_owned();
    fabric.publish();
    let publisher = fabric.publisher("web");
    say(&publisher, "web.old", 0..KEPT).await;
    soon("all of it to be kept", publisher.flush(LIMIT)).await.unwrap();
    (publisher, fabric.services["web"].key.public().id())
}

async fn asks(raw: &mut Raw, asks: impl Iterator<Item = Ask>) {
    raw.send(&wire::subscribe(b"web.", 1)).await;
    let all: Vec<u8> = asks.flat_map(|ask| ask.encode()).collect();
    raw.send(&all).await;
}

/// A subscriber that joins now gets everything that is said from now on.
async fn others_are_served(fabric: &Fabric, publisher: &Publisher) {
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(publisher, "web.new").await;
    say(publisher, "web.new", 0..1_000).await;
    assert_eq!(hearing.numbers(1_000).await, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn ten_thousand_asks_for_the_whole_history_cost_one_reading_at_a_time() {
    let mut fabric = Fabric::new(&["web"]);
    let (publisher, key) = publisher(&mut fabric).await;
    // It never reads what it asked for.
    let mut hostile = Raw::subscriber(fabric.port("web").address(), true).await;
    asks(&mut hostile, (0..10_000).map(|_| Ask { key, from: Position::default() })).await;
    until("all of them to be taken", || peers(&publisher, "asks") == 10_000).await;
    others_are_served(&fabric, &publisher).await;
    let waiting = peers(&publisher, "queue_bytes");
    // What is read at once, what it is read on top of, and a MARK for each.
    assert!(waiting < 3 * REFILL_BYTES as u64 + 10_000 * 100, "{waiting} bytes wait");
}

#[tokio::test]
async fn asks_in_any_order_and_from_anywhere_are_answered_in_bounds() {
    let mut fabric = Fabric::new(&["web"]);
    let (publisher, key) = publisher(&mut fabric).await;
    let epoch = publisher.epoch();
    let mut hostile = Raw::subscriber(fabric.port("web").address(), true).await;
    let backwards = (0..KEPT).rev().step_by(20).map(|seq| Position::new(epoch, seq));
    let beyond = [(epoch, KEPT + 5), (epoch, u64::MAX), (u64::MAX, u64::MAX), (epoch + 1, 0)];
    let beyond = beyond.map(|(epoch, seq)| Position::new(epoch, seq));
    let all = backwards.chain(beyond).map(|from| Ask { key, from });
    asks(&mut hostile, all).await;
    until("all of them to be taken", || peers(&publisher, "asks") == KEPT / 20 + 4).await;
    others_are_served(&fabric, &publisher).await;
}

#[tokio::test]
async fn asks_for_unknown_streams_are_counted_and_answered_shortly() {
    let mut fabric = Fabric::new(&["web"]);
    let (publisher, _) = publisher(&mut fabric).await;
    let mut hostile = Raw::subscriber(fabric.port("web").address(), true).await;
    asks(&mut hostile, (0..10_000).map(|key| Ask { key: KeyId(key), from: Position::default() }))
        .await;
    until("all of them to be counted", || peers(&publisher, "asks_unknown") == 10_000).await;
    assert_eq!(peers(&publisher, "asks"), 0);
    others_are_served(&fabric, &publisher).await;
}

#[tokio::test]
async fn an_ask_that_is_too_short_ends_the_connection() {
    let mut fabric = Fabric::new(&["web"]);
    let (publisher, _) = publisher(&mut fabric).await;
    let mut hostile = Raw::subscriber(fabric.port("web").address(), true).await;
    hostile.send(b"\x04\x08\x03ASK\x01\x02\x03\x04").await;
    hostile.closed().await;
    others_are_served(&fabric, &publisher).await;
}

#[tokio::test]
async fn an_offer_to_a_publisher_is_ignored() {
    let mut fabric = Fabric::new(&["web"]);
    let (publisher, _) = publisher(&mut fabric).await;
    let mut hostile = Raw::subscriber(fabric.port("web").address(), true).await;
    hostile.send(b"\x04\x0b\x05OFFER\x01\x01t\x00\x00").await;
    until("it to be counted", || peers(&publisher, "ignored_misdirected") == 1).await;
    others_are_served(&fabric, &publisher).await;
}
