//! Does what stock libzmq sockets say become messages of the fabric, and nothing else?

#[path = "support/fabric.rs"]
mod fabric;

use std::sync::Arc;
use std::time::Duration;

use fabric::{Fabric, Hearing, LIMIT, Port, soon, until};
use selvedge::{ContentType, Message, Publisher};
use selvedge_bridge::zmq::from::{Config, Counters, Error, Kind, Node};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A bridge that runs, as the service `web`.
struct Bridge {
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Bridge {
    async fn start(publisher: Publisher, config: Config) -> Bridge {
        let node = Node::start(publisher, config).await.unwrap();
        let (counters, shutdown) = (node.counters(), CancellationToken::new());
        let task = tokio::spawn(node.run(shutdown.clone()));
        Bridge { counters, shutdown, task }
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.snapshot()[name]
    }

    async fn counts(&self, name: &str, at_least: u64) {
        until(name, || self.count(name) >= at_least).await;
    }

    async fn end(self) {
        self.shutdown.cancel();
        soon("the end", self.task).await.unwrap().unwrap();
    }
}

/// A fabric with `web`, heard from the start; the bridge; the foreign side's port.
async fn begin(config: impl FnOnce(&Port) -> Config) -> (Fabric, Hearing, Bridge, Port) {
    let (fabric, port) = (Fabric::new(&["web"]), Port::reserve());
    let mut hearing = fabric.hear();
    let bridge = Bridge::start(fabric.publisher("web"), config(&port)).await;
    hearing.started("web").await;
    (fabric, hearing, bridge, port)
}

fn config(kind: Kind, prefix: &str, port: &Port) -> Config {
    let prefix = Some(prefix.parse().unwrap());
    Config { kind, prefix, ..Config::new(port.endpoint().parse().unwrap()) }
}

fn socket(kind: zmq::SocketType) -> zmq::Socket {
    let socket = zmq::Context::new().socket(kind).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_sndhwm(0).unwrap();
    socket.set_sndtimeo(LIMIT.as_millis() as i32).unwrap();
    socket.set_reconnect_ivl(20).unwrap();
    socket
}

/// A PUB that tells who subscribes, and is heard when this returns.
async fn publisher(port: &Port, subscription: &str) -> zmq::Socket {
    let socket = socket(zmq::XPUB);
    socket.bind(&port.endpoint()).unwrap();
    let wanted = [b"\x01", subscription.as_bytes()].concat();
    until("a subscription", || socket.recv_bytes(zmq::DONTWAIT) == Ok(wanted.clone())).await;
    socket
}

fn send(socket: &zmq::Socket, frames: &[&[u8]]) {
    socket.send_multipart(frames, 0).unwrap();
}

fn origin(message: &Message) -> Option<String> {
    message.headers().unwrap().origin
}

#[tokio::test]
async fn what_a_pub_says_comes_whole_and_in_order_with_its_origin() {
    let (_fabric, mut hearing, bridge, port) =
        begin(|port| config(Kind::Sub, "there=web.there", port)).await;
    let socket = publisher(&port, "there").await;
    for number in 0..10_000 {
        let number = number.to_string();
        send(&socket, &[b"there.numbers", number.as_bytes()]);
    }
    for number in 0..10_000 {
        let message = hearing.message().await;
        assert_eq!(
            (message.topic().as_str(), message.ctype),
            ("web.there.numbers", ContentType::TEXT)
        );
        assert_eq!(message.body, number.to_string());
        assert_eq!(message.publisher().as_str(), "web");
        assert_eq!(origin(&message), Some(port.endpoint()));
    }
    assert_eq!((bridge.count("received"), bridge.count("published")), (10_000, 10_000));
    bridge.end().await;
}

#[tokio::test]
async fn a_push_is_read_from_either_side() {
    for bind in [false, true] {
        let (_fabric, mut hearing, bridge, port) = begin(|port| {
            let origin = Some("the old one".into());
            Config { bind, origin, ..config(Kind::Pull, "web.old", port) }
        })
        .await;
        let socket = socket(zmq::PUSH);
        match bind {
            true => socket.connect(&port.endpoint()).unwrap(),
            false => socket.bind(&port.endpoint()).unwrap(),
        }
        bridge.counts("connected", 1).await;
        send(&socket, &[b"{\"a\": 1}"]);
        send(&socket, &[b"b", b"\xff", b"[]"]);
        for (topic, ctype) in [
            ("web.old", ContentType::JSON),
            ("web.old.b", ContentType::BYTES),
            ("web.old.b", ContentType::JSON),
        ] {
            let message = hearing.message().await;
            assert_eq!((message.topic().as_str(), message.ctype), (topic, ctype));
            assert_eq!(origin(&message).as_deref(), Some("the old one"));
        }
        bridge.end().await;
    }
}

#[tokio::test]
async fn what_may_not_enter_is_counted_and_the_rest_comes() {
    let (fabric, port) = (Fabric::new(&["web"]), Port::reserve());
    let mut hearing = fabric.hear();
    let config = Config::new(port.endpoint().parse().unwrap());
    let bridge = Bridge::start(fabric.publisher("web"), config).await;
    hearing.started("web").await;
    let socket = publisher(&port, "").await;
    let large = vec![b'x'; (1 << 20) + 1];
    let ours = br#"{"id":"web/7/8","publisher":"web","epoch":7,"seq":8}"#;
    for frames in [
        &[&b"no topic"[..]][..],
        &[b"not a topic", b""],
        &[b"$tip.web", b""],
        &[b"\xff", b""],
        &[&[b'x'; 256], b""],
        &[b"db.up", b""],
        &[b"web.large", &large],
        &[b"web.ours", ours],
        &[b"web.sealed", b"SV\x01\x01", b""],
        &[b"web.good", b""],
    ] {
        send(&socket, frames);
    }
    assert_eq!(hearing.message().await.topic().as_str(), "web.good");
    for (name, expected) in [
        ("dropped_no_topic", 1),
        ("dropped_bad_topic", 4),
        ("dropped_denied", 1),
        ("dropped_too_large", 1),
        ("dropped_returned", 2),
        ("published", 1),
    ] {
        assert_eq!(bridge.count(name), expected, "{name}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn a_peer_that_goes_and_returns_is_heard_again() {
    for kind in [Kind::Sub, Kind::Pull] {
        let (_fabric, mut hearing, bridge, port) = begin(|port| config(kind, "web", port)).await;
        for round in 1..=3 {
            let socket = match kind {
                Kind::Sub => publisher(&port, "").await,
                Kind::Pull => {
                    let socket = socket(zmq::PUSH);
                    socket.bind(&port.endpoint()).unwrap();
                    socket
                }
            };
            bridge.counts("connected", round).await;
            send(&socket, &[b"round", round.to_string().as_bytes()]);
            assert_eq!(hearing.message().await.body, round.to_string());
            drop(socket);
            bridge.counts("disconnected", round).await;
        }
        bridge.end().await;
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let fabric = Fabric::new(&["web"]);
    let bridge =
        Bridge::start(fabric.publisher("web"), Config::new(endpoint.parse().unwrap())).await;
    let (_silent, _) = soon("a connection", listener.accept()).await.unwrap();
    soon("another one", listener.accept()).await.unwrap();
    assert_eq!(bridge.count("connected"), 0);
    bridge.end().await;
}

#[tokio::test]
async fn a_connection_that_is_idle_is_made_anew_if_asked_for() {
    let (_fabric, mut hearing, bridge, port) = begin(|port| Config {
        idle: Some(Duration::from_millis(500)),
        ..config(Kind::Pull, "web", port)
    })
    .await;
    let socket = socket(zmq::PUSH);
    socket.bind(&port.endpoint()).unwrap();
    bridge.counts("connected", 2).await;
    send(&socket, &[b"still here"]);
    assert_eq!(hearing.message().await.body, "still here");
    bridge.end().await;
}

#[tokio::test]
async fn a_full_intake_holds_the_foreign_side_up_and_loses_nothing() {
    let (fabric, port) = (Fabric::new(&["web"]), Port::reserve());
    let mut hearing = fabric.hear();
    let mut options = fabric.options("web");
    options.intake_bytes = 1;
    let publisher = Publisher::start(fabric.directory(), options).unwrap();
    let bridge = Bridge::start(publisher, config(Kind::Pull, "web", &port)).await;
    hearing.started("web").await;
    let socket = socket(zmq::PUSH);
    socket.bind(&port.endpoint()).unwrap();
    bridge.counts("connected", 1).await;
    for number in 0..5_000 {
        send(&socket, &[number.to_string().as_bytes()]);
    }
    for number in 0..5_000 {
        assert_eq!(hearing.message().await.body, number.to_string());
    }
    bridge.end().await;
}

#[tokio::test]
async fn it_says_why_when_the_fabric_takes_no_more() {
    let (fabric, port) = (Fabric::new(&["web"]), Port::reserve());
    let publisher = fabric.publisher("web");
    let bridge = Bridge::start(publisher.clone(), config(Kind::Pull, "web", &port)).await;
    publisher.close(LIMIT).await.unwrap();
    let socket = socket(zmq::PUSH);
    socket.bind(&port.endpoint()).unwrap();
    bridge.counts("connected", 1).await;
    send(&socket, &[b"too late"]);
    let error = soon("the end", bridge.task).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "cannot publish: the publisher is closed");
}
