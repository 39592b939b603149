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
    let fabric = fabric("");
    let edge = edge(&fabric).await;
    let publisher = publisher(&fabric);
    (fabric, edge, publisher)
}

/// `web` cannot be dialled; `more` are further lines of its entry.
fn fabric(more: &str) -> Fabric {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").endpoint = String::new();
    fabric.service("web").more = more.to_owned();
    fabric.add_relay("edge", "");
    fabric
}

async fn edge(fabric: &Fabric) -> TcpListener {
    TcpListener::bind(fabric.relays["edge"].port.address()).await.unwrap()
}

fn publisher(fabric: &Fabric) -> Publisher {
    let mut options = fabric.options("web");
    options.via = vec!["edge".parse().unwrap()];
    Publisher::start(fabric.directory(), options).unwrap()
}

/// The topic of the next packet that is offered.
async fn offered(relay: &mut Raw) -> String {
    loop {
        let (_, frame) = relay.frame().await;
        if let Some(offer) = frame.strip_prefix(b"\x05OFFER") {
            // Its first frame: flags, length, bytes.
            return String::from_utf8(offer[2..2 + usize::from(offer[1])].to_vec()).unwrap();
        }
    }
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

/// What a relay has on its disk of earlier runs is not offered again, and nothing else is left out.
#[tokio::test]
async fn what_the_relays_disk_has_is_not_offered_again() {
    for held in [false, true] {
        let fabric = fabric("journal = true");
        let key = fabric.services["web"].key.public().id();
        let first = publisher(&fabric);
        let kept = first.publish("web.first", &1u64).unwrap().position();
        assert!(first.close(Duration::from_millis(50)).await.is_err(), "no relay was there");
        let (edge, second) = (edge(&fabric).await, publisher(&fabric));
        let receipt = second.publish("web.second", &2u64).unwrap();
        let mut relay = Raw::accept(&edge).await;
        relay.greet().await;
        assert_eq!(offered(&mut relay).await, "$tip.web");
        if held {
            let (from, upto) = (Position::new(kept.epoch, 0), kept.after());
            relay.send(&Mark { key, from, upto, flags: Mark::HELD }.encode()).await;
        }
        relay.send(&mark(key, receipt.position(), Mark::JOURNALED)).await;
        let mut topics = Vec::new();
        while topics.last().is_none_or(|topic| topic != "web.second") {
            topics.push(offered(&mut relay).await);
        }
        assert_eq!(topics.contains(&"web.first".to_owned()), !held, "{topics:?}");
        for _ in &topics {
            relay.send(&mark(key, receipt.position(), Mark::JOURNALED)).await;
        }
        soon("the receipt", receipt.sent()).await.unwrap();
    }
}
