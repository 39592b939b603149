//! Is a message that cannot be handled kept, can it be asked for again, and must it prove itself
//! then like any other?

#[path = "support/fabric.rs"]
mod fabric;

use std::fs;

use fabric::{Fabric, Hearing, say, soon};
use selvedge::dead::{Letter, LetterError, Letters};
use selvedge::{Event, Message, Outcome, Publisher, Start};
use tokio_util::sync::CancellationToken;

/// Ten messages, of which number 3 dies.
async fn with_one_dead() -> (Fabric, Publisher) {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    say(&publisher, "web.a", 0..10).await;
    run(&fabric, 9).await;
    (fabric, publisher)
}

/// Runs a handler that cannot stand the number 3, until it acknowledged `count`.
async fn run(fabric: &Fabric, count: usize) {
    let stop = CancellationToken::new();
    let mut handled = 0;
    let handler = |event: Event| {
        let Event::Message(message) = event else { panic!("{event:?}") };
        let dies = number(&message) == 3;
        handled += usize::from(!dies);
        if handled == count {
            stop.cancel();
        }
        std::future::ready(match dies {
            true => Outcome::DeadLetter { why: "no threes".to_owned() },
            false => Outcome::Ack,
        })
    };
    let subscriber = fabric.named("indexer").start(Start::Oldest).connect().unwrap();
    soon("the handler", subscriber.run(handler, stop.clone())).await.unwrap();
}

fn number(message: &Message) -> u64 {
    message.decode().unwrap()
}

fn letters(fabric: &Fabric) -> Letters {
    Letters::of(fabric.folder.path(), &"indexer".parse().unwrap())
}

fn list(fabric: &Fabric) -> Vec<Letter> {
    letters(fabric).list().unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn it_is_kept_with_its_reason_and_the_others_go_on() {
    let (fabric, publisher) = with_one_dead().await;
    let [letter] = &list(&fabric)[..] else { panic!() };
    assert_eq!(letter.to_string(), format!("web/{}/3", publisher.epoch()));
    assert_eq!((letter.tries, &*letter.why, letter.requeued), (1, "no threes", false));
    assert_eq!(letter.topic.to_string(), "web.a");
    say(&publisher, "web.a", 10..11).await;
    run(&fabric, 1).await;
}

#[tokio::test]
async fn requeued_it_comes_before_anything_new_and_once() {
    let (fabric, publisher) = with_one_dead().await;
    let id = list(&fabric)[0].to_string();
    letters(&fabric).requeue(&id).unwrap();
    letters(&fabric).requeue(&id).unwrap();
    assert!(list(&fabric)[0].requeued);
    say(&publisher, "web.a", 10..11).await;
    let mut hearing = Hearing::new(fabric.named("indexer"));
    let message = hearing.message().await;
    assert_eq!((message.id(), number(&message)), (id.clone(), 3));
    assert_eq!(list(&fabric).len(), 1, "it stays until it was handled");
    assert_eq!(number(&hearing.message().await), 10);
    assert!(list(&fabric).is_empty());
    let unknown = letters(&fabric).requeue(&id);
    assert!(matches!(unknown, Err(LetterError::Unknown { .. })));
}

#[tokio::test]
async fn one_that_dies_again_is_dead_again() {
    let (fabric, publisher) = with_one_dead().await;
    assert_eq!(letters(&fabric).requeue_all().unwrap(), 1);
    say(&publisher, "web.a", 10..11).await;
    run(&fabric, 1).await;
    let [letter] = &list(&fabric)[..] else { panic!() };
    assert!(!letter.requeued);
}

#[tokio::test]
async fn requeued_it_must_be_allowed_by_the_directory_of_that_day() {
    let (mut fabric, publisher) = with_one_dead().await;
    letters(&fabric).requeue_all().unwrap();
    fabric.service("web").topics = "web.other.#".to_owned();
    fabric.publish();
    say(&publisher, "web.other.a", 10..11).await;
    let mut hearing = Hearing::new(fabric.named("indexer"));
    assert_eq!(number(&hearing.message().await), 10);
    assert!(!list(&fabric)[0].requeued);
}

#[tokio::test]
async fn a_letter_that_was_tampered_with_is_named_and_not_handed_over() {
    let (fabric, publisher) = with_one_dead().await;
    let folder = fabric.cursor("indexer").join("dead");
    let file = folder.join(format!("web.{}.3.letter", publisher.epoch()));
    let mut bytes = fs::read(&file).unwrap();
    let body = bytes.len() - 5;
    bytes[body] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let listed: Vec<_> = letters(&fabric).list().unwrap().collect();
    assert!(matches!(listed[..], [Err(LetterError::NoLetter { .. })]));
    // Somebody who also knows how to make a checksum.
    let content = bytes.len() - 4;
    let crc = crc32c(&bytes[..content]);
    bytes[content..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    assert_eq!(letters(&fabric).requeue_all().unwrap(), 1);
    say(&publisher, "web.a", 10..11).await;
    let mut hearing = Hearing::new(fabric.named("indexer"));
    assert_eq!(number(&hearing.message().await), 10);
}

/// Bit by bit, from its definition (polynomial 0x1EDC6F41, reflected).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

#[tokio::test]
async fn nothing_leads_out_of_the_folder() {
    let (fabric, _publisher) = with_one_dead().await;
    for id in ["../../x", "web/../3", "web/1", "web/1/2/3", "", "WEB/1/2"] {
        assert!(matches!(letters(&fabric).requeue(id), Err(LetterError::Unknown { .. })), "{id}");
    }
}
