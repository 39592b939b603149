//! Does a relay that holds push back, instead of dropping what a slow subscriber does not take?

#[path = "support/fabric.rs"]
mod fabric;

use std::time::Duration;

use fabric::{Fabric, Hearing, soon};
use selvedge::publisher::PublishError;
use selvedge::{ContentType, Outgoing, Publisher, Subscriber, Topic};
use selvedge_relay::{Config, Node};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// More than the subscriber's inbox, the sockets and all queues take together.
const MESSAGES: u64 = 20_000;

const BODY: usize = 10_000;

#[tokio::test]
async fn what_a_slow_subscriber_does_not_take_waits_at_the_publisher() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.add_relay("edge", "");
    let mut config = Config::new("edge".parse().unwrap(), fabric.relays["edge"].key.clone());
    config.state = fabric.folder.path().join("edge");
    config.hold = true;
    config.queues.queue_bytes = 24 << 20;
    let relay = Node::start(fabric.directory(), config).unwrap();
    let counters = relay.counters().peers;
    let _relay = AbortOnDropHandle::new(tokio::spawn(relay.run(CancellationToken::new())));
    let mut options = fabric.options("web");
    (options.hold, options.intake_bytes) = (true, 1 << 20);
    let publisher = Publisher::start(fabric.directory(), options).unwrap();
    let via = Subscriber::to(fabric.directory()).via("edge".parse().unwrap());
    let mut hearing = Hearing::new(via);
    hearing.started("web").await;
    let (full, is_full) = oneshot::channel();
    let _saying = AbortOnDropHandle::new(tokio::spawn(say(publisher.clone(), full)));
    soon("the publisher to be held up", is_full).await.expect("all was taken, by whom?");
    for expected in 0..MESSAGES {
        let message = hearing.message().await;
        assert_eq!(message.body[..8], expected.to_be_bytes());
    }
    assert_eq!(counters.snapshot()["dropped_peer_full"], 0);
}

/// Says all, and tells when it could not go on for the first time in a second.
async fn say(publisher: Publisher, full: oneshot::Sender<()>) {
    let topic: Topic = "web.a".parse().unwrap();
    let mut full = Some(full);
    for number in 0..MESSAGES {
        let mut body = vec![0; BODY];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let message = Outgoing::raw(topic.clone(), ContentType::BYTES, body).unwrap();
        while let Err(why) = publisher.send(message.clone()) {
            assert!(matches!(why, PublishError::Full), "{why}");
            let ready = tokio::time::timeout(Duration::from_secs(1), publisher.ready());
            if ready.await.is_err() {
                full.take().map(|full| full.send(()));
                publisher.ready().await;
            }
        }
    }
}
