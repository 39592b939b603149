//! Raw TCP: bodies behind their length (u32, little-endian), 64 KiB a write. Neither topics nor
//! queues: the floor below which no transport over TCP gets.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::{Peer, Way};

/// What one write or read moves.
const BUFFER: usize = 64 * 1_024;

pub const PEER: Peer = Peer { name: "tcp", publish, subscribe, forward: None };

fn publish(bodies: &mut Publishing) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    bodies.listening(&listener.local_addr()?.to_string())?;
    let mut subscribers = Vec::new();
    while subscribers.len() < bodies.subscribers() {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SILENCE))?;
        subscribers.push(stream);
    }
    let paced = bodies.is_paced();
    let mut buffer = Vec::with_capacity(BUFFER);
    while let Some(body) = bodies.next() {
        buffer.extend_from_slice(&(body.len() as u32).to_le_bytes());
        buffer.extend_from_slice(body);
        if paced || buffer.len() + 4 + body.len() > BUFFER {
            write(&mut subscribers, &mut buffer)?;
        }
    }
    write(&mut subscribers, &mut buffer)
}

fn write(subscribers: &mut [TcpStream], buffer: &mut Vec<u8>) -> Result<()> {
    for subscriber in subscribers {
        subscriber.write_all(buffer)?;
    }
    buffer.clear();
    Ok(())
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let endpoint = way.endpoint();
    let stream = TcpStream::connect(endpoint)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut reader = BufReader::with_capacity(BUFFER, stream);
    let mut body = Vec::new();
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        body.resize(u32::from_le_bytes(length) as usize, 0);
        reader.read_exact(&mut body)?;
        if !messages.take(&body) {
            return Ok(());
        }
    }
}
