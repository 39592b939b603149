//! Whom to connect to, and what to ask there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use selvedge_core::directory::{Directory, Endpoint, Relay, Service, Via};
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
    /// Who can be heard over this link.
    pub brings: BTreeSet<Name>,
    /// Whose MARKs this link is believed: those of whom it carries all that is wanted.
    pub believed: BTreeSet<Name>,
}

/// The links that `options` call for, by the name of the service or relay.
pub fn plans(directory: &Directory, options: &Options) -> BTreeMap<Name, Plan> {
    let mut plans = BTreeMap::new();
    let wanted: Vec<(&Name, &Service)> =
        directory.services().filter(|(name, service)| matters(name, service, options)).collect();
    for (name, service) in wanted.iter().filter(|(_, service)| is_direct(service, options)) {
        let brings = BTreeSet::from([(*name).clone()]);
        let prefixes = prefixes(&options.patterns, &brings);
        let (endpoints, believed) = (service.endpoints.clone(), brings.clone());
        plans.insert((*name).clone(), Plan { endpoints, prefixes, brings, believed });
    }
    for (name, relay) in directory.relays() {
        let goes = |(_, service): &&(&Name, &Service)| {
            is_through(name, service, options) && carries(relay, service)
        };
        let behind: Vec<(&Name, &Service)> = wanted.iter().filter(goes).copied().collect();
        if !behind.is_empty() && !relay.endpoints.is_empty() {
            plans.insert(name.clone(), through(name, relay, &behind, options));
        }
    }
    plans
}

/// Whether to connect to the service itself.
fn is_direct(service: &Service, options: &Options) -> bool {
    let preferred = service.prefer.is_empty() || service.prefer.contains(&Via::Direct);
    let asked = preferred || options.myself.is_some() || !options.via.is_empty();
    options.direct && asked && !service.endpoints.is_empty()
}

/// Whether to hear the service through this relay: if somebody said so here, else if the directory
/// does, else if there is no other way.
fn is_through(relay: &Name, service: &Service, options: &Options) -> bool {
    if options.myself.as_ref() == Some(relay) {
        return false;
    }
    if !options.via.is_empty() || options.myself.is_some() {
        return options.via.contains(relay);
    }
    match service.prefer.is_empty() {
        true => service.endpoints.is_empty(),
        false => service.prefer.contains(&Via::Relay(relay.clone())),
    }
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

fn through(name: &Name, relay: &Relay, behind: &[(&Name, &Service)], options: &Options) -> Plan {
    let brings: BTreeSet<Name> = behind.iter().map(|(name, _)| (*name).clone()).collect();
    // Where relays are the only way, what they carry is all there is.
    let all = |service: &Service| !options.direct || carries_all(relay, service, options);
    let believed = behind.iter().filter(|(_, service)| all(service));
    let believed = believed.map(|(name, _)| (*name).clone()).collect();
    let patterns = match options.via.contains(name) {
        true => options.patterns.clone(),
        // Only what those say that are heard through it: all else comes directly.
        false => narrowed(&options.patterns, behind),
    };
    let prefixes = prefixes(&patterns, &brings);
    Plan { endpoints: relay.endpoints.clone(), prefixes, brings, believed }
}

/// Whether the relay carries everything that is wanted of the service.
fn carries_all(relay: &Relay, service: &Service, options: &Options) -> bool {
    let covered = |pattern: &Pattern| relay.carries.iter().any(|carried| carried.covers(pattern));
    let mut said = service.topics.iter();
    said.all(|said| {
        let mut wanted = options.patterns.iter().filter(|wanted| wanted.intersects(said));
        covered(said) || wanted.all(covered)
    })
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
        assert_eq!(wanted(&["a.#"], &[], true)["edge"].believed.len(), 1);
        let plans = wanted(&["#"], &[], true);
        assert_eq!(names(&plans), ["edge", "web"]);
        let edge = &plans["edge"];
        let prefixes: Vec<&[u8]> = edge.prefixes.iter().map(|p| &p[..]).collect();
        assert_eq!(prefixes, [&b"$tip.hook"[..], b"a.hook"]);
        // "#" is more than it carries, and yet all that this service may say.
        assert_eq!(edge.believed.len(), 1);
    }

    #[test]
    fn the_directory_may_prefer_several_ways_at_once() {
        let prefer = |ways: &str| {
            let key = |seed| SecretKey::from_seed(&[seed; 32]).public();
            let text = format!(
                "format = 1\nfabric = \"test\"\n[services.web]\nendpoint = \"tcp://127.0.0.1:1\"\n\
                 key = \"{}\"\ntopics = [\"a.#\"]\nprefer = [{ways}]\n[relays.edge]\n\
                 endpoint = \"tcp://127.0.0.1:2\"\nkey = \"{}\"\ncarries = [\"#\"]\n",
                key(1),
                key(2)
            );
            let directory = Directory::from_text("endpoints.toml", &text).unwrap();
            let plans = plans(&directory, &Options::default());
            names(&plans).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(prefer("\"direct\""), ["web"]);
        assert_eq!(prefer("\"edge\""), ["edge"]);
        assert_eq!(prefer("\"direct\", \"edge\""), ["edge", "web"]);
    }

    #[test]
    fn via_alone_means_the_relay_and_nobody_else() {
        let plans = wanted(&["#"], &["edge"], false);
        assert_eq!(names(&plans), ["edge"]);
        assert_eq!(plans["edge"].believed.len(), 2);
    }

    #[test]
    fn a_prefix_that_another_covers_is_not_sent() {
        let plans = wanted(&["a.web.x", "a.web.#", "a.web.y.z"], &[], true);
        assert_eq!(plans["web"].prefixes.len(), 2);
    }
}
