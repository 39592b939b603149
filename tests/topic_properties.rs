//! Do topics, patterns and wire prefixes agree with each other, whatever they are?

use proptest::prelude::*;
use selvedge_core::topic::{Pattern, Topic};

/// Few letters and few segments, so that patterns meet often.
const TOPIC: &str = "[ab]{1,2}(\\.[ab]{1,2}){0,3}";
const PATTERN: &str = "#|(\\*|[ab]{1,2})(\\.(\\*|[ab]{1,2})){0,3}(\\.#)?";

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

/// A topic that matches both patterns, found without the rule under test: any topic that matches
/// both still does with each segment replaced by what either pattern asks for there.
fn witness(p: &str, q: &str) -> Option<Topic> {
    let fixed = |text: &str| -> Vec<String> { text.split('.').map(String::from).collect() };
    let (p_segments, q_segments) = (fixed(p), fixed(q));
    let longest = p_segments.len().max(q_segments.len());
    (1..=longest).find_map(|len| {
        let segments = (0..len).map(|at| {
            let asked = [p_segments.get(at), q_segments.get(at)];
            let word = asked.into_iter().flatten().find(|s| *s != "*" && *s != "#");
            word.map_or("a", |word| word.as_str())
        });
        let text = segments.collect::<Vec<_>>().join(".");
        let topic = topic(&text);
        (pattern(p).matches(&topic) && pattern(q).matches(&topic)).then_some(topic)
    })
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_is_a_topic_that_reads_back_or_a_reason(
        text in "\\PC{0,20}|[a-z$.*#\\x00-]{0,300}",
    ) {
        if let Ok(topic) = Topic::try_from(text.as_str()) {
            prop_assert_eq!(topic.to_string(), text.clone());
            prop_assert!(text.len() <= 255 && text.is_ascii());
        }
        if let Ok(pattern) = Pattern::try_from(text.as_str()) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn what_matches_starts_with_the_wire_prefix(p in PATTERN, t in TOPIC) {
        if pattern(&p).matches(&topic(&t)) {
            prop_assert!(t.starts_with(pattern(&p).wire_prefix()));
        }
    }

    #[test]
    fn a_topic_is_a_pattern_that_matches_just_itself(t in TOPIC, u in TOPIC) {
        prop_assert_eq!(Pattern::from(&topic(&t)).matches(&topic(&u)), t == u);
    }

    #[test]
    fn no_pattern_matches_a_reserved_topic(p in PATTERN, t in TOPIC) {
        let reserved = topic(&format!("${t}"));
        prop_assert!(!pattern(&p).matches(&reserved));
    }

    #[test]
    fn what_is_covered_is_matched(p in PATTERN, q in PATTERN, t in TOPIC) {
        let (p, q, t) = (pattern(&p), pattern(&q), topic(&t));
        if p.covers(&q) && q.matches(&t) {
            prop_assert!(p.matches(&t), "{p} covers {q}, which matches {t}");
        }
        prop_assert!(p.covers(&p));
        prop_assert!(!p.covers(&q) || p.intersects(&q));
    }

    #[test]
    fn what_is_not_covered_has_a_topic_of_its_own(p in PATTERN, q in PATTERN) {
        if !pattern(&p).covers(&pattern(&q)) {
            // Fresh words where q leaves room, and one segment more than p can count.
            let fresh = q.replace('*', "c").replace('#', "c.c.c.c.c.c");
            let short = q.replace('*', "c").replace(".#", "").replace('#', "c");
            let own = [fresh, short].iter().any(|t| !pattern(&p).matches(&topic(t)));
            prop_assert!(own, "{p} matches all that {q} does, and does not cover it");
        }
    }

    #[test]
    fn intersection_is_symmetric_and_has_a_witness(p in PATTERN, q in PATTERN, t in TOPIC) {
        let meet = pattern(&p).intersects(&pattern(&q));
        prop_assert_eq!(meet, pattern(&q).intersects(&pattern(&p)));
        prop_assert_eq!(meet, witness(&p, &q).is_some(), "{} and {}", p, q);
        if pattern(&p).matches(&topic(&t)) && pattern(&q).matches(&topic(&t)) {
            prop_assert!(meet);
        }
    }
}
