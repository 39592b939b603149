//! How fast do small records become durable, beside SQLite? Each contender in turn within a run,
//! so that what the machine does meanwhile hits both; on the disk that holds the build output.
//!
//! A contender is one file with one function. A case is data.

use std::fmt::{self, Display};
use std::io::{Write as _, stderr, stdout};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde::Serialize;

mod ours;
mod sqlite;

/// Bytes of a record's body.
const BODY: usize = 256;

/// So many records, in batches.
#[derive(Clone, Copy, Debug, Serialize)]
struct Case {
    /// Whether each batch is durable before the next begins; else it is only in the kernel's hands.
    durable: bool,
    /// Records in a batch: so many writers wait for one sync.
    in_flight: u64,
    /// Records in all.
    records: u64,
}

const CASES: [Case; 6] = [
    Case { durable: true, in_flight: 1, records: 4_000 },
    Case { durable: true, in_flight: 64, records: 128_000 },
    Case { durable: true, in_flight: 1_024, records: 512_000 },
    Case { durable: false, in_flight: 1, records: 128_000 },
    Case { durable: false, in_flight: 64, records: 512_000 },
    Case { durable: false, in_flight: 1_024, records: 512_000 },
];

/// Something that keeps records.
struct Contender {
    name: &'static str,
    /// Writes the case's records into an empty folder; how long that took, and how many can be
    /// read back after it was opened again.
    write: fn(&Case, folder: &Path) -> Result<(Duration, u64)>,
}

const CONTENDERS: [Contender; 2] = [ours::CONTENDER, sqlite::CONTENDER];

/// Measures the journal beside SQLite.
#[derive(Parser)]
struct Arguments {
    /// One JSON value, instead of a table.
    #[arg(long)]
    json: bool,
    /// A hundredth of the records, once: whether all works, in seconds.
    #[arg(long)]
    smoke: bool,
    /// How often each is measured; medians are shown.
    #[arg(long, value_name = "N", default_value = "5")]
    runs: NonZeroU32,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The medians of one case.
#[derive(Debug, Serialize)]
struct Row {
    case: Case,
    /// Records a second, for each contender.
    records_per_second: [f64; CONTENDERS.len()],
    /// The first contender's by the second's.
    ratio: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runs = if arguments.smoke { 1 } else { arguments.runs.get() };
    let cases = CASES.map(|case| match arguments.smoke {
        true => Case { records: (case.records / 100).max(case.in_flight), ..case },
        false => case,
    });
    let rows = cases.iter().map(|case| measure(case, runs)).collect::<Result<Vec<_>>>()?;
    match arguments.json {
        true => writeln!(stdout(), "{}", serde_json::to_string_pretty(&rows)?)?,
        false => write!(stdout(), "{}", Table(&rows, runs))?,
    }
    Ok(())
}

fn measure(case: &Case, runs: u32) -> Result<Row> {
    let mut rates = CONTENDERS.map(|_| Vec::new());
    for run in 1..=runs {
        for (contender, rates) in CONTENDERS.iter().zip(&mut rates) {
            writeln!(stderr(), "run {run} of {runs}: {case:?}, {}", contender.name)?;
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            let (took, held) = (contender.write)(case, folder.path()).context(contender.name)?;
            let due = case.records / case.in_flight * case.in_flight;
            ensure!(held == due, "{}: {held} of {due} records are there", contender.name);
            rates.push(due as f64 / took.as_secs_f64());
        }
    }
    let records_per_second = rates.map(median);
    let ratio = records_per_second[0] / records_per_second[1];
    Ok(Row { case: *case, records_per_second, ratio })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// All rows, with the number of runs.
struct Table<'a>(&'a [Row], u32);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nrecords of {BODY} B a second, median of {}", self.1)?;
        let [a, b] = CONTENDERS.map(|contender| contender.name);
        writeln!(f, "{:10}{:>10}{a:>14}{b:>14}{:>8}", "", "in flight", "ratio")?;
        for Row { case, records_per_second: [a, b], ratio } in self.0 {
            let name = if case.durable { "log" } else { "buffered" };
            writeln!(f, "{name:10}{:>10}{a:>14.0}{b:>14.0}{ratio:>8.1}", case.in_flight)?;
        }
        Ok(())
    }
}
