//! How many messages a second does one core seal and encode, or decode and open? Measured in CPU
//! time, so that what else the machine does matters less; medians.

use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::steps::{BODY, Decoding, Sealing, Shape};

mod steps;

/// What a publisher of 256,000 messages a second signs together: at first, and after a second.
const SHAPES: [Shape; 4] = [
    Shape { messages: 64, topics: 1 },
    Shape { messages: 64, topics: 64 },
    Shape { messages: 512, topics: 1 },
    Shape { messages: 512, topics: 64 },
];

/// Messages prepared, and then handled, at once: so few that caches hold them.
const BATCH: u64 = 1_024;

/// Batches of one run.
const BATCHES: u64 = 128;

/// Measures one core.
#[derive(Parser)]
struct Arguments {
    /// One JSON value, instead of a table.
    #[arg(long)]
    json: bool,
    /// A few messages, once.
    #[arg(long)]
    smoke: bool,
    /// How often each is measured; medians are shown.
    #[arg(long, value_name = "N", default_value = "9")]
    runs: NonZeroU32,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Messages a second of one core.
#[derive(Serialize)]
struct Row {
    messages: u16,
    topics: u16,
    seal_and_encode: f64,
    decode_and_open: f64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (runs, batches) = match arguments.smoke {
        true => (1, 2),
        false => (arguments.runs.get(), BATCHES),
    };
    let rows = SHAPES.iter().map(|shape| measure(*shape, runs, batches));
    let rows = rows.collect::<Result<Vec<Row>>>()?;
    match arguments.json {
        true => writeln!(stdout(), "{}", serde_json::to_string_pretty(&rows)?)?,
        false => print(&rows, runs)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(rows: &[Row], runs: u32) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "messages of {BODY} B a second, one core, median of {runs}")?;
    writeln!(out, "{:20}{:>16}{:>16}", "commit", "seal+encode", "decode+open")?;
    for Row { messages, topics, seal_and_encode, decode_and_open } in rows {
        let shape = Shape { messages: *messages, topics: *topics }.to_string();
        writeln!(out, "{shape:20}{seal_and_encode:>16.0}{decode_and_open:>16.0}")?;
    }
    Ok(())
}

/// Both sides in turn, so that what the machine does meanwhile hits both.
fn measure(shape: Shape, runs: u32, batches: u64) -> Result<Row> {
    let sealing = Sealing::new(shape)?;
    let (mut decoding, mut opening) = (Decoding::new()?, sealing.opening()?);
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    let commits = BATCH / u64::from(shape.messages);
    for run in 0..u64::from(runs) {
        let numbers =
            |batch: u64| (0..commits).map(move |at| (run * batches + batch) * commits + at);
        let prepare = |batch| numbers(batch).map(|commit| sealing.unsealed(commit)).collect();
        sealed.push(rate(batches, prepare, |commit| Ok(sealing.seal(commit)))?);
        let prepare = |batch| numbers(batch).map(|commit| sealing.read(commit)).collect();
        opened.push(rate(batches, prepare, |read| opening.open(decoding.decode(read)?))?);
    }
    let Shape { messages, topics } = shape;
    let (seal_and_encode, decode_and_open) = (median(sealed), median(opened));
    Ok(Row { messages, topics, seal_and_encode, decode_and_open })
}

/// Messages a second of `act`, which includes freeing what it made.
fn rate<I, O>(
    batches: u64,
    prepare: impl Fn(u64) -> Vec<I>,
    mut act: impl FnMut(I) -> Result<O>,
) -> Result<f64> {
    let mut spent = 0;
    for batch in 0..batches {
        let inputs = prepare(batch);
        let before = cpu_time();
        for input in inputs {
            drop(black_box(act(input)?));
        }
        spent += cpu_time() - before;
    }
    Ok((BATCH * batches) as f64 / spent as f64 * 1e9)
}

fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
