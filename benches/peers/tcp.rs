//! Raw sockets: bodies behind their length (u32, little-endian), 64 KiB a write. Neither topics nor
//! queues: the floor below which no transport over TCP gets.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::sync::Mutex;
use std::thread;

use anyhow::Result;
use socket2::Socket;

use crate::measure::{Publishing, Subscribing};
use crate::peer::{Middle, Peer, Way};
use crate::socket::{accept, connect, listen};

/// What one write or read moves.
const BUFFER: usize = 64 * 1_024;

pub const PEER: Peer = Peer {
    name: "tcp",
    publish,
    subscribe,
    middle: Middle::None,
    ipc: true,
    topics: false,
    drops: false,
};

fn publish(bodies: &mut Publishing) -> Result<()> {
    let (listener, endpoint) = listen(bodies.place())?;
    bodies.listening(&endpoint)?;
    let subscribers = (0..bodies.subscribers()).map(|_| accept(&listener));
    let mut subscribers = subscribers.collect::<Result<Vec<_>>>()?;
    let mut buffer = Vec::with_capacity(BUFFER);
    while let Some((_, body)) = bodies.next() {
        if buffer.len() + 4 + body.len() > BUFFER {
            write(&mut subscribers, &mut buffer);
        }
        buffer.extend_from_slice(&(body.len() as u32).to_le_bytes());
        buffer.extend_from_slice(body);
        if bodies.is_paced() {
            write(&mut subscribers, &mut buffer);
        }
    }
    Ok(())
}

fn write(subscribers: &mut [Socket], buffer: &mut Vec<u8>) {
    for subscriber in subscribers {
        let _ = subscriber.write_all(buffer); // one that has all is gone; else something is missing
    }
    buffer.clear();
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    each(way.endpoints(), messages, |socket, messages| {
        let mut reader = BufReader::with_capacity(BUFFER, socket);
        let mut body = Vec::new();
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let mut messages = messages.lock().unwrap_or_else(|broken| broken.into_inner());
            // Whatever is here, and the rest of the last one.
            while !reader.buffer().is_empty() {
                let mut length = [0; 4];
                reader.read_exact(&mut length)?;
                body.resize(u32::from_le_bytes(length) as usize, 0);
                reader.read_exact(&mut body)?;
                if !messages.take(&body) {
                    return Ok(());
                }
            }
        }
    })
}

/// Connects to each endpoint, and reads each connection on a thread of its own; the first one on
/// this thread.
pub fn each(
    endpoints: &[String],
    messages: &mut Subscribing,
    read: impl Fn(Socket, &Mutex<&mut Subscribing>) -> Result<()> + Sync,
) -> Result<()> {
    let sockets = endpoints.iter().map(|endpoint| connect(endpoint));
    let mut sockets = sockets.collect::<Result<Vec<_>>>()?.into_iter();
    let messages = Mutex::new(messages);
    thread::scope(|scope| {
        let Some(first) = sockets.next() else { return Ok(()) };
        for socket in sockets {
            // What one of them fails with shows in what is missing.
            scope.spawn(|| read(socket, &messages));
        }
        read(first, &messages)
    })
}
