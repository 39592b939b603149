//! The journal of this workspace.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use selvedge_journal::disk::Real;
use selvedge_journal::{Journal, Options, Owner, Place, Record};

use crate::{BODY, Case, Contender};

pub const CONTENDER: Contender = Contender { name: "journal", write };

fn open(folder: &Path) -> Result<Journal> {
    let owner = Owner { fabric: "bench".into(), name: "bench".into(), key: [0; 32] };
    Ok(Journal::open(Arc::new(Real), folder, Options::new(owner))?)
}

fn write(case: &Case, folder: &Path) -> Result<(Duration, u64)> {
    let mut journal = open(folder)?;
    let body = [Bytes::from(vec![b'x'; BODY])];
    let record = |seq| {
        let (from, upto) = (Place::new(1, seq), Place::new(1, seq + 1));
        Record { stream: 1, from, upto, time_us: seq, preamble: b"bench", body: &body }
    };
    let began = Instant::now();
    for batch in 0..case.records / case.in_flight {
        let first = batch * case.in_flight;
        let records: Vec<_> = (first..first + case.in_flight).map(record).collect();
        journal.append(&records)?;
        if case.durable {
            journal.sync()?;
        }
    }
    let took = began.elapsed();
    drop(journal);
    let held = open(folder)?.reader().held(1);
    Ok((took, held.iter().map(|(from, upto)| upto.seq - from.seq).sum()))
}
