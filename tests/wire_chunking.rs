//! Does it matter how a stream of bytes was cut on its way here, or who made it up?

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use selvedge_core::wire::{
    Connection, Event, Fault, Frames, Ignored, Limits, Mark, Peer, Role, cancel, greeting, ping,
    pong, put_frame, ready, subscribe,
};
use selvedge_core::{KeyId, Position, limits};

/// Something a peer may say, with what it must mean.
type Said = (Vec<u8>, Vec<Event>);

fn bytes(len: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=len).prop_map(Bytes::from)
}

fn position() -> impl Strategy<Value = Position> {
    any::<(u64, u64)>().prop_map(|(epoch, seq)| Position::new(epoch, seq))
}

/// A command that either role takes.
fn command() -> impl Strategy<Value = Said> {
    prop_oneof![
        (any::<u16>(), bytes(16)).prop_map(|(ttl, context)| {
            (ping(ttl, &context).to_vec(), vec![Event::Ping(context)])
        }),
        bytes(16).prop_map(|context| (pong(&context).to_vec(), vec![Event::Pong])),
        bytes(300).prop_map(|data| {
            let len = (5 + data.len() as u64).to_be_bytes();
            let unknown = [b"\x06", &len[..], b"\x04PLUM", &data].concat();
            (unknown, vec![Event::Ignored(Ignored::UnknownCommand)])
        }),
    ]
}

fn subscription() -> impl Strategy<Value = Said> {
    (any::<bool>(), 0..=1_u8, bytes(300)).prop_map(|(cancels, minor, prefix)| {
        let form = if cancels { cancel } else { subscribe };
        let event = match prefix.len() {
            256.. => Event::Ignored(Ignored::LongPrefix),
            _ if cancels => Event::Cancel(prefix.clone()),
            _ => Event::Subscribe(prefix.clone()),
        };
        (form(&prefix, minor).to_vec(), vec![event])
    })
}

fn mark() -> impl Strategy<Value = Said> {
    (any::<u64>(), position(), position(), any::<u8>()).prop_map(|(key, from, upto, flags)| {
        let mark = Mark { key: KeyId(key), from, upto, flags };
        (mark.encode().to_vec(), vec![Event::Mark(mark)])
    })
}

/// A message with commands before some of its frames, as libzmq's heartbeats may fall.
fn message() -> impl Strategy<Value = Said> {
    let part = (prop::option::weighted(0.2, command()), bytes(600));
    prop::collection::vec(part, 1..12).prop_map(|parts| {
        let (mut said, mut wire, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (command, body)) in parts.iter().enumerate() {
            if let Some((bytes, heard)) = command {
                said.extend_from_slice(bytes);
                events.extend_from_slice(heard);
            }
            put_frame(&mut said, body, i + 1 < parts.len());
            put_frame(&mut wire, body, i + 1 < parts.len());
        }
        events.push(Event::Message(Frames::parse(Bytes::from(wire)).unwrap()));
        (said, events)
    })
}

fn hello(role: Role) -> Said {
    let peer = match role {
        Role::Publisher => Role::Subscriber,
        Role::Subscriber => Role::Publisher,
    };
    let ready_event = Event::Ready(Peer { minor: 1, selvedge: true });
    ([&greeting()[..], &ready(peer)].concat(), vec![Event::Send(ready(role)), ready_event])
}

/// A whole valid stream toward `role`, and all that it means.
fn stream(role: Role) -> BoxedStrategy<Said> {
    let items = match role {
        Role::Publisher => prop_oneof![command(), subscription()].boxed(),
        Role::Subscriber => prop_oneof![command(), mark(), message()].boxed(),
    };
    prop::collection::vec(items, 0..20)
        .prop_map(move |items| {
            let said = [hello(role)].into_iter().chain(items);
            said.fold(Said::default(), |(mut bytes, mut events), (more, heard)| {
                bytes.extend(more);
                events.extend(heard);
                (bytes, events)
            })
        })
        .boxed()
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Publisher), Just(Role::Subscriber)]
}

/// What `bytes` mean when they arrive in pieces of these sizes, over and over.
fn heard(role: Role, bytes: &[u8], sizes: &[usize]) -> (Vec<Event>, Result<(), Fault>) {
    let mut connection = Connection::new(role, Limits::default());
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |&size| size.min(rest.len()));
        let (piece, later) = rest.split_at(size);
        rest = later;
        input.extend_from_slice(piece);
        if let Err(fault) = connection.handle(&mut input, &mut events) {
            return (events, Err(fault));
        }
    }
    (events, Ok(()))
}

proptest! {
    #[test]
    fn any_cut_of_a_valid_stream_means_the_same(
        (role, (bytes, events)) in role().prop_flat_map(|role| (Just(role), stream(role))),
        sizes in prop::collection::vec(1..400_usize, 1..8),
    ) {
        for sizes in [&[][..], &[1], &sizes] {
            let (found, result) = heard(role, &bytes, sizes);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(&found, &events);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_any_cut_finds_the_same_fault(
        role in role(),
        after_hello in any::<bool>(),
        noise in bytes(200),
        size in 1..50_usize,
    ) {
        let mut bytes = if after_hello { hello(role).0 } else { Vec::new() };
        bytes.extend_from_slice(&noise);
        prop_assert_eq!(heard(role, &bytes, &[]), heard(role, &bytes, &[size]));
    }

    #[test]
    fn damage_anywhere_never_panics(
        (role, (bytes, _)) in role().prop_flat_map(|role| (Just(role), stream(role))),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        size in 1..50_usize,
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert_eq!(heard(role, &bytes, &[]), heard(role, &bytes, &[size]));
    }
}

#[test]
fn a_packet_of_the_most_bodies_arrives_byte_by_byte() {
    let mut wire = Vec::new();
    put_frame(&mut wire, b"a.topic", true);
    put_frame(&mut wire, &[7; 400], true);
    for body in 1..=limits::BODIES {
        put_frame(&mut wire, &[body as u8; 9], body < limits::BODIES);
    }
    let (mut bytes, mut events) = hello(Role::Subscriber);
    bytes.extend_from_slice(&wire);
    events.push(Event::Message(Frames::parse(Bytes::from(wire)).unwrap()));
    assert_eq!(heard(Role::Subscriber, &bytes, &[1]), (events, Ok(())));
}
