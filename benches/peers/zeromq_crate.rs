//! The `zeromq` crate, PUB and SUB, unsigned: the topic in a frame of its own. Its PUB drops what
//! subscribers do not take in time. Its publisher and relay have a thread beside the application's,
//! because this sends and writes in tasks of its own; its subscriber has one.

use anyhow::Result;
use bytes::Bytes;
use tokio::time::timeout;
use zeromq::{PubSocket, Socket as _, SocketRecv as _, SocketSend as _, SubSocket, ZmqMessage};

use crate::case::TOPICS;
use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Place, Way};
use crate::process::{Word, say};

pub const PEER: Peer = Peer {
    name: "zeromq",
    publish,
    subscribe,
    middle: Middle::Relay(forward),
    ipc: true,
    topics: true,
    drops: true,
};

/// After this many messages its tasks get their turn.
const TURN: usize = 512;

fn publish(bodies: &mut Publishing) -> Result<()> {
    two_threads()?.block_on(async {
        let mut socket = PubSocket::new();
        let endpoint = socket.bind(&bodies.place().endpoint("0")).await?;
        bodies.listening(&endpoint.to_string())?;
        let topics: Vec<Bytes> = bodies.topics().map(Bytes::from).collect();
        let mut sent = 0;
        while let Some((topic, body)) = bodies.next() {
            let mut message = ZmqMessage::from(topics[topic].clone());
            message.push_back(Bytes::copy_from_slice(body));
            socket.send(message).await?;
            sent += 1;
            if bodies.is_paced() || sent % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    })
}

fn forward(publishers: &[String], place: &Place) -> Result<()> {
    two_threads()?.block_on(async {
        let mut to = PubSocket::new();
        let endpoint = to.bind(&place.endpoint("0")).await?;
        let mut from = connected(publishers).await?;
        say(&Word::Listening(endpoint.to_string()))?;
        loop {
            to.send(from.recv().await?).await?;
        }
    })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = connected(way.endpoints()).await?;
        while let Ok(message) = timeout(SILENCE, socket.recv()).await {
            let message = message?;
            if !messages.take(message.get(1).map_or(&[], |body| &body[..])) {
                break;
            }
        }
        Ok(())
    })
}

async fn connected(endpoints: &[String]) -> Result<SubSocket> {
    let mut socket = SubSocket::new();
    for endpoint in endpoints {
        socket.connect(endpoint).await?;
    }
    socket.subscribe(TOPICS).await?;
    Ok(socket)
}

/// One thread beside the one that calls.
pub fn two_threads() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}
