//! MQTT 3.1.1 over Mosquitto: QoS 0, at most once, by the `rumqttc` crate, over a server of its
//! own. Publishers have a thread beside the application's, because the client encodes and writes in
//! an event loop of its own; subscribers have one. Levels of a topic are parted by slashes.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::time::timeout;

use crate::case::TOPICS;
use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Way};
use crate::servers;
use crate::signed::runtime;
use crate::zeromq_crate::two_threads;

pub const PEER: Peer = Peer {
    name: servers::MOSQUITTO.name,
    publish,
    subscribe,
    middle: Middle::Server(&servers::MOSQUITTO),
    ipc: false,
    topics: true,
    drops: false,
};

/// Messages that the application may be ahead of the event loop.
const AHEAD: usize = 1_024;

/// More than any packet has.
const PACKET: usize = 1_024 * 1_024;

fn publish(bodies: &mut Publishing) -> Result<()> {
    two_threads()?.block_on(async {
        let server = bodies.place().endpoint("");
        let (client, mut events) = connect(&server, &format!("p{}", bodies.index()))?;
        while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        let written = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        bodies.listening(&server)?;
        let topics: Vec<String> = bodies.topics().map(|topic| levels(&topic)).collect();
        while let Some((topic, body)) = bodies.next() {
            let body = Bytes::copy_from_slice(body);
            client.publish_bytes(topics[topic].as_str(), QoS::AtMostOnce, false, body).await?;
        }
        client.disconnect().await?;
        Ok(written.await?)
    })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    runtime(1)?.block_on(async {
        let (client, mut events) =
            connect(&way.endpoints()[0], &format!("s{}", std::process::id()))?;
        client.subscribe(levels(TOPICS) + "#", QoS::AtMostOnce).await?;
        while let Ok(more) = timeout(SILENCE, some(&mut events, messages)).await {
            if !more? {
                break;
            }
        }
        Ok(())
    })
}

/// Takes some messages, because a timer for each costs; whether more are due.
async fn some(events: &mut EventLoop, messages: &mut Subscribing) -> Result<bool> {
    for _ in 0..100 {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await?
            && !messages.take(&message.payload)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn connect(server: &str, name: &str) -> Result<(AsyncClient, EventLoop)> {
    let address: std::net::SocketAddr = server.parse()?;
    let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(60)).set_max_packet_size(PACKET, PACKET);
    let (client, mut events) = AsyncClient::new(options, AHEAD);
    events.network_options.set_tcp_nodelay(true);
    Ok((client, events))
}

fn levels(topic: &str) -> String {
    topic.replace('.', "/")
}
