//! Does a subscriber get what it missed from the publisher's journal, in order and once?

#[path = "support/fabric.rs"]
mod fabric;

use fabric::{Fabric, Hearing, LIMIT, heard, peers, say, soon};
use selvedge::{ContentType, Outgoing, Publisher};

fn journaled() -> Fabric {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").more = "journal = true\ndurability = \"buffered\"".to_owned();
    fabric.publish();
    fabric
}

async fn all(hearing: &mut Hearing, numbers: std::ops::Range<u64>) {
    for expected in numbers {
        assert_eq!(hearing.message().await.decode::<u64>().unwrap(), expected);
    }
}

#[tokio::test]
async fn what_was_said_before_it_came_back_is_replayed() {
    let fabric = journaled();
    let mut hearing = fabric.hear();
    for round in 0..3 {
        let publisher = fabric.publisher("web");
        if round == 0 {
            hearing.started("web").await;
        }
        // Nobody is connected yet, but in the first round.
        say(&publisher, "web.a", round * 1_000..round * 1_000 + 1_000).await;
        all(&mut hearing, round * 1_000..round * 1_000 + 1_000).await;
        soon("a close", publisher.close(LIMIT)).await.unwrap();
        hearing.disconnected("web").await;
    }
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn one_whose_queue_is_full_is_fed_from_the_journal() {
    let fabric = journaled();
    let mut options = fabric.options("web");
    options.queues.queue_bytes = 64 * 1_024;
    let publisher = Publisher::start(fabric.directory(), options).unwrap();
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    // 100 MB: more than socket, inbox and queue hold together.
    for number in 0..2_000u64 {
        let mut body = vec![0; 50_000];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let message = || Outgoing::raw("web.a", ContentType::BYTES, body.clone()).unwrap();
        while publisher.send(message()).is_err() {
            soon("room", publisher.ready()).await;
        }
    }
    for expected in 0..2_000u64 {
        let message = hearing.message().await;
        assert_eq!(message.body[..8], expected.to_be_bytes());
    }
    assert!(peers(&publisher, "fell_behind") > 0);
    assert_eq!(peers(&publisher, "dropped_peer_full"), 0);
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn a_receipt_of_a_service_with_a_journal_waits_for_the_disk() {
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").more = "journal = true".to_owned();
    fabric.publish();
    let publisher = fabric.publisher("web");
    let receipt = publisher.publish("web.a", &1u64).unwrap();
    soon("the receipt", receipt.sent()).await.unwrap();
}
