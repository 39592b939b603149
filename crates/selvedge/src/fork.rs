//! Whether this process was forked since: a child has the memory of a publisher, but not its task.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process and its ancestors were forked since the first call.
pub fn count() -> u32 {
    static WATCH: Once = Once::new();
    WATCH.call_once(watch);
    FORKS.load(Relaxed)
}

extern "C" fn forked() {
    FORKS.fetch_add(1, Relaxed);
}

#[expect(unsafe_code, reason = "no safe crate tells of a fork without a system call a message")]
fn watch() {
    // SAFETY: the handler only increments an atomic, which is allowed in a forked child.
    unsafe {
        libc::pthread_atfork(None, None, Some(forked));
    }
}
