//! Does the fabric keep its promises, whatever goes wrong?
//!
//! Each history is a seed: publishers, relays and subscribers with disks, links that carry real
//! bytes, and faults. In the end every message that a subscriber wants was handled, in order, or
//! lies in one `Lost`; nothing that is held anywhere is given up; a durable receipt was true; and
//! every stream has reached its end. `SEED=n` reruns one with its trace, `FROM` and `COUNT` choose
//! others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use selvedge_sim::{Knobs, problems, tell};

const HISTORIES: u64 = 1_000;
const THREADS: usize = 2;

fn number(name: &str, else_: u64) -> u64 {
    std::env::var(name).map_or(else_, |value| value.parse().unwrap())
}

/// The first of these histories, as threads come to them, in which something went wrong.
fn first_failing(from: u64, count: u64, knobs: Knobs) -> Option<u64> {
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    if !problems(seed, knobs).is_empty() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Some(failed.into_inner()).filter(|seed| *seed < u64::MAX)
}

#[test]
fn the_fabric_keeps_its_promises_whatever_goes_wrong() {
    if std::env::var("SEED").is_ok() {
        return println!("{}", tell(number("SEED", 0), Knobs::default()));
    }
    if let Some(seed) = first_failing(number("FROM", 0), number("COUNT", HISTORIES), Knobs::default()) {
        let problems = problems(seed, Knobs::default());
        panic!(
            "history {seed}: {problems:#?}\n\
             rerun it: SEED={seed} cargo test -p selvedge-sim --test simulation -- --nocapture"
        );
    }
}
