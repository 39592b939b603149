//! What does a connection allocate: for what a peer merely announces, and for each message?

use bytes::BytesMut;
use selvedge_core::limits::READ_BYTES;
use selvedge_core::wire::{Connection, Event, Limits, Role, greeting, put_frame, ready};

/// A connection that has heard `hello`, its read buffer, and room for many events.
fn connection(role: Role, hello: &[&[u8]]) -> (Connection, BytesMut, Vec<Event>) {
    let mut connection = Connection::new(role, Limits::default());
    let (mut input, mut events) = (BytesMut::with_capacity(READ_BYTES), Vec::new());
    hello.iter().for_each(|bytes| input.extend_from_slice(bytes));
    connection.handle(&mut input, &mut events).unwrap();
    events.clear();
    events.reserve(2_000);
    (connection, input, events)
}

#[test]
fn nothing_is_reserved_for_a_length_that_is_merely_announced() {
    let greeting = &greeting()[..];
    let peer = ready(Role::Publisher);
    let long = |flags: u8, len: u64| [&[flags], &len.to_be_bytes()[..]].concat();
    for hello in [&[][..], &[greeting], &[greeting, &peer]] {
        for (flags, len) in [(2, u64::MAX >> 1), (3, u64::MAX), (6, u64::MAX >> 1), (2, 1 << 20)] {
            let (mut connection, mut input, mut events) = connection(Role::Subscriber, hello);
            input.extend_from_slice(&long(flags, len));
            let allowed = len == 1 << 20 && hello.len() == 2;
            let cost = allocation_counter::measure(|| {
                assert_eq!(connection.handle(&mut input, &mut events).is_ok(), allowed);
            });
            assert!(cost.bytes_max < 100, "{flags} {len}: {cost:?}");
            assert!(input.capacity() <= READ_BYTES);
        }
    }
}

#[test]
fn a_full_read_buffer_costs_one_allocation_whatever_it_holds() {
    for parts in [1, 3, 8] {
        let hello = [&greeting()[..], &ready(Role::Publisher)];
        let (mut connection, _, mut events) = connection(Role::Subscriber, &hello);
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            (1..=parts).for_each(|part| put_frame(&mut bytes, b"body", part < parts));
        }
        let mut input = BytesMut::from(&bytes[..]);
        let cost = allocation_counter::measure(|| {
            connection.handle(&mut input, &mut events).unwrap();
        });
        assert_eq!(events.len(), 1_000);
        assert!(cost.count_total <= 1, "{cost:?}");
    }
}
