//! One side of one connection: bytes in, events out, closed at the first fault.

use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::mem;

use super::command::{self, Ask, Mark};
use super::event::{Event, Fault, Ignored};
use super::frame::{Announced, Ends, Frames, PARTS};
use super::handshake::{self, Peer, Role};
use crate::limits::{
    BODY_BYTES, BODY_BYTES_HARD, COMMAND_BYTES, OFFER_BYTES, PACKET_BYTES, PING_CONTEXT_BYTES,
    SEAL_BYTES, TOPIC_BYTES, UPSTREAM_FRAME_BYTES,
};

/// What one side accepts from the other. A publisher accepts a subscription and nothing larger,
/// unless it is a relay that takes offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body; at most [`BODY_BYTES_HARD`]. A seal may have [`SEAL_BYTES`] in any case.
    pub body_bytes: usize,
    /// Largest message, frame headers included; at most [`PACKET_BYTES`]. This much may stand
    /// unread for one connection.
    pub packet_bytes: usize,
    /// Largest command: [`COMMAND_BYTES`], or [`OFFER_BYTES`](crate::limits::OFFER_BYTES) where
    /// offers are taken.
    pub command_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { body_bytes: BODY_BYTES, packet_bytes: PACKET_BYTES, command_bytes: COMMAND_BYTES }
    }
}

/// One side of one connection. Holds no more than an incomplete message, and that only if commands
/// stood between its frames; all else stays in the caller's read buffer until it is whole.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    body_bytes: usize,
    packet_bytes: usize,
    command_bytes: usize,
    stage: Stage,
    message: Partial,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Greeting,
    Ready { minor: u8 },
    Traffic { selvedge: bool },
}

/// The frames of a message that is not complete. They are not looked at again.
#[derive(Debug, Default)]
struct Partial {
    /// Frames that stood before a command inside the message. RFC 37 forbids that; libzmq does it
    /// where a heartbeat falls between two of its writes.
    before: BytesMut,
    /// Bytes of further frames at the front of the read buffer.
    at: usize,
    ends: Ends,
}

impl Connection {
    /// A connection on which nothing was said yet. Send [`super::greeting`] at once.
    pub fn new(role: Role, limits: Limits) -> Connection {
        let (body_bytes, packet_bytes) = match role {
            // A frame of the longest, and its header.
            Role::Publisher => (UPSTREAM_FRAME_BYTES, UPSTREAM_FRAME_BYTES + 9),
            Role::Subscriber => (
                limits.body_bytes.clamp(SEAL_BYTES, BODY_BYTES_HARD),
                limits.packet_bytes.min(PACKET_BYTES),
            ),
        };
        Connection {
            role,
            body_bytes,
            packet_bytes,
            command_bytes: limits.command_bytes.min(OFFER_BYTES),
            stage: Stage::Greeting,
            message: Partial::default(),
            fault: None,
        }
    }

