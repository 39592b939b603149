//! What does `check` say about files that are legal, and what do they allow?

#[path = "support/directory.rs"]
mod support;

use selvedge_core::directory::{Directory, Severity, check};
use selvedge_core::topic::Topic;
use support::{HEAD, files, key, relay, service, service_saying};

fn notes(main: &str) -> String {
    check(&files(main, &[])).problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn overlapping_topics_are_listed_and_legal() {
    let group = "group = \"g\"\n";
    let text = [
        HEAD,
        &relay("r", 9),
        &service_saying("a", 1, "x.*.z"),
        &service_saying("b", 2, "x.y.#"),
        &service_saying("c", 3, "q.#"),
        group,
        &service_saying("d", 4, "q.#"),
        group,
    ]
    .concat();
    let report = check(&files(&text, &[]));
    let shown: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["endpoints.toml:7:11: note: a (x.*.z) and b (x.y.#) have common topics"]);
    assert_eq!(report.problems[0].severity, Severity::Note);
    assert_eq!(report.directory.unwrap().services().count(), 4);
}

#[test]
fn what_cannot_work_is_a_warning() {
    let scheme = "[scheme]\nprefix = \"test\"\nfields = [\"service\", \"event\"]\n";
    let revoked = format!("[revoked]\nkeys = \"{}\"\n", key(2));
    let text = [
        HEAD,
        scheme,
        &service("a", 1),
        "prefer = [\"edge\", \"direct\"]\n",
        &service_saying("b", 2, "else.#"),
        "endpoint = \"tcp://h:1\"\n",
        &revoked,
    ]
    .concat();
    assert_eq!(
        notes(&text),
        format!(
            "endpoints.toml:6:11: warning: a has no endpoint and no relay carries it: unreachable\n\
             endpoints.toml:6:11: warning: a prefers the relay edge, which does not exist\n\
             endpoints.toml:10:11: warning: b may say else.#, all of it outside the scheme \
             test.<service>.<event>\n\
             endpoints.toml:10:11: warning: the key {} of b is revoked; take it out\n",
            key(2).id()
        )
    );
}

#[test]
fn one_endpoint_of_two_entries_is_a_warning() {
    let endpoint = "endpoint = \"tcp://h:1\"\n";
    let text = [HEAD, &service("a", 1), endpoint, &service("b", 2), endpoint].concat();
    assert_eq!(
        notes(&text),
        "endpoints.toml:7:11: warning: b and a have the same endpoint tcp://h:1\n"
    );
}

#[test]
fn a_speaker_says_its_patterns_and_its_own_heartbeat() {
    let text = [HEAD, &service("web", 1), &relay("edge", 2)].concat();
    let directory = Directory::from_text("endpoints.toml", &text).unwrap();
    let says = |number, topic: &str| {
        let topic: Topic = topic.parse().unwrap();
        directory.speaker(key(number).id()).unwrap().may_say(&topic)
    };
    for (number, topic, expected) in [
        (1, "test.web.up", true),
        (1, "test.webb.up", false),
        (1, "$tip.web", true),
        (1, "$state.web", true),
        (1, "$tip.edge", false),
        (1, "$other.web", false),
        (2, "test.web.up", false),
        (2, "$tip.edge", true),
        (2, "$tip.web", false),
    ] {
        assert_eq!(says(number, topic), expected, "{number} {topic}");
    }
}

#[test]
fn only_those_who_can_match_are_worth_connecting_to() {
    let narrow = relay("narrow", 9).replace("\"#\"", "\"test.web.#\"");
    let text = [HEAD, &service("web", 1), &service("db", 2), &relay("all", 8), &narrow].concat();
    let directory = Directory::from_text("endpoints.toml", &text).unwrap();
    let pattern = "test.db.*".parse().unwrap();
    let say: Vec<_> = directory.who_may_say(&pattern).map(|name| name.as_str()).collect();
    let carry: Vec<_> = directory.who_carries(&pattern).map(|name| name.as_str()).collect();
    assert_eq!((say, carry), (vec!["db"], vec!["all"]));
}

#[test]
fn every_key_of_an_entry_is_read() {
    let text = format!(
        "{HEAD}[services.web]\nendpoint = [\"tcp://a:1\", \"ipc:///run/web\"]\n\
         key = [\"{}\", \"{}\"]\ntopics = \"t\"\ngroup = \"g\"\nbind = \"tcp://[::]:1\"\n\
         readers = \"x\"\njournal = \"/var/j\"\ndurability = \"buffered\"\n\
         retain = {{ bytes = \"10GiB\", age = \"7d\" }}\npack = 1\nprefer = \"direct\"\n\
         expires = 2027-06-30\n",
        key(1),
        key(2)
    );
    let directory = Directory::from_text("endpoints.toml", &text).unwrap();
    reads_back(&directory.to_string(), &text);
    for (wrong, problem) in [
        ("pack = 0", "3:8: pack is a whole number from 1 to 1024"),
        (
            "expires = \"2027-06-30\"",
            "3:11: a date without quotes is wanted (2027-06-30), not a string",
        ),
        (
            "expires = 2027-06-30T00:00:00Z",
            "3:11: a date without quotes is wanted (2027-06-30), not a datetime",
        ),
        ("journal = \"here\"", "3:11: a journal is true, false, or the absolute path of a folder"),
        ("durability = \"disk\"", "3:14: durability is \"log\" or \"buffered\""),
        (
            "retain = { age = \"1w\" }",
            "3:18: an age is a whole number and s, m, h or d, such as \"7d\"",
        ),
        ("bind = \"tcp://h\"", "3:8: a tcp endpoint ends with a colon and a port from 1 to 65535"),
        ("topics = []", "3:10: at least one is needed"),
        ("topics = [\"a\", \"a\"]", "3:16: \"a\" stands here twice"),
    ] {
        let text =
            format!("{HEAD}[services.web]\n{wrong}\n").replace("[services.web]\n", "services.web.");
        let problems = Directory::from_text("f", &text).unwrap_err();
        let place = problem.split_once(' ').unwrap();
        let column: u32 = place.0.split(':').nth(1).unwrap().parse().unwrap();
        let expected = format!("f:3:{}: {}", column + 13, place.1);
        assert!(problems.iter().any(|p| p.to_string() == expected), "{expected}: {problems:?}");
    }
}

/// The text of a directory with an entry that has every key, order and quoting aside.
fn reads_back(shown: &str, written: &str) {
    let unified = |text: &str| {
        let text = text.replace("retain = { bytes = \"10GiB\", age = \"7d\" }", "");
        let mut lines: Vec<String> = text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with("retain"))
            .map(String::from)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(unified(shown), unified(written));
    assert!(shown.contains("retain.bytes = \"10GiB\"\nretain.age = \"7d\"\n"), "{shown}");
}
