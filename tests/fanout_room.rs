//! Does a peer that waits for room go on when another one, which took it, is gone?

#[path = "support/stream.rs"]
mod stream;

use bytes::Bytes;
use selvedge_core::Time;
use selvedge_core::fanout::{Config, FanOut, Input, Output, PeerId};
use selvedge_core::limits::STALLED;
use stream::Voice;

const HUNG: PeerId = PeerId(1);
const WELL: PeerId = PeerId(2);

/// A fan-out whose room is all taken by a peer that reads nothing, so that the other one is behind.
fn full() -> FanOut {
    let config = Config { queue_bytes: 1 << 20, queues_bytes: 600, journal: true };
    let (mut fanout, mut voice, mut out) = (FanOut::new(config), Voice::new(1), Vec::new());
    for peer in [HUNG, WELL] {
        fanout.handle(Time(1), Input::Connected { peer, selvedge: true }, &mut out);
    }
    let prefix = Bytes::from_static(b"a");
    fanout.handle(Time(1), Input::Subscribe { peer: HUNG, prefix: prefix.clone() }, &mut out);
    for _ in 0..4 {
        fanout.handle(Time(1), Input::Commit(&voice.say(&["a"])), &mut out);
    }
    fanout.handle(Time(1), Input::Subscribe { peer: WELL, prefix }, &mut out);
    fanout.handle(Time(1), Input::Commit(&voice.say(&["a"])), &mut out);
    assert!(fanout.counters().fell_behind > 0);
    assert!(!out.iter().any(is_read));
    fanout
}

fn is_read(output: &Output) -> bool {
    matches!(output, Output::Read { peer: WELL, .. })
}

#[test]
fn when_it_has_disconnected() {
    let (mut fanout, mut out) = (full(), Vec::new());
    fanout.handle(Time(2), Input::Disconnected(HUNG), &mut out);
    assert!(out.iter().any(is_read), "{out:?}");
}

#[test]
fn when_it_is_cut_off() {
    let (mut fanout, mut out) = (full(), Vec::new());
    let late = Time(1) + STALLED;
    fanout.handle(late, Input::Tick, &mut out);
    assert!(out.iter().any(is_read), "{out:?}");
}
