//! Who dials whom, and how good the ways between them are.

use std::collections::BTreeSet;

use super::Faults;
use crate::link::Route;
use crate::node::{Kind, Lies, Node};
use crate::random::Random;

/// Every subscriber reaches every publisher, directly or over relays; relays may form a ring.
pub fn routes(nodes: &[Node], faults: &Faults, keeps: bool, random: &mut Random) -> Vec<Route> {
    let pairs = pairs(nodes, random);
    // Slow links lose nothing; they only make queues overflow where these are small.
    // Without faults they are quicker than the patience with which a hole is looked at.
    let (steps, pieces): (&[u64], &[u64]) = match faults.any() {
        true => (&[50, 300, 2_000, 9_000], &[100, 1_500, 40_000]),
        false => (&[50, 300, 2_000], &[1_500, 40_000]),
    };
    // A node hears MARKs on all of its links or on none: where both kinds carry a stream, numbers
    // that only the plain one could pass are told as `Lost`, whether or not they matter.
    let deaf: BTreeSet<usize> = pairs
        .iter()
        .map(|(dialer, _)| *dialer)
        .filter(|_| random.percent(8) && faults.lies == Lies::Never && !keeps)
        .collect();
    let route = |(dialer, listener)| {
        let plain = deaf.contains(&dialer);
        // Without MARKs it is a matter of milliseconds what a commit is.
        let quick = plain;
        let (step, piece) = (*random.pick(steps), *random.pick(pieces));
        Route {
            dialer,
            listener,
            plain,
            unmarked: faults.unmarked && random.percent(50),
            step: if quick { 50 } else { step },
            piece: if quick { 40_000 } else { piece },
        }
    };
    pairs.into_iter().map(route).collect()
}

fn pairs(nodes: &[Node], random: &mut Random) -> Vec<(usize, usize)> {
    let all = |want: fn(&Kind) -> bool| -> Vec<usize> {
        (0..nodes.len()).filter(|at| want(&nodes[*at].kind)).collect()
    };
    let publishers = all(|kind| matches!(kind, Kind::Publisher(_)));
    let relays = all(|kind| matches!(kind, Kind::Relay { .. }));
    let mut pairs = Vec::new();
    let ring = relays.len() > 1 && random.percent(60);
    for (i, relay) in relays.iter().enumerate() {
        let all = i == 0 || !ring || random.percent(40);
        pairs.extend(publishers.iter().filter(|_| all).map(|publisher| (*relay, *publisher)));
        if ring {
            // Each dials the one before it; the first closes the ring.
            pairs.push((*relay, relays[(i + relays.len() - 1) % relays.len()]));
        }
    }
    for subscriber in all(|kind| matches!(kind, Kind::Subscriber { .. })) {
        let over = random.below(3); // directly, over relays, both
        if over != 1 || relays.is_empty() {
            pairs.extend(publishers.iter().map(|publisher| (subscriber, *publisher)));
        }
        if over != 0 {
            let some = random.within(1, 2) as usize;
            pairs.extend(relays.iter().rev().take(some).map(|relay| (subscriber, *relay)));
        }
    }
    pairs
}
