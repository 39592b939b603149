//! Is what was appended to a journal read back, by place, across segments, after a reopening?

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use selvedge_journal::disk::{Disk, Real, Sim};
use selvedge_journal::{
    AppendError, BadRecord, Item, Journal, OpenError, Options, Owner, Place, Record, RecordError,
    Recorder, inspect, scan,
};

const FOLDER: &str = "/journal";

fn owner() -> Owner {
    Owner { fabric: "test".into(), name: "inventory".into(), key: [7; 32] }
}

fn options() -> Options {
    Options { segment_bytes: 16 << 10, ..Options::new(owner()) }
}

fn open(disk: &Sim) -> Journal {
    Journal::open(Arc::new(disk.clone()), Path::new(FOLDER), options()).unwrap()
}

fn place(seq: u64) -> Place {
    Place::new(5, seq)
}

/// The body of the record of `stream` that begins at `seq`.
fn body(stream: u64, seq: u64) -> Bytes {
    let len = 20 + (seq * 37 + stream * 11) % 900;
    (0..len).map(|at| (at * 7 + seq * 13 + stream) as u8).collect()
}

fn append(journal: &mut Journal, stream: u64, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let whole = body(stream, seq);
        let parts = [whole.slice(..5), whole.slice(5..)];
        journal.append(&[record(stream, seq, &parts)]).unwrap();
    }
}

fn record(stream: u64, seq: u64, body: &[Bytes]) -> Record<'_> {
    let (from, upto) = (place(seq), place(seq + 1));
    Record { stream, from, upto, time_us: seq, preamble: b"somebody", body }
}

/// Reads everything of a stream in `from..upto`, and checks it.
fn read(journal: &Journal, stream: u64, from: u64, upto: u64, max_bytes: usize) -> Vec<u64> {
    let reader = journal.reader();
    let (mut next, mut seqs) = (place(from), Vec::new());
    loop {
        let chunk = reader.read(stream, next, place(upto), max_bytes).unwrap();
        assert!(chunk.end || !chunk.records.is_empty());
        for entry in chunk.records {
            assert_eq!(entry.body, body(stream, entry.from.seq));
            assert_eq!(entry.time_us, entry.from.seq);
            seqs.push(entry.from.seq);
            next = entry.upto;
        }
        if chunk.end {
            return seqs;
        }
    }
}

#[test]
fn every_range_of_every_stream_reads_back() {
    let disk = Sim::new(1);
    let mut journal = open(&disk);
    for seq in 0..120 {
        for stream in 1..=3 {
            append(&mut journal, stream, seq..seq + 1);
        }
    }
    append(&mut journal, 9, 0..50);
    assert!(journal.reader().segments() > 5);
    for max_bytes in [1, 5_000, 1 << 20] {
        for (from, upto) in [(0, 120), (0, 1), (17, 18), (50, 119), (119, 500), (120, 121)] {
            let expected: Vec<u64> = (from..upto.min(120)).collect();
            assert_eq!(read(&journal, 2, from, upto, max_bytes), expected);
        }
    }
    assert_eq!(read(&journal, 9, 0, 99, 1 << 20).len(), 50);
    assert_eq!(read(&journal, 4, 0, 99, 1 << 20), []);
    assert_eq!(journal.reader().held(2), [(place(0), place(120))]);

    journal.close().unwrap();
    let journal = open(&disk);
    assert!(journal.recovery().clean);
    assert_eq!(journal.recovery().records, 410);
    assert_eq!(journal.recovery().damages, []);
    assert_eq!(read(&journal, 2, 0, 120, 5_000).len(), 120);
    let streams = journal.reader().streams();
    assert_eq!(streams.iter().map(|info| info.stream).collect::<Vec<_>>(), [1, 2, 3, 9]);
    assert!(streams.iter().all(|info| &info.preamble[..] == b"somebody"));
    assert_eq!((streams[3].oldest, streams[3].end), (place(0), place(50)));
}

