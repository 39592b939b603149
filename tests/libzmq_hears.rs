//! Does a stock libzmq SUB or XSUB hear all that a publisher says, in order, and stay connected?

#[path = "support/fabric.rs"]
mod fabric;

use std::time::Duration;

use fabric::{Fabric, LIMIT, heard, peers, say, soon, until};
use selvedge::{ContentType, Outgoing};
use selvedge_core::seal::Packet;
use selvedge_core::wire::{Frames, put_frame};

/// A libzmq socket that connects to `endpoint`.
fn socket(kind: zmq::SocketType, endpoint: &str) -> zmq::Socket {
    let socket = zmq::Context::new().socket(kind).unwrap();
    socket.set_rcvtimeo(LIMIT.as_millis() as i32).unwrap();
    socket.set_rcvhwm(1_000_000).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_reconnect_ivl(20).unwrap();
    socket.connect(endpoint).unwrap();
    socket
}

fn sub(endpoint: &str, prefix: &str) -> zmq::Socket {
    let socket = socket(zmq::SUB, endpoint);
    socket.set_subscribe(prefix.as_bytes()).unwrap();
    socket
}

/// The numbers that stand in `count` messages of text, in the order in which they came.
async fn numbers(socket: zmq::Socket, count: usize) -> (zmq::Socket, Vec<u64>) {
    let read = move || {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let parts = socket.recv_multipart(0).unwrap();
            assert!(parts.len() > 2, "{parts:?}");
            let texts = parts[2..].iter().map(|body| std::str::from_utf8(body).unwrap());
            numbers.extend(texts.map(|text| text.parse::<u64>().unwrap()));
        }
        (socket, numbers)
    };
    soon("libzmq", tokio::task::spawn_blocking(read)).await.unwrap()
}

async fn say_texts(publisher: &selvedge::Publisher, topic: &str, range: std::ops::Range<u64>) {
    for number in range {
        publisher.ready().await;
        publisher.send(Outgoing::text(topic, number.to_string()).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_sub_gets_topic_seal_and_bodies() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let socket = sub(&fabric.port("web").endpoint(), "web.a");
    heard(&publisher, "web.a").await;
    publisher.send(Outgoing::text("web.b", "not for it").unwrap()).unwrap();
    publisher.send(Outgoing::raw("web.a.x", ContentType::BYTES, &b"\0\xff"[..]).unwrap()).unwrap();
    let read = move || socket.recv_multipart(0).unwrap();
    let parts = soon("libzmq", tokio::task::spawn_blocking(read)).await.unwrap();
    let mut wire = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        put_frame(&mut wire, part, at + 1 < parts.len());
    }
    let packet = Packet::parse(Frames::parse(wire.into()).unwrap()).unwrap();
    assert_eq!(packet.topic().as_str(), "web.a.x");
    assert_eq!((packet.count(), packet.tseq(), &packet.body(0)[..]), (1, 1, &b"\0\xff"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_arrives_whole_and_in_order_at_sub_and_xsub() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let sub = sub(&fabric.port("web").endpoint(), "web.");
    let xsub = socket(zmq::XSUB, &fabric.port("web").endpoint());
    xsub.send(&b"\x01web."[..], 0).unwrap();
    let topic = "web.a".parse().unwrap();
    until("both to listen", || peers(&publisher, "peers") == 2).await;
    soon("both", async { while publisher.listeners(&topic).await < 2 {} }).await;
    let readers = [tokio::spawn(numbers(sub, 50_000)), tokio::spawn(numbers(xsub, 50_000))];
    say_texts(&publisher, "web.a", 0..50_000).await;
    for reader in readers {
        let (_, numbers) = soon("the burst", reader).await.unwrap();
        assert!(numbers.iter().copied().eq(0..50_000));
    }
}

#[tokio::test]
async fn pack_1_gives_one_body_a_packet() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").more = "pack = 1".to_owned();
    fabric.publish();
    let publisher = fabric.publisher("web");
    let socket = sub(&fabric.port("web").endpoint(), "");
    heard(&publisher, "web.a").await;
    say_texts(&publisher, "web.a", 0..2_000).await;
    let read = move || -> Vec<usize> {
        (0..2_000).map(|_| socket.recv_multipart(0).unwrap().len()).collect()
    };
    let lens = soon("libzmq", tokio::task::spawn_blocking(read)).await.unwrap();
    assert!(lens.iter().all(|len| *len == 3));
}

#[tokio::test]
async fn a_sub_that_unsubscribes_hears_no_more_of_it() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let socket = sub(&fabric.port("web").endpoint(), "web.a");
    heard(&publisher, "web.a").await;
    socket.set_subscribe(b"web.b").unwrap();
    heard(&publisher, "web.b").await;
    socket.set_unsubscribe(b"web.a").unwrap();
    socket.set_subscribe(b"web.c").unwrap();
    heard(&publisher, "web.c").await;
    say_texts(&publisher, "web.a", 0..10).await;
    say_texts(&publisher, "web.b", 10..20).await;
    let (_, numbers) = numbers(socket, 10).await;
    assert!(numbers.iter().copied().eq(10..20));
}

#[tokio::test]
async fn its_heartbeats_are_answered() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let context = zmq::Context::new();
    let socket = context.socket(zmq::SUB).unwrap();
    socket.set_rcvtimeo(1_500).unwrap();
    socket.set_heartbeat_ivl(50).unwrap();
    socket.set_heartbeat_timeout(400).unwrap();
    socket.set_heartbeat_ttl(1_000).unwrap();
    socket.set_subscribe(b"web.").unwrap();
    let events = monitor(&context, &socket);
    socket.connect(&fabric.port("web").endpoint()).unwrap();
    heard(&publisher, "web.a").await;
    // Several times its timeout without a message: only PONG keeps it connected.
    let wait = move || (socket.recv_multipart(0), socket);
    let (nothing, socket) = soon("libzmq", tokio::task::spawn_blocking(wait)).await.unwrap();
    assert_eq!(nothing, Err(zmq::Error::EAGAIN));
    say_texts(&publisher, "web.a", 0..1).await;
    socket.set_rcvtimeo(LIMIT.as_millis() as i32).unwrap();
    numbers(socket, 1).await;
    assert_eq!(disconnections(&events), 0);
    assert_eq!(peers(&publisher, "peers"), 1);
}

