//! libzmq, PUB and SUB over TCP, unsigned. One frame a message and the empty prefix: its fastest
//! form. Queues without bound, so that it drops nothing.

use anyhow::{Context as _, Result};
use zmq::{Context, Error, Message};

use crate::Peer;
use crate::measure::{Publishing, SILENCE, Subscribing};

const SILENCE_MS: i32 = SILENCE.as_millis() as i32;

pub const PEER: Peer = Peer { name: "libzmq", publish, subscribe };

fn publish(bodies: &mut Publishing) -> Result<()> {
    let context = Context::new();
    let socket = context.socket(zmq::XPUB)?;
    socket.set_sndhwm(0)?;
    socket.set_linger(SILENCE_MS)?;
    socket.set_rcvtimeo(SILENCE_MS)?;
    socket.set_xpub_verbose(true)?; // shows every subscription, not only the first of a prefix
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?;
    bodies
        .listening(endpoint.ok().context("an endpoint that is no text")?.trim_end_matches('\0'))?;
    for _ in 0..bodies.subscribers() {
        socket.recv_msg(0).context("no subscription came")?;
    }
    while let Some(body) = bodies.next() {
        socket.send(body, 0)?;
    }
    // Closing the context waits until the last message is written.
    drop(socket);
    drop(context);
    Ok(())
}

fn subscribe(messages: &mut Subscribing, endpoint: &str) -> Result<()> {
    let context = Context::new();
    let socket = context.socket(zmq::SUB)?;
    socket.set_rcvhwm(0)?;
    socket.set_rcvtimeo(SILENCE_MS)?;
    socket.set_subscribe(b"")?;
    socket.connect(endpoint)?;
    let mut message = Message::new();
    loop {
        match socket.recv(&mut message, 0) {
            Ok(()) if messages.take(&message) => {}
            Ok(()) | Err(Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
