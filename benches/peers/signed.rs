//! Selvedge as it ships: signed by the library's publisher; verified, ordered and counted by its
//! subscriber, with directory and all. One thread on each side.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use selvedge::directory::Directory;
use selvedge::publisher::{Options, PublishError};
use selvedge::{ContentType, Event, Listener, Outgoing, Publisher, Subscriber, Topic};
use selvedge_core::seal::SecretKey;
use tokio::sync::watch;

use crate::Peer;
use crate::measure::{Publishing, SILENCE, Subscribing};

pub const PEER: Peer = Peer { name: "selvedge", publish, subscribe };

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
        let publisher = Publisher::start(directory(&endpoint)?, options)?;
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
        while let Err(error) = publisher.send(message.clone()) {
            match error {
                PublishError::Full => publisher.ready().await,
                other => return Err(other.into()),
            }
        }
        sent += 1;
        if paced || sent % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

fn subscribe(messages: &mut Subscribing, endpoint: &str) -> Result<()> {
    runtime()?.block_on(async {
        let mut subscriber = Subscriber::to(directory(endpoint)?).connect()?;
        loop {
            let event = tokio::time::timeout(SILENCE, subscriber.next());
            match event.await {
                Ok(Some(Event::Message(message))) if messages.take(&message.body) => {}
                Ok(Some(Event::Lost(lost))) => return Err(anyhow!("{lost:?}")),
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn directory(endpoint: &str) -> Result<watch::Receiver<Arc<Directory>>> {
    let text = format!(
        "format = 1\nfabric = \"bench\"\n[services.bench]\nendpoint = \"{endpoint}\"\n\
         key = \"{}\"\ntopics = [\"org.example.bench.#\"]\n",
        key().public()
    );
    let directory = Directory::from_text("endpoints.toml", &text);
    let directory = directory.map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(watch::channel(Arc::new(directory)).1)
}
