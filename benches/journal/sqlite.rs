//! SQLite with a write-ahead log: the common way to keep records durably in a process.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::Connection;

use crate::{BODY, Case, Contender};

pub const CONTENDER: Contender = Contender { name: "sqlite", write };

fn write(case: &Case, folder: &Path) -> Result<(Duration, u64)> {
    let path = folder.join("records.sqlite");
    let mut connection = Connection::open(&path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if case.durable { "FULL" } else { "OFF" })?;
    connection.execute_batch(
        "CREATE TABLE records (stream INTEGER, epoch INTEGER, seq INTEGER, body BLOB,
         PRIMARY KEY (stream, epoch, seq)) WITHOUT ROWID",
    )?;
    let body = [b'x'; BODY];
    let began = Instant::now();
    for batch in 0..case.records / case.in_flight {
        let transaction = connection.transaction()?;
        let mut insert =
            transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4)")?;
        let first = batch * case.in_flight;
        for seq in first..first + case.in_flight {
            insert.execute((1, 1, seq as i64, &body[..]))?;
        }
        drop(insert);
        transaction.commit()?;
    }
    let took = began.elapsed();
    drop(connection);
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let held = Connection::open(&path)?.query_row("SELECT count(*) FROM records", (), count)?;
    Ok((took, held as u64))
}
