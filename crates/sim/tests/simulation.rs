//! Does the fabric keep its promises, whatever goes wrong?
//!
//! Each history is a seed: publishers, relays and subscribers with disks, links that carry real
//! bytes, and faults. In the end every message that a subscriber wants was handled, in order, or
//! lies in one `Lost`; nothing that is held anywhere is given up; a durable receipt was true; and
//! every stream has reached its end. `SEED=n` reruns one with its trace, `FROM` and `COUNT` choose
//! others, and `MOST` says how many failures to look for.

use selvedge_sim::{Knobs, failures, tell};

const HISTORIES: u64 = 3_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn the_fabric_keeps_its_promises_whatever_goes_wrong() {
    if std::env::var("SEED").is_ok() {
        return println!("{}", tell(number("SEED", 0), Knobs::default()));
    }
    let (from, count) = (number("FROM", 0), number("COUNT", HISTORIES));
    let failures = failures(from, count, Knobs::default(), number("MOST", 1) as usize);
    assert!(
        failures.is_empty(),
        "{failures:#?}\nrerun the first: SEED={} cargo test -p selvedge-sim --test simulation -- \
         --nocapture",
        failures[0].0
    );
}
