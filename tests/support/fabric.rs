//! A fabric on this machine for tests: services with keys and ports of their own, one directory.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use selvedge::directory::Directory;
use selvedge::subscriber::Builder;
use selvedge::{Event, Message, Notice, Notices, Publisher, Subscriber, Topic, keys, publisher};
use selvedge_core::seal::SecretKey;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything that should happen at once.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits for what should happen at once, whatever else this machine does.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}

/// Waits until `holds`, letting all others run in between.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A port of 127.0.0.1 that nobody else is given while this lives, whether or not it is bound.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _reserved: socket2::Socket,
}

impl Port {
    pub fn reserve() -> Port {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        // Another socket may listen on it then, as long as this one does not.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Port { number, _reserved: socket }
    }

    pub fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.number)
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// An entry of the directory, and what it stands for.
#[derive(Debug)]
pub struct Service {
    pub key: SecretKey,
    pub port: Port,
    /// What `endpoint` is in the directory, as TOML.
    pub endpoint: String,
    /// What `key` is in the directory, as TOML.
    pub keys: String,
    pub topics: String,
    /// Further lines of the entry.
    pub more: String,
}

impl Service {
    /// May say all topics under its own name.
    fn new(name: &str) -> Service {
        let key = keys::generate().unwrap();
        let port = Port::reserve();
        let (endpoint, keys) = (quoted(&port.endpoint()), quoted(&key.public().to_string()));
        Service { key, port, endpoint, keys, topics: format!("{name}.#"), more: String::new() }
    }
}

pub fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// See the module.
#[derive(Debug)]
pub struct Fabric {
    pub services: BTreeMap<String, Service>,
    pub relays: BTreeMap<String, Service>,
    pub revoked: Vec<String>,
    pub folder: tempfile::TempDir,
    sender: watch::Sender<Arc<Directory>>,
}

impl Fabric {
    pub fn new(names: &[&str]) -> Fabric {
        let empty = Directory::from_text("endpoints.toml", "format = 1\nfabric = \"test\"\n");
        let mut fabric = Fabric {
            services: names.iter().map(|name| (name.to_string(), Service::new(name))).collect(),
            relays: BTreeMap::new(),
            revoked: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            sender: watch::channel(Arc::new(empty.unwrap())).0,
        };
        fabric.publish();
        fabric
    }

    /// One more service; [`Fabric::publish`] makes it known.
    pub fn add(&mut self, name: &str) {
        self.services.insert(name.to_owned(), Service::new(name));
    }

    /// One more relay, which carries everything; `more` are further lines of its entry.
    pub fn add_relay(&mut self, name: &str, more: &str) {
        let topics = "#".to_owned();
        let relay = Service { topics, more: more.to_owned(), ..Service::new(name) };
        self.relays.insert(name.to_owned(), relay);
        self.publish();
    }

    /// Runs a relay, which hears services and these other relays.
    pub fn relay(&self, name: &str, via: &[&str]) -> Relay {
        let key = self.relays[name].key.clone();
        let mut config = selvedge_relay::Config::new(name.parse().unwrap(), key);
        config.state = self.folder.path().join(name);
        config.via = via.iter().map(|name| name.parse().unwrap()).collect();
        let node = selvedge_relay::Node::start(self.directory(), config).unwrap();
        Relay(tokio::spawn(node.run(CancellationToken::new())))
    }

    pub fn service(&mut self, name: &str) -> &mut Service {
        self.services.get_mut(name).unwrap()
    }

    pub fn port(&self, name: &str) -> &Port {
        &self.services[name].port
    }

    /// The directory as a file.
    pub fn text(&self) -> String {
        let mut text = "format = 1\nfabric = \"test\"\n".to_owned();
        for (name, Service { endpoint, keys, topics, more, .. }) in &self.services {
            let endpoint = match endpoint.is_empty() {
                true => String::new(),
                false => format!("endpoint = {endpoint}\n"),
            };
            text += &format!("[services.{name}]\n{endpoint}key = {keys}\n");
            text += &format!("topics = [\"{topics}\"]\n{more}\n");
        }
        for (name, Service { endpoint, keys, topics, more, .. }) in &self.relays {
            text += &format!("[relays.{name}]\nendpoint = {endpoint}\nkey = {keys}\n");
            text += &format!("carries = [\"{topics}\"]\n{more}\n");
        }
        text + &format!("[revoked]\nkeys = {:?}\n", self.revoked)
    }

