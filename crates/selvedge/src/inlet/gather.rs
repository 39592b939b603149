//! Waiting for all links before anything is taken.
//!
//! What one link no longer holds another may: a stream that is to begin with its oldest begins too
//! late if the first link to come up is believed alone.

use std::collections::BTreeSet;
use std::time::Duration;

use selvedge_core::subscriber::LinkId;
use selvedge_core::topic::Name;
use tokio::time::Instant;

use super::{BATCHES, Inlet, Said};

/// What links said meanwhile.
#[derive(Debug)]
pub struct Gathering {
    until: Instant,
    held: Vec<(Name, LinkId, Said)>,
    /// Who has come up, or failed.
    known: BTreeSet<Name>,
}

impl Gathering {
    /// For at most so long; none, if that is no time.
    pub fn new(time: Duration) -> Option<Gathering> {
        let (held, known) = (Vec::new(), BTreeSet::new());
        (!time.is_zero()).then(|| Gathering { until: Instant::now() + time, held, known })
    }
}

/// Whether more may be taken from links.
pub fn has_room(gathering: &Option<Gathering>) -> bool {
    gathering.as_ref().is_none_or(|gathering| gathering.held.len() < BATCHES)
}

/// When nobody is waited for any longer.
pub async fn over(gathering: &Option<Gathering>) {
    match gathering {
        Some(gathering) => tokio::time::sleep_until(gathering.until).await,
        None => std::future::pending().await,
    }
}

impl Inlet {
    /// What is to be taken now: while links are waited for, nothing; then first which are up, so
    /// that all are asked before one is believed.
    pub(super) fn gathered(
        &mut self,
        batch: Vec<(Name, LinkId, Said)>,
    ) -> Vec<(Name, LinkId, Said)> {
        let Some(gathering) = &mut self.gathering else { return batch };
        gathering.known.extend(batch.iter().map(|(name, ..)| name.clone()));
        gathering.held.extend(batch);
        let all = self.links.keys().all(|name| gathering.known.contains(name));
        if !all && Instant::now() < gathering.until {
            return Vec::new();
        }
        let held = self.gathering.take().map(|gathering| gathering.held).unwrap_or_default();
        let is_news = |(_, _, said): &(Name, LinkId, Said)| matches!(said, Said::Arrived { .. });
        let down = |id: LinkId| {
            held.iter().any(|(_, other, said)| *other == id && matches!(said, Said::Down))
        };
        // What a link said that is down again is asked for anew.
        let gone: BTreeSet<LinkId> =
            held.iter().map(|(_, id, _)| *id).filter(|id| down(*id)).collect();
        let (news, ups): (Vec<_>, Vec<_>) = held.into_iter().partition(is_news);
        let news = news.into_iter().filter(|(_, id, _)| !gone.contains(id));
        ups.into_iter().chain(news).collect()
    }
}