    /// Takes what is whole from the front of `input` and appends what it means to `out`.
    ///
    /// What is incomplete stays in `input`: append to it and call again, but leave its front alone.
    /// The tail is never longer than the largest message plus what was read at once, and its parts
    /// are not looked at twice. Messages are slices of `input`: a buffer is freed when the last of
    /// them is dropped.
    ///
    /// # Errors
    /// [`Fault`]: drop the connection after handling `out`, which holds what came before it. Every
    /// later call gives the same fault.
    pub fn handle(&mut self, input: &mut BytesMut, out: &mut Vec<Event>) -> Result<(), Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        loop {
            match self.step(input, out) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(fault) => {
                    self.fault = Some(fault.clone());
                    return Err(fault);
                }
            }
        }
    }

    /// Takes the greeting or one frame; `false` if it is incomplete. Looks at one header only.
    fn step(&mut self, input: &mut BytesMut, out: &mut Vec<Event>) -> Result<bool, Fault> {
        if let Stage::Greeting = self.stage {
            return self.greeting(input, out);
        }
        let rest = input.get(self.message.at..).unwrap_or_default();
        let Some(frame) = Announced::read(rest)? else { return Ok(false) };
        self.check(&frame)?;
        let Some(whole) = frame.whole(rest) else { return Ok(false) };
        if frame.command {
            self.message.set_aside(input);
            let command = input.split_to(whole).freeze();
            self.command(&command.slice(frame.header..), out)?;
        } else {
            self.message.push(whole);
            if !frame.more {
                let message = self.message.take(input);
                out.push(self.message_event(message));
            }
        }
        Ok(true)
    }

    fn greeting(&mut self, input: &mut BytesMut, out: &mut Vec<Event>) -> Result<bool, Fault> {
        let Some(minor) = handshake::read_greeting(input)? else { return Ok(false) };
        let _ = input.split_to(handshake::GREETING);
        self.stage = Stage::Ready { minor };
        out.push(Event::Send(handshake::ready(self.role)));
        Ok(true)
    }

    /// Whether a frame may be as large as it says, before a byte of it is waited for.
    fn check(&self, frame: &Announced) -> Result<(), Fault> {
        let over = |limit: usize| frame.body > limit as u64;
        if frame.command {
            let limit = match self.stage {
                Stage::Traffic { selvedge: true } => self.command_bytes,
                _ => COMMAND_BYTES,
            };
            let len = frame.body;
            return if over(limit) { Err(Fault::CommandTooLarge { len, limit }) } else { Ok(()) };
        }
        if let Stage::Ready { .. } = self.stage {
            return Err(Fault::NotReady);
        }
        if over(self.body_bytes) {
            return Err(Fault::FrameTooLarge { len: frame.body, limit: self.body_bytes });
        }
        if self.message.ends.len() >= PARTS {
            return Err(Fault::TooManyParts { limit: PARTS });
        }
        let before = self.message.len() + frame.header;
        if before > self.packet_bytes || over(self.packet_bytes - before) {
            return Err(Fault::PacketTooLarge { limit: self.packet_bytes });
        }
        Ok(())
    }

    fn command(&mut self, body: &Bytes, out: &mut Vec<Event>) -> Result<(), Fault> {
        let (name, data) = command::split(body).ok_or(Fault::Nameless)?;
        if name == handshake::ERROR {
            return Err(handshake::read_error(data));
        }
        out.push(match self.stage {
            Stage::Traffic { selvedge } => {
                traffic(self.role, selvedge, name, &body.slice_ref(data))?
            }
            Stage::Ready { minor } if name == handshake::READY => {
                let selvedge = handshake::read_ready(data, self.role)?;
                self.stage = Stage::Traffic { selvedge };
                Event::Ready(Peer { minor, selvedge })
            }
            Stage::Ready { .. } | Stage::Greeting => return Err(Fault::NotReady),
        });
        Ok(())
    }

    fn message_event(&self, message: Frames) -> Event {
        if self.role == Role::Subscriber {
            return Event::Message(message);
        }
        match message.part(0).split_first() {
            Some((&command::OLD_SUBSCRIBE, prefix)) if message.len() == 1 => {
                subscription(prefix, Event::Subscribe)
            }
            Some((&command::OLD_CANCEL, prefix)) if message.len() == 1 => {
                subscription(prefix, Event::Cancel)
            }
            _ => Event::Ignored(Ignored::UpstreamMessage),
        }
    }
}

/// What a command after the handshake means to `role`.
fn traffic(role: Role, selvedge: bool, name: &[u8], data: &Bytes) -> Result<Event, Fault> {
    Ok(match (name, role) {
        (command::SUBSCRIBE, Role::Publisher) => subscription(data, Event::Subscribe),
        (command::CANCEL, Role::Publisher) => subscription(data, Event::Cancel),
        (command::MARK, Role::Subscriber) if selvedge => {
            Event::Mark(Mark::parse(data).ok_or(Fault::Mark)?)
        }
        (command::ASK, Role::Publisher) if selvedge => {
            Event::Ask(Ask::parse(data).ok_or(Fault::Ask)?)
        }
        (command::OFFER, Role::Publisher) if selvedge => {
            Event::Offer(Frames::parse(data.clone()).map_err(|_| Fault::Offer)?)
        }
        (command::PING, _) => match data.get(2..) {
            Some(context) if context.len() <= PING_CONTEXT_BYTES => {
                Event::Ping(Bytes::copy_from_slice(context))
            }
            _ => return Err(Fault::Ping),
        },
        (command::PONG, _) => Event::Pong,
        (
            command::SUBSCRIBE | command::CANCEL | command::ASK | command::MARK | command::OFFER,
            _,
        ) => Event::Ignored(Ignored::Misdirected),
        _ => Event::Ignored(Ignored::UnknownCommand),
    })
}

/// Copies the prefix: it stays for long and must not keep a read buffer alive.
fn subscription(prefix: &[u8], event: fn(Bytes) -> Event) -> Event {
    if prefix.len() > TOPIC_BYTES {
        return Event::Ignored(Ignored::LongPrefix);
    }
    event(Bytes::copy_from_slice(prefix))
}

impl Partial {
    /// Bytes of all frames so far.
    fn len(&self) -> usize {
        self.before.len() + self.at
    }

    /// The next frame, header and body, of `whole` bytes.
    fn push(&mut self, whole: usize) {
        self.at += whole;
        self.ends.push(self.len() as u32); // at most PACKET_BYTES
    }

