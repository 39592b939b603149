//! Does a relay send on what it hears, unchanged, in order, once, whatever its surroundings?

use std::sync::Arc;
use std::time::Duration;

use selvedge::directory::Directory;
use selvedge::{Event, Name, Notice, Notices, Publisher, Subscriber, keys, publisher};
use selvedge_core::seal::SecretKey;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const LIMIT: Duration = Duration::from_secs(20);

/// A fabric of one service and the relays `names`, on abstract sockets of this process and test.
struct Fabric {
    directory: watch::Receiver<Arc<Directory>>,
    web: SecretKey,
    relays: Vec<(Name, SecretKey)>,
    state: tempfile::TempDir,
}

impl Fabric {
    fn new(test: &str, names: &[&str]) -> Fabric {
        let web = keys::generate().unwrap();
        let socket = |name| format!("ipc://@selvedge-{}-{test}-{name}", std::process::id());
        let mut text = format!(
            "format = 1\nfabric = \"test\"\n[services.web]\nendpoint = \"{}\"\nkey = \"{}\"\n\
             topics = [\"a.#\"]\n",
            socket("web"),
            web.public()
        );
        let mut relays = Vec::new();
        for name in names {
            let key = keys::generate().unwrap();
            text += &format!(
                "[relays.{name}]\nendpoint = \"{}\"\nkey = \"{}\"\ncarries = [\"#\"]\n",
                socket(name),
                key.public()
            );
            relays.push((name.parse().unwrap(), key));
        }
        let directory = Directory::from_text("endpoints.toml", &text).unwrap();
        let directory = watch::channel(Arc::new(directory)).1;
        Fabric { directory, web, relays, state: tempfile::tempdir().unwrap() }
    }

    fn publisher(&self) -> Publisher {
        let mut options = publisher::Options::new("web".parse().unwrap(), self.web.clone());
        options.state = self.state.path().join("web");
        Publisher::start(self.directory.clone(), options).unwrap()
    }

    fn relay(&self, at: usize, via: &[&str]) -> AbortOnDropHandle<()> {
        let (name, key) = &self.relays[at];
        let mut config = selvedge_relay::Config::new(name.clone(), key.clone());
        config.state = self.state.path().join(name.as_str());
        config.via = via.iter().map(|name| name.parse().unwrap()).collect();
        let node = selvedge_relay::Node::start(self.directory.clone(), config).unwrap();
        AbortOnDropHandle::new(tokio::spawn(node.run(CancellationToken::new())))
    }

    /// A subscriber that is connected all the way: its stream has begun.
    async fn subscriber(&self, via: &[usize]) -> Subscriber {
        let (notices, mut told) = mpsc::channel(64);
        let all = Subscriber::to(self.directory.clone()).notices(Notices::to(notices));
        let subscriber =
            via.iter().fold(all, |to, at| to.via(self.relays[*at].0.clone())).connect().unwrap();
        let started = async { while !matches!(told.recv().await, Some(Notice::Started { .. })) {} };
        tokio::time::timeout(LIMIT, started).await.unwrap();
        subscriber
    }
}

async fn bodies(subscriber: &mut Subscriber, count: usize) -> Vec<u64> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        match tokio::time::timeout(LIMIT, subscriber.next()).await {
            Ok(Some(Event::Message(message))) => bodies.push(message.decode().unwrap()),
            other => panic!("{other:?} after {} messages", bodies.len()),
        }
    }
    bodies
}

async fn say(publisher: &Publisher, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publisher.ready().await;
        publisher.publish(["a.x", "a.y"][number as usize % 2], &number).unwrap();
    }
}

#[tokio::test]
async fn what_comes_through_a_relay_is_all_there_is_in_order() {
    let fabric = Fabric::new("one", &["edge"]);
    let publisher = fabric.publisher();
    let _edge = fabric.relay(0, &[]);
    let mut subscriber = fabric.subscriber(&[0]).await;
    say(&publisher, 0..5_000).await;
    assert_eq!(bodies(&mut subscriber, 5_000).await, (0..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_relays_side_by_side_deliver_once() {
    let fabric = Fabric::new("two", &["east", "west"]);
    let publisher = fabric.publisher();
    let _relays = [fabric.relay(0, &[]), fabric.relay(1, &[])];
    let mut subscriber = fabric.subscriber(&[0, 1]).await;
    say(&publisher, 0..5_000).await;
    assert_eq!(bodies(&mut subscriber, 5_000).await, (0..5_000).collect::<Vec<_>>());
    publisher.publish("a.x", &5_000u64).unwrap();
    assert_eq!(bodies(&mut subscriber, 1).await, [5_000]);
}

#[tokio::test]
async fn a_ring_of_relays_comes_to_rest() {
    let fabric = Fabric::new("ring", &["a", "b", "c"]);
    let publisher = fabric.publisher();
    let _ring = [fabric.relay(0, &["c"]), fabric.relay(1, &["a"]), fabric.relay(2, &["b"])];
    let mut subscriber = fabric.subscriber(&[1]).await;
    say(&publisher, 0..1_000).await;
    assert_eq!(bodies(&mut subscriber, 1_000).await, (0..1_000).collect::<Vec<_>>());
    publisher.publish("a.x", &1_000u64).unwrap();
    assert_eq!(bodies(&mut subscriber, 1).await, [1_000]);
}
