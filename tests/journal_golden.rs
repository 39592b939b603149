//! Are a segment's bytes those that the journal's page documents?

use std::path::Path;

use bytes::Bytes;
use selvedge_journal::disk::{Disk, Sim};
use selvedge_journal::{Item, Owner, Place, Record, Recorder, scan};

const PATH: &str = "/recording";

/// A segment's header, as far as its second copy.
const HEADER: &str = "
    53564a4f55524e4c                                        magic SVJOURNL
    0100 04 09 00000000                                     version, lengths of the names
    0000000000000000                                        number: a recording
    e8ebc7463f6cc10f                                        salt
    0000000000000000 0000000000000000                       previous, previous_bytes
    0101010101010101010101010101010101010101010101010101010101010101
    74657374 696e76656e746f7279                             test, inventory
    3147343c                                                CRC
";

/// What follows the header.
const RECORDS: &str = "
    53564a50 08000000                                       a preamble of 8 bytes
    efcdab8967452301                                        stream
    0000000000000000 0000000000000000                       from
    0000000000000000 0000000000000000                       upto
    0000000000000000                                        time_us
    33ecf49b                                                CRC of the body
    69754ac1                                                CRC of the header
    7072656163686572                                        preacher

    53564a52 05000000                                       a record of 5 bytes
    efcdab8967452301                                        stream
    0500000000000000 0700000000000000                       from 5/7
    0600000000000000 0000000000000000                       upto 6/0
    40e2010000000000                                        time_us
    4cbb719a                                                CRC of the body
    9a97ac3e                                                CRC of the header
    68656c6c6f                                              hello

    53564a45 00000000                                       an end
    0000000000000000
    0000000000000000 0000000000000000
    0000000000000000 0000000000000000
    0000000000000000
    00000000                                                CRC of no body
    81126917                                                CRC of the header
";

/// The bytes of annotated hex: what stands before three spaces in a row.
fn bytes(annotated: &str) -> Vec<u8> {
    let hex: String =
        annotated.lines().map(|line| line.trim().split("   ").next().unwrap()).collect();
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A recording with one record, on the disk whose first random number is the salt above.
fn recording() -> (Sim, Vec<u8>) {
    let disk = Sim::new(0x5e1);
    let owner = Owner { fabric: "test".into(), name: "inventory".into(), key: [1; 32] };
    let mut recorder = Recorder::create(&disk, Path::new(PATH), owner).unwrap();
    let record = Record {
        stream: 0x0123_4567_89ab_cdef,
        from: Place::new(5, 7),
        upto: Place::new(6, 0),
        time_us: 123_456,
        preamble: b"preacher",
        body: &[Bytes::from_static(b"hel"), Bytes::from_static(b"lo")],
    };
    recorder.append(&[record]).unwrap();
    recorder.finish().unwrap();
    let bytes = disk.contents(Path::new(PATH)).unwrap();
    (disk, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_header_stands_twice_before_the_records() {
    let (_, written) = recording();
    let header = bytes(HEADER);
    assert_eq!(hex(&written[..header.len()]), hex(&header));
    assert!(written[header.len()..2048].iter().all(|byte| *byte == 0));
    assert_eq!(written[..2048], written[2048..4096]);
}

#[test]
fn a_preamble_a_record_and_an_end_are_these_bytes() {
    let (_, written) = recording();
    assert_eq!(hex(&written[4096..]), hex(&bytes(RECORDS)));
}

#[test]
fn these_bytes_read_back() {
    let (disk, _) = recording();
    let mut file = bytes(HEADER);
    file.resize(2048, 0);
    file.extend_from_within(..);
    file.extend(bytes(RECORDS));
    let path = Path::new("/copy");
    disk.put(path, file);
    let walk = scan(&disk as &dyn Disk, path).unwrap();
    assert_eq!(walk.header().owner.name, "inventory");
    let items: Vec<_> = walk.collect();
    assert_eq!(items.iter().map(|item| item.0).collect::<Vec<_>>(), [4096, 4168, 4237]);
    let Item::Record { stream, entry } = &items[1].1 else { panic!("{items:?}") };
    assert_eq!((*stream, entry.from), (0x0123_4567_89ab_cdef, Place::new(5, 7)));
    assert_eq!((entry.upto, entry.time_us), (Place::new(6, 0), 123_456));
    assert_eq!(&entry.body[..], b"hello");
    assert_eq!(items[2].1, Item::End);
}
