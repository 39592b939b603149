//! A seeded world for the machines: a virtual clock, links made of bytes, disks that forget, and a
//! ledger of what was said that finds out what became of it. No socket, no thread, no real time.
//!
//! One history is one seed: who there is, who dials whom, what is said, and what goes wrong. The
//! machines, the wire and the journal are the real ones; what the shell does around them is retold
//! here (`store`, `epochs`, `app`, `world`) in the same order, because that order is what keeps the
//! promises. [`Knobs`] break one rule each, to see that the ledger notices.

mod app;
mod epochs;
mod ledger;
mod link;
mod node;
mod plan;
mod random;
mod search;
mod store;
mod world;

pub use plan::{Knobs, Plan};
pub use search::{Failure, failures};
pub use world::World;

/// Runs one history; what went wrong in it.
pub fn problems(seed: u64, knobs: Knobs) -> Vec<String> {
    let mut world = World::new(seed, Plan::new(seed, knobs), false);
    world.run();
    world.ledger.problems
}

/// Runs it again to tell what happened.
pub fn tell(seed: u64, knobs: Knobs) -> String {
    let plan = Plan::new(seed, knobs);
    let about = plan.to_string();
    let mut world = World::new(seed, plan, true);
    world.run();
    let trace = world.trace.unwrap_or_default().join("\n");
    let ledger = world.ledger;
    let sums = format!("{} delivered, {} lost", ledger.delivered, ledger.losses);
    format!("{trace}\n\n{about}\n{sums}\nSEED={seed}: {:#?}", ledger.problems)
}
