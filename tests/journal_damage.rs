//! Does damage cost exactly what it hit, and is that told?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use selvedge_journal::disk::Sim;
use selvedge_journal::{Fault, Item, Journal, Options, Owner, Place, Record, Span, scan};

const FOLDER: &str = "/journal";
const HEADER: u64 = 4096;

fn open(disk: &Sim) -> Journal {
    let owner = Owner { fabric: "test".into(), name: "inventory".into(), key: [7; 32] };
    let options = Options { segment_bytes: 64 << 10, ..Options::new(owner) };
    Journal::open(Arc::new(disk.clone()), Path::new(FOLDER), options).unwrap()
}

fn segment(number: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{number:010}.segment"))
}

fn span(seq: u64) -> Span {
    Span { stream: 1, from: Place::new(5, seq), upto: Place::new(5, seq + 1) }
}

fn append(journal: &mut Journal, seq: u64, body: &[u8]) {
    let Span { stream, from, upto } = span(seq);
    let body = [Bytes::copy_from_slice(body)];
    let record = Record { stream, from, upto, time_us: 1, preamble: b"who", body: &body };
    journal.append(&[record]).unwrap();
}

/// Which numbers are held; each reads back.
fn held(journal: &Journal) -> Vec<u64> {
    let end = Place::new(9, 9);
    let chunk = journal.reader().read(1, Place::default(), end, 1 << 20).unwrap();
    assert!(chunk.end);
    let seqs: Vec<u64> = chunk.records.iter().map(|entry| entry.from.seq).collect();
    let ranges = journal.reader().held(1);
    let told = ranges.iter().flat_map(|(from, upto)| from.seq..upto.seq);
    assert_eq!(told.collect::<Vec<_>>(), seqs);
    seqs
}

