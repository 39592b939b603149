//! Whom to connect to, and what to ask there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use selvedge_core::directory::{Directory, Endpoint, Relay, Service};
use selvedge_core::topic::{Name, Pattern, Topic};

use super::Options;

/// Tips are asked for one by one up to this many publishers behind a relay, else all.
const TIPS: usize = 500;

/// How a link is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Addresses of the same process, tried in turn.
    pub endpoints: Vec<Endpoint>,
    /// What to subscribe to, on the wire.
    pub prefixes: BTreeSet<Bytes>,
    /// Whose MARKs this link is believed: those of whom it carries all that is wanted.
    pub streams: BTreeSet<Name>,
}

/// The links that `options` call for, by the name of the service or relay.
pub fn plans(directory: &Directory, options: &Options) -> BTreeMap<Name, Plan> {
    let mut plans = BTreeMap::new();
    let wanted: Vec<(&Name, &Service)> =
        directory.services().filter(|(name, service)| matters(name, service, options)).collect();
    if options.direct {
        for (name, service) in wanted.iter().filter(|(_, service)| !service.endpoints.is_empty()) {
            let streams = BTreeSet::from([(*name).clone()]);
            let prefixes = prefixes(&options.patterns, &streams);
            plans.insert(
                (*name).clone(),
                Plan { endpoints: service.endpoints.clone(), prefixes, streams },
            );
        }
    }
    for (name, relay) in directory.relays() {
        let chosen = options.via.contains(name);
        // Without a word about relays, they are the way to those that have no endpoint.
        let implied = options.via.is_empty() && options.direct;
        if options.myself.as_ref() == Some(name) || !(chosen || implied) {
            continue;
        }
        let behind = wanted.iter().filter(|(_, service)| {
            (chosen || service.endpoints.is_empty()) && carries(relay, service)
        });
        let behind: Vec<(&Name, &Service)> = behind.copied().collect();
        if behind.is_empty() || relay.endpoints.is_empty() {
            continue;
        }
        plans.insert(name.clone(), through(relay, &behind, chosen, options));
    }
    plans
}

/// Whether the service may say anything that is wanted.
fn matters(name: &Name, service: &Service, options: &Options) -> bool {
    let asked = options.from.is_empty() || options.from.contains(name);
    let says = |wanted: &Pattern| service.topics.iter().any(|topic| topic.intersects(wanted));
    asked && options.patterns.iter().any(says)
}

fn carries(relay: &Relay, service: &Service) -> bool {
    relay.carries.iter().any(|carried| service.topics.iter().any(|topic| topic.intersects(carried)))
}

fn through(relay: &Relay, behind: &[(&Name, &Service)], chosen: bool, options: &Options) -> Plan {
    let names: BTreeSet<Name> = behind.iter().map(|(name, _)| (*name).clone()).collect();
    let covers = |wanted: &Pattern| relay.carries.iter().any(|carried| carried.covers(wanted));
    // Where the relay is the only way, what it carries is all there is.
    let only_way = !options.direct;
    let streams = match only_way || options.patterns.iter().all(covers) {
        true => names.clone(),
        false => BTreeSet::new(),
    };
    let patterns = match chosen {
        true => options.patterns.clone(),
        // Only what those without an endpoint say: all else comes directly.
        false => narrowed(&options.patterns, behind),
    };
    Plan { endpoints: relay.endpoints.clone(), prefixes: prefixes(&patterns, &names), streams }
}

/// The narrower pattern of each pair of a wanted one and one that a service may say.
fn narrowed(wanted: &[Pattern], services: &[(&Name, &Service)]) -> Vec<Pattern> {
    let said = services.iter().flat_map(|(_, service)| service.topics.iter());
    let pairs = said.flat_map(|said| wanted.iter().map(move |wanted| (said, wanted)));
    let meeting = pairs.filter(|(said, wanted)| said.intersects(wanted));
    let narrower = meeting.map(|(said, wanted)| {
        let longer = said.wire_prefix().len() > wanted.wire_prefix().len();
        if longer { said.clone() } else { wanted.clone() }
    });
    narrower.collect()
}

/// The wire prefixes of `patterns`, none of which starts with another, and the publishers' tips.
fn prefixes(patterns: &[Pattern], publishers: &BTreeSet<Name>) -> BTreeSet<Bytes> {
    let mut topics: Vec<&str> = patterns.iter().map(Pattern::wire_prefix).collect();
    topics.sort_unstable();
    let mut prefixes: BTreeSet<Bytes> = BTreeSet::new();
    let mut last: Option<&str> = None;
    for topic in topics {
        if last.is_none_or(|last| !topic.starts_with(last)) {
            prefixes.insert(Bytes::copy_from_slice(topic.as_bytes()));
            last = Some(topic);
        }
    }
    if publishers.len() > TIPS {
        prefixes.insert(Bytes::from_static(b"$tip."));
    } else {
        prefixes.extend(publishers.iter().map(|name| Topic::tip(name).as_bytes().clone()));
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_core::seal::SecretKey;

    fn directory() -> Directory {
        let key = |seed| SecretKey::from_seed(&[seed; 32]).public();
        let text = format!(
            r#"
            format = 1
            fabric = "test"
            [services.web]
            endpoint = "tcp://127.0.0.1:1"
            key = "{}"
            topics = ["a.web.#"]
            [services.hook]
            key = "{}"
            topics = ["a.hook.#"]
            [relays.edge]
            endpoint = "tcp://127.0.0.1:2"
            key = "{}"
            carries = ["a.#"]
            "#,
            key(1),
            key(2),
            key(3)
        );
        Directory::from_text("endpoints.toml", &text).unwrap()
    }

    fn wanted(patterns: &[&str], via: &[&str], direct: bool) -> BTreeMap<Name, Plan> {
        let options = Options {
            patterns: patterns.iter().map(|p| p.parse().unwrap()).collect(),
            via: via.iter().map(|n| n.parse().unwrap()).collect(),
            direct,
            ..Options::default()
        };
        plans(&directory(), &options)
    }

    fn names(plans: &BTreeMap<Name, Plan>) -> Vec<&str> {
        plans.keys().map(Name::as_str).collect()
    }

    #[test]
    fn only_those_whose_topics_can_match_are_dialled() {
        assert_eq!(names(&wanted(&["a.web.x"], &[], true)), ["web"]);
        assert_eq!(names(&wanted(&["b.#"], &[], true)), [""; 0]);
    }

    #[test]
    fn a_relay_is_the_way_to_a_service_without_an_endpoint() {
        assert_eq!(wanted(&["a.#"], &[], true)["edge"].streams.len(), 1);
        let plans = wanted(&["#"], &[], true);
        assert_eq!(names(&plans), ["edge", "web"]);
        let edge = &plans["edge"];
        let prefixes: Vec<&[u8]> = edge.prefixes.iter().map(|p| &p[..]).collect();
        assert_eq!(prefixes, [&b"$tip.hook"[..], b"a.hook"]);
        // "#" is more than it carries, so what it passes is not believed.
        assert!(edge.streams.is_empty());
    }

    #[test]
    fn via_alone_means_the_relay_and_nobody_else() {
        let plans = wanted(&["#"], &["edge"], false);
        assert_eq!(names(&plans), ["edge"]);
        assert_eq!(plans["edge"].streams.len(), 2);
    }

    #[test]
    fn a_prefix_that_another_covers_is_not_sent() {
        let plans = wanted(&["a.web.x", "a.web.#", "a.web.y.z"], &[], true);
        assert_eq!(plans["web"].prefixes.len(), 2);
    }
}
