//! Does a subscriber survive whatever it connects to, believe none of it, and go on hearing honest
//! publishers?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/sealed.rs"]
mod sealed;

use fabric::{Fabric, Hearing, heard, say, soon, until};
use raw::{Raw, garbage, giant};
use sealed::{Author, wire as bytes_of};
use selvedge::{Event, KeyId, Notice, Position, Publisher, Subscriber};
use selvedge_core::limits::{BAD_SEALS, HANDSHAKE, PING_AFTER, PINGS_MISSED};
use selvedge_core::wire::{self, Mark};
use tokio::net::TcpListener;

/// A subscriber to `web`, which is honest, and `evil`, which is us.
struct Scene {
    fabric: Fabric,
    web: Publisher,
    evil: TcpListener,
    hearing: Hearing,
}

impl Scene {
    async fn set() -> Scene {
        let fabric = Fabric::new(&["evil", "web"]);
        let web = fabric.publisher("web");
        let evil = TcpListener::bind(fabric.port("evil").address()).await.unwrap();
        let mut hearing = fabric.hear();
        hearing.started("web").await;
        heard(&web, "web.a").await;
        Scene { fabric, web, evil, hearing }
    }

    /// Takes the subscriber's next connection.
    async fn accept(&self) -> Raw {
        Raw::accept(&self.evil).await
    }

    /// Takes the subscriber's next connection and shakes hands with it.
    async fn connected(&mut self) -> Raw {
        let mut raw = self.accept().await;
        raw.greet().await;
        self.hearing.connected("evil").await;
        raw
    }

    fn author(&self) -> Author {
        Author::new(&self.fabric, "evil")
    }

    /// What the honest publisher says arrives, and nothing else.
    async fn still_hears(&mut self) {
        let next = self.web.accepted();
        say(&self.web, "web.a", next..next + 100).await;
        let numbers = self.hearing.numbers(100).await;
        assert!(numbers.into_iter().eq(next..next + 100));
    }
}

#[tokio::test]
async fn garbage_ends_the_connection_only() {
    let mut scene = Scene::set().await;
    let mut raw = scene.accept().await;
    raw.send(&garbage(1, 10_000)).await;
    scene.hearing.disconnected("evil").await;
    let mut raw = scene.connected().await;
    raw.send(&[0xff]).await;
    raw.send(&garbage(2, 10_000)).await;
    scene.hearing.disconnected("evil").await;
    scene.still_hears().await;
}

#[tokio::test]
async fn giant_frames_end_the_connection_before_they_are_waited_for() {
    let mut scene = Scene::set().await;
    for flags in [0, 1, 4] {
        let mut raw = scene.accept().await;
        raw.send(&wire::greeting()).await;
        raw.send(&giant(flags)).await;
        scene.hearing.disconnected("evil").await;
        let mut raw = scene.connected().await;
        raw.send(&giant(flags)).await;
        scene.hearing.disconnected("evil").await;
    }
    scene.still_hears().await;
}

#[tokio::test]
async fn a_packet_larger_than_all_packets_ends_the_connection() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut frame = Vec::new();
    wire::put_frame(&mut frame, &vec![0; 1 << 20], true);
    for _ in 0..30 {
        if !raw.send(&frame).await {
            break;
        }
    }
    assert!(scene.hearing.disconnected("evil").await.contains("message"));
    scene.still_hears().await;
}

#[tokio::test]
async fn a_publisher_that_never_sends_ready_is_given_up_after_five_seconds() {
    let mut scene = Scene::set().await;
    let mut raw = scene.accept().await;
    raw.send(&wire::greeting()).await;
    raw.take(64).await;
    raw.frame().await; // its READY: it waits for ours
    tokio::time::pause();
    tokio::time::advance(HANDSHAKE).await;
    tokio::time::resume();
    assert!(scene.hearing.disconnected("evil").await.contains("handshake"));
    raw.closed().await;
    scene.connected().await;
    scene.still_hears().await;
}

#[tokio::test]
async fn a_publisher_that_answers_no_ping_is_left() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    for _ in 0..PINGS_MISSED {
        tokio::time::pause();
        tokio::time::advance(PING_AFTER).await;
        tokio::time::resume();
        while !raw.frame().await.1.starts_with(b"\x04PING") {}
    }
    tokio::time::pause();
    tokio::time::advance(PING_AFTER).await;
    tokio::time::resume();
    assert!(scene.hearing.disconnected("evil").await.contains("sign of life"));
    raw.closed().await;
    scene.still_hears().await;
}

