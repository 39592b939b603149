//! What differs between two directories, so that only that is touched.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Directory;
use crate::KeyId;
use crate::topic::Name;

/// What is different in a newer directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of `[services]`.
    pub services: Difference,
    /// Of `[relays]`.
    pub relays: Difference,
    /// Keys revoked since: whatever they signed is refused from now on.
    pub revoked: Vec<KeyId>,
    /// Keys no longer revoked.
    pub pardoned: Vec<KeyId>,
    /// Whether `[scheme]` is different.
    pub scheme: bool,
}

/// Names in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only in the newer one.
    pub added: Vec<Name>,
    /// Only in the older one.
    pub removed: Vec<Name>,
    /// In both, and not the same.
    pub changed: Vec<Name>,
}

impl Changes {
    /// From `old` to `new`; from nothing if there is no `old`.
    pub fn between(old: Option<&Directory>, new: &Directory) -> Changes {
        let Some(old) = old else {
            let added = |names: Vec<Name>| Difference { added: names, ..Difference::default() };
            return Changes {
                services: added(new.services.keys().cloned().collect()),
                relays: added(new.relays.keys().cloned().collect()),
                revoked: new.revoked.iter().copied().collect(),
                pardoned: Vec::new(),
                scheme: new.scheme.is_some(),
            };
        };
        Changes {
            services: Difference::between(&old.services, &new.services),
            relays: Difference::between(&old.relays, &new.relays),
            revoked: new.revoked.difference(&old.revoked).copied().collect(),
            pardoned: old.revoked.difference(&new.revoked).copied().collect(),
            scheme: old.scheme != new.scheme,
        }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl Difference {
    fn between<T: PartialEq>(old: &BTreeMap<Name, T>, new: &BTreeMap<Name, T>) -> Difference {
        let mut difference = Difference::default();
        for (name, value) in new {
            match old.get(name) {
                None => difference.added.push(name.clone()),
                Some(old) if old != value => difference.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        difference.removed = gone.cloned().collect();
        difference
    }
}
