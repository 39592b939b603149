//! What an application says and hears.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use selvedge_core::directory::Durability;
use selvedge_core::limits::EXTENSION_BYTES;
use selvedge_core::open::Trusted;
use selvedge_core::seal::{ContentType, Entry};
use selvedge_core::subscriber::{Delivery, Lost, Order};
use selvedge_core::topic::{BadTopic, Name, Topic};
use selvedge_core::{KeyId, Position, Wall};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::headers::{BadHeaders, Headers, Undecodable};

/// A message that was delivered: its key was allowed its topic, and it comes once and in order.
///
/// Body and headers share the buffer that they were read into (up to 160 KiB, or the packet if that
/// is larger); copy what you keep for long.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it has in common with the other messages of its packet.
    pub origin: Arc<Origin>,
    /// Whose stream it belongs to: the key that signed it.
    pub key: KeyId,
    /// Its place in that stream. Whoever keeps his own place in it stores `position.after()`; see
    /// [`Builder::resume`](crate::subscriber::Builder::resume).
    pub position: Position,
    /// Its number among its topic's messages, from 1 in each epoch; 0: its publisher forgot.
    pub tseq: u64,
    /// What the body is.
    pub ctype: ContentType,
    /// When the application said it, by its publisher's clock.
    pub time: SystemTime,
    /// The content.
    pub body: Bytes,
    /// The headers as signed; see [`Message::headers`].
    pub extension: Bytes,
    /// Which of the packet's messages it is.
    pub index: u16,
}

/// What all messages of one packet share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who said them: the name that the directory gives the key.
    pub publisher: Name,
    /// Their topic.
    pub topic: Topic,
    /// The packet as it was sent: with the directory it proves its origin.
    pub packet: Bytes,
}

/// What a subscriber yields.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message.
    Message(Message),
    /// Messages that will not come, on signed evidence.
    Lost(Lost),
}

/// Why a body could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Its content type is neither JSON nor MessagePack.
    #[error("a body of content type {0:?} is for you to decode")]
    ContentType(ContentType),
    /// It is not the JSON that it claims to be, or has another shape than expected.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not the MessagePack that it claims to be, or has another shape than expected.
    #[error("not the expected MessagePack: {0}")]
    MessagePack(#[from] rmp_serde::decode::Error),
}

impl Message {
    /// `publisher/epoch/seq`: names this message for ever.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// The body, decoded by its content type: JSON or MessagePack.
    ///
    /// # Errors
    /// [`DecodeError`] if it has another type or another shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self.ctype {
            ContentType::JSON => Ok(serde_json::from_slice(&self.body)?),
            ContentType::MESSAGE_PACK => Ok(rmp_serde::from_slice(&self.body)?),
            other => Err(DecodeError::ContentType(other)),
        }
    }

    /// The headers.
    ///
    /// # Errors
    /// [`Undecodable`] if they do not follow the format: their publisher's fault.
    pub fn headers(&self) -> Result<Headers, Undecodable> {
        Headers::decode(&self.extension)
    }

    /// Who said it: the name that the directory gives the key.
    pub fn publisher(&self) -> &Name {
        &self.origin.publisher
    }

    /// What it is about.
    pub fn topic(&self) -> &Topic {
        &self.origin.topic
    }

    /// The packet in which it came, as it was sent: with the directory it proves its origin.
    pub fn packet(&self) -> &Bytes {
        &self.origin.packet
    }

    /// The messages of a commit, in order.
    pub fn all(delivery: Delivery) -> Messages {
        let origins = delivery.packets.iter().map(Origin::of).collect();
        Messages { order: delivery.order(), origins, delivery }
    }

    /// Message `index` of a packet; `None` if it has fewer.
    pub(crate) fn of(trusted: &Trusted, index: u16) -> Option<Message> {
        let packet = trusted.packet();
        let entry = packet.entries().nth(index.into())?;
        let at = packet.header().start();
        let at = Position::new(at.epoch, at.seq + u64::from(entry.off)); // parse() checked the sum
        let tseq = packet.tseq() + u64::from(index);
        Some(Message::new(trusted, Origin::of(trusted), at, tseq, &entry))
    }

    #[inline]
    fn new(
        trusted: &Trusted,
        origin: Arc<Origin>,
        position: Position,
        tseq: u64,
        entry: &Entry<'_>,
    ) -> Message {
        let packet = trusted.packet();
        Message {
            origin,
            key: packet.header().key,
            position,
            tseq,
            ctype: entry.ctype,
            time: system_time(entry.time),
            body: packet.body(entry.body),
            extension: packet.extension(entry),
            index: entry.body as u16, // a packet has at most 1,024
        }
    }
}

