//! An idle publisher in a process of its own, and a subscriber that hears many.

use std::process::id;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use selvedge::Publisher;
use selvedge::publisher::Options;
use serde::Serialize;

use crate::process::{Process, key, runtime, text, watched};

/// How long to wait until all are connected.
const CONNECT: Duration = Duration::from_secs(60);

/// What a publisher uses that says nothing but its tips, which come every 8 to 12 s.
#[derive(Serialize)]
pub struct IdlePublisher {
    pub seconds: u64,
    pub resident_mib: f64,
    pub wake_ups: u64,
    pub cpu_ms: f64,
}

/// What a subscriber uses that hears nothing but tips.
#[derive(Serialize)]
pub struct IdleSubscriber {
    pub publishers: usize,
    pub seconds: u64,
    pub resident_mib: f64,
    /// Of what it uses beyond a subscriber of nobody.
    pub kib_per_link: f64,
    pub cpu_percent: f64,
}

pub fn idle_publisher(seconds: u64) -> Result<IdlePublisher> {
    let mut process = Process::start(&format!("publish {}", id()))?;
    process.ask()?;
    std::thread::sleep(Duration::from_secs(1)); // its first tip
    let before = process.ask()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let after = process.ask()?;
    Ok(IdlePublisher {
        seconds,
        resident_mib: after.resident_bytes as f64 / 1_048_576.0,
        wake_ups: after.wake_ups - before.wake_ups,
        cpu_ms: (after.cpu_ns - before.cpu_ns) as f64 / 1e6,
    })
}

pub fn idle_subscriber((publishers, seconds): (usize, u64)) -> Result<IdleSubscriber> {
    let of_nobody = Process::start(&format!("subscribe {} 0", id()))?.ask()?;
    runtime()?.block_on(async {
        let state = tempfile::tempdir()?;
        let directory = watched(text(id(), publishers)?)?;
        let mut all = Vec::new();
        for at in 0..publishers {
            let mut options = Options::new(format!("p{at}").parse()?, key(at));
            options.state = state.path().into();
            all.push(Publisher::start(directory.clone(), options)?);
        }
        let mut process = Process::start(&format!("subscribe {} {publishers}", id()))?;
        let deadline = Instant::now() + CONNECT;
        while process.ask()?.links < publishers as u64 {
            ensure!(Instant::now() < deadline, "not all publishers are connected in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await; // first tips
        let before = process.ask()?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let after = process.ask()?;
        let more = after.resident_bytes.saturating_sub(of_nobody.resident_bytes);
        Ok(IdleSubscriber {
            publishers,
            seconds,
            resident_mib: after.resident_bytes as f64 / 1_048_576.0,
            kib_per_link: more as f64 / 1_024.0 / publishers as f64,
            cpu_percent: (after.cpu_ns - before.cpu_ns) as f64 / 1e7 / seconds as f64,
        })
    })
}
