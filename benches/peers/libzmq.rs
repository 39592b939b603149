//! libzmq, PUB and SUB over TCP, unsigned, in its fastest form: one frame a message, the empty
//! prefix, bounded queues and a publisher that waits when they are full. Queues without bound
//! drop nothing either, but at saturation they grow and halve its rate.

use std::ffi::c_int;

use anyhow::{Context as _, Result, ensure};
use zmq::{Context, Error, Message, Socket};

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::process::{Word, say};
use crate::{Peer, Way};

/// Messages in a queue: 1,000 (its default) to 100,000 differ little, and this was the best.
const QUEUE: i32 = 100_000;

const NODROP: c_int = zmq_sys::ZMQ_XPUB_NODROP as c_int;
const SILENCE_MS: i32 = SILENCE.as_millis() as i32;

pub const PEER: Peer = Peer { name: "libzmq", publish, subscribe, forward: Some(forward) };

fn publish(bodies: &mut Publishing) -> Result<()> {
    let context = Context::new();
    let mut socket = context.socket(zmq::XPUB)?;
    socket.set_sndhwm(QUEUE)?;
    wait_when_full(&mut socket)?;
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

/// The proxy of its guide: XSUB to the publisher, XPUB to subscribers, both bounded and waiting.
fn forward(publisher: &str) -> Result<()> {
    let context = Context::new();
    let from = context.socket(zmq::XSUB)?;
    from.set_rcvhwm(QUEUE)?;
    from.connect(publisher)?;
    let mut to = context.socket(zmq::XPUB)?;
    to.set_sndhwm(QUEUE)?;
    wait_when_full(&mut to)?;
    to.bind("tcp://127.0.0.1:*")?;
    let endpoint = to.get_last_endpoint()?.ok().context("an endpoint that is no text")?;
    say(&Word::Listening(endpoint.trim_end_matches('\0').to_owned()))?;
    Ok(zmq::proxy(&from, &to)?)
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let context = Context::new();
    let socket = context.socket(zmq::SUB)?;
    socket.set_rcvhwm(QUEUE)?;
    socket.set_rcvtimeo(SILENCE_MS)?;
    socket.set_subscribe(b"")?;
    socket.connect(way.endpoint())?;
    let mut message = Message::new();
    loop {
        match socket.recv(&mut message, 0) {
            Ok(()) if messages.take(&message) => {}
            Ok(()) | Err(Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
