//! Selvedge's engine without seals: the fan-out and sockets of the library, the wire of the core,
//! plain messages of a topic and a body.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use selvedge::outlet::Options;
use selvedge::{Listener, Outlet, Topic};
use selvedge_core::limits::{HOLD_BYTES, READ_BYTES};
use selvedge_core::seal::{Commit, Header, Sealed};
use selvedge_core::wire::{self, Connection, Event, Limits, Role};
use selvedge_core::{KeyId, Wall};
use smallvec::smallvec;

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::{Peer, Way};

pub const PEER: Peer = Peer { name: "engine", publish, subscribe, forward: None };

const TOPIC: &str = "org.example.bench.inventory.item";

/// Messages encoded and queued together while nobody waits for a single one.
const BATCH: u16 = 64;

fn publish(bodies: &mut Publishing) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        bodies.listening(&listener.local_addr()?.to_string())?;
        let mut outlet = Outlet::new(Listener::from_tcp(listener)?, Options::default());
        let topic: Topic = TOPIC.parse()?;
        while outlet.listeners(&topic) < bodies.subscribers() {
            outlet.turn().await;
        }
        let most = if bodies.is_paced() { 1 } else { BATCH };
        let mut first = 0;
        while let Some(commit) = batch(bodies, &topic, first, most) {
            first += u64::from(commit.header.n);
            outlet.send(&commit);
            while outlet.queued_bytes() > HOLD_BYTES {
                outlet.turn().await;
            }
            tokio::task::yield_now().await;
        }
        while outlet.waiting() > 0 {
            outlet.turn().await;
        }
        outlet.close().await;
        Ok(())
    })
}

/// The next messages, as the fan-out takes them: one slice for all peers.
fn batch(bodies: &mut Publishing, topic: &Topic, first: u64, most: u16) -> Option<Commit> {
    let mut bytes = Vec::new();
    let mut n = 0;
    while n < most
        && let Some(body) = bodies.next()
    {
        wire::put_frame(&mut bytes, topic.as_bytes(), true);
        wire::put_frame(&mut bytes, body, false);
        n += 1;
    }
    let header = Header { key: KeyId(1), epoch: 1, commit: 0, first, time: Wall(0), n, m: 1 };
    let packet = Sealed { topic: topic.clone(), numbers: n, wire: smallvec![Bytes::from(bytes)] };
    (n > 0).then(|| Commit { header, packets: vec![packet] })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let endpoint = way.endpoint();
    let mut stream = TcpStream::connect(endpoint)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
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
        for event in events.drain(..) {
            match event {
                Event::Send(bytes) => stream.write_all(&bytes)?,
                Event::Ready(peer) => stream.write_all(&wire::subscribe(b"", peer.minor))?,
                Event::Message(frames) if !messages.take(frames.part(1)) => return Ok(()),
                _ => {}
            }
        }
    }
}
