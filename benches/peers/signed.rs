//! Selvedge as it ships: signed by the library's publisher; verified, ordered and counted by its
//! subscriber, with directory and all; passed on by its relay. One thread in each process; where a
//! subscriber hears several publishers, those that tokio's runtime has unless told otherwise.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::BytesMut;
use selvedge::directory::Directory;
use selvedge::publisher::Options;
use selvedge::{ContentType, Event, Listener, Outgoing, Publisher, Subscriber, Topic};
use selvedge_core::seal::SecretKey;
use selvedge_relay::{Config, Node};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Place, Way};
use crate::process::{Word, say};

pub const PEER: Peer = Peer {
    name: "selvedge",
    publish,
    subscribe,
    middle: Middle::Relay(forward),
    ipc: true,
    topics: true,
    drops: false,
};

/// After this many messages the publisher's task gets its turn on the one thread.
const TURN: usize = 512;

/// Bytes of bodies for which room is made at once.
const ARENA: usize = 64 * 1_024;

fn publish(bodies: &mut Publishing) -> Result<()> {
    runtime(1)?.block_on(async {
        let (listener, endpoint) = listener(bodies.place())?;
        let state = tempfile::tempdir()?;
        let index = bodies.index();
        let mut options = Options::new(name(index).parse()?, key(index));
        options.listener = Some(listener);
        options.state = state.path().into();
        options.hold = true;
        let mut publishers = vec![String::new(); index];
        publishers.push(endpoint.clone());
        let directory = directory(&Way { publishers, relay: None })?;
        let publisher = Publisher::start(watch::channel(directory).1, options)?;
        bodies.listening(&endpoint)?;
        let topics = topics(bodies)?;
        send(bodies, &publisher, &topics).await?;
        publisher.close(SILENCE).await?;
        Ok(())
    })
}

async fn send(bodies: &mut Publishing, publisher: &Publisher, topics: &[Topic]) -> Result<()> {
    let mut sent = 0;
    // Whoever says much has room for many bodies made at once.
    let mut arena = BytesMut::new();
    while let Some((topic, body)) = bodies.next() {
        let topic = topics[topic].clone();
        if arena.capacity() < body.len() {
            arena = BytesMut::with_capacity(ARENA.max(body.len()));
        }
        arena.extend_from_slice(body);
        let message = Outgoing::raw(topic, ContentType::BYTES, arena.split().freeze())?;
        publisher.send_when_ready(message).await?;
        sent += 1;
        if bodies.is_paced() || sent % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// A relay as it ships: it verifies everything.
fn forward(publishers: &[String], place: &Place) -> Result<()> {
    runtime(1)?.block_on(async {
        let (listener, endpoint) = listener(place)?;
        let way = Way { publishers: publishers.to_owned(), relay: Some(endpoint.clone()) };
        let mut config = Config::new("edge".parse()?, relay_key());
        let state = tempfile::tempdir()?;
        config.state = state.path().into();
        config.listener = Some(listener);
        config.hold = true;
        let node = Node::start(watch::channel(directory(&way)?).1, config)?;
        say(&Word::Listening(endpoint))?;
        node.run(CancellationToken::new()).await;
        Ok(())
    })
}

/// Hears all publishers, until their ends; fails at the first message that is lost.
pub fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    runtime(way.publishers.len())?.block_on(async {
        let subscriber = Subscriber::to(watch::channel(directory(way)?).1);
        let mut subscriber = match way.relay {
            Some(_) => subscriber.via("edge".parse()?).connect()?,
            None => subscriber.connect()?,
        };
        // A timer for each message would cost more than the message.
        while let Ok(more) = tokio::time::timeout(SILENCE, some(&mut subscriber, messages)).await {
            if !more? {
                break;
            }
        }
        Ok(())
    })
}

/// Takes some messages; whether more are due.
async fn some(subscriber: &mut Subscriber, messages: &mut Subscribing) -> Result<bool> {
    for _ in 0..100 {
        match subscriber.next().await {
            Some(Event::Message(message)) if messages.take(&message.body) => {}
            Some(Event::Lost(lost)) => return Err(anyhow!("{lost:?}")),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// One thread for one connection, tokio's usual ones for several: each link verifies on its own.
pub fn runtime(links: usize) -> Result<Runtime> {
    let mut builder = match links {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.enable_all().build()?)
}

/// A listener, and the endpoint to connect to. Within a runtime.
pub fn listener(place: &Place) -> Result<(Listener, String)> {
    match place {
        Place::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let endpoint = place.endpoint(&listener.local_addr()?.port().to_string());
            Ok((Listener::from_tcp(listener)?, endpoint))
        }
        Place::Ipc(_) => {
            let endpoint = place.endpoint("");
            Ok((Listener::bind(&endpoint.parse()?)?, endpoint))
        }
        Place::Server(_) => bail!("Selvedge needs no server"),
    }
}

/// The topics of a case.
pub fn topics(bodies: &Publishing) -> Result<Vec<Topic>> {
    bodies.topics().map(|topic| topic.parse().context("a topic")).collect()
}

fn name(publisher: usize) -> String {
    format!("p{publisher}")
}

/// The key of a publisher.
pub fn key(publisher: usize) -> SecretKey {
    SecretKey::from_seed(&[publisher as u8 + 1; 32])
}

fn relay_key() -> SecretKey {
    SecretKey::from_seed(&[255; 32])
}

/// What all of them read; publishers without an endpoint are left out.
pub fn directory(way: &Way) -> Result<Arc<Directory>> {
    let mut text = "format = 1\nfabric = \"bench\"\n".to_owned();
    let known = way.publishers.iter().enumerate().filter(|(_, endpoint)| !endpoint.is_empty());
    for (index, endpoint) in known {
        text += &format!(
            "[services.{}]\nendpoint = \"{endpoint}\"\nkey = \"{}\"\n\
             topics = [\"org.example.bench.#\"]\n",
            name(index),
            key(index).public()
        );
    }
    if let Some(relay) = &way.relay {
        let key = relay_key().public();
        text +=
            &format!("[relays.edge]\nendpoint = \"{relay}\"\nkey = \"{key}\"\ncarries = [\"#\"]\n");
    }
    let directory = Directory::from_text("endpoints.toml", &text);
    Ok(Arc::new(directory.map_err(|problems| anyhow!("{problems:?}"))?))
}
