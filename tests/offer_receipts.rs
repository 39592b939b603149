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

/// A relay tells how far it is when its journal has been written, which is before the disk has it.
#[tokio::test]
async fn what_a_relay_has_may_not_be_on_its_disk() {
    let (fabric, edge, publisher) = offering().await;
    let key = fabric.services["web"].key.public().id();
    let receipt = publisher.publish("web.a", &1u64).unwrap();
    let mut relay = Raw::accept(&edge).await;
    relay.greet().await;
    for command in [&b"\x03ASK"[..], b"\x04PING", b"\x05OFFER"] {
        assert!(relay.frame().await.1.starts_with(command));
    }
    let upto = receipt.position().after();
    relay.send(&mark(key, upto, Mark::ANSWER)).await;
    relay.send(&wire::pong(&[])).await;
    let early = publisher.flush(Duration::from_millis(300)).await;
    assert!(early.is_err(), "nothing is on the relay's disk yet");
    relay.send(&mark(key, Position::new(upto.epoch, 0), Mark::JOURNALED)).await;
    soon("the receipt", receipt.sent()).await.unwrap();
}
