//! Redis: PUBLISH and SUBSCRIBE, at most once, over a server of its own. Publishers send some
//! commands before they read the answers to those before them; subscribers name each topic, because
//! patterns cost the server more. One thread each.

use std::collections::VecDeque;

use anyhow::Result;
use redis::{Client, Connection, RedisError};

use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Way};
use crate::servers;

pub const PEER: Peer = Peer {
    name: servers::REDIS.name,
    publish,
    subscribe,
    middle: Middle::Server(&servers::REDIS),
    ipc: false,
    topics: true,
    drops: false,
};

/// Commands written at once while nobody waits for a single one.
const BATCH: usize = 64;

/// Batches whose answers may be due.
const AHEAD: usize = 4;

fn publish(bodies: &mut Publishing) -> Result<()> {
    let server = bodies.place().endpoint("");
    let mut connection = connect(&server)?;
    bodies.listening(&server)?;
    let topics: Vec<String> = bodies.topics().collect();
    let (mut commands, mut written, mut due) = (Vec::new(), 0, VecDeque::new());
    while let Some((topic, body)) = bodies.next() {
        redis::cmd("PUBLISH").arg(&topics[topic]).arg(body).write_packed_command(&mut commands);
        written += 1;
        if written == BATCH || bodies.is_paced() {
            connection.send_packed_command(&commands)?;
            due.push_back(written);
            commands.clear();
            written = 0;
        }
        if due.len() > AHEAD {
            answers(&mut connection, due.pop_front())?;
        }
    }
    due.into_iter().try_for_each(|batch| answers(&mut connection, Some(batch)))
}

/// Reads as many.
fn answers(connection: &mut Connection, count: Option<usize>) -> Result<()> {
    for _ in 0..count.unwrap_or(0) {
        connection.recv_response()?;
    }
    Ok(())
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    let mut connection = connect(&way.endpoints()[0])?;
    let mut subscription = connection.as_pubsub();
    subscription.set_read_timeout(Some(SILENCE))?;
    subscription.subscribe(messages.topics().collect::<Vec<_>>())?;
    loop {
        match subscription.get_message() {
            Ok(message) if messages.take(message.get_payload_bytes()) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.is_timeout() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn connect(server: &str) -> Result<Connection, RedisError> {
    Client::open(format!("redis://{server}"))?.get_connection()
}
