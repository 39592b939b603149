//! Does a message stop circulating where the foreign side feeds back what a bridge gave it?

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/cli.rs"]
mod cli;

use std::collections::BTreeSet;
use std::time::Instant;

use cli::{Fabric, LONG, Running};
use rustix::process::Signal;
use serde_json::Value;

type Frames = Vec<Vec<u8>>;

/// A foreign publisher that the bridge `web` reads, and a foreign way back to it.
struct Loop {
    fabric: Fabric,
    from: Running,
    publisher: zmq::Socket,
    back: zmq::Socket,
    said: u64,
}

impl Loop {
    fn new(fabric: Fabric, back: &str) -> Loop {
        let publisher = socket(zmq::XPUB);
        publisher.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = publisher.get_last_endpoint().unwrap().unwrap();
        let from = fabric.start(&["bridge", "zmq", "--from", &endpoint, "--name", "web"]);
        assert_eq!(publisher.recv_bytes(0).unwrap(), b"\x01", "it subscribes to everything");
        let back_socket = socket(zmq::SUB);
        back_socket.set_subscribe(b"").unwrap();
        back_socket.connect(back).unwrap();
        let mut ring = Loop { fabric, from, publisher, back: back_socket, said: 0 };
        ring.until_it_comes_back();
        ring
    }

    /// Says something new.
    fn say(&mut self) {
        self.said += 1;
        let body = format!("say {}", self.said);
        self.publisher.send_multipart(["org.example.said", &body], 0).unwrap();
    }

    /// Speaks until everybody on the way has heard of everybody.
    fn until_it_comes_back(&mut self) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < LONG, "nothing comes back");
            self.say();
            if self.back.poll(zmq::POLLIN, 100).unwrap() > 0 {
                return;
            }
        }
    }

    /// What comes back up to the last thing said; with `again` it is said again as it came.
    fn read(&self, again: bool) -> Vec<Frames> {
        let (mut all, last) = (Vec::new(), format!("say {}", self.said));
        loop {
            let frames = self.back.recv_multipart(0).expect("the last one comes back");
            let ends = contains(frames.last().unwrap(), &last);
            if again {
                self.publisher.send_multipart(&frames, 0).unwrap();
            }
            all.push(frames);
            if ends {
                return all;
            }
        }
    }

    /// What the bridge counted.
    fn end(mut self) -> String {
        self.from.signal(Signal::TERM);
        let counters = self.from.says("the bridge web has ended");
        assert_eq!(self.from.end().code(), Some(0));
        drop(self.fabric);
        counters
    }
}

fn socket(kind: zmq::SocketType) -> zmq::Socket {
    let socket = zmq::Context::new().socket(kind).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(LONG.as_millis() as i32).unwrap();
    socket
}

fn contains(frame: &[u8], text: &str) -> bool {
    // The JSON quotes it.
    frame == text.as_bytes() || frame.windows(text.len() + 2).any(|at| at == quoted(text))
}

fn quoted(text: &str) -> Vec<u8> {
    format!("\"{text}\"").into_bytes()
}

#[test]
fn what_a_bridge_put_out_does_not_enter_again() {
    let fabric = Fabric::new();
    let to = fabric.start(&["bridge", "zmq", "--to", "tcp://127.0.0.1:0", "org.example.#"]);
    let line = to.says("the bridge feeds");
    let endpoint = line.split_whitespace().last().unwrap().to_owned();
    let mut ring = Loop::new(fabric, &endpoint);
    ring.say();
    let came = ring.read(true);
    ring.say();
    // All is in order: a copy would come before what was said after it.
    let after = ring.read(false);
    assert_eq!(after.len(), 1, "{after:?}");

    let messages: Vec<Value> =
        came.iter().map(|frames| serde_json::from_slice(&frames[1]).unwrap()).collect();
    let ids: BTreeSet<&str> = messages.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), came.len());
    for (frames, message) in came.iter().zip(&messages) {
        assert_eq!((frames.len(), &frames[0][..]), (2, &b"org.example.said"[..]));
        let fields = [&message["publisher"], &message["topic"], &message["type"]];
        assert_eq!(fields, ["web", "org.example.said", "text"]);
        assert!(message["headers"]["origin"].as_str().unwrap().starts_with("tcp://127.0.0.1:"));
    }
    let counters = ring.end();
    assert!(counters.contains(&format!("\"dropped_returned\": {}", came.len())), "{counters}");
}

#[test]
fn what_was_heard_at_its_own_socket_does_not_enter_again() {
    let fabric = Fabric::new();
    let own = format!("ipc://{}", fabric.path("web").display());
    let mut ring = Loop::new(fabric, &own);
    ring.say();
    let came = ring.read(true);
    ring.say();
    let after = ring.read(false);
    assert_eq!(after.len(), 1, "{after:?}");
    let counters = ring.end();
    assert!(counters.contains(&format!("\"dropped_returned\": {}", came.len())), "{counters}");
}
