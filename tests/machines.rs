//! Do the machines keep their promises together, whatever goes wrong between them?
//!
//! Each history is a seed: publishers, relays and subscribers, links that carry real bytes, and
//! faults. In the end every message that a subscriber wants was delivered once, in order, or lies
//! in one `Lost`; and there is no `Lost` without a fault. `SEED=n` reruns one with its trace.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::plan::{Knobs, Plan};
use support::world::World;

const HISTORIES: u64 = 300;

/// Runs one history; what went wrong in it.
fn problems(seed: u64, knobs: Knobs) -> Vec<String> {
    let mut world = World::new(seed, Plan::new(seed, knobs), false);
    world.run();
    world.ledger.problems
}

/// Runs it again to tell what happened.
fn tell(seed: u64, knobs: Knobs) -> String {
    let mut world = World::new(seed, Plan::new(seed, knobs), true);
    world.run();
    let trace = world.trace.unwrap_or_default();
    let plan = Plan::new(seed, knobs);
    let nodes: Vec<_> = plan.nodes.iter().map(|node| &node.name).collect();
    let routes: Vec<_> = plan.routes.iter().map(|route| format!("{route:?}")).collect();
    format!(
        "{}\n{:?}\nnodes {nodes:?}\n{}\nSEED={seed}: {:#?}",
        trace.join("\n"),
        plan.faults,
        routes.join("\n"),
        world.ledger.problems
    )
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => {
            let from = std::env::var("FROM").map_or(0, |from| from.parse().unwrap());
            let count = std::env::var("COUNT").map_or(HISTORIES, |count| count.parse().unwrap());
            (from..from + count).collect()
        }
    }
}

#[test]
fn every_message_is_delivered_once_in_order_or_lies_in_one_lost() {
    for seed in seeds() {
        if !problems(seed, Knobs::default()).is_empty() {
            panic!("{}", tell(seed, Knobs::default()));
        }
    }
}
