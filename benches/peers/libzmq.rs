//! libzmq, PUB and SUB, unsigned, in its best form: bounded queues, and a publisher that waits when
//! they are full. Queues without bound drop nothing either, but at saturation they grow and halve
//! its rate.
//!
//! A topic is part of a message, so it is sent and matched: as a frame of its own, as Selvedge
//! does, or (`libzmq-1f`) in front of the body in the same frame, which spares libzmq a frame; the
//! application must know where the topic ends then.

use std::ffi::c_int;

use anyhow::{Context as _, Result, ensure};
use zmq::{Context, Error, Message, SNDMORE, Socket};

use crate::case::TOPICS;
use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Place, Way};
use crate::process::{Word, say};

/// Messages in a queue: 1,000 (its default) to 100,000 differ little, and this was the best.
const QUEUE: i32 = 100_000;

const NODROP: c_int = zmq_sys::ZMQ_XPUB_NODROP as c_int;
const SILENCE_MS: i32 = SILENCE.as_millis() as i32;

/// With the topic in a frame of its own.
pub const PEER: Peer = Peer {
    name: "libzmq",
    publish,
    subscribe,
    middle: Middle::Relay(forward),
    ipc: true,
    topics: true,
    drops: false,
};

/// With topic and body in one frame.
pub const ONE_FRAME: Peer =
    Peer { name: "libzmq-1f", publish: publish_one, subscribe: subscribe_one, ..PEER };

fn publish(bodies: &mut Publishing) -> Result<()> {
    send_all(bodies, |socket, topic, body| {
        socket.send(topic, SNDMORE)?;
        socket.send(body, 0)
    })
}

fn publish_one(bodies: &mut Publishing) -> Result<()> {
    send_all(bodies, |socket, topic, body| {
        let mut message = Message::with_size(topic.len() + body.len());
        message[..topic.len()].copy_from_slice(topic.as_bytes());
        message[topic.len()..].copy_from_slice(body);
        socket.send(message, 0)
    })
}

fn send_all(
    bodies: &mut Publishing,
    send: impl Fn(&Socket, &str, &[u8]) -> zmq::Result<()>,
) -> Result<()> {
    let context = Context::new();
    let mut socket = context.socket(zmq::PUB)?;
    socket.set_sndhwm(QUEUE)?;
    wait_when_full(&mut socket)?;
    socket.set_linger(SILENCE_MS)?;
    bodies.listening(&bind(&socket, bodies.place())?)?;
    let topics: Vec<String> = bodies.topics().collect();
    while let Some((topic, body)) = bodies.next() {
        send(&socket, &topics[topic], body)?;
    }
    // Closing the context waits until the last message is written.
    drop(socket);
    drop(context);
    Ok(())
}

fn bind(socket: &Socket, place: &Place) -> Result<String> {
    socket.bind(&place.endpoint("*"))?;
    let endpoint = socket.get_last_endpoint()?.ok().context("an endpoint that is no text")?;
    Ok(endpoint.trim_end_matches('\0').to_owned())
}

/// Sets the option for which the crate has no method.
#[allow(unsafe_code)]
fn wait_when_full(socket: &mut Socket) -> Result<()> {
    let yes: c_int = 1;
    let (value, length) = ((&raw const yes).cast(), size_of_val(&yes));
    // SAFETY: the socket is open, and `value` points to an int, which is what the option takes.
    let outcome = unsafe { zmq_sys::zmq_setsockopt(socket.as_mut_ptr(), NODROP, value, length) };
    ensure!(outcome == 0, "libzmq refuses ZMQ_XPUB_NODROP");
    Ok(())
}

/// The proxy of its guide: XSUB to publishers, XPUB to subscribers, both bounded and waiting.
fn forward(publishers: &[String], place: &Place) -> Result<()> {
    let context = Context::new();
    let from = context.socket(zmq::XSUB)?;
    from.set_rcvhwm(QUEUE)?;
    publishers.iter().try_for_each(|publisher| from.connect(publisher))?;
    let mut to = context.socket(zmq::XPUB)?;
    to.set_sndhwm(QUEUE)?;
    wait_when_full(&mut to)?;
    say(&Word::Listening(bind(&to, place)?))?;
    Ok(zmq::proxy(&from, &to)?)
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let socket = connected(way)?;
    let mut message = Message::new();
    loop {
        let parts = socket.recv(&mut message, 0).and_then(|()| socket.recv(&mut message, 0));
        match parts {
            Ok(()) if messages.take(&message) => {}
            Ok(()) | Err(Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn subscribe_one(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let socket = connected(way)?;
    let mut message = Message::new();
    let topic = messages.topic_bytes();
    loop {
        match socket.recv(&mut message, 0) {
            Ok(()) if messages.take(message.get(topic..).unwrap_or_default()) => {}
            Ok(()) | Err(Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn connected(way: &Way) -> Result<Socket> {
    let socket = Context::new().socket(zmq::SUB)?; // which keeps its context
    socket.set_rcvhwm(QUEUE)?;
    socket.set_rcvtimeo(SILENCE_MS)?;
    socket.set_subscribe(TOPICS.as_bytes())?;
    way.endpoints().iter().try_for_each(|endpoint| socket.connect(endpoint))?;
    Ok(socket)
}