/// Tells of each connection that `socket` loses.
fn monitor(context: &zmq::Context, socket: &zmq::Socket) -> zmq::Socket {
    socket.monitor("inproc://monitor", zmq::SocketEvent::DISCONNECTED as i32).unwrap();
    let events = context.socket(zmq::PAIR).unwrap();
    events.connect("inproc://monitor").unwrap();
    events
}

fn disconnections(events: &zmq::Socket) -> usize {
    let mut count = 0;
    while events.recv_multipart(zmq::DONTWAIT).is_ok() {
        count += 1;
    }
    count
}

#[tokio::test]
async fn both_sides_may_go_away_and_come_back() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let endpoint = fabric.port("web").endpoint();
    let socket = sub(&endpoint, "web.");
    heard(&publisher, "web.a").await;
    say_texts(&publisher, "web.a", 0..10).await;
    let (first, heard_first) = numbers(socket, 10).await;
    assert!(heard_first.iter().copied().eq(0..10));
    drop(first);
    until("the peer to be gone", || peers(&publisher, "peers") == 0).await;
    let socket = sub(&endpoint, "web.");
    heard(&publisher, "web.a").await;
    say_texts(&publisher, "web.a", 10..20).await;
    let (socket, heard_second) = numbers(socket, 10).await;
    assert!(heard_second.iter().copied().eq(10..20));
    publisher.close(Duration::from_secs(10)).await.unwrap();
    // libzmq subscribes again only while its socket is used.
    let reader = tokio::spawn(numbers(socket, 10));
    let publisher = fabric.publisher("web");
    heard(&publisher, "web.a").await;
    say_texts(&publisher, "web.a", 20..30).await;
    let (_, heard_third) = soon("libzmq", reader).await.unwrap();
    assert!(heard_third.iter().copied().eq(20..30));
}

#[tokio::test]
async fn a_selvedge_subscriber_beside_it_hears_the_same() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let socket = sub(&fabric.port("web").endpoint(), "web.");
    heard(&publisher, "web.a").await;
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    say(&publisher, "web.a", 0..100).await;
    assert!(hearing.numbers(100).await.into_iter().eq(0..100));
    drop(socket);
}