/// Ten records of about 30 bytes in the first segment, made by a journal that was closed or not;
/// a disk with it, the file's bytes, and where each record ends.
fn ten(closed: bool) -> (Sim, Vec<u8>, Vec<u64>) {
    let disk = Sim::new(1);
    let mut journal = open(&disk);
    (0..10).for_each(|seq| append(&mut journal, seq, format!("the body of {seq}").as_bytes()));
    match closed {
        true => journal.close().unwrap(),
        false => journal.sync().unwrap(),
    }
    let path = segment(1);
    let ends = scan(&disk, &path).unwrap().filter_map(|(offset, item)| match item {
        Item::Record { entry, .. } => Some(offset + 64 + entry.body.len() as u64),
        _ => None,
    });
    let ends = ends.collect();
    let bytes = disk.contents(&path).unwrap();
    (disk, bytes, ends)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_written_over() {
    let (_, bytes, ends) = ten(false);
    let last = *ends.last().unwrap();
    for torn in HEADER..last {
        for zeroed in [false, true] {
            let mut bytes = bytes.clone();
            match zeroed {
                true => bytes[torn as usize..].fill(0),
                false => bytes.truncate(torn as usize),
            }
            let disk = Sim::new(torn);
            disk.put(&segment(1), bytes);
            let mut journal = open(&disk);
            let whole = ends.iter().filter(|end| **end <= torn).count() as u64;
            assert_eq!(held(&journal), (0..whole).collect::<Vec<_>>(), "torn at {torn}");
            assert!(journal.recovery().damages.iter().all(|damage| damage.what == Fault::Torn));
            assert!(!journal.recovery().clean);
            append(&mut journal, whole, b"again");
            drop(journal);
            let mut journal = open(&disk);
            assert_eq!(journal.recovery().damages, [], "torn at {torn}");
            append(&mut journal, whole + 1, b"and again");
            journal.close().unwrap();
            let journal = open(&disk);
            assert_eq!(held(&journal), (0..whole + 2).collect::<Vec<_>>(), "torn at {torn}");
            assert!(journal.recovery().clean && journal.recovery().damages.is_empty());
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_one_record_at_most_and_says_which() {
    let (_, bytes, ends) = ten(true);
    for at in 0..bytes.len() as u64 {
        let disk = Sim::new(at);
        disk.put(&segment(1), bytes.clone());
        disk.flip(&segment(1), at * 8 + at % 8);
        let journal = open(&disk);
        // The preamble stands before the first record, the end after the last.
        let preamble_end = HEADER + 64 + 3;
        let is_record = (preamble_end..*ends.last().unwrap()).contains(&at);
        let hit = is_record.then(|| ends.iter().filter(|end| **end <= at).count() as u64);
        let left: Vec<u64> = (0..10).filter(|seq| Some(*seq) != hit).collect();
        assert_eq!(held(&journal), left, "flipped in byte {at}");
        let damages = &journal.recovery().damages;
        assert_eq!(damages.len(), usize::from(at >= HEADER), "flipped in byte {at}");
        let Some(hit) = hit else { continue };
        let damage = &damages[0];
        let begin = if hit == 0 { preamble_end } else { ends[hit as usize - 1] };
        assert_eq!((damage.offset, damage.offset + damage.bytes), (begin, ends[hit as usize]));
        assert_eq!((&damage.file, damage.what), (&segment(1), Fault::Corrupt));
        // Without its header, the first and the last are not known by what stands around them.
        let in_body = at >= begin + 64;
        if in_body || (1..9).contains(&hit) {
            assert_eq!(damage.lost, [span(hit)], "flipped in byte {at}");
        } else {
            assert_eq!(damage.lost, []);
        }
    }
}

#[test]
fn the_image_of_a_record_in_a_body_is_never_taken_for_one() {
    let (disk, _, ends) = ten(true);
    // The same journal in another world: the same salt, and records that this one does not hold.
    let other = disk.kill();
    let mut journal = open(&other);
    (11..20).for_each(|seq| append(&mut journal, seq, b"not here"));
    journal.close().unwrap();
    let image = other.contents(&segment(1)).unwrap();
    let mut journal = open(&disk);
    append(&mut journal, 10, &image[HEADER as usize..]);
    append(&mut journal, 21, b"after");
    drop(journal);
    // The header of the record around the images is hit: the search runs through its body.
    let offset = *ends.last().unwrap() + 64;
    assert!(disk.flip(&segment(1), (offset + 20) * 8));
    let journal = open(&disk);
    let seqs: Vec<u64> = (0..10).chain([21]).collect();
    assert_eq!(held(&journal), seqs);
    let [damage] = &journal.recovery().damages[..] else { panic!("{:?}", journal.recovery()) };
    let lost = Span { from: span(9).upto, upto: span(21).from, ..span(0) };
    assert_eq!((damage.offset, &damage.lost[..]), (offset, &[lost][..]));
}

#[test]
fn damage_that_comes_while_it_is_read_is_told_and_passed() {
    let (disk, _, ends) = ten(true);
    let journal = open(&disk);
    let reader = journal.reader();
    let end = Place::new(9, 9);
    // In the bodies of 3 and 7 and the header of 5.
    for at in [ends[3] - 1, ends[4] + 20, ends[7] - 2] {
        assert!(disk.flip(&segment(1), at * 8));
    }
    let (mut from, mut seqs, mut lost) = (Place::default(), Vec::new(), Vec::new());
    loop {
        match reader.read(1, from, end, 1 << 20) {
            Ok(chunk) => {
                seqs.extend(chunk.records.iter().map(|entry| entry.from.seq));
                from = chunk.records.last().map_or(from, |entry| entry.upto);
                if chunk.end {
                    break;
                }
            }
            Err(error) => {
                assert_eq!(error.file, segment(1));
                from = error.span.upto;
                lost.push(error.span);
            }
        }
    }
    assert_eq!(seqs, [0, 1, 2, 4, 6, 8, 9]);
    assert_eq!(lost, [span(3), span(5), span(7)]);
    // Wherever one starts, it is the same.
    for seq in 0..10 {
        let read = reader.read(1, span(seq).from, span(seq).upto, 1);
        assert_eq!(read.is_ok_and(|chunk| chunk.records.len() == 1), ![3, 5, 7].contains(&seq));
    }
}

#[test]
fn a_segment_without_a_header_or_an_end_costs_itself_alone() {
    let disk = Sim::new(3);
    let mut journal = open(&disk);
    (0..30).for_each(|seq| append(&mut journal, seq, &[seq as u8; 9000]));
    journal.close().unwrap();
    let records = |number| {
        let walk = scan(&disk, &segment(number)).unwrap();
        walk.filter(|(_, item)| matches!(item, Item::Record { .. })).count() as u64
    };
    let (first, second) = (records(1), records(2));
    let whole = disk.contents(&segment(2)).unwrap();

    let mut broken = whole.clone();
    (broken[20], broken[2048 + 20]) = (!broken[20], !broken[2048 + 20]);
    disk.put(&segment(2), broken);
    let journal = open(&disk);
    let seqs: Vec<u64> = (0..first).chain(first + second..30).collect();
    assert_eq!(held(&journal), seqs);
    let damage = &journal.recovery().damages[0];
    let lost = Span { from: span(first).from, upto: span(first + second).from, stream: 1 };
    assert_eq!((damage.what, &damage.lost[..]), (Fault::Header, &[lost][..]));
    drop(journal);

    disk.put(&segment(2), whole[..whole.len() - 64 - 10].to_vec());
    let journal = open(&disk);
    let seqs: Vec<u64> = (0..30).filter(|seq| *seq != first + second - 1).collect();
    assert_eq!(held(&journal), seqs);
    let kinds: Vec<_> = journal.recovery().damages.iter().map(|damage| damage.what).collect();
    assert_eq!(kinds, [Fault::Corrupt, Fault::Missing]);
}
