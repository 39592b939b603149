//! Is what is measured the path that refuses? The benchmark's subscriber, a real publisher, and
//! between them something that changes one bit.
#![allow(dead_code, reason = "the benchmark's own modules, of which this needs some")]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "brokers")]
mod amqp;
mod case;
mod engine;
mod libzmq;
mod measure;
#[cfg(feature = "brokers")]
mod mqtt;
#[cfg(feature = "brokers")]
mod nats;
mod peer;
mod process;
#[cfg(feature = "brokers")]
mod redis;
mod servers;
mod signed;
mod socket;
mod tcp;
mod window;
#[cfg(feature = "zenoh")]
mod zenoh;
mod zeromq_crate;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;

use case::{Case, Transport};
use measure::{Kind, Received, STAMP, Subscribing};
use peer::{Place, Way};
use selvedge::publisher::Options;
use selvedge::{ContentType, Outgoing, Publisher, Topic};
use socket2::Socket;
use tokio::sync::watch;

/// What the body to be changed is full of.
const MARK: u8 = 0xEE;

/// So many of them in a row are nothing else.
const ROW: [u8; 8] = [MARK; 8];

const MESSAGES: u64 = 3;

#[tokio::test]
async fn what_nobody_touched_is_counted() {
    let (received, outcome) = hear(false).await;
    assert_eq!((received.messages, received.misplaced), (MESSAGES, 0));
    outcome.unwrap();
}

#[tokio::test]
async fn a_packet_with_one_bit_changed_is_refused() {
    let (received, _) = hear(true).await;
    // Only what came before it: what follows waits until the hole is closed or told as lost.
    assert_eq!((received.messages, received.misplaced), (1, 0));
}

/// What the benchmark's subscriber counts of a few messages, the second of which is full of
/// [`MARK`].
async fn hear(change: bool) -> (Received, anyhow::Result<()>) {
    let (listener, endpoint) = signed::listener(&Place::Tcp).unwrap();
    let way = Way { publishers: vec![between(&endpoint, change)], relay: None };
    let state = tempfile::tempdir().unwrap();
    let mut options = Options::new("p0".parse().unwrap(), signed::key(0));
    options.listener = Some(listener);
    options.state = state.path().into();
    let directory = watch::channel(signed::directory(&way).unwrap()).1;
    let publisher = Publisher::start(directory, options).unwrap();
    let topic: Topic = case().topic(0).parse().unwrap();
    let hearing = thread::spawn(move || {
        let mut messages = Subscribing::new(case(), 0, None);
        let outcome = signed::subscribe(&mut messages, &way);
        (messages.report(), outcome)
    });
    publisher.listeners(&topic).await;
    for number in 0..MESSAGES {
        say(&publisher, &topic, number, Kind::Message).await;
    }
    say(&publisher, &topic, MESSAGES, Kind::End).await;
    tokio::task::spawn_blocking(|| hearing.join().unwrap()).await.unwrap()
}

/// Says one message, in a commit of its own.
async fn say(publisher: &Publisher, topic: &Topic, number: u64, kind: Kind) {
    let mut body = vec![if number == 1 { MARK } else { b'x' }; case().bytes];
    body[..STAMP].fill(0);
    body[..8].copy_from_slice(&number.to_le_bytes());
    body[20..STAMP].copy_from_slice(&(kind as u32).to_le_bytes());
    let message = Outgoing::raw(topic.clone(), ContentType::BYTES, body).unwrap();
    publisher.send(message).unwrap().sent().await.unwrap();
}

fn case() -> Case {
    Case {
        transport: Transport::Tcp,
        publishers: 1,
        subscribers: 1,
        relayed: false,
        bytes: 256,
        topics: 1,
        rate: None,
        seconds: 1.0,
    }
}

/// Hands on what one subscriber and the publisher say to each other, and changes one bit of each
/// row of marks if told to. Its own endpoint.
fn between(publisher: &str, change: bool) -> String {
    let (listener, endpoint) = socket::listen(&Place::Tcp).unwrap();
    let publisher = publisher.to_owned();
    thread::spawn(move || {
        let (down, up) = (socket::accept(&listener).unwrap(), socket::connect(&publisher).unwrap());
        let (from, to) = (down.try_clone().unwrap(), up.try_clone().unwrap());
        thread::spawn(move || copy(from, to, false));
        copy(up, down, change);
    });
    endpoint
}

/// Until either side is gone.
fn copy(mut from: Socket, mut to: Socket, change: bool) {
    let mut buffer = vec![0; 64 * 1_024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..count];
        if change && let Some(at) = bytes.windows(ROW.len()).position(|row| row == ROW) {
            bytes[at] ^= 1;
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both); // it may be gone
}
