//! Does a publisher give back all that subscribers cost once they are gone?

#[path = "support/fabric.rs"]
mod fabric;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fabric::{Fabric, heard, peers, say, soon, until};

const VISITS: usize = 200;
const MESSAGES: u64 = 20_000;

/// Open file descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn a_subscriber_that_comes_and_goes_leaves_nothing_behind() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut constant = fabric.hear();
    constant.started("web").await;
    heard(&publisher, "web.a").await;
    let before = descriptors();
    let visited = Arc::new(AtomicBool::new(false));
    let (speaker, enough) = (publisher.clone(), visited.clone());
    let speaking = tokio::spawn(async move {
        // On and on while there are visitors, and not less than said.
        while speaker.accepted() < MESSAGES || !enough.load(Ordering::Relaxed) {
            let next = speaker.accepted();
            say(&speaker, "web.a", next..next + 10).await;
            tokio::task::yield_now().await;
        }
        speaker.accepted()
    });
    let listening = tokio::spawn(async move {
        let mut next = 0;
        while next < MESSAGES {
            assert_eq!(constant.message().await.decode::<u64>().unwrap(), next);
            next += 1;
        }
        constant
    });
    for visit in 0..VISITS {
        let mut visitor = fabric.hear();
        if visit % 2 == 0 {
            visitor.started("web").await;
            visitor.message().await;
        } else {
            visitor.connected("web").await; // and gone at once
        }
    }
    visited.store(true, Ordering::Relaxed);
    soon("all said", speaking).await.unwrap();
    let constant = soon("all heard", listening).await.unwrap();
    until("all visitors to be gone", || peers(&publisher, "peers") == 1).await;
    until("all queues to be empty", || peers(&publisher, "queue_bytes") == 0).await;
    until("all descriptors to be closed", || descriptors() == before).await;
    assert_eq!(constant.count("lost_ranges"), 0);
}