#[test]
fn a_record_is_found_by_any_place_in_it_and_gaps_are_told() {
    let disk = Sim::new(2);
    let mut journal = open(&disk);
    let ranges = [((1, 0), (1, 10)), ((1, 10), (1, 12)), ((1, 20), (2, 3)), ((2, 3), (2, 4))];
    for (from, upto) in ranges {
        let (from, upto) = (Place::new(from.0, from.1), Place::new(upto.0, upto.1));
        let record = Record { stream: 1, from, upto, time_us: 0, preamble: b"", body: &[] };
        journal.append(&[record]).unwrap();
    }
    let reader = journal.reader();
    let held = [(Place::new(1, 0), Place::new(1, 12)), (Place::new(1, 20), Place::new(2, 4))];
    assert_eq!(reader.held(1), held);
    let starts = |from: (u64, u64), upto: (u64, u64)| -> Vec<(u64, u64)> {
        let (from, upto) = (Place::new(from.0, from.1), Place::new(upto.0, upto.1));
        let chunk = reader.read(1, from, upto, 1 << 20).unwrap();
        assert!(chunk.end);
        chunk.records.iter().map(|entry| (entry.from.epoch, entry.from.seq)).collect()
    };
    assert_eq!(starts((1, 5), (1, 11)), [(1, 0), (1, 10)]);
    assert_eq!(starts((1, 12), (1, 20)), []);
    assert_eq!(starts((1, 12), (1, 21)), [(1, 20)]);
    assert_eq!(starts((2, 0), (2, 3)), [(1, 20)]);
    assert_eq!(starts((2, 4), (9, 9)), []);
}

#[test]
fn a_note_holds_no_place_and_is_read_by_who_reads_on_over_it() {
    let disk = Sim::new(6);
    let mut journal = open(&disk);
    let at = |epoch, seq| Place::new(epoch, seq);
    let mut append = |from, upto| {
        let record = Record { stream: 1, from, upto, time_us: 0, preamble: b"", body: &[] };
        journal.append(&[record]).unwrap();
    };
    append(at(1, 0), at(1, 5));
    append(at(2, 0), at(2, 0));
    append(at(2, 0), at(2, 3));
    append(at(2, 7), at(2, 7));
    append(at(2, 7), at(2, 9));
    append(at(3, 0), at(3, 0));
    journal.sync().unwrap();
    let look = |journal: &Journal| {
        let reader = journal.reader();
        let held = [(at(1, 0), at(1, 5)), (at(2, 0), at(2, 3)), (at(2, 7), at(2, 9))];
        assert_eq!(reader.held(1), held);
        let notes = |from, upto| -> Vec<Place> {
            let chunk = reader.read(1, from, upto, 1 << 20).unwrap();
            let notes = chunk.records.iter().filter(|entry| entry.from == entry.upto);
            notes.map(|entry| entry.from).collect()
        };
        assert_eq!(notes(at(0, 0), at(9, 0)), [at(2, 0), at(2, 7), at(3, 0)]);
        assert_eq!(notes(at(1, 5), at(3, 0)), [at(2, 0), at(2, 7), at(3, 0)]);
        assert_eq!(notes(at(2, 0), at(2, 3)), []);
        assert_eq!(notes(at(2, 4), at(2, 7)), [at(2, 7)]);
        assert_eq!(notes(at(2, 9), at(3, 0)), [at(3, 0)]);
        assert_eq!(notes(at(3, 0), at(9, 0)), []);
    };
    look(&journal);
    drop(journal);
    let journal = open(&disk);
    assert_eq!((journal.recovery().records, journal.recovery().repeated), (6, 0));
    look(&journal);
}

#[test]
fn nothing_of_a_bad_batch_is_appended() {
    let mut journal = open(&Sim::new(3));
    append(&mut journal, 1, 0..2);
    let (good, late) = (record(1, 2, &[]), record(1, 1, &[]));
    let error = journal.append(&[good, late]).unwrap_err();
    assert!(matches!(error, AppendError::Bad(BadRecord::OutOfOrder { .. })), "{error}");
    let backwards = Record { upto: place(1), ..good };
    let error = journal.append(&[backwards]).unwrap_err();
    assert!(matches!(error, AppendError::Bad(BadRecord::Backwards(_))), "{error}");
    let error = journal.append(&[Record { preamble: &[0; 4096], ..good }]).unwrap_err();
    assert!(matches!(error, AppendError::Bad(BadRecord::TooLong { .. })), "{error}");
    assert_eq!(read(&journal, 1, 0, 9, 1 << 20), [0, 1]);
    journal.append(&[good]).unwrap();
    assert_eq!(journal.reader().held(1), [(place(0), place(3))]);
}

