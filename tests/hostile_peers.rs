//! Does a publisher survive whatever connects to it, and go on serving honest subscribers? Tests
//! are named after the rows of FAULTS.md.

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use std::time::Duration;

use fabric::{Fabric, heard, peers, say, soon, until};
use raw::{Raw, garbage, giant};
use selvedge::Publisher;
use selvedge_core::limits::{HANDSHAKE, HANDSHAKES_PER_ADDRESS};
use selvedge_core::wire;

/// What may wait for one peer: the queue, and some room for control frames.
const MOST: u64 = 3 << 20;

/// A publisher, and what the honest subscriber must still see.
struct Victim {
    fabric: Fabric,
    publisher: Publisher,
}

impl Victim {
    fn start() -> Victim {
        let fabric = Fabric::new(&["web"]);
        let mut options = fabric.options("web");
        options.queues.queue_bytes = 1 << 20;
        let publisher = Publisher::start(fabric.directory(), options).unwrap();
        Victim { fabric, publisher }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.fabric.port("web").address()
    }

    fn count(&self, name: &str) -> u64 {
        peers(&self.publisher, name)
    }

    /// A new subscriber hears what is said from now on.
    async fn still_serves(&self) {
        let mut hearing = self.fabric.hear();
        hearing.started("web").await;
        heard(&self.publisher, "web.a").await;
        say(&self.publisher, "web.a", 0..100).await;
        assert!(hearing.numbers(100).await.into_iter().eq(0..100));
    }
}

#[tokio::test]
async fn f1_garbage() {
    let victim = Victim::start();
    for seed in 0..20 {
        let mut stranger = Raw::connect(victim.address()).await;
        stranger.send(&garbage(seed, 10_000)).await;
        stranger.closed().await;
    }
    until("all to be counted", || victim.count("handshakes_failed") == 20).await;
    for seed in 0..20 {
        let mut peer = Raw::subscriber(victim.address(), seed % 2 == 0).await;
        // A reserved flag, so that no seed happens to make sense.
        peer.send(&[0xff]).await;
        peer.send(&garbage(seed, 10_000)).await;
        peer.closed().await;
    }
    until("all to be gone", || victim.count("peers") == 0).await;
    victim.still_serves().await;
}

#[tokio::test]
async fn f2_giant_frame_before_the_handshake() {
    let victim = Victim::start();
    for flags in [0, 1, 4] {
        let mut stranger = Raw::connect(victim.address()).await;
        stranger.send(&wire::greeting()).await;
        stranger.send(&giant(flags)).await;
        stranger.closed().await;
    }
    until("all to be counted", || victim.count("handshakes_failed") == 3).await;
    victim.still_serves().await;
}

#[tokio::test]
async fn f2_giant_frame_after_the_handshake() {
    let victim = Victim::start();
    for flags in [0, 1, 4] {
        let mut peer = Raw::subscriber(victim.address(), true).await;
        peer.send(&giant(flags)).await;
        peer.closed().await;
    }
    until("all to be gone", || victim.count("peers") == 0).await;
    victim.still_serves().await;
}

#[tokio::test]
async fn f3_million_parts() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    let thousand = [1, 0].repeat(1_000);
    for _ in 0..1_000 {
        if !peer.send(&thousand).await {
            break;
        }
    }
    peer.closed().await;
    until("it to be gone", || victim.count("peers") == 0).await;
    victim.still_serves().await;
}

#[tokio::test]
async fn f4_slowloris() {
    let victim = Victim::start();
    let greeting = wire::greeting();
    let mut silent = Raw::connect(victim.address()).await;
    let mut slow = Raw::connect(victim.address()).await;
    let mut never_ready = Raw::connect(victim.address()).await;
    never_ready.send(&greeting).await;
    // Whoever was greeted is being waited for.
    for stranger in [&mut silent, &mut slow, &mut never_ready] {
        stranger.take(64).await;
    }
    tokio::time::pause();
    for byte in &greeting[..5] {
        slow.send(&[*byte]).await;
        tokio::time::advance(HANDSHAKE / 6).await;
    }
    assert_eq!(victim.count("handshakes_failed"), 0);
    tokio::time::advance(HANDSHAKE / 3).await;
    tokio::time::resume();
    for mut stranger in [silent, slow, never_ready] {
        stranger.closed().await;
    }
    assert_eq!(victim.count("handshakes_failed"), 3);
    victim.still_serves().await;
}

