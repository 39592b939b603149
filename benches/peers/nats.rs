//! NATS core: published and subscribed, at most once, over a server of its own. Publishers have a
//! thread beside the application's, because the client encodes and writes in a task of its own;
//! subscribers have one.

use anyhow::Result;
use async_nats::{Client, ConnectOptions, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::case::TOPICS;
use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Way};
use crate::servers;
use crate::signed::runtime;
use crate::zeromq_crate::two_threads;

pub const PEER: Peer = Peer {
    name: servers::NATS.name,
    publish,
    subscribe,
    middle: Middle::Server(&servers::NATS),
    ipc: false,
    topics: true,
    drops: false,
};

fn publish(bodies: &mut Publishing) -> Result<()> {
    two_threads()?.block_on(async {
        let server = bodies.place().endpoint("");
        let client = connect(&server).await?;
        bodies.listening(&server)?;
        let subjects: Vec<Subject> = bodies.topics().map(Subject::from).collect();
        while let Some((topic, body)) = bodies.next() {
            client.publish(subjects[topic].clone(), Bytes::copy_from_slice(body)).await?;
        }
        Ok(client.flush().await?)
    })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    runtime(1)?.block_on(async {
        let client = connect(&way.endpoints()[0]).await?;
        let mut subscriber = client.subscribe(format!("{TOPICS}>")).await?;
        while let Ok(true) = timeout(SILENCE, some(&mut subscriber, messages)).await {}
        Ok(())
    })
}

/// Takes some messages, because a timer for each costs; whether more are due.
async fn some(subscriber: &mut Subscriber, messages: &mut Subscribing) -> bool {
    for _ in 0..100 {
        match subscriber.next().await {
            Some(message) if messages.take(&message.payload) => {}
            _ => return false,
        }
    }
    true
}

/// Subjects are not looked through at every message, and reads are as large as they may be.
async fn connect(server: &str) -> Result<Client> {
    let options = ConnectOptions::new().skip_subject_validation(true);
    Ok(options.read_buffer_capacity(u16::MAX).connect(server).await?)
}
