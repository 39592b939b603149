//! What is counted. Each case prepares the same inputs however many of them it then works off: what
//! two runs differ by is the work alone.

use std::hint::black_box;
use std::mem;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use selvedge_core::wire::{self, Frames};

use crate::deliver::Delivering;
use crate::publish;
use crate::steps::{Decoding, Sealing, Shape};

/// Commits that a run prepares.
pub const COMMITS: u64 = 24;

/// A piece of work for each message.
pub struct Case {
    /// How the baseline calls it, before the shape.
    pub work: &'static str,
    /// What its commits are like.
    pub shape: Shape,
    run: fn(Shape, u64) -> Result<()>,
}

/// What a publisher signs together at 256,000 messages a second.
const USUAL: Shape = Shape { messages: 64, topics: 1 };
/// The most that is signed together, of many topics.
const SPREAD: Shape = Shape { messages: 512, topics: 64 };
/// The same of one.
const FULL: Shape = Shape { messages: 512, topics: 1 };

/// All of them.
pub const CASES: [Case; 12] = [
    Case { work: "seal", shape: USUAL, run: seal },
    Case { work: "seal", shape: SPREAD, run: seal },
    Case { work: "encode", shape: USUAL, run: encode },
    Case { work: "encode", shape: SPREAD, run: encode },
    Case { work: "decode", shape: USUAL, run: decode },
    Case { work: "decode", shape: SPREAD, run: decode },
    Case { work: "open", shape: USUAL, run: open },
    Case { work: "open", shape: SPREAD, run: open },
    Case { work: "deliver", shape: USUAL, run: deliver },
    Case { work: "deliver", shape: SPREAD, run: deliver },
    Case { work: "publish-to-wire", shape: FULL, run: publish::run },
    Case { work: "publish-to-wire", shape: SPREAD, run: publish::run },
];

impl Case {
    /// How the baseline calls it.
    pub fn name(&self) -> String {
        format!("{}, {}", self.work, self.shape)
    }

    /// Works off the first `commits` of [`COMMITS`].
    pub fn run(&self, commits: u64) -> Result<()> {
        (self.run)(self.shape, commits).with_context(|| self.name())
    }
}

/// From numbered messages to bytes for the wire: encoding is a part of it.
fn seal(shape: Shape, commits: u64) -> Result<()> {
    let sealing = Sealing::new(shape)?;
    work(commits, |at| Ok(sealing.unsealed(at)), |commit| Ok(sealing.seal(commit)))
}

/// From the frames of packets to bytes for the wire.
fn encode(shape: Shape, commits: u64) -> Result<()> {
    let (sealing, mut decoding) = (Sealing::new(shape)?, Decoding::new()?);
    work(commits, |at| decoding.decode(sealing.read(at)), |packets| Ok(frame(&packets)))
}

fn frame(packets: &[Frames]) -> Vec<Bytes> {
    let packets = packets.iter().map(|packet| {
        let mut out = Vec::with_capacity(packet.wire().len());
        for part in 0..packet.len() {
            wire::put_frame(&mut out, packet.part(part), part + 1 < packet.len());
        }
        Bytes::from(out)
    });
    packets.collect()
}

/// From what a link read to the frames of packets.
fn decode(shape: Shape, commits: u64) -> Result<()> {
    let (sealing, mut decoding) = (Sealing::new(shape)?, Decoding::new()?);
    work(commits, |at| Ok(sealing.read(at)), |read| decoding.decode(read))
}

/// From the frames of packets to what may be believed.
fn open(shape: Shape, commits: u64) -> Result<()> {
    let (sealing, mut decoding) = (Sealing::new(shape)?, Decoding::new()?);
    let mut opening = sealing.opening()?;
    work(commits, |at| decoding.decode(sealing.read(at)), |packets| opening.open(packets))
}

/// From what may be believed to messages taken by an application.
fn deliver(shape: Shape, commits: u64) -> Result<()> {
    let (sealing, mut decoding) = (Sealing::new(shape)?, Decoding::new()?);
    let mut delivering = Delivering::new(sealing.unsealed(0).header.key)?;
    let mut opening = sealing.opening()?;
    let mut trusted = |at| opening.open(decoding.decode(sealing.read(at))?);
    work(commits, &mut trusted, |commit| delivering.deliver(commit, shape.messages))
}

fn work<I, O>(
    commits: u64,
    prepare: impl FnMut(u64) -> Result<I>,
    mut act: impl FnMut(I) -> Result<O>,
) -> Result<()> {
    let inputs = (0..COMMITS).map(prepare).collect::<Result<Vec<I>>>()?;
    let mut inputs = inputs.into_iter();
    for input in inputs.by_ref().take(commits as usize) {
        drop(black_box(act(input)?));
    }
    mem::forget(inputs); // freeing what was not worked off would count against the smaller run
    Ok(())
}
