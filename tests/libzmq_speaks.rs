//! Does a subscriber hear all that reaches it through libzmq, a PUB or a proxy, and believe only
//! what is signed?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/sealed.rs"]
mod sealed;

use std::collections::BTreeSet;

use fabric::{Fabric, Hearing, LIMIT, heard, say, soon, until};
use sealed::Author;
use selvedge::{Event, Reason, Subscriber};
use selvedge_core::limits::{PING_AFTER, PINGS_MISSED};

/// A libzmq XPUB, bound at `endpoint`, which shows every subscription.
fn xpub(endpoint: &str) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::XPUB).unwrap();
    socket.set_sndhwm(1_000_000).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(LIMIT.as_millis() as i32).unwrap();
    socket.set_xpub_verbose(true).unwrap();
    socket.bind(endpoint).unwrap();
    socket
}

/// Waits for `count` subscriptions.
async fn subscribed(socket: zmq::Socket, count: usize) -> zmq::Socket {
    let wait = move || {
        for _ in 0..count {
            assert_eq!(socket.recv_bytes(0).unwrap()[0], 1);
        }
        socket
    };
    soon("a subscription", tokio::task::spawn_blocking(wait)).await.unwrap()
}

/// A subscriber makes two: to all topics, and to the publisher's tip.
const SUBSCRIPTIONS: usize = 2;