#[tokio::test]
async fn f7_flood_of_forged_seals_is_muted_after_ten() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut honest = scene.author();
    let mut forger = scene.author();
    forger.identity.publisher = "web".parse().unwrap(); // signs what the directory does not say
    let mut flood = Vec::new();
    for number in 0..1_000 {
        for packet in forger.sealed(&[("evil.a", &[number])]) {
            flood.extend_from_slice(&bytes_of(&packet));
        }
    }
    raw.send(&flood).await;
    until("all to be refused", || {
        scene.hearing.count("bad_signature") == u64::from(BAD_SEALS)
            && scene.hearing.count("muted") == 1_000 - u64::from(BAD_SEALS)
    })
    .await;
    // Good ones of that key are not heard on this link either, but on the next.
    raw.send(&bytes_of(&honest.sealed(&[("evil.a", &[0])])[0])).await;
    until("it to be refused", || scene.hearing.count("muted") == 991).await;
    assert_eq!(scene.hearing.count("links_down"), 0);
    scene.still_hears().await;
    drop(raw);
    let mut raw = scene.connected().await;
    raw.send(&bytes_of(&honest.sealed(&[("evil.a", &[1])])[0])).await;
    assert_eq!(scene.hearing.numbers(1).await, [1]);
}

#[tokio::test]
async fn f8_replayed_old_packets_are_duplicates() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut author = scene.author();
    let mut old = Vec::new();
    for number in 0..100 {
        old.extend_from_slice(&bytes_of(&author.sealed(&[("evil.a", &[number])])[0]));
    }
    for _ in 0..5 {
        raw.send(&old).await;
    }
    raw.send(&bytes_of(&author.sealed(&[("evil.a", &[100])])[0])).await;
    assert!(scene.hearing.numbers(101).await.into_iter().eq(0..101));
    until("all to be counted", || {
        let after = scene.hearing.count("duplicates_after_open");
        scene.hearing.count("duplicate") + after == 400
    })
    .await;
    scene.still_hears().await;
}

#[tokio::test]
async fn f15_a_stream_does_not_start_with_a_seal_far_from_now() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut author = scene.author();
    let now = author.time.0;
    for (number, time) in [(0, now + 3_600_000_000), (1, now - 3_600_000_000)] {
        author.time.0 = time;
        raw.send(&bytes_of(&author.sealed(&[("evil.a", &[number])])[0])).await;
    }
    until("both to be counted", || scene.hearing.count("stale") == 2).await;
    author.time.0 = now;
    raw.send(&bytes_of(&author.sealed(&[("evil.a", &[2])])[0])).await;
    assert_eq!(scene.hearing.numbers(1).await, [2]);
    // Now numbers decide, whatever its clock does.
    author.time.0 = now + 3_600_000_000;
    raw.send(&bytes_of(&author.sealed(&[("evil.a", &[3])])[0])).await;
    assert_eq!(scene.hearing.numbers(1).await, [3]);
    scene.still_hears().await;
}

#[tokio::test]
async fn marks_that_make_no_sense_move_nothing() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut author = scene.author();
    let key = author.identity.key_id();
    let web = scene.fabric.services["web"].key.public().id();
    let far = Position::new(u64::MAX, u64::MAX);
    let start = Position::default();
    let nonsense = [
        Mark { key, from: start, upto: far, flags: 0 },
        Mark { key, from: far, upto: start, flags: 0xff },
        Mark { key, from: far, upto: far, flags: 0 },
        Mark { key: web, from: start, upto: far, flags: 0 },
        Mark { key: KeyId(0), from: start, upto: far, flags: 0 },
    ];
    let nonsense = nonsense.map(|mark| mark.encode()).concat();
    raw.send(&nonsense).await;
    for number in 0..10 {
        raw.send(&bytes_of(&author.sealed(&[("evil.a", &[number])])[0])).await;
        raw.send(&nonsense).await;
    }
    assert!(scene.hearing.numbers(10).await.into_iter().eq(0..10));
    until("foreign ones to be counted", || scene.hearing.count("marks_ignored") == 22).await;
    assert_eq!(scene.hearing.count("lost_ranges"), 0);
    scene.still_hears().await;
    // A MARK that is too short is no MARK at all.
    raw.send(b"\x04\x06\x04MARKx").await;
    scene.hearing.disconnected("evil").await;
    scene.still_hears().await;
}

