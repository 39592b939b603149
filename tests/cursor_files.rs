//! What happens to a cursor whose files are damaged, foreign, in use, or about others?

#[path = "support/fabric.rs"]
mod fabric;

use std::fs;

use fabric::{Fabric, Hearing, say};
use selvedge::cursor::{self, CursorError, Place};
use selvedge::subscriber::ConnectError;
use selvedge::{Publisher, Start};

async fn fabric() -> (Fabric, Publisher) {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    say(&publisher, "web.a", 0..100).await;
    (fabric, publisher)
}

async fn handle(fabric: &Fabric, numbers: std::ops::Range<u64>) {
    let mut hearing = Hearing::new(fabric.named("indexer").start(Start::Oldest));
    for expected in numbers {
        let message = hearing.message().await;
        assert_eq!(message.decode::<u64>().unwrap(), expected);
        hearing.subscriber.ack(&message);
        hearing.subscriber.flush().await.unwrap();
    }
}

fn error(fabric: &Fabric) -> CursorError {
    match fabric.named("indexer").connect() {
        Err(ConnectError::Cursor(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn with_the_newest_generation_torn_the_one_before_is_used() {
    let (fabric, _publisher) = fabric().await;
    handle(&fabric, 0..10).await;
    let files = ["positions.0", "positions.1"].map(|name| fabric.cursor("indexer").join(name));
    let last = |bytes: &[u8]| u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    let newest = files.iter().max_by_key(|path| last(&fs::read(path).unwrap())).unwrap();
    let bytes = fs::read(newest).unwrap();
    fs::write(newest, &bytes[..bytes.len() / 2]).unwrap();
    handle(&fabric, 9..20).await;
}

#[tokio::test]
async fn a_disk_that_does_not_take_it_is_told_and_tried_again() {
    let (fabric, _publisher) = fabric().await;
    let mut hearing = Hearing::new(fabric.named("indexer").start(Start::Oldest));
    let files = ["positions.0", "positions.1"].map(|name| fabric.cursor("indexer").join(name));
    let message = hearing.message().await;
    hearing.subscriber.flush().await.unwrap();
    for file in &files {
        let _ = fs::remove_file(file);
        fs::create_dir(file).unwrap(); // so that not even root can write it
    }
    hearing.subscriber.ack(&message);
    let error = hearing.subscriber.flush().await.unwrap_err().to_string();
    assert!(error.contains("cursors/indexer"), "{error}");
    files.iter().for_each(|file| fs::remove_dir(file).unwrap());
    hearing.subscriber.flush().await.unwrap();
    let places = cursor::read(fabric.folder.path(), &"indexer".parse().unwrap());
    assert_eq!(places.unwrap().unwrap()[&message.key], Place::At(message.position.after()));
}

#[tokio::test]
async fn with_both_generations_damaged_it_says_which_file_and_what_to_do() {
    let (fabric, _publisher) = fabric().await;
    handle(&fabric, 0..2).await;
    for name in ["positions.0", "positions.1"] {
        fs::write(fabric.cursor("indexer").join(name), b"SVCU, nearly").unwrap();
    }
    let error = error(&fabric).to_string();
    assert!(error.contains("cursors/indexer/positions.") && error.contains("backup"), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let (fabric, _publisher) = fabric().await;
    let folder = fabric.cursor("indexer");
    fs::create_dir_all(&folder).unwrap();
    // Version 2, nothing else; CRC-32C of these six bytes.
    let newer = b"SVCU\x02\0\x17\x9b\x13\xe7";
    fs::write(folder.join("positions.1"), newer).unwrap();
    let error = error(&fabric);
    assert!(matches!(error, CursorError::Newer { version: 2, .. }), "{error}");
    assert_eq!(fs::read(folder.join("positions.1")).unwrap(), newer);
}

#[tokio::test]
async fn two_processes_do_not_share_a_name_and_the_second_learns_who_has_it() {
    let (fabric, _publisher) = fabric().await;
    let first = fabric.named("indexer").connect().unwrap();
    let error = error(&fabric).to_string();
    let (pid, program) = (std::process::id().to_string(), "cursor_files");
    assert!(error.contains(&pid) && error.contains(program), "{error}");
    fabric.named("another").connect().unwrap();
    drop(first);
    fabric.named("indexer").connect().unwrap();
}

#[tokio::test]
async fn a_stream_that_the_directory_does_not_know_is_kept_and_ignored() {
    let (mut fabric, _publisher) = fabric().await;
    handle(&fabric, 0..10).await;
    let read = || cursor::read(fabric.folder.path(), &"indexer".parse().unwrap());
    let before = read().unwrap().unwrap();
    let service = fabric.services.remove("web").unwrap();
    fabric.add("db");
    fabric.publish();
    handle(&fabric, 0..0).await;
    let read = || cursor::read(fabric.folder.path(), &"indexer".parse().unwrap());
    assert_eq!(read().unwrap().unwrap(), before);
    fabric.services.insert("web".to_owned(), service);
    fabric.publish();
    handle(&fabric, 10..20).await;
}