#[test]
fn another_opener_another_owner_and_a_newer_version_are_told_what_to_do() {
    let disk = Sim::new(4);
    let mut journal = open(&disk);
    append(&mut journal, 1, 0..1);
    let open_as = |owner| {
        let options = Options::new(owner);
        Journal::open(Arc::new(disk.clone()), Path::new(FOLDER), options).map(drop)
    };
    assert!(matches!(open_as(owner()), Err(OpenError::Locked { .. })));
    drop(journal);
    let error = open_as(Owner { fabric: "other".into(), ..owner() }).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }));
    assert!(error.to_string().contains("0000000001.segment"), "{error}");
    open_as(Owner { key: [8; 32], ..owner() }).unwrap();

    let path = Path::new(FOLDER).join("0000000001.segment");
    let mut bytes = disk.contents(&path).unwrap();
    (bytes[8], bytes[2048 + 8]) = (2, 2);
    disk.put(&path, bytes);
    let error = open_as(owner()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { version: 2, .. }), "{error}");
}

#[test]
fn a_rotated_key_begins_a_segment() {
    let disk = Sim::new(5);
    let mut journal = open(&disk);
    append(&mut journal, 1, 0..1);
    journal.close().unwrap();
    let rotated = Options::new(Owner { key: [8; 32], ..owner() });
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mut journal = Journal::open(disk.clone(), Path::new(FOLDER), rotated).unwrap();
    append(&mut journal, 1, 1..2);
    assert_eq!(read(&journal, 1, 0, 9, 1 << 20), [0, 1]);
    let files = inspect(&*disk, Path::new(FOLDER)).unwrap();
    let key = |file| scan(&*disk, file).unwrap().header().owner.key[0];
    assert_eq!(files.iter().map(|file| key(file)).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn old_segments_go_by_bytes_and_by_age_and_the_newest_stays() {
    let disk = Sim::new(6);
    let folder = Path::new(FOLDER);
    let bytes = Options { retain_bytes: Some(40 << 10), ..options() };
    let mut journal = Journal::open(Arc::new(disk.clone()), folder, bytes).unwrap();
    append(&mut journal, 1, 0..200);
    let retained = journal.retain(0).unwrap();
    assert!(retained.segments > 2 && journal.reader().bytes() <= 40 << 10);
    let held = journal.reader().held(1);
    assert_eq!((held.len(), held[0].1), (1, place(200)));
    let kept: Vec<u64> = (held[0].0.seq..200).collect();
    assert_eq!(read(&journal, 1, 0, 300, 1 << 20), kept);
    drop(journal);

    let age = Options { retain_age: Some(Duration::from_micros(20)), ..options() };
    let mut journal = Journal::open(Arc::new(disk.clone()), folder, age).unwrap();
    let before = journal.reader().segments();
    assert_eq!(journal.retain(100).unwrap().segments, 0);
    journal.retain(1_000_000).unwrap();
    assert!(before > 1 && journal.reader().segments() == 1);
    assert_eq!(journal.reader().held(1)[0].1, place(200));
}

#[test]
fn a_real_folder_holds_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("a/b");
    let open = || Journal::open(Arc::new(Real), &folder, options());
    let mut journal = open().unwrap();
    append(&mut journal, 1, 0..100);
    journal.sync().unwrap();
    let Err(OpenError::Locked { holder, .. }) = open() else { panic!("a second writer") };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    let reader = journal.reader();
    drop(journal);
    let mut journal = open().unwrap();
    assert!(!journal.recovery().clean);
    append(&mut journal, 1, 100..101);
    assert_eq!(read(&journal, 1, 0, 200, 4_000).len(), 101);
    assert_eq!(reader.held(1), [(place(0), place(100))]);
    journal.close().unwrap();
    assert!(open().unwrap().recovery().clean);
}

#[test]
fn a_recording_is_one_new_file_that_says_where_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wednesday.selvedge");
    let mut recorder = Recorder::create(&Real, &path, owner()).unwrap();
    let body = [body(1, 4)];
    recorder.append(&[record(1, 4, &body), record(1, 2, &body), record(2, 2, &[])]).unwrap();
    recorder.finish().unwrap();
    let again = Recorder::create(&Real, &path, owner()).unwrap_err();
    assert!(matches!(again, RecordError::Exists(_)), "{again}");
    let items: Vec<Item> = scan(&Real, &path).unwrap().map(|(_, item)| item).collect();
    let places = items.iter().filter_map(|item| match item {
        Item::Record { stream, entry } => Some((*stream, entry.from.seq, entry.body.len())),
        _ => None,
    });
    let len = body[0].len();
    assert_eq!(places.collect::<Vec<_>>(), [(1, 4, len), (1, 2, len), (2, 2, 0)]);
    assert_eq!(items.last(), Some(&Item::End));
    assert_eq!(scan(&Real, &path).unwrap().header().owner, owner());
}
