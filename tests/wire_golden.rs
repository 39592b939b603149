//! Is each frame on the wire, byte for byte, what `vectors/wire.json` says, in both directions?
//!
//! The JSON file is for readers in other languages; this test keeps it true.

use bytes::{Bytes, BytesMut};
use selvedge_core::Position;
use selvedge_core::wire::{
    Connection, Event, Frames, Limits, Mark, Peer, Role, cancel, greeting, ping, pong, put_frame,
    ready, subscribe,
};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("vectors/wire.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn hex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The annotated bytes of a vector, joined.
fn golden(vector: &Value) -> Vec<u8> {
    let lines = vector["bytes"].as_array().unwrap();
    lines.iter().flat_map(|line| hex(line[0].as_str().unwrap())).collect()
}

fn text(vector: &Value, field: &str) -> Bytes {
    Bytes::from(vector[field].as_str().unwrap().to_owned())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn minor(vector: &Value) -> u8 {
    number(&vector["peer_minor"]) as u8
}

fn role(vector: &Value) -> Role {
    match vector["role"].as_str().unwrap() {
        "publisher" => Role::Publisher,
        "subscriber" => Role::Subscriber,
        other => panic!("no role is called {other}"),
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Publisher => Role::Subscriber,
        Role::Subscriber => Role::Publisher,
    }
}

fn mark(vector: &Value) -> Mark {
    let position =
        |field: &str| Position::new(number(&vector[field][0]), number(&vector[field][1]));
    Mark {
        key: vector["key"].as_str().unwrap().parse().unwrap(),
        from: position("from"),
        upto: position("upto"),
        flags: number(&vector["flags"]) as u8,
    }
}

fn parts(vector: &Value) -> Vec<Vec<u8>> {
    let parts = vector["parts"].as_array().unwrap().iter();
    parts.map(|part| hex(part[0].as_str().unwrap()).repeat(number(&part[1]) as usize)).collect()
}

/// What our encoders make of the fields of a vector.
fn encoded(vector: &Value) -> Vec<u8> {
    match vector["name"].as_str().unwrap() {
        "greeting" => greeting().to_vec(),
        "ready" => ready(role(vector)).to_vec(),
        "subscribe" => subscribe(&text(vector, "prefix"), minor(vector)).to_vec(),
        "cancel" => cancel(&text(vector, "prefix"), minor(vector)).to_vec(),
        "ping" => ping(number(&vector["ttl"]) as u16, &text(vector, "context")).to_vec(),
        "pong" => pong(&text(vector, "context")).to_vec(),
        "mark" => mark(vector).encode().to_vec(),
        "message" => {
            let parts = parts(vector);
            let mut out = Vec::new();
            for (i, part) in parts.iter().enumerate() {
                put_frame(&mut out, part, i + 1 < parts.len());
            }
            out
        }
        other => panic!("nothing encodes a {other}"),
    }
}

/// Who receives a vector, and what it means to him after the handshake.
fn meaning(vector: &Value) -> (Role, Event) {
    match vector["name"].as_str().unwrap() {
        "ready" => (other(role(vector)), Event::Ready(Peer { minor: 1, selvedge: true })),
        "subscribe" => (Role::Publisher, Event::Subscribe(text(vector, "prefix"))),
        "cancel" => (Role::Publisher, Event::Cancel(text(vector, "prefix"))),
        "ping" => (Role::Subscriber, Event::Ping(text(vector, "context"))),
        "pong" => (Role::Publisher, Event::Pong),
        "mark" => (Role::Subscriber, Event::Mark(mark(vector))),
        "message" => {
            let frames = Frames::parse(Bytes::from(golden(vector))).unwrap();
            let read: Vec<_> = (0..frames.len()).map(|i| frames.part(i).to_vec()).collect();
            assert_eq!(read, parts(vector));
            (Role::Subscriber, Event::Message(frames))
        }
        other => panic!("nobody receives a {other}"),
    }
}

#[test]
fn we_send_these_bytes() {
    for vector in vectors() {
        assert_eq!(encoded(&vector), golden(&vector), "{vector}");
    }
}

#[test]
fn we_understand_these_bytes() {
    for vector in vectors().iter().filter(|vector| vector["name"] != "greeting") {
        let (receiver, expected) = meaning(vector);
        let mut connection = Connection::new(receiver, Limits::default());
        let mut input = BytesMut::from(&greeting()[..]);
        if vector["name"] != "ready" {
            input.extend_from_slice(&ready(other(receiver)));
        }
        input.extend_from_slice(&golden(vector));
        let mut events = Vec::new();
        connection.handle(&mut input, &mut events).unwrap();
        assert!(input.is_empty(), "{vector}");
        assert_eq!(events.last(), Some(&expected), "{vector}");
    }
}

#[test]
fn every_frame_there_is_has_a_vector() {
    let mut names: Vec<_> =
        vectors().iter().map(|vector| vector["name"].as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        ["cancel", "greeting", "mark", "message", "ping", "pong", "ready", "subscribe"]
    );
}
