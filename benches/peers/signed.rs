//! Selvedge as it ships: signed by the library's publisher; verified, ordered and counted by its
//! subscriber, with directory and all. One thread on each side.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use selvedge::directory::Directory;
use selvedge::publisher::Options;
use selvedge::{ContentType, Event, Listener, Outgoing, Publisher, Subscriber, Topic};
use selvedge_core::seal::SecretKey;
use selvedge_relay::{Config, Node};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::process::{Word, say};
use crate::{Peer, Way};

pub const PEER: Peer = Peer { name: "selvedge", publish, subscribe, forward: Some(forward) };

const TOPIC: &str = "org.example.bench.inventory.item";

/// After this many messages the publisher's task gets its turn on the one thread.
const TURN: usize = 512;

fn publish(bodies: &mut Publishing) -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("tcp://{}", listener.local_addr()?);
        let state = tempfile::tempdir()?;
        let mut options = Options::new("bench".parse()?, key());
        options.listener = Some(Listener::from_tcp(listener)?);
        options.state = state.path().into();
        options.hold = true;
        let way = Way { publisher: endpoint.clone(), relay: None };
        let directory = watch::channel(directory(&way)?).1;
        let publisher = Publisher::start(directory, options)?;
        bodies.listening(&endpoint)?;
        let topic: Topic = TOPIC.parse()?;
        while publisher.listeners(&topic).await < bodies.subscribers() {
            tokio::task::yield_now().await;
        }
        send(bodies, &publisher, &topic).await?;
        publisher.close(SILENCE).await?;
        Ok(())
    })
}

async fn send(bodies: &mut Publishing, publisher: &Publisher, topic: &Topic) -> Result<()> {
    let paced = bodies.is_paced();
    let mut sent = 0;
    while let Some(body) = bodies.next() {
        let message = Outgoing::raw(topic.clone(), ContentType::BYTES, body.to_vec())?;
        publisher.send_when_ready(message).await?;
        sent += 1;
        if paced || sent % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// A relay as it ships: it verifies everything. It hears the publisher once somebody hears it.
fn forward(publisher: &str) -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("tcp://{}", listener.local_addr()?);
        let way = Way { publisher: String::new(), relay: Some(endpoint.clone()) };
        let (directory, directories) = watch::channel(directory(&way)?);
        let mut config = Config::new("edge".parse()?, relay_key());
        let state = tempfile::tempdir()?;
        config.state = state.path().into();
        config.listener = Some(Listener::from_tcp(listener)?);
        let node = Node::start(directories, config)?;
        let peers = node.counters().peers;
        say(&Word::Listening(endpoint))?;
        let found = async {
            while peers.snapshot().get("peers").is_none_or(|count| *count == 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let way = Way { publisher: publisher.to_owned(), ..way };
            directory.send_replace(self::directory(&way)?);
            std::future::pending().await
        };
        tokio::select! {
            () = node.run(CancellationToken::new()) => Ok(()),
            failed = found => failed,
        }
    })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    runtime()?.block_on(async {
        let directory = watch::channel(directory(way)?).1;
        let subscriber = Subscriber::to(directory);
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

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn relay_key() -> SecretKey {
    SecretKey::from_seed(&[8; 32])
}

fn directory(way: &Way) -> Result<Arc<Directory>> {
    let mut text = "format = 1\nfabric = \"bench\"\n".to_owned();
    if !way.publisher.is_empty() {
        text += &format!(
            "[services.bench]\nendpoint = \"{}\"\nkey = \"{}\"\n\
             topics = [\"org.example.bench.#\"]\n",
            way.publisher,
            key().public()
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
