//! What holds for every text of a directory?

#[path = "support/directory.rs"]
mod support;

use proptest::prelude::*;
use proptest::sample::select;
use selvedge_core::Time;
use selvedge_core::directory::{Directory, Files, Loader, Problem, check};
use support::{HEAD, files, key, service};

const NOW: Time = Time(0);

/// Pieces from which texts are made that look like directories.
fn piece() -> impl Strategy<Value = String> {
    let fixed = select(vec![
        "format = 1\n",
        "fabric = \"test\"\n",
        "[scheme]\n",
        "prefix = \"a.b\"\n",
        "fields = [\"x\"]\n",
        "[services.a]\n",
        "[services.b]\n",
        "[relays.a]\n",
        "[[services.c]]\n",
        "[revoked]\n",
        "keys = [\"0123456789abcdef\"]\n",
        "endpoint = \"tcp://h:1\"\n",
        "topics = [\"a.#\", \"é\"]\n",
        "carries = \"#\"\n",
        "retain.age = \"1d\"\n",
        "pack = 7\n",
        "expires = 2027-01-01\n",
        "journal = true\n",
        "é",
        "\0",
        "\r\n",
        "\"",
        "[",
        "]",
        "=",
        "{",
        "}",
        ".",
        ",",
        "'''",
        "# é\n",
        "a.a.a.a.a = 1\n",
    ])
    .prop_map(String::from);
    let keyed = (0..4u32).prop_map(|number| format!("key = \"{}\"\n", key(number)));
    prop_oneof![4 => fixed, 1 => keyed, 1 => "\\PC{0,8}"]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat()),
        prop::collection::vec(piece(), 0..24)
            .prop_map(|pieces| format!("{HEAD}{}", pieces.concat())),
        "(?s).{0,200}",
    ]
}

/// Whether the place of a problem is in the text, or just after the end of a line.
fn inside(problem: &Problem, text: &str) -> bool {
    let line = text.split('\n').nth(problem.line as usize - 1);
    line.is_some_and(|l| problem.column >= 1 && problem.column as usize <= l.chars().count() + 1)
}