    /// Makes the directory as it is now known to all publishers and subscribers.
    pub fn publish(&mut self) {
        let directory = Directory::from_text("endpoints.toml", &self.text()).unwrap();
        self.sender.send_replace(Arc::new(directory));
    }

    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.sender.subscribe()
    }

    /// The directory as it is now, for who cannot dial services: they are heard over relays.
    pub fn relays_only(&self) -> watch::Receiver<Arc<Directory>> {
        let text = self.text();
        let (services, relays) = text.split_once("[relays.").unwrap();
        let kept = services.lines().filter(|line| !line.starts_with("endpoint"));
        let services: String = kept.flat_map(|line| [line, "\n"]).collect();
        let text = format!("{services}[relays.{relays}");
        watch::channel(Arc::new(Directory::from_text("endpoints.toml", &text).unwrap())).1
    }

    pub fn options(&self, name: &str) -> publisher::Options {
        let key = self.services[name].key.clone();
        let mut options = publisher::Options::new(name.parse().unwrap(), key);
        options.state = self.folder.path().join(name);
        options
    }

    pub fn publisher(&self, name: &str) -> Publisher {
        Publisher::start(self.directory(), self.options(name)).unwrap()
    }

    /// All its services keep a journal.
    pub fn journaled(names: &[&str]) -> Fabric {
        let mut fabric = Fabric::new(names);
        names.iter().for_each(|name| fabric.keep_journal(name));
        fabric.publish();
        fabric
    }

    /// This service keeps a journal.
    pub fn keep_journal(&mut self, name: &str) {
        self.service(name).more = "journal = true\ndurability = \"buffered\"".to_owned();
    }

    /// A subscriber that remembers how far it has come.
    pub fn named(&self, name: &str) -> Builder {
        let to = Subscriber::to(self.directory()).name(name.parse().unwrap());
        to.state(self.folder.path())
    }

    /// Where that is.
    pub fn cursor(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("cursors").join(name)
    }

    /// Subscribes to everything.
    pub fn hear(&self) -> Hearing {
        Hearing::new(Subscriber::to(self.directory()))
    }
}

/// A relay that runs until it is killed, or the test ends.
#[derive(Debug)]
pub struct Relay(tokio::task::JoinHandle<()>);

impl Relay {
    /// Its task and sockets are gone, in the middle of whatever it did.
    pub async fn kill(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

/// A subscriber and what it is told of links.
#[derive(Debug)]
pub struct Hearing {
    pub subscriber: Subscriber,
    pub notices: mpsc::Receiver<Notice>,
}

impl Hearing {
    pub fn new(builder: Builder) -> Hearing {
        let (sender, notices) = mpsc::channel(100_000);
        Hearing { subscriber: builder.notices(Notices::to(sender)).connect().unwrap(), notices }
    }

    /// The first notice from now on that `wanted` takes.
    pub async fn notice<T>(&mut self, what: &str, wanted: impl Fn(&Notice) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let notice = self.notices.recv().await.unwrap();
                if let Some(found) = wanted(&notice) {
                    return found;
                }
            }
        })
        .await
    }

    /// Waits until the stream of `name` has begun: from there on everything is told.
    pub async fn started(&mut self, name: &str) {
        self.notice("a stream to start", |notice| match notice {
            Notice::Started { publisher, .. } if publisher.as_str() == name => Some(()),
            _ => None,
        })
        .await
    }

    pub async fn connected(&mut self, to: &str) {
        self.notice("a link to come up", |notice| match notice {
            Notice::Connected { name, .. } if name.as_str() == to => Some(()),
            _ => None,
        })
        .await
    }

    /// Why a link went down or did not come up.
    pub async fn disconnected(&mut self, from: &str) -> String {
        self.notice("a link to go down", |notice| match notice {
            Notice::Disconnected { name, why, .. } if name.as_str() == from => Some(why.clone()),
            _ => None,
        })
        .await
    }

    pub async fn event(&mut self) -> Event {
        soon("an event", self.subscriber.next()).await.unwrap()
    }

    /// The next event, which must be a message.
    pub async fn message(&mut self) -> Message {
        match self.event().await {
            Event::Message(message) => message,
            Event::Lost(lost) => panic!("{lost:?}"),
        }
    }

    /// The numbers in the next `count` messages.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            numbers.push(self.message().await.decode().unwrap());
        }
        numbers
    }

    pub fn count(&self, name: &str) -> u64 {
        self.subscriber.counters().snapshot()[name]
    }
}

/// Says `numbers` on `topic`, waiting for room in the intake only.
pub async fn say(publisher: &Publisher, topic: &str, numbers: std::ops::Range<u64>) {
    let topic: Topic = topic.parse().unwrap();
    for number in numbers {
        publisher.ready().await;
        publisher.publish(topic.clone(), &number).unwrap();
    }
}

/// Waits until somebody gets what is said on `topic`.
pub async fn heard(publisher: &Publisher, topic: &str) {
    let listeners = soon("a listener", publisher.listeners(&topic.parse().unwrap())).await;
    assert!(listeners > 0, "the publisher is closed");
}

/// What a publisher counts of its peers.
pub fn peers(publisher: &Publisher, name: &str) -> u64 {
    publisher.counters().snapshot()[name]
}
