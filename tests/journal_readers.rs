//! Do readers go on while the writer appends, rolls and removes?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use selvedge_journal::disk::Real;
use selvedge_journal::{Journal, Options, Owner, Place, Reader, Record};

const RECORDS: u64 = 20_000;

fn body(seq: u64) -> Bytes {
    Bytes::from(vec![seq as u8; 100 + (seq % 200) as usize])
}

/// Reads the stream to its end, again and again from where it is, until all was written.
fn follow(reader: &Reader, done: &AtomicBool) -> (u64, u64) {
    let (mut from, mut read, mut passed) = (Place::default(), 0, 0);
    loop {
        let last_round = done.load(Ordering::Acquire);
        let chunk = reader.read(1, from, Place::new(1, RECORDS), 20_000).unwrap();
        for entry in &chunk.records {
            assert!(entry.from >= from, "out of order");
            passed += entry.from.seq - from.seq;
            assert_eq!(entry.body, body(entry.from.seq));
            from = entry.upto;
            read += 1;
        }
        if chunk.end && last_round {
            return (read, passed);
        }
    }
}

#[test]
fn readers_see_every_record_in_order_or_that_it_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner { fabric: "test".into(), name: "inventory".into(), key: [7; 32] };
    let retain_bytes = Some(400 << 10);
    let options = Options { segment_bytes: 64 << 10, retain_bytes, ..Options::new(owner) };
    let mut journal = Journal::open(Arc::new(Real), folder.path(), options).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = journal.reader();
                scope.spawn(|| follow(&{ reader }, &done))
            })
            .collect();
        for seq in 0..RECORDS {
            let (from, upto) = (Place::new(1, seq), Place::new(1, seq + 1));
            let body = [body(seq)];
            let record = Record { stream: 1, from, upto, time_us: seq, preamble: b"", body: &body };
            journal.append(&[record]).unwrap();
            if seq % 100 == 0 {
                journal.retain(0).unwrap();
            }
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            let (read, passed) = reader.join().unwrap();
            assert_eq!(read + passed, RECORDS);
        }
    });
}

#[test]
fn what_is_removed_while_a_chunk_is_held_stays_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner { fabric: "test".into(), name: "inventory".into(), key: [7; 32] };
    let options = Options { segment_bytes: 8 << 10, retain_bytes: Some(0), ..Options::new(owner) };
    let mut journal = Journal::open(Arc::new(Real), folder.path(), options).unwrap();
    for seq in 0..200 {
        let (from, upto) = (Place::new(1, seq), Place::new(1, seq + 1));
        let body = [body(seq)];
        let record = Record { stream: 1, from, upto, time_us: seq, preamble: b"", body: &body };
        journal.append(&[record]).unwrap();
    }
    let reader = journal.reader();
    let end = Place::new(1, 200);
    let chunk = reader.read(1, Place::default(), end, 10_000).unwrap();
    assert!(journal.retain(0).unwrap().segments > 5);
    assert!(chunk.records.iter().all(|entry| entry.body == body(entry.from.seq)));
    let oldest = reader.held(1)[0].0;
    let after = chunk.records.last().unwrap().upto;
    assert!(oldest > after);
    let next = reader.read(1, after, end, 10_000).unwrap();
    assert_eq!(next.records[0].from, oldest);
}
