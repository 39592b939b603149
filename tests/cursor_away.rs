//! Is anything missed, or doubled, by a subscriber with a name that was away?

#[path = "support/fabric.rs"]
mod fabric;

use std::fs;
use std::path::{Path, PathBuf};

use fabric::{Fabric, Hearing, LIMIT, peers, say, soon, until};
use selvedge::{ContentType, Event, Lost, Outgoing, Position, Reason, Start};
use selvedge_journal::{Journal, Options, Owner, disk};

fn connect(fabric: &Fabric) -> Hearing {
    Hearing::new(fabric.named("indexer").start(Start::Oldest))
}

/// Takes and handles the next messages, whose numbers must be these.
async fn handle(hearing: &mut Hearing, numbers: std::ops::Range<u64>) {
    for expected in numbers {
        let message = hearing.message().await;
        assert_eq!(message.decode::<u64>().unwrap(), expected);
        hearing.subscriber.ack(&message);
    }
}

#[tokio::test]
async fn it_goes_on_where_it_was() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    say(&publisher, "web.a", 0..1_000).await;
    // Between two messages of a commit, at its end, and while nothing was said.
    for (from, to, said) in [(0, 300, 1_000), (300, 1_000, 2_000), (1_000, 1_000, 2_000)] {
        let mut hearing = connect(&fabric);
        handle(&mut hearing, from..to).await;
        drop(hearing);
        say(&publisher, "web.a", said..said + 1_000 * u64::from(to < said && said < 2_000)).await;
    }
    handle(&mut connect(&fabric), 1_000..2_000).await;
}

#[tokio::test]
async fn it_goes_on_over_restarts_of_the_publisher() {
    let fabric = Fabric::journaled(&["web"]);
    for round in 0..3 {
        let publisher = fabric.publisher("web");
        say(&publisher, "web.a", round * 100..round * 100 + 100).await;
        if round == 0 {
            handle(&mut connect(&fabric), 0..50).await;
        }
        soon("a close", publisher.close(LIMIT)).await.unwrap();
    }
    let _publisher = fabric.publisher("web");
    let mut hearing = connect(&fabric);
    handle(&mut hearing, 50..300).await;
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn killed_before_its_cursor_was_written_it_hears_some_twice_and_misses_none() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    say(&publisher, "web.a", 0..300).await;
    let mut hearing = connect(&fabric);
    handle(&mut hearing, 0..100).await;
    hearing.subscriber.flush().await.unwrap();
    let written = fabric.folder.path().join("as-killed");
    copy(&fabric.cursor("indexer"), &written);
    handle(&mut hearing, 100..200).await;
    drop(hearing);
    copy(&written, &fabric.cursor("indexer"));
    handle(&mut connect(&fabric), 100..300).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for slot in ["positions.0", "positions.1"].map(PathBuf::from) {
        let _ = fs::remove_file(to.join(&slot));
        if from.join(&slot).exists() {
            fs::copy(from.join(&slot), to.join(&slot)).unwrap();
        }
    }
}

#[tokio::test]
async fn overtaken_by_retention_it_is_told_once_what_it_lost() {
    let mut fabric = Fabric::journaled(&["web"]);
    fabric.service("web").more += "\nretain = { bytes = \"1MiB\" }"; // segments of 1 MiB
    fabric.publish();
    let publisher = fabric.publisher("web");
    let epoch = publisher.epoch();
    say(&publisher, "web.a", 0..10).await;
    handle(&mut connect(&fabric), 0..5).await;
    for _ in 10..50 {
        publisher.ready().await;
        let message = Outgoing::raw("web.a", ContentType::BYTES, vec![0; 100_000]).unwrap();
        publisher.send(message).unwrap();
    }
    soon("a close", publisher.close(LIMIT)).await.unwrap();
    retain_one_segment(&fabric);
    let publisher = fabric.publisher("web");
    say(&publisher, "web.a", 50..60).await;

    let mut hearing = connect(&fabric);
    let Event::Lost(Lost { from, to, reason, .. }) = hearing.event().await else { panic!() };
    assert_eq!((from.epoch, from.seq, reason), (epoch, 5, Reason::NotHeld));
    assert!(to.epoch == epoch && (10..50).contains(&to.seq), "{to}");
    for seq in to.seq..50 {
        assert_eq!(hearing.message().await.position, Position::new(epoch, seq));
    }
    handle(&mut hearing, 50..60).await;
    assert_eq!(hearing.count("lost_ranges"), 1);
    drop(hearing);
    say(&publisher, "web.a", 60..70).await;
    handle(&mut connect(&fabric), 60..70).await;
}

/// Leaves only the newest segment of the journal of `web`.
fn retain_one_segment(fabric: &Fabric) {
    let key = *fabric.services["web"].key.public().as_bytes();
    let owner = Owner { fabric: "test".to_owned(), name: "web".to_owned(), key };
    let options = Options { retain_bytes: Some(0), ..Options::new(owner) };
    let folder = fabric.options("web").state.join("web.journal");
    let mut journal = Journal::open(std::sync::Arc::new(disk::Real), &folder, options).unwrap();
    assert!(journal.retain(0).unwrap().segments > 0);
    journal.close().unwrap();
}

#[tokio::test]
async fn a_publisher_that_appears_later_is_heard_from_its_first_message() {
    let mut fabric = Fabric::journaled(&["web"]);
    let web = fabric.publisher("web");
    say(&web, "web.a", 0..10).await;
    soon("a flush", web.flush(LIMIT)).await.unwrap();
    drop(Hearing::new(fabric.named("indexer"))); // the name is made; it heard nothing
    fabric.add("db");
    fabric.keep_journal("db");
    fabric.publish();
    let db = fabric.publisher("db");
    say(&db, "db.a", 100..110).await;
    let mut hearing = Hearing::new(fabric.named("indexer"));
    handle(&mut hearing, 100..110).await;
    hearing.started("web").await;
    say(&web, "web.a", 10..20).await;
    handle(&mut hearing, 10..20).await;
}

#[tokio::test]
async fn a_publisher_that_was_removed_for_a_while_goes_on_where_it_was() {
    let mut fabric = Fabric::journaled(&["web", "db"]);
    let web = fabric.publisher("web");
    say(&web, "web.a", 0..10).await;
    let mut hearing = connect(&fabric);
    handle(&mut hearing, 0..10).await;
    let service = fabric.services.remove("web").unwrap();
    fabric.publish();
    until("an end of the link", || peers(&web, "peers") == 0).await;
    fabric.services.insert("web".to_owned(), service);
    fabric.publish();
    let topic = "web.a".parse().unwrap();
    until("leave to speak", || web.check(&topic).is_ok()).await;
    say(&web, "web.a", 10..20).await;
    handle(&mut hearing, 10..20).await;
}
