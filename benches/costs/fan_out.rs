//! What one more subscriber costs a publisher: no copy of a body, and one write a batch.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use selvedge_core::Time;
use selvedge_core::fanout::{Config, FanOut as Machine, Input, Output, PeerId};
use selvedge_core::seal::Commit;
use serde::Serialize;

#[path = "../seal/steps.rs"]
#[allow(dead_code, reason = "both sides are made there")]
mod steps;

use steps::{Sealing, Shape};

/// How many peers there are before one more comes.
const PEERS: u64 = 64;

/// Of one commit of 512 messages of 256 B, one topic.
#[derive(Serialize)]
pub struct FanOut {
    pub peers: u64,
    /// Writes for all of them.
    pub writes: usize,
    /// Bytes allocated for all of them.
    pub allocated: u64,
    /// Bytes allocated for one more.
    pub allocated_more: u64,
}

pub fn measure() -> Result<FanOut> {
    let sealing = Sealing::new(Shape { messages: 512, topics: 1 })?;
    let commits: Vec<Commit> = (0..3).map(|at| sealing.seal(sealing.unsealed(at))).collect();
    let (writes, allocated) = send(PEERS, &commits).context("a commit is missing")?;
    let (_, more) = send(PEERS + 1, &commits).context("a commit is missing")?;
    let allocated_more = more.saturating_sub(allocated);
    Ok(FanOut { peers: PEERS, writes, allocated, allocated_more })
}

/// Writes and bytes allocated for the last of these commits.
fn send(peers: u64, commits: &[Commit]) -> Option<(usize, u64)> {
    let (mut machine, mut out) = (Machine::new(Config::default()), Vec::new());
    for peer in (0..peers).map(PeerId) {
        machine.handle(Time(0), Input::Connected { peer, selvedge: true }, &mut out);
        let prefix = Bytes::from_static(b"org.example.bench");
        machine.handle(Time(0), Input::Subscribe { peer, prefix }, &mut out);
    }
    let (last, before) = commits.split_last()?;
    before.iter().for_each(|commit| {
        write(&mut machine, commit, &mut out);
    });
    let mut writes = 0;
    let used = allocation_counter::measure(|| writes = write(&mut machine, last, &mut out));
    Some((writes, used.bytes_total))
}

fn write(machine: &mut Machine, commit: &Commit, out: &mut Vec<Output>) -> usize {
    out.clear();
    machine.handle(Time(0), Input::Commit(commit), out);
    let mut writes = 0;
    while let Some(output) = out.pop() {
        if let Output::Write { peer, .. } = output {
            writes += 1;
            machine.handle(Time(0), Input::Wrote { peer, done: true }, out);
        }
    }
    writes
}