#[tokio::test]
async fn f5_subscription_flood() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    for number in 0..10_000 {
        let prefix = format!("{number:0>200}");
        if !peer.send(&wire::subscribe(prefix.as_bytes(), 1)).await {
            break;
        }
    }
    peer.closed().await;
    until("it to be counted", || victim.count("cut_off_subscriptions") == 1).await;
    assert_eq!(victim.count("peers"), 0);
    victim.still_serves().await;
}

#[tokio::test]
async fn f5_prefixes_too_long_to_match_are_counted_and_not_stored() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    for _ in 0..1_000 {
        assert!(peer.send(&wire::subscribe(&[b'a'; 300], 1)).await);
    }
    until("them to be counted", || victim.count("ignored_long_prefix") == 1_000).await;
    assert_eq!(victim.count("peers"), 1);
    victim.still_serves().await;
}

#[tokio::test]
async fn f5_coming_and_going_without_reading_stays_within_bounds() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    say(&victim.publisher, "web.a", 0..1).await;
    let tip = b"$tip.web";
    let round = [wire::subscribe(tip, 1), wire::cancel(tip, 1)].concat().repeat(1_000);
    for _ in 0..200 {
        if !peer.send(&round).await {
            break;
        }
        assert!(victim.count("queue_bytes") <= MOST, "{}", victim.count("queue_bytes"));
    }
    victim.still_serves().await;
}

#[tokio::test]
async fn f6_connection_flood() {
    let victim = Victim::start();
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(Raw::connect_from(2, victim.address()).await);
    }
    let turned_away = 200 - HANDSHAKES_PER_ADDRESS as u64;
    until("most to be turned away", || victim.count("turned_away") == turned_away).await;
    // Others still get in.
    victim.still_serves().await;
    // And so does this address, once its strangers are gone.
    drop(strangers);
    until("them to be gone", || victim.count("handshakes_failed") == HANDSHAKES_PER_ADDRESS as u64)
        .await;
    let mut peer = Raw::connect_from(2, victim.address()).await;
    peer.shake_hands(true).await;
}

#[tokio::test]
async fn f6_established_connections_of_one_address_are_not_limited() {
    let victim = Victim::start();
    let mut all = Vec::new();
    for _ in 0..3 * HANDSHAKES_PER_ADDRESS {
        all.push(Raw::subscriber(victim.address(), true).await);
    }
    until("all to be peers", || victim.count("peers") == all.len() as u64).await;
    assert_eq!(victim.count("turned_away"), 0);
    victim.still_serves().await;
}

#[tokio::test]
async fn f16_data_sent_to_a_pub_is_dropped_and_counted() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    let mut message = Vec::new();
    wire::put_frame(&mut message, b"web.a", true);
    wire::put_frame(&mut message, b"hello", false);
    for _ in 0..1_000 {
        assert!(peer.send(&message).await);
    }
    until("all to be counted", || victim.count("ignored_message") == 1_000).await;
    // It is a peer like any other.
    peer.send(&wire::subscribe(b"web.", 1)).await;
    heard(&victim.publisher, "web.a").await;
    say(&victim.publisher, "web.a", 0..1).await;
    while peer.frame().await.1 != b"web.a" {}
    victim.still_serves().await;
}

#[tokio::test]
async fn f16_commands_that_only_a_publisher_says_are_counted() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    let (at, key) = (selvedge::Position::new(1, 0), selvedge::KeyId(1));
    let mark = wire::Mark { key, from: at, upto: at, flags: 0 };
    peer.send(&mark.encode()).await;
    peer.send(b"\x04\x06\x05WHAT?").await;
    until("both to be counted", || {
        victim.count("ignored_misdirected") == 1 && victim.count("ignored_unknown_command") == 1
    })
    .await;
    assert_eq!(victim.count("peers"), 1);
    victim.still_serves().await;
}

#[tokio::test]
async fn f16_a_flood_of_pings_is_answered_within_bounds_or_cut() {
    let victim = Victim::start();
    let mut peer = Raw::subscriber(victim.address(), true).await;
    let pings = wire::ping(0, &[7; 16]).repeat(10_000);
    let flood = async {
        for _ in 0..100 {
            if !peer.send(&pings).await {
                break;
            }
        }
    };
    // Answers that nobody reads fill sockets; the flood ends there or at the queue's bound.
    let _ = tokio::time::timeout(Duration::from_secs(3), flood).await;
    assert!(victim.count("queue_bytes") <= MOST, "{}", victim.count("queue_bytes"));
    soon("honest subscribers", victim.still_serves()).await;
}
