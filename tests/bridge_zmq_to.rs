//! Do stock libzmq SUB sockets get the fabric's messages as plain topic and JSON?

#[path = "support/fabric.rs"]
mod fabric;

use std::sync::Arc;

use fabric::{Fabric, LIMIT, heard, say, soon, until};
use selvedge::{Headers, Message, Outgoing, Subscriber};
use selvedge_bridge::zmq::to::{Config, Counters, Node};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A bridge that runs, and a SUB that hears it.
struct Bridge {
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    endpoint: String,
}

impl Bridge {
    async fn start(fabric: &Fabric, origin: Option<&str>) -> Bridge {
        let (endpoint, origin) = ("tcp://127.0.0.1:0".parse().unwrap(), origin.map(str::to_owned));
        let subscriber = Subscriber::to(fabric.directory()).connect().unwrap();
        let node = Node::start(subscriber, Config { endpoint, origin, write }).await.unwrap();
        let (counters, endpoint) = (node.counters(), node.endpoint().to_string());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(node.run(shutdown.clone()));
        Bridge { counters, shutdown, task, endpoint }
    }

    fn hear(&self, prefix: &str) -> zmq::Socket {
        let socket = zmq::Context::new().socket(zmq::SUB).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_rcvhwm(0).unwrap();
        socket.set_subscribe(prefix.as_bytes()).unwrap();
        socket.connect(&self.endpoint).unwrap();
        socket
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.snapshot()[name]
    }

    async fn end(self) {
        self.shutdown.cancel();
        soon("the end", self.task).await.unwrap();
    }
}

/// The body is a number.
fn write(message: &Message, out: &mut Vec<u8>) {
    let body: u64 = message.decode().unwrap();
    out.extend(format!("{{\"id\":\"{message}\",\"body\":{body}}}").into_bytes());
}

async fn receive(socket: &zmq::Socket) -> Vec<Vec<u8>> {
    let mut frames = None;
    until("a message", || {
        frames = socket.recv_multipart(zmq::DONTWAIT).ok();
        frames.is_some()
    })
    .await;
    frames.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_topic_and_json_in_order() {
    let fabric = Fabric::new(&["web"]);
    let (publisher, bridge) = (fabric.publisher("web"), Bridge::start(&fabric, None).await);
    heard(&publisher, "web.a").await;
    let (all, some) = (bridge.hear(""), bridge.hear("web.b"));
    // A PUB does not tell who subscribes: both do when both got something.
    let mut next = 0;
    for (socket, topic) in [(&some, "web.b"), (&all, "web.b")] {
        while socket.poll(zmq::POLLIN, 10).unwrap() == 0 {
            say(&publisher, topic, next..next + 1).await;
            next += 1;
        }
    }
    say(&publisher, "web.a", next..next + 1).await;
    say(&publisher, "web.b", next + 1..next + 1_000).await;
    for (socket, first) in [(&all, next), (&some, next + 1)] {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&(next + 999)) {
            let frames = receive(socket).await;
            let json: serde_json::Value = serde_json::from_slice(&frames[1]).unwrap();
            let number = json["body"].as_u64().unwrap();
            assert_eq!(json["id"], format!("web/{}/{number}", publisher.epoch()));
            let topic = if number == next { &b"web.a"[..] } else { b"web.b" };
            assert_eq!((&frames[0][..], frames.len()), (topic, 2));
            numbers.extend(Some(number).filter(|number| *number >= next));
        }
        assert!(numbers.into_iter().eq(first..next + 1_000));
    }
    assert_eq!((bridge.count("put_out"), bridge.count("left_out")), (next + 1_000, 0));
    bridge.end().await;
    publisher.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_came_from_there_does_not_go_back() {
    let fabric = Fabric::new(&["web"]);
    let (publisher, bridge) =
        (fabric.publisher("web"), Bridge::start(&fabric, Some("there")).await);
    heard(&publisher, "web.a").await;
    for origin in [None, Some("there"), Some("elsewhere")] {
        let mut headers = Headers::new();
        headers.origin = origin.map(str::to_owned);
        let message = Outgoing::value("web.a", &1).unwrap().headers(&headers).unwrap();
        publisher.send(message).unwrap();
    }
    until("all", || bridge.count("put_out") == 2).await;
    assert_eq!(bridge.count("left_out"), 1);
    bridge.end().await;
}