/// An entry, well formed if it has a key and topics.
fn directory() -> impl Strategy<Value = String> {
    let quoted = |text: &'static str| prop::option::of(text.prop_map(|text| format!("'{text}'")));
    let service = (
        prop::option::of(1..9u16),
        quoted("tcp://[a-z]{1,8}:[1-9]{1,4}|ipc:///[a-zé\\\\\"]{1,9}"),
        quoted("[1-9]{1,3}(s|m|h|d)"),
        quoted("/[a-zé \\\\]{0,9}"),
        "[a-z*]{1}(\\.[a-z]{1,5}){0,3}(\\.#)?",
        any::<bool>(),
    );
    let entry = service.prop_map(|(pack, endpoint, age, journal, topics, relay)| {
        let mut text = String::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{key} = {value}\n"));
            }
        };
        put(if relay { "carries" } else { "topics" }, Some(format!("[\"{topics}\"]")));
        put("retain.age", age);
        put("journal", journal);
        if relay {
            put("endpoint", Some(endpoint.unwrap_or("\"tcp://[::1]:1\"".to_owned())));
        } else {
            put("pack", pack.map(|pack| pack.to_string()));
            put("endpoint", endpoint);
        }
        (relay, text)
    });
    prop::collection::vec(entry, 0..6).prop_map(|entries| {
        let entries = entries.into_iter().enumerate().map(|(at, (relay, text))| {
            let section = if relay { "relays" } else { "services" };
            format!("[{section}.n{at}]\nkey = \"{}\"\n{text}", key(at as u32))
        });
        format!("{HEAD}{}", entries.collect::<String>())
    })
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_texts_give_problems_that_lie_inside_their_files(
        main in text(),
        drop_in in text(),
        then in text(),
    ) {
        let mut loader = Loader::new();
        for (main, drop_in) in [(&main, &drop_in), (&then, &drop_in), (&main, &then)] {
            let files = files(main, &[("a.toml", drop_in)]);
            let update = loader.update(NOW, &files);
            for problem in update.problems.iter().chain(&check(&files).problems) {
                let text = if problem.file == "endpoints.toml" { main } else { drop_in };
                prop_assert!(inside(problem, text), "{problem}");
            }
        }
    }

    #[test]
    fn any_bytes_are_no_danger(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut files = Files::one("f", "");
        files.main.content = Ok(bytes);
        let update = Loader::new().update(NOW, &files);
        prop_assert!(update.directory.is_some() || !update.problems.is_empty());
    }

    #[test]
    fn a_directory_reads_back_as_it_is_shown(text in directory()) {
        let directory = Directory::from_text("f", &text);
        prop_assert!(directory.is_ok(), "{text}: {directory:?}");
        let directory = directory.unwrap();
        prop_assert_eq!(Directory::from_text("f", &directory.to_string()), Ok(directory));
    }

    #[test]
    fn an_export_restores_to_the_same_directory(main in directory(), broken in text()) {
        let drop_in = service("extra", 100);
        let mut loader = Loader::new();
        loader.update(NOW, &files(&main, &[("a.toml", &drop_in)]));
        let mut restored = Loader::restored(&loader.export());
        let mut gone = files("", &[]);
        gone.main.content = Err("gone".to_owned());
        restored.update(NOW, &gone);
        prop_assert_eq!(restored.directory(), loader.directory());
        restored.update(NOW, &files(&main, &[("a.toml", &broken)]));
        let (then, now) = (loader.directory().unwrap(), restored.directory().unwrap());
        for (name, service) in then.services().filter(|(name, _)| name.as_str() != "extra") {
            // What else claims the name or the key is another question.
            if !broken.contains("key = ") && !broken.contains("services.") {
                prop_assert_eq!(now.service(name.as_str()), Some(service));
            }
        }
    }

    #[test]
    fn one_bad_entry_never_changes_another(
        main in directory(),
        faults in prop::sample::subsequence(&FAULTS[..], 0..FAULTS.len()),
        relay: bool,
    ) {
        let section = if relay { "relays" } else { "services" };
        let bad = format!("{main}[{section}.bad]\n{}", faults.join("\n"));
        let good = Directory::from_text("f", &main).unwrap();
        let update = Loader::new().update(NOW, &Files::one("f", &bad));
        prop_assert_eq!(&*update.directory.unwrap(), &good);
        prop_assert!(!update.problems.is_empty());
        let mut loader = Loader::new();
        loader.update(NOW, &Files::one("f", &bad.replace("bad]", "other]")));
        let update = loader.update(NOW, &Files::one("f", &bad));
        prop_assert!(update.directory.is_none() && !update.problems.is_empty());
    }
}

/// Lines that are wrong in any entry.
const FAULTS: [&str; 12] = [
    "endpoint = 3",
    "key = []",
    "topics = \"a.#.b\"",
    "carries = [\"$tip.x\"]",
    "group = \"-\"",
    "bind = \"tcp://h\"",
    "readers = [[]]",
    "journal = 1979-05-27",
    "retain.age = 7",
    "pack = 1e9",
    "expires = true",
    "deep = { a = [{ b = 1 }] }",
];

#[test]
fn depth_is_refused_without_using_the_stack() {
    let open = |text: &str| format!("{HEAD}x = {}", text.repeat(100_000));
    for text in
        [open("["), open("{ a = "), open("a."), format!("{HEAD}[{}a]", "a.".repeat(100_000))]
    {
        let update = Loader::new().update(NOW, &Files::one("f", &text));
        assert!(update.directory.is_none() && !update.problems.is_empty());
    }
}

#[test]
fn ten_thousand_faults_cost_a_thousand_problems() {
    let text: String = (0..10_000).map(|at| format!("[services.s{at}]\n")).collect();
    let report = check(&Files::one("f", &format!("{HEAD}{text}")));
    assert_eq!(report.problems.len(), 1_000);
}
