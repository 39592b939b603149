//! Looking through many histories for those in which something goes wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::{Knobs, problems};

/// As many as a small runner has cores.
const THREADS: usize = 2;

/// A history in which something went wrong, and what.
pub type Failure = (u64, Vec<String>);

/// The first `most` of these histories that fail, and perhaps a few more.
pub fn failures(from: u64, count: u64, knobs: Knobs, most: usize) -> Vec<Failure> {
    let next = AtomicU64::new(from);
    let found = Mutex::new(Vec::new());
    let found_so_far = || found.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while found_so_far().len() < most {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let problems = problems(seed, knobs);
                    if !problems.is_empty() {
                        found_so_far().push((seed, problems));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort();
    found
}
