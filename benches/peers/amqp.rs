//! AMQP 0-9-1 over RabbitMQ: transient messages through a topic exchange, without confirmations,
//! to a queue for each subscriber, which acknowledges nothing: at most once. By the `lapin` crate,
//! over a server of its own. Publishers have a thread beside the application's, because the client
//! writes in tasks of its own; subscribers have one.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::time::timeout;

use crate::case::TOPICS;
use crate::measure::{Publishing, SILENCE, Subscribing};
use crate::peer::{Middle, Peer, Way};
use crate::servers;
use crate::signed::runtime;
use crate::zeromq_crate::two_threads;

pub const PEER: Peer = Peer {
    name: servers::RABBITMQ.name,
    publish,
    subscribe,
    middle: Middle::Server(&servers::RABBITMQ),
    ipc: false,
    topics: true,
    drops: false,
};

/// Messages written together while nobody waits for a single one: the client waits for each write.
const BATCH: usize = 64;

/// There from the beginning.
const EXCHANGE: &str = "amq.topic";

fn publish(bodies: &mut Publishing) -> Result<()> {
    two_threads()?.block_on(async {
        let server = bodies.place().endpoint("");
        let (connection, channel) = connect(&server).await?;
        bodies.listening(&server)?;
        let exchange = ShortString::from(EXCHANGE);
        let topics: Vec<ShortString> = bodies.topics().map(ShortString::from).collect();
        let send = |(topic, body): &(usize, Bytes)| {
            let (exchange, topic, body) = (exchange.clone(), topics[*topic].clone(), body.clone());
            let properties = BasicProperties::default(); // which says nothing of the disk
            let options = BasicPublishOptions::default();
            let channel = &channel;
            async move { channel.basic_publish(exchange, topic, options, &body, properties).await }
        };
        let mut batch = Vec::new();
        while let Some((topic, body)) = bodies.next() {
            batch.push((topic, Bytes::copy_from_slice(body)));
            if batch.len() == BATCH || bodies.is_paced() {
                try_join_all(batch.iter().map(send)).await?;
                batch.clear();
            }
        }
        Ok(connection.close(200, "done".into()).await?)
    })
}

fn subscribe(messages: &mut Subscribing, way: &Way) -> Result<()> {
    runtime(1)?.block_on(async {
        let (_connection, channel) = connect(&way.endpoints()[0]).await?;
        let mut consumer = consumer(&channel).await?;
        while let Ok(more) = timeout(SILENCE, some(&mut consumer, messages)).await {
            if !more? {
                break;
            }
        }
        Ok(())
    })
}

/// Takes some messages, because a timer for each costs; whether more are due.
async fn some(consumer: &mut Consumer, messages: &mut Subscribing) -> Result<bool> {
    for _ in 0..100 {
        let delivery = consumer.next().await.context("the consumer was cancelled")?;
        if !messages.take(&delivery?.data) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of a queue that goes with the connection.
async fn consumer(channel: &Channel) -> Result<Consumer> {
    let none = FieldTable::default;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), options, none()).await?;
    let (exchange, topics) = (EXCHANGE.into(), format!("{TOPICS}#").into());
    let bind = QueueBindOptions::default();
    channel.queue_bind(queue.name().clone(), exchange, topics, bind, none()).await?;
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    Ok(channel.basic_consume(queue.name().clone(), "".into(), options, none()).await?)
}

async fn connect(server: &str) -> Result<(Connection, Channel)> {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&format!("amqp://{server}/%2f"), properties).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
