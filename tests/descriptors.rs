//! G1: does a publisher that has no file descriptor left keep its peers, and accept again later?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use std::fs::File;

use fabric::{Fabric, heard, say, soon};
use raw::Raw;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;

/// Opens files until this process may not.
fn exhaust() -> Vec<File> {
    let open = || File::open("/dev/null");
    let files: Vec<File> = std::iter::from_fn(|| open().ok()).collect();
    assert!(open().is_err_and(|error| error.raw_os_error() == Some(24))); // EMFILE
    files
}

#[tokio::test]
async fn g1_fd_exhaustion_pauses_accepting_and_nothing_else() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    let late = TcpSocket::new_v4().unwrap(); // the last descriptor that anybody gets
    let limit = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(256), ..limit };
    setrlimit(Resource::Nofile, few).unwrap();
    let files = exhaust();
    let connection = soon("a connection", late.connect(fabric.port("web").address())).await;
    let mut late = Raw(connection.unwrap());
    for round in 0..10 {
        say(&publisher, "web.a", round * 10..round * 10 + 10).await;
        assert!(hearing.numbers(10).await.into_iter().eq(round * 10..round * 10 + 10));
    }
    assert!(!late.is_closed());
    drop(files);
    late.shake_hands(true).await;
    setrlimit(Resource::Nofile, limit).unwrap();
}
