//! Selvedge's engine without seals: the fan-out and sockets of the library, the wire of the core,
//! plain messages of a topic and a body.

use std::io::{ErrorKind, Read as _, Write as _};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use selvedge::outlet::Options;
use selvedge::{Outlet, Topic};
use selvedge_core::limits::{HOLD_BYTES, READ_BYTES};
use selvedge_core::seal::{Commit, Header, Sealed};
use selvedge_core::wire::{self, Connection, Event, Limits, Role};
use selvedge_core::{KeyId, Wall};
use smallvec::smallvec;

use crate::measure::{Publishing, Subscribing};
use crate::peer::{Middle, Peer, Way};
use crate::signed::{listener, topics};
use crate::tcp::each;

pub const PEER: Peer = Peer {
    name: "engine",
    publish,
    subscribe,
    middle: Middle::None,
    ipc: true,
    topics: true,
    drops: false,
};

/// Messages encoded and queued together while nobody waits for a single one.
const BATCH: u16 = 64;

fn publish(bodies: &mut Publishing) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (listener, endpoint) = listener(bodies.place())?;
        bodies.listening(&endpoint)?;
        let mut outlet = Outlet::new(listener, Options::default());
        let topics = topics(bodies)?;
        let mut first = 0;
        while let Some(commit) = batch(bodies, &topics, first) {
            first += u64::from(commit.header.n);
            outlet.send(&commit);
            while outlet.queued_bytes() > HOLD_BYTES {
                outlet.turn().await;
            }
            tokio::select! {
                biased;
                () = outlet.turn() => {}
                () = tokio::task::yield_now() => {}
            }
        }
        outlet.close().await;
        Ok(())
    })
}

/// The next messages, as the fan-out takes them: one slice for all peers, and one packet for those
/// of a topic that follow each other.
fn batch(bodies: &mut Publishing, topics: &[Topic], first: u64) -> Option<Commit> {
    let mut groups: Vec<(usize, u16, Vec<u8>)> = Vec::new();
    let mut n = 0;
    while n < BATCH
        && let Some((topic, body)) = bodies.next()
    {
        n += 1;
        if groups.last().is_none_or(|(last, ..)| *last != topic) {
            groups.push((topic, 0, Vec::new()));
        }
        if let Some((_, numbers, bytes)) = groups.last_mut() {
            *numbers += 1;
            wire::put_frame(bytes, topics[topic].as_bytes(), true);
            wire::put_frame(bytes, body, false);
        }
        if bodies.is_paced() {
            break;
        }
    }
    let packet = |(topic, numbers, bytes): (usize, u16, Vec<u8>)| {
        let wire = smallvec![Bytes::from(bytes)];
        Sealed { topic: topics[topic].clone(), numbers, wire }
    };
    let header = Header { key: KeyId(1), epoch: 1, commit: 0, first, time: Wall(0), n, m: 1 };
    let packets = groups.into_iter().map(packet).collect();
    (n > 0).then_some(Commit { header, packets })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    each(way.endpoints(), messages, |mut stream, messages| {
        stream.write_all(&wire::greeting())?;
        let mut connection = Connection::new(Role::Subscriber, Limits::default());
        let (mut buffer, mut events) = (BytesMut::new(), Vec::new());
        loop {
            let start = buffer.len();
            buffer.resize(start + READ_BYTES, 0);
            match stream.read(&mut buffer[start..]) {
                Ok(0) => return Ok(()),
                Ok(count) => buffer.truncate(start + count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            connection.handle(&mut buffer, &mut events)?;
            let mut messages = messages.lock().unwrap_or_else(|broken| broken.into_inner());
            for event in events.drain(..) {
                match event {
                    Event::Send(bytes) => stream.write_all(&bytes)?,
                    Event::Ready(peer) => stream.write_all(&wire::subscribe(b"", peer.minor))?,
                    Event::Message(frames) if !messages.take(frames.part(1)) => return Ok(()),
                    _ => {}
                }
            }
        }
    })
}
