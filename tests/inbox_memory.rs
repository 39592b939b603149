//! Does an application that pauses cost what its bound counts, whatever the size of its messages?

#[path = "support/fabric.rs"]
mod fabric;

use fabric::{Fabric, LIMIT, heard, say, until};

const MESSAGES: u64 = 2_000;

/// What a small message may cost while it waits: its bytes, and what is noted about it. A read
/// buffer of its own would be over 4 KiB.
const EACH: i64 = 2_048;

#[test]
fn small_messages_that_wait_do_not_keep_their_read_buffers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (publisher, mut hearing, _fabric) = runtime.block_on(async {
        let fabric = Fabric::new(&["web"]);
        let publisher = fabric.publisher("web");
        let mut hearing = fabric.hear();
        hearing.started("web").await;
        heard(&publisher, "web.a").await;
        // Much at once: read buffers grow to their largest.
        say(&publisher, "web.a", 0..100_000).await;
        hearing.numbers(100_000).await;
        (publisher, hearing, fabric)
    });
    let grown = allocation_counter::measure(|| {
        runtime.block_on(async {
            for number in 0..MESSAGES {
                let before = hearing.count("delivered");
                say(&publisher, "web.a", number..number + 1).await;
                until("it to be read", || hearing.count("delivered") > before).await;
            }
            publisher.flush(LIMIT).await.unwrap();
        });
    });
    assert!(grown.bytes_current < MESSAGES as i64 * EACH, "{} bytes wait", grown.bytes_current);
    let numbers = runtime.block_on(hearing.numbers(MESSAGES as usize));
    assert!(numbers.into_iter().eq(0..MESSAGES));
}