    /// Moves the frames so far out of `input`, so that a command stands at its front.
    fn set_aside(&mut self, input: &mut BytesMut) {
        if self.at > 0 {
            self.before.extend_from_slice(&input.split_to(mem::take(&mut self.at)));
        }
    }

    /// The message, now complete.
    fn take(&mut self, input: &mut BytesMut) -> Frames {
        let ends = mem::take(&mut self.ends);
        if self.before.is_empty() {
            return Frames::new(input.split_to(mem::take(&mut self.at)).freeze(), ends);
        }
        self.set_aside(input);
        Frames::new(mem::take(&mut self.before).freeze(), ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{greeting, ping, put_frame, ready, subscribe};
    use alloc::vec;

    fn connected(role: Role) -> Connection {
        let mut connection = Connection::new(role, Limits::default());
        let peer = match role {
            Role::Publisher => Role::Subscriber,
            Role::Subscriber => Role::Publisher,
        };
        let hello = [&greeting()[..], &ready(peer)].concat();
        let events = run(&mut connection, &hello).unwrap();
        let peer = Peer { minor: 1, selvedge: true };
        assert_eq!(events, [Event::Send(ready(role)), Event::Ready(peer)]);
        connection
    }

    fn run(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<Event>, Fault> {
        let mut out = Vec::new();
        connection.handle(&mut BytesMut::from(bytes), &mut out).map(|()| out)
    }

    fn fault(role: Role, bytes: &[u8]) -> Fault {
        run(&mut connected(role), bytes).unwrap_err()
    }

    #[test]
    fn byte_by_byte_costs_one_step_a_byte_and_one_a_frame() {
        let mut bytes = Vec::new();
        (0..PARTS).for_each(|part| put_frame(&mut bytes, &[part as u8; 300], part + 1 < PARTS));
        let mut connection = connected(Role::Subscriber);
        let (mut input, mut out, mut steps) = (BytesMut::new(), Vec::new(), 0);
        for &byte in &bytes {
            input.extend_from_slice(&[byte]);
            steps += 1;
            while connection.step(&mut input, &mut out).unwrap() {
                steps += 1;
            }
        }
        assert_eq!(steps, bytes.len() + PARTS);
        assert_eq!(out, [Event::Message(Frames::parse(Bytes::from(bytes)).unwrap())]);
    }

    #[test]
    fn a_command_between_the_frames_of_a_message_is_heard_and_cut_out() {
        let mut connection = connected(Role::Subscriber);
        let bytes =
            [&b"\x01\x01t"[..], &ping(0, b"a"), b"\x01\x02xy", &ping(0, b"b"), b"\x00\x01z"];
        let events = run(&mut connection, &bytes.concat()).unwrap();
        let message = Frames::parse(Bytes::from_static(b"\x01\x01t\x01\x02xy\x00\x01z")).unwrap();
        assert_eq!(
            events,
            [
                Event::Ping(Bytes::from_static(b"a")),
                Event::Ping(Bytes::from_static(b"b")),
                Event::Message(message)
            ]
        );
        assert!(connection.message.before.is_empty() && connection.message.len() == 0);
    }

    #[test]
    fn every_length_is_checked_when_it_is_announced() {
        let limit = BODY_BYTES;
        let long = |flags: u8, len: u64| [&[flags], &len.to_be_bytes()[..]].concat();
        for len in [limit as u64 + 1, u64::from(u32::MAX) + 1, u64::MAX >> 1, u64::MAX] {
            let large = Fault::FrameTooLarge { len, limit };
            assert_eq!(fault(Role::Subscriber, &long(2, len)), large);
            assert_eq!(fault(Role::Subscriber, &long(3, len)), large);
            let large = Fault::FrameTooLarge { len, limit: UPSTREAM_FRAME_BYTES };
            assert_eq!(fault(Role::Publisher, &long(2, len)), large);
            let large = Fault::CommandTooLarge { len, limit: COMMAND_BYTES };
            assert_eq!(fault(Role::Publisher, &long(6, len)), large);
        }
        assert_eq!(run(&mut connected(Role::Subscriber), &long(2, limit as u64)), Ok(vec![]));
    }

    #[test]
    fn a_message_is_bounded_in_bytes_and_in_frames() {
        let limit = PARTS;
        let mut many = b"\x01\0".repeat(limit);
        assert_eq!(run(&mut connected(Role::Subscriber), &many), Ok(vec![]));
        many.push(1);
        many.push(0);
        assert_eq!(fault(Role::Subscriber, &many), Fault::TooManyParts { limit });

        let limit = UPSTREAM_FRAME_BYTES + 9;
        let mut large = Vec::new();
        put_frame(&mut large, &[7; UPSTREAM_FRAME_BYTES], true);
        assert_eq!(run(&mut connected(Role::Publisher), &large), Ok(vec![]));
        put_frame(&mut large, b"", false);
        assert_eq!(fault(Role::Publisher, &large), Fault::PacketTooLarge { limit });
    }

    #[test]
    fn limits_cannot_be_configured_beyond_the_hard_ones() {
        let limits =
            Limits { body_bytes: usize::MAX, packet_bytes: usize::MAX, ..Limits::default() };
        let connection = Connection::new(Role::Subscriber, limits);
        assert_eq!(connection.body_bytes, BODY_BYTES_HARD);
        assert_eq!(connection.packet_bytes, PACKET_BYTES);
    }

    #[test]
    fn subscriptions_are_understood_in_both_forms() {
        let long = [b'a'; TOPIC_BYTES + 1];
        let prefix = Bytes::from_static(b"org.");
        for minor in [0, 1] {
            let mut connection = connected(Role::Publisher);
            let bytes = [subscribe(&prefix, minor), subscribe(&long, minor)].concat();
            let events = run(&mut connection, &bytes).unwrap();
            let ignored = Event::Ignored(Ignored::LongPrefix);
            assert_eq!(events, [Event::Subscribe(prefix.clone()), ignored]);
        }
    }

    #[test]
    fn what_is_not_understood_or_not_for_us_is_ignored_by_name() {
        let mark = Mark {
            key: crate::KeyId(1),
            from: Default::default(),
            upto: Default::default(),
            flags: 0,
        };
        for (role, bytes, why) in [
            (Role::Publisher, &b"\x00\x02hi"[..], Ignored::UpstreamMessage),
            (Role::Publisher, b"\x00\x00", Ignored::UpstreamMessage),
            (Role::Publisher, b"\x01\x02\x01a\x00\x02\x01b", Ignored::UpstreamMessage),
            (Role::Publisher, b"\x04\x05\x04PLUM", Ignored::UnknownCommand),
            (Role::Publisher, &ready(Role::Subscriber), Ignored::UnknownCommand),
            (Role::Publisher, &mark.encode(), Ignored::Misdirected),
            (Role::Subscriber, &subscribe(b"", 1), Ignored::Misdirected),
        ] {
            let events = run(&mut connected(role), bytes).unwrap();
            assert_eq!(events, [Event::Ignored(why)], "{bytes:02x?}");
        }
    }

    #[test]
    fn a_mark_counts_only_from_a_peer_that_sent_x_selvedge() {
        let data = Bytes::from_static(&[1; 41]);
        assert_eq!(
            traffic(Role::Subscriber, false, command::MARK, &data),
            Ok(Event::Ignored(Ignored::Misdirected))
        );
        let mark = Mark::parse(&data).unwrap();
        assert_eq!(traffic(Role::Subscriber, true, command::MARK, &data), Ok(Event::Mark(mark)));
        assert_eq!(
            traffic(Role::Subscriber, true, command::MARK, &data.slice(1..)),
            Err(Fault::Mark)
        );
    }

    #[test]
    fn broken_frames_and_commands_are_faults() {
        for (bytes, expected) in [
            (&b"\x08"[..], Fault::Flags(8)),
            (b"\x05", Fault::Flags(5)),
            (b"\x80\0", Fault::Flags(0x80)),
            (b"\x04\x00", Fault::Nameless),
            (b"\x04\x02\x05P", Fault::Nameless),
            (b"\x04\x05\x04PING", Fault::Ping),
            (&ping(0, &[0; 17]), Fault::Ping),
            (b"\x04\x09\x05ERROR\x02no", Fault::Refused("no".into())),
        ] {
            assert_eq!(fault(Role::Publisher, bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn only_ready_or_error_may_follow_the_greeting() {
        for (bytes, expected) in [
            (&b"\x00"[..], None),
            (b"\x00\x01", Some(Fault::NotReady)),
            (&ping(0, b""), Some(Fault::NotReady)),
            (b"\x04\x06\x05ERROR", Some(Fault::Refused("".into()))),
            (&ready(Role::Publisher), Some(Fault::SocketType("PUB".into()))),
        ] {
            let mut connection = Connection::new(Role::Publisher, Limits::default());
            let result = run(&mut connection, &[&greeting()[..], bytes].concat());
            assert_eq!(result.err(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_fault_is_final_and_what_came_before_it_is_kept() {
        let mut connection = connected(Role::Subscriber);
        let (mut input, mut out) = (BytesMut::from(&b"\x00\x01a\xff"[..]), Vec::new());
        assert_eq!(connection.handle(&mut input, &mut out), Err(Fault::Flags(0xff)));
        assert_eq!(out.len(), 1);
        assert_eq!(run(&mut connection, b"\x00\x01a"), Err(Fault::Flags(0xff)));
    }
}
