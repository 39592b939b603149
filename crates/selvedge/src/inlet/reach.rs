//! Whether what was asked for has come: how far streams are, beside how far they went.

use std::collections::BTreeMap;

use selvedge_core::topic::Name;
use selvedge_core::wire::Mark;
use selvedge_core::{KeyId, Position};

use super::{Inlet, Item, Link};

/// How far a stream has come, and how far it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Whose it is.
    pub publisher: Name,
    /// Its key.
    pub key: KeyId,
    /// Everything before it was handed over, passed or declared lost; none: it has not begun.
    pub at: Option<Position>,
    /// The links that can bring it, and how far it went when each first had told all that it holds;
    /// none: it has not yet; (0, 0): it knows nothing of it.
    pub links: Vec<(Name, Option<Position>)>,
}

impl Inlet {
    /// The streams of all keys that links can bring, by key.
    pub fn reach(&self) -> Vec<Reach> {
        let mut reaches: BTreeMap<KeyId, Reach> = BTreeMap::new();
        for (name, link) in &self.links {
            for publisher in &link.plan.borrow().brings {
                for key in self.keys(publisher) {
                    let fresh = || Reach {
                        publisher: publisher.clone(),
                        key,
                        at: self.machine.position(key),
                        links: Vec::new(),
                    };
                    let told = link.told.get(&key).copied();
                    reaches.entry(key).or_insert_with(fresh).links.push((name.clone(), told));
                }
            }
        }
        reaches.into_values().collect()
    }
}

impl Link {
    /// It has told all that it holds of a stream; the first time counts that it knew any.
    pub(super) fn tells(&mut self, key: KeyId, upto: Position) {
        let told = self.told.entry(key).or_default();
        if *told == Position::default() {
            *told = upto;
        }
    }
}

impl Item {
    /// The stream of which all that the link holds was told with this, and how far that goes. Who
    /// sends no MARKs holds nothing that could be asked for.
    pub(super) fn tells_all(&self, selvedge: bool) -> Option<(KeyId, Position)> {
        match self {
            Item::Mark(mark) => {
                let all = mark.flags & (Mark::LIVE | Mark::UNKNOWN) != 0;
                all.then_some((mark.key, mark.upto))
            }
            Item::Packet(trusted) => {
                let packet = trusted.packet();
                let is_tip = packet.is_tip() && !selvedge;
                is_tip.then(|| (packet.header().key, packet.header().end()))
            }
        }
    }
}