impl Origin {
    fn of(trusted: &Trusted) -> Arc<Origin> {
        let (publisher, packet) = (trusted.publisher().clone(), trusted.packet());
        let (topic, packet) = (packet.topic().clone(), packet.wire().clone());
        Arc::new(Origin { publisher, topic, packet })
    }
}

/// The messages of a commit, in order, each made when it is asked for.
#[derive(Debug)]
pub struct Messages {
    delivery: Delivery,
    order: Order,
    /// Of each packet.
    origins: Vec<Arc<Origin>>,
}

impl Iterator for Messages {
    type Item = Message;

    #[inline]
    fn next(&mut self) -> Option<Message> {
        let (packet, seq, tseq, entry) = self.delivery.next(&mut self.order)?;
        let (trusted, origin) = (&self.delivery.packets[packet], self.origins[packet].clone());
        let at = Position::new(self.delivery.header.epoch, seq);
        Some(Message::new(trusted, origin, at, tseq, &entry))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher(), self.position)
    }
}

pub(crate) fn system_time(wall: Wall) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(wall.0)
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(crate) topic: Topic,
    pub(crate) ctype: ContentType,
    pub(crate) body: Bytes,
    pub(crate) extension: Bytes,
    pub(crate) durability: Option<Durability>,
}

/// Why a message cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// The topic is outside the grammar.
    #[error("topic: {0}")]
    Topic(#[from] BadTopic),
    /// The value cannot be written as JSON.
    #[error("as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The value cannot be written as MessagePack.
    #[error("as MessagePack: {0}")]
    MessagePack(#[from] rmp_serde::encode::Error),
    /// The headers are out of bounds.
    #[error("{0}")]
    Headers(#[from] BadHeaders),
}

impl Outgoing {
    /// A body as it is, of a content type that the caller vouches for.
    ///
    /// # Errors
    /// [`BadMessage::Topic`].
    pub fn raw<T>(topic: T, ctype: ContentType, body: impl Into<Bytes>) -> Result<Self, BadMessage>
    where
        T: TryInto<Topic>,
        BadMessage: From<T::Error>,
    {
        let topic = topic.try_into()?;
        let (body, extension) = (body.into(), Bytes::new());
        Ok(Outgoing { topic, ctype, body, extension, durability: None })
    }

    /// Text.
    ///
    /// # Errors
    /// [`BadMessage::Topic`].
    pub fn text<T>(topic: T, body: impl Into<String>) -> Result<Self, BadMessage>
    where
        T: TryInto<Topic>,
        BadMessage: From<T::Error>,
    {
        Outgoing::raw(topic, ContentType::TEXT, body.into())
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// [`BadMessage::Topic`] or [`BadMessage::Json`].
    pub fn json<T>(topic: T, value: &impl Serialize) -> Result<Self, BadMessage>
    where
        T: TryInto<Topic>,
        BadMessage: From<T::Error>,
    {
        Outgoing::raw(topic, ContentType::JSON, serde_json::to_vec(value)?)
    }

    /// A value as MessagePack, structs as maps.
    ///
    /// # Errors
    /// [`BadMessage::Topic`] or [`BadMessage::MessagePack`].
    pub fn value<T>(topic: T, value: &impl Serialize) -> Result<Self, BadMessage>
    where
        T: TryInto<Topic>,
        BadMessage: From<T::Error>,
    {
        Outgoing::raw(topic, ContentType::MESSAGE_PACK, rmp_serde::to_vec_named(value)?)
    }

    /// What its receipt waits for, instead of what the directory says for the service.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// What it is about.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// With headers that are encoded already: one MessagePack map as [`Headers`] describes it. A
    /// message is delivered without what subscribers cannot decode.
    ///
    /// # Errors
    /// [`BadMessage::Headers`] if it is longer than 1,024 bytes.
    pub fn extension(mut self, extension: impl Into<Bytes>) -> Result<Self, BadMessage> {
        self.extension = extension.into();
        match self.extension.len() {
            len if len > EXTENSION_BYTES => Err(BadHeaders::TooLong(len).into()),
            _ => Ok(self),
        }
    }

    /// With these headers.
    ///
    /// # Errors
    /// [`BadMessage::Headers`] if they are out of bounds.
    pub fn headers(mut self, headers: &Headers) -> Result<Self, BadMessage> {
        self.extension = headers.encode()?;
        Ok(self)
    }
}

impl From<std::convert::Infallible> for BadMessage {
    fn from(never: std::convert::Infallible) -> BadMessage {
        match never {}
    }
}
