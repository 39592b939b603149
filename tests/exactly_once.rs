//! Has each message its effect exactly once, if the handler keeps its place in its own database and
//! its process dies between the effect and the commit, or between two messages?

#[path = "support/fabric.rs"]
mod fabric;
#[allow(dead_code, reason = "its main is not run")]
#[path = "../crates/selvedge/examples/sqlite.rs"]
mod sqlite;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fabric::{Fabric, Hearing, LIMIT, say, soon};
use rusqlite::Connection;
use selvedge::directory::Directory;
use selvedge::{Start, Subscriber};
use tokio::sync::watch;

/// Where a child finds what it works on.
const FOLDER: &str = "SELVEDGE_TEST_FOLDER";
/// How many messages it handles before it dies.
const HANDLED: &str = "SELVEDGE_TEST_HANDLED";

/// A hundred messages, each on a topic of its own: what is counted twice shows.
#[tokio::test]
async fn processes_that_die_between_effect_and_commit_count_each_message_once() {
    let fabric = Fabric::journaled(&["web"]);
    let publisher = fabric.publisher("web");
    for number in 0..100 {
        say(&publisher, &format!("web.m{number}"), number..number + 1).await;
    }
    soon("a flush", publisher.flush(LIMIT)).await.unwrap();
    fs::write(fabric.folder.path().join("endpoints.toml"), fabric.text()).unwrap();
    let mut handled = 0;
    for takes in [0, 1, 7, 30, 62] {
        let folder = fabric.folder.path().to_owned();
        let child = move || {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "a_process_that_dies", "--nocapture"]);
            child.env(FOLDER, folder).env(HANDLED, takes.to_string()).output().unwrap()
        };
        let output = soon("a child", tokio::task::spawn_blocking(child)).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("dies before its commit"), "{said}");
        handled += takes;
        assert_eq!(counted(&database(fabric.folder.path())), handled);
    }
    assert_eq!(handled, 100);
}

/// Handles some messages, and dies in the transaction of the next; without a place to work it is no
/// test.
#[tokio::test]
async fn a_process_that_dies() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let takes: u64 = std::env::var(HANDLED).unwrap().parse().unwrap();
    let text = fs::read_to_string(folder.join("endpoints.toml")).unwrap();
    let directory = Arc::new(Directory::from_text("endpoints.toml", &text).unwrap());
    let mut database = database(&folder);
    let places = sqlite::places(&database).unwrap();
    let subscriber = Subscriber::to(watch::channel(directory).1).start(Start::Oldest);
    let mut hearing = Hearing::new(subscriber.resume(places));
    for _ in 0..takes {
        sqlite::handle(&mut database, &hearing.event().await).unwrap();
    }
    let transaction = database.transaction().unwrap();
    if counted(&transaction) < 100 {
        sqlite::count(&transaction, &hearing.message().await).unwrap();
    }
    eprintln!("dies before its commit");
    std::process::abort();
}

fn database(folder: &Path) -> Connection {
    sqlite::open(&folder.join("counts.db")).unwrap()
}

/// How many messages were counted, each of them once.
fn counted(database: &Connection) -> u64 {
    let sum = "SELECT COUNT(*), COALESCE(MAX(messages), 1) FROM counts";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (topics, most): (i64, i64) = database.query_row(sum, [], read).unwrap();
    assert_eq!(most, 1, "a message had its effect twice");
    topics.try_into().unwrap()
}
