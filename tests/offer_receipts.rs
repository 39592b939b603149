//! Does the receipt of what is offered wait until a relay says that it is on its disk?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use std::time::Duration;

use fabric::{Fabric, soon};
use raw::Raw;
use selvedge::{KeyId, Position, Publisher};
use selvedge_core::wire::{self, Mark};
use tokio::net::TcpListener;

/// A publisher that offers to `edge`, which is what the test makes of it.
async fn offering() -> (Fabric, TcpListener, Publisher) {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").endpoint = String::new();
    fabric.add_relay("edge", "");
    let edge = TcpListener::bind(fabric.relays["edge"].port.address()).await.unwrap();
    let mut options = fabric.options("web");
    options.via = vec!["edge".parse().unwrap()];
    let publisher = Publisher::start(fabric.directory(), options).unwrap();
    (fabric, edge, publisher)
}

fn mark(key: KeyId, upto: Position, flags: u8) -> Vec<u8> {
    Mark { key, from: upto, upto, flags }.encode().to_vec()
}

/// A relay that cannot write its journal, or was not asked to sync it, is as far in the stream as
/// any other: what it said of itself on a new connection was taken for a receipt.
#[tokio::test]
async fn how_far_a_relay_is_says_nothing_about_its_disk() {
    let (fabric, edge, publisher) = offering().await;
    let key = fabric.services["web"].key.public().id();
    let receipt = publisher.publish("web.a", &1u64).unwrap();
    let mut relay = Raw::accept(&edge).await;
    relay.greet().await;
    let upto = receipt.position().after();
    relay.send(&mark(key, upto, Mark::ANSWER)).await;
    relay.send(&wire::pong(&[])).await;
    let tip = Position::new(upto.epoch, 0);
    for answers in [tip, upto] {
        while !relay.frame().await.1.starts_with(b"\x05OFFER") {}
        let early = publisher.flush(Duration::from_millis(300)).await;
        assert!(early.is_err(), "nothing is on the relay's disk yet");
        relay.send(&mark(key, answers, Mark::JOURNALED)).await;
    }
    soon("the receipt", receipt.sent()).await.unwrap();
}