#[tokio::test]
async fn a_flood_of_marks_is_bounded_and_starves_nobody() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut author = scene.author();
    let key = author.identity.key_id();
    raw.send(&bytes_of(&author.sealed(&[("evil.a", &[0])])[0])).await;
    assert_eq!(scene.hearing.numbers(1).await, [0]);
    let mut marks = Vec::new();
    for number in 0..20_000 {
        let from = Position::new(1, 10 + 2 * number);
        let upto = Position::new(1, 11 + 2 * number);
        marks.extend_from_slice(&Mark { key, from, upto, flags: 0 }.encode());
    }
    raw.send(&marks).await;
    scene.still_hears().await;
}

#[tokio::test]
async fn what_only_subscribers_say_is_ignored() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    for _ in 0..100 {
        raw.send(&wire::subscribe(b"", 1)).await;
        raw.send(&wire::cancel(b"", 1)).await;
        raw.send(b"\x04\x06\x05WHAT?").await;
    }
    let mut author = scene.author();
    raw.send(&bytes_of(&author.sealed(&[("evil.a", &[0])])[0])).await;
    assert_eq!(scene.hearing.numbers(1).await, [0]);
    assert_eq!(scene.hearing.count("links_down"), 0);
    scene.still_hears().await;
}

#[tokio::test]
async fn what_is_no_packet_ends_a_link_that_said_x_selvedge() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut message = Vec::new();
    wire::put_frame(&mut message, b"evil.a", true);
    wire::put_frame(&mut message, b"no seal", true);
    wire::put_frame(&mut message, b"hello", false);
    raw.send(&message).await;
    scene.hearing.disconnected("evil").await;
    raw.closed().await;
    until("it to be counted", || scene.hearing.count("malformed") == 1).await;
    scene.still_hears().await;
}

#[tokio::test]
async fn what_the_key_may_not_say_is_refused_and_ends_nothing() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let mut author = scene.author();
    let mut stranger = scene.author();
    stranger.identity.key = selvedge::keys::generate().unwrap();
    raw.send(&bytes_of(&author.sealed(&[("web.a", &[0])])[0])).await;
    raw.send(&bytes_of(&stranger.sealed(&[("evil.a", &[1])])[0])).await;
    raw.send(&bytes_of(&author.sealed(&[("evil.a", &[2])])[0])).await;
    assert_eq!(scene.hearing.numbers(1).await, [2]);
    assert_eq!((scene.hearing.count("topic_denied"), scene.hearing.count("unknown_key")), (1, 1));
    let refused = |notice: &Notice| matches!(notice, Notice::Refused { .. }).then_some(());
    scene.hearing.notice("a refusal", refused).await;
    scene.still_hears().await;
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_delivered() {
    let mut scene = Scene::set().await;
    let patterns = ["evil.a", "web.#"].map(|pattern| pattern.parse().unwrap());
    let builder = Subscriber::to(scene.fabric.directory());
    let builder = patterns.into_iter().fold(builder, |builder, pattern| builder.pattern(pattern));
    let _first = scene.accept().await;
    scene.hearing = Hearing::new(builder);
    let mut raw = scene.connected().await;
    let mut author = scene.author();
    for (topic, number) in [("evil.b", 0), ("evil.a.x", 1), ("evil.a", 2)] {
        raw.send(&bytes_of(&author.sealed(&[(topic, &[number])])[0])).await;
    }
    match scene.hearing.event().await {
        Event::Message(message) => assert_eq!(message.decode::<u64>().unwrap(), 2),
        // It did not say with a MARK that the first two do not concern us.
        Event::Lost(lost) => panic!("{lost:?}"),
    }
}

#[tokio::test]
async fn one_that_pings_and_never_reads_harms_nobody_else() {
    let mut scene = Scene::set().await;
    let mut raw = scene.connected().await;
    let pings = wire::ping(0, &[7; 16]).repeat(10_000);
    // Until our answers fill both sockets, and then its own pings.
    let flood = async { while raw.send(&pings).await {} };
    let flooded = tokio::time::timeout(std::time::Duration::from_secs(3), flood).await;
    scene.still_hears().await;
    // Unless it was hung up on at once, it is removed like any other.
    if flooded.is_err() {
        scene.fabric.services.remove("evil");
        scene.fabric.publish();
        raw.closed().await;
    }
    soon("honest publishers", scene.still_hears()).await;
}