#[tokio::test]
async fn packets_from_a_pub_arrive_in_order() {
    let fabric = Fabric::new(&["web"]);
    let socket = xpub(&fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    let socket = subscribed(socket, SUBSCRIPTIONS).await;
    let mut author = Author::new(&fabric, "web");
    let numbers: Vec<u64> = (0..2_000).collect();
    for batch in numbers.chunks(20) {
        for packet in author.commit(&[("web.a", batch)]) {
            socket.send_multipart(packet, 0).unwrap();
        }
    }
    assert_eq!(hearing.numbers(2_000).await, numbers);
    assert_eq!(hearing.count("malformed"), 0);
}

#[tokio::test]
async fn what_a_pub_left_out_is_lost_on_its_topics_own_numbers() {
    let fabric = Fabric::new(&["web"]);
    let socket = xpub(&fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    let socket = subscribed(socket, SUBSCRIPTIONS).await;
    let mut author = Author::new(&fabric, "web");
    for number in 0..10 {
        let packets = author.commit(&[("web.a", &[number])]);
        if number != 5 {
            packets.into_iter().for_each(|packet| socket.send_multipart(packet, 0).unwrap());
        }
    }
    assert_eq!(hearing.numbers(5).await, [0, 1, 2, 3, 4]);
    match hearing.event().await {
        Event::Lost(lost) => {
            assert_eq!((lost.from.seq, lost.to.seq, lost.reason), (5, 6, Reason::Gap));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(hearing.numbers(4).await, [6, 7, 8, 9]);
}

#[tokio::test]
async fn a_gap_among_many_topics_names_the_range_in_which_something_is_missing() {
    let fabric = Fabric::new(&["web"]);
    let socket = xpub(&fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    let socket = subscribed(socket, SUBSCRIPTIONS).await;
    let mut author = Author::new(&fabric, "web");
    for start in (0..40).step_by(4) {
        let packets =
            author.commit(&[("web.a", &[start, start + 1]), ("web.b", &[start + 2, start + 3])]);
        let whole = start != 20;
        for packet in packets.into_iter().take(1 + usize::from(whole)) {
            socket.send_multipart(packet, 0).unwrap();
        }
    }
    let delivered = all_of(&mut hearing, 40).await;
    assert!(delivered.into_iter().eq((0..22).chain(24..40)));
}

/// What is delivered of `count` messages until all are accounted for: in order, and what is missing
/// lies in a range that is lost, and in each such range something is missing.
async fn all_of(hearing: &mut Hearing, count: u64) -> Vec<u64> {
    let (mut delivered, mut accounted, mut lost) = (Vec::new(), BTreeSet::new(), Vec::new());
    while (accounted.len() as u64) < count || delivered.last() != Some(&(count - 1)) {
        match hearing.event().await {
            Event::Message(message) => {
                let number = message.decode().unwrap();
                delivered.push(number);
                accounted.insert(number);
            }
            Event::Lost(range) => {
                accounted.extend(range.from.seq..range.to.seq);
                lost.push(range.from.seq..range.to.seq);
            }
        }
    }
    assert!(delivered.is_sorted());
    let missing = |number: u64| delivered.binary_search(&number).is_err();
    assert!(lost.iter().all(|range| range.clone().any(missing)), "{lost:?}");
    delivered
}

#[tokio::test]
async fn foreign_messages_are_counted_and_cut_nothing() {
    let fabric = Fabric::new(&["web"]);
    let socket = xpub(&fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    let socket = subscribed(socket, SUBSCRIPTIONS).await;
    let junk: [&[&[u8]]; 5] = [
        &[b"hello"],
        &[b"web.a", b"hello"],
        &[b"web.a", b"SV\x01\x01", b"hello"],
        &[b"", b"", b""],
        &[b"\xff\xfe not a topic", &[0; 300], b"x"],
    ];
    for _ in 0..20 {
        for parts in junk {
            socket.send_multipart(parts, 0).unwrap();
        }
    }
    let mut author = Author::new(&fabric, "web");
    for packet in author.commit(&[("web.a", &[7])]) {
        socket.send_multipart(packet, 0).unwrap();
    }
    assert_eq!(hearing.numbers(1).await, [7]);
    assert_eq!(hearing.count("malformed"), 100);
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (1, 0));
}

#[tokio::test]
async fn a_pub_that_goes_away_and_comes_back_is_heard_again() {
    let fabric = Fabric::new(&["web"]);
    let endpoint = fabric.port("web").endpoint();
    let mut hearing = fabric.hear();
    let mut author = Author::new(&fabric, "web");
    for round in 0..3 {
        let socket = subscribed(xpub(&endpoint), SUBSCRIPTIONS).await;
        for packet in author.commit(&[("web.a", &[round])]) {
            socket.send_multipart(packet, 0).unwrap();
        }
        assert_eq!(hearing.numbers(1).await, [round]);
        drop(socket);
        hearing.disconnected("web").await;
    }
    assert_eq!(hearing.count("links_up"), 3);
}

#[tokio::test]
async fn heartbeats_of_a_pub_are_answered() {
    let fabric = Fabric::new(&["web"]);
    let socket = zmq::Context::new().socket(zmq::XPUB).unwrap();
    socket.set_heartbeat_ivl(50).unwrap();
    socket.set_heartbeat_timeout(400).unwrap();
    socket.set_heartbeat_ttl(1_000).unwrap();
    socket.set_rcvtimeo(LIMIT.as_millis() as i32).unwrap();
    socket.set_xpub_verbose(true).unwrap();
    socket.bind(&fabric.port("web").endpoint()).unwrap();
    let mut hearing = fabric.hear();
    let socket = subscribed(socket, SUBSCRIPTIONS).await;
    // Several times its timeout: it would have hung up without PONG, and we told it.
    socket.set_rcvtimeo(1_500).unwrap();
    let wait = move || (socket.recv_bytes(0), socket);
    let (nothing, socket) = soon("libzmq", tokio::task::spawn_blocking(wait)).await.unwrap();
    assert_eq!(nothing, Err(zmq::Error::EAGAIN));
    for packet in Author::new(&fabric, "web").commit(&[("web.a", &[1])]) {
        socket.send_multipart(packet, 0).unwrap();
    }
    assert_eq!(hearing.numbers(1).await, [1]);
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (1, 0));
}

#[tokio::test]
async fn our_heartbeats_are_answered_by_a_pub() {
    let fabric = Fabric::new(&["web"]);
    let socket = xpub(&fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    let mut socket = subscribed(socket, SUBSCRIPTIONS).await;
    // A real tenth of a second for each answer, which it needs a thousandth of.
    socket.set_rcvtimeo(100).unwrap();
    for _ in 0..2 * PINGS_MISSED {
        tokio::time::pause();
        tokio::time::advance(PING_AFTER).await;
        tokio::time::resume();
        let wait = move || (socket.recv_bytes(0), socket);
        let waited = soon("libzmq", tokio::task::spawn_blocking(wait)).await.unwrap();
        assert_eq!(waited.0, Err(zmq::Error::EAGAIN));
        socket = waited.1;
    }
    for packet in Author::new(&fabric, "web").commit(&[("web.a", &[1])]) {
        socket.send_multipart(packet, 0).unwrap();
    }
    assert_eq!(hearing.numbers(1).await, [1]);
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (1, 0));
}

/// A libzmq XSUB/XPUB proxy in a thread of its own.
struct Proxy {
    control: zmq::Socket,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    fn run(from: &str, at: &str) -> Proxy {
        let context = zmq::Context::new();
        let control = context.socket(zmq::PAIR).unwrap();
        control.bind("inproc://control").unwrap();
        let mut commands = context.socket(zmq::PAIR).unwrap();
        commands.connect("inproc://control").unwrap();
        let mut front = context.socket(zmq::XSUB).unwrap();
        let mut back = context.socket(zmq::XPUB).unwrap();
        front.set_rcvhwm(1_000_000).unwrap();
        back.set_sndhwm(1_000_000).unwrap();
        back.set_linger(0).unwrap();
        front.connect(from).unwrap();
        back.bind(at).unwrap();
        let thread = std::thread::spawn(move || {
            zmq::proxy_steerable(&mut front, &mut back, &mut commands).unwrap();
        });
        Proxy { control, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.send("TERMINATE", 0).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok());
    }
}

/// `web` is reached through a libzmq proxy; its publisher listens at a port of its own.
fn behind_a_proxy() -> (Fabric, fabric::Port) {
    let mut fabric = Fabric::new(&["web"]);
    let direct = fabric::Port::reserve();
    fabric.service("web").more = format!("bind = \"{}\"", direct.endpoint());
    fabric.publish();
    (fabric, direct)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_through_a_libzmq_proxy_is_whole_and_in_order() {
    let (fabric, direct) = behind_a_proxy();
    let publisher = fabric.publisher("web");
    let _proxy = Proxy::run(&direct.endpoint(), &fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..10_000).await;
    assert!(hearing.numbers(10_000).await.into_iter().eq(0..10_000));
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_topics_through_a_libzmq_proxy_are_delivered_or_lost_and_stay_in_order() {
    let (fabric, direct) = behind_a_proxy();
    let publisher = fabric.publisher("web");
    let _proxy = Proxy::run(&direct.endpoint(), &fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    for start in (0..10_000).step_by(10) {
        say(&publisher, ["web.a", "web.b", "web.c"][start as usize % 3], start..start + 10).await;
    }
    // A proxy that pauses for 5 ms within a commit makes its other packets come too late.
    say(&publisher, "web.a", 10_000..10_001).await;
    all_of(&mut hearing, 10_001).await;
}

#[tokio::test]
async fn wanting_one_topic_through_a_proxy_loses_nothing_for_the_others() {
    let (fabric, direct) = behind_a_proxy();
    let publisher = fabric.publisher("web");
    let _proxy = Proxy::run(&direct.endpoint(), &fabric.port("web").endpoint());
    let builder = Subscriber::to(fabric.directory()).pattern("web.a".parse().unwrap());
    let mut hearing = Hearing::new(builder);
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    for number in 0..300 {
        say(&publisher, ["web.a", "web.b", "web.c"][number as usize % 3], number..number + 1).await;
    }
    assert!(hearing.numbers(100).await.into_iter().eq((0..300).step_by(3)));
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn a_publisher_that_restarts_behind_a_proxy_goes_on() {
    let (fabric, direct) = behind_a_proxy();
    let publisher = fabric.publisher("web");
    let _proxy = Proxy::run(&direct.endpoint(), &fabric.port("web").endpoint());
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..10).await;
    assert!(hearing.numbers(10).await.into_iter().eq(0..10));
    soon("a close", publisher.close(LIMIT)).await.unwrap();
    let publisher = fabric.publisher("web");
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 10..20).await;
    assert!(hearing.numbers(10).await.into_iter().eq(10..20));
    until("no loss", || hearing.count("delivered") == 20).await;
    assert_eq!(hearing.count("lost_ranges"), 0);
}
