//! Zenoh, unsigned, peer to peer: reliable, and publishers wait when a queue is full. Nobody is
//! looked for or heard of: subscribers connect to publishers, or to a router between them, which is
//! what relays here. They name each topic, because with a pattern Zenoh looks anew for the
//! receivers of every message. Threads are those that it starts; it calls the subscriber's code on
//! them.

use std::mem::swap;
use std::slice::from_ref;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use serde_json::json;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::{Config, Session, Wait as _};

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Place, Way};
use crate::process::{Word, say};
use crate::servers::free_ports;

pub const PEER: Peer = Peer {
    name: "zenoh",
    publish,
    subscribe,
    middle: Middle::Relay(forward),
    ipc: true,
    topics: true,
    drops: false,
};

fn publish(bodies: &mut Publishing) -> Result<()> {
    let endpoint = endpoint(bodies.place())?;
    let session = open("peer", &[], from_ref(&endpoint))?;
    bodies.listening(&endpoint)?;
    let declare = |topic: String| {
        let publisher = session.declare_publisher(key(&topic));
        publisher.congestion_control(CongestionControl::Block).wait().map_err(|e| anyhow!(e))
    };
    let topics = bodies.topics().map(declare).collect::<Result<Vec<Publisher<'_>>>>()?;
    while let Some((topic, body)) = bodies.next() {
        topics[topic].put(body).wait().map_err(|e| anyhow!(e))?;
    }
    drop(topics);
    session.close().wait().map_err(|e| anyhow!(e))
}

fn forward(publishers: &[String], place: &Place) -> Result<()> {
    let endpoint = endpoint(place)?;
    let _session = open("router", publishers, from_ref(&endpoint))?;
    say(&Word::Listening(endpoint))?;
    loop {
        thread::park();
    }
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let mode = if way.relay.is_some() { "client" } else { "peer" };
    let session = open(mode, way.endpoints(), &[])?;
    let (done, end) = channel();
    let lent = Arc::new(Mutex::new(messages.lend()));
    let subscribe = |topic: String| {
        let (counted, done) = (lent.clone(), done.clone());
        let count = move |sample: Sample| {
            let mut messages = counted.lock().unwrap_or_else(PoisonError::into_inner);
            if !messages.take(&sample.payload().to_bytes()) {
                let _ = done.send(()); // it was told before
            }
        };
        let subscriber = session.declare_subscriber(key(&topic)).callback(count);
        subscriber.wait().map_err(|error| anyhow!(error))
    };
    // Probes have the first topic: when they come, all others are known.
    let subscribers = messages.topics().rev().map(subscribe).collect::<Result<Vec<_>>>()?;
    let mut before = None;
    while end.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
        let so_far = Some(lent.lock().unwrap_or_else(PoisonError::into_inner).messages());
        if so_far == before {
            break;
        }
        before = so_far;
    }
    drop(subscribers);
    swap(messages, &mut *lent.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

/// A session of its own, with TCP or sockets of the file system and nothing else.
fn open(mode: &str, connect: &[String], listen: &[String]) -> Result<Session> {
    let config = json!({
        "mode": mode,
        "connect": { "endpoints": connect },
        "listen": { "endpoints": listen },
        "scouting": { "multicast": { "enabled": false }, "gossip": { "enabled": false } },
    });
    let config = Config::from_json5(&config.to_string()).map_err(|error| anyhow!(error))?;
    zenoh::open(config).wait().map_err(|error| anyhow!(error))
}

/// As Zenoh writes it.
fn endpoint(place: &Place) -> Result<String> {
    Ok(match place {
        Place::Tcp => format!("tcp/{}", free_ports()?[0]),
        Place::Ipc(path) => format!("unixsock-stream/{}", path.display()),
        Place::Server(address) => format!("tcp/{address}"),
    })
}

/// Levels of a key are parted by slashes.
fn key(topic: &str) -> String {
    topic.replace('.', "/")
}
