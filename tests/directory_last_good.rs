//! What stays, what changes and what is told when a directory's files are wrong?

#[path = "support/directory.rs"]
mod support;

use std::time::Duration;

use selvedge_core::Time;
use selvedge_core::directory::{Changes, Directory, Files, Loader, NoSpeaker, Update};
use selvedge_core::limits::MASS_REMOVAL_WAIT;
use support::{HEAD, files, key, problems, relay, service, service_saying, services};

const NOW: Time = Time(1_000_000);

/// A loader that has taken `files` without a problem.
fn loaded(files: &Files) -> Loader {
    let mut loader = Loader::new();
    let update = loader.update(NOW, files);
    assert_eq!(problems(&update), "");
    assert!(update.directory.is_some());
    loader
}

fn names(loader: &Loader) -> Vec<&str> {
    let directory: &Directory = loader.directory().unwrap();
    let services = directory.services().map(|(name, _)| name.as_str());
    services.chain(directory.relays().map(|(name, _)| name.as_str())).collect()
}

fn topics<'a>(loader: &'a Loader, service: &str) -> &'a str {
    loader.directory().unwrap().service(service).unwrap().topics[0].as_str()
}

/// The update is refused: no new directory, and exactly these problems.
fn refused(update: &Update, expected: &str) {
    assert_eq!(problems(update), expected);
    assert!(update.directory.is_none());
    assert!(update.changes.is_empty());
}

#[test]
fn a_difference_names_what_was_touched_and_nothing_else() {
    let before = format!("{HEAD}{}{}{}", service("a", 1), service("b", 2), service("c", 3));
    let mut loader = loaded(&files(&before, &[]));
    let untouched = std::ptr::from_ref(loader.directory().unwrap().service("a").unwrap());
    let after = [HEAD, &service("a", 1), &service_saying("b", 2, "x"), &relay("d", 4)].concat();
    let update = loader.update(NOW, &files(&after, &[]));
    let Changes { services, relays, revoked, .. } = &update.changes;
    assert_eq!(format!("{:?}", services.changed), "[Name(b)]");
    assert_eq!(format!("{:?}", services.removed), "[Name(c)]");
    assert_eq!(format!("{:?}", relays.added), "[Name(d)]");
    assert!(services.added.is_empty() && revoked.is_empty());
    let same = std::ptr::from_ref(update.directory.as_ref().unwrap().service("a").unwrap());
    assert_eq!(untouched, same, "an untouched entry is the same allocation");
}

#[test]
fn a_file_that_is_no_toml_stays_and_the_others_change() {
    let (a, b) = (service("a", 1), service("b", 2));
    let mut loader = loaded(&files(HEAD, &[("a.toml", &a), ("b.toml", &b)]));
    let b = service_saying("b", 2, "new");
    let update = loader.update(NOW, &files(HEAD, &[("a.toml", "[services.a"), ("b.toml", &b)]));
    assert!(problems(&update).starts_with("endpoints.d/a.toml:1:12: "), "{}", problems(&update));
    assert_eq!(names(&loader), ["a", "b"]);
    assert_eq!(topics(&loader, "b"), "new");
}

#[test]
fn a_fault_inside_an_entry_keeps_that_entry_alone() {
    let mut loader = loaded(&files(&[HEAD, &services(0..3)].concat(), &[]));
    let faulty = [
        HEAD,
        "[services.s0]\nkey = \"ed25519:AAAA\"\ntopics = [\"$tip.x\", 7]\n",
        "[services.s1]\nhost = 3\n",
        "[services.s2]\n",
        &format!("key = \"{}\"\ntopics = \"good\"\n", key(2)),
    ]
    .concat();
    let update = loader.update(NOW, &files(&faulty, &[]));
    assert_eq!(
        problems(&update),
        "endpoints.toml:4:7: a key is written ed25519: and standard, padded base64 of its 32 \
         bytes\n\
         endpoints.toml:5:11: a segment of a pattern is *, a final #, or consists of \
         A-Z a-z 0-9 _ -\n\
         endpoints.toml:5:21: a text in quotes is wanted, not an integer\n\
         endpoints.toml:6:11: s1 lacks key\n\
         endpoints.toml:6:11: s1 lacks topics\n\
         endpoints.toml:7:1: unknown key \"host\" in a service; it knows endpoint key topics group \
         bind readers journal durability retain pack prefer expires\n",
    );
    assert_eq!(topics(&loader, "s0"), "test.s0.#");
    assert_eq!(topics(&loader, "s1"), "test.s1.#");
    assert_eq!(topics(&loader, "s2"), "good");
}

#[test]
fn a_file_with_a_fault_removes_nobody() {
    let whole = [HEAD, &services(0..4)].concat();
    let mut loader = loaded(&files(&whole, &[]));
    let before = loader.directory().unwrap().clone();
    for cut in HEAD.len()..whole.len() - 1 {
        let update = loader.update(NOW, &files(&whole[..cut], &[]));
        // Between two entries (and the newlines around) nobody can tell a cut from a removal.
        let between = whole[cut..].trim_start().starts_with("[services.");
        assert_eq!(between, update.problems.is_empty(), "cut at {cut}: {}", problems(&update));
        if !between {
            assert_eq!(*loader.directory().unwrap(), before, "cut at {cut}");
        }
        loader.update(NOW, &files(&whole, &[]));
        assert_eq!(*loader.directory().unwrap(), before);
    }
    let fewer = [HEAD, &services(0..2)].concat();
    loader.update(NOW, &files(&format!("{fewer}[services.typo]"), &[]));
    assert_eq!(names(&loader), ["s0", "s1", "s2", "s3"]);
    assert_eq!(problems(&loader.update(NOW, &files(&fewer, &[]))), "");
    assert_eq!(names(&loader), ["s0", "s1"]);
}

#[test]
fn a_fault_at_the_top_keeps_the_file() {
    let mut loader = loaded(&files(&[HEAD, &service("a", 1)].concat(), &[]));
    for (text, problem) in [
        (
            "",
            "1:1: the file lacks fabric = \"NAME\"\nendpoints.toml:1:1: the file lacks format = 1",
        ),
        ("fabric = \"test\"", "1:1: the file lacks format = 1"),
        ("format = 0\nfabric = \"test\"", "1:10: format is a whole number from 1"),
        (
            "format = 1\nfabric = \"other\"",
            "1:1: the fabric was test and is other; restart to change it",
        ),
        (
            "format = 1\nfabric = \"test\"\n[service.a]",
            "3:2: unknown key \"service\" in a directory; it knows format fabric scheme services \
             relays revoked",
        ),
        (
            "format = 1\nfabric = \"test\"\nservices = 3",
            "3:12: a section of entries is a table, not an integer",
        ),
        (
            "format = 1\nfabric = \"te\0st\"",
            "2:13: invalid basic string, expected non-double-quote visible characters, `\\`",
        ),
    ] {
        let update = loader.update(NOW, &files(text, &[]));
        refused(&update, &format!("endpoints.toml:{problem}\n"));
        assert_eq!(names(&loader), ["a"], "{text}");
    }
    let mut latin1 = files(HEAD, &[]);
    latin1.main.content = Ok(b"format = 1\n# caf\xe9".to_vec());
    let update = loader.update(NOW, &latin1);
    refused(&update, "endpoints.toml:2:6: the file is not UTF-8 from here on\n");
}

#[test]
fn a_newer_format_may_have_keys_that_are_unknown_here() {
    let text = format!("format = 2\nfabric = \"test\"\n[new]\n{}later = 1\n", service("a", 1));
    let mut loader = Loader::new();
    let update = loader.update(NOW, &files(&text, &[("b.toml", "[services.b]\nlater = 1")]));
    let problems = problems(&update);
    assert!(problems.contains("endpoints.toml:3:2: warning: unknown key \"new\""), "{problems}");
    assert!(problems.contains("endpoints.toml:7:1: warning: unknown key \"later\""), "{problems}");
    assert!(problems.contains("b.toml:2:1: warning: unknown key \"later\""), "{problems}");
    assert_eq!(names(&loader), ["a"]);
}

#[test]
fn a_drop_in_needs_no_head_and_cannot_have_another_fabric() {
    let a = service("a", 1);
    let stated = format!("{HEAD}{}", service("b", 2));
    let other = format!("fabric = \"prod\"\n{}", service("c", 3));
    let mut loader = Loader::new();
    let all = [("a.toml", &*a), ("b.toml", &stated), ("c.toml", &other)];
    let update = loader.update(NOW, &files(HEAD, &all));
    assert_eq!(
        problems(&update),
        "endpoints.d/c.toml:1:10: this file is for the fabric prod, the main file for test\n"
    );
    assert_eq!(names(&loader), ["a", "b"]);
}

#[test]
fn a_name_defined_twice_keeps_its_last_good_form() {
    let a = service("a", 1);
    let mut loader = loaded(&files(HEAD, &[("a.toml", &a)]));
    let twice = [relay("a", 9), service("b", 2)].concat();
    let update = loader.update(NOW, &files(HEAD, &[("a.toml", &a), ("b.toml", &twice)]));
    assert_eq!(
        problems(&update),
        "endpoints.d/a.toml:1:11: a is defined here and at endpoints.d/b.toml:1:9; \
         its last good form stays\n\
         endpoints.d/b.toml:1:9: a is defined here and at endpoints.d/a.toml:1:11; \
         its last good form stays\n"
    );
    assert_eq!(names(&loader), ["a", "b"]);
    assert_eq!(loader.directory().unwrap().speaker(key(9).id()), Err(NoSpeaker::Unknown));
    let update = loader.update(NOW, &files(HEAD, &[("b.toml", &twice)]));
    assert_eq!(problems(&update), "");
    assert!(loader.directory().unwrap().relay("a").is_some(), "the other is believed alone");
}

#[test]
fn a_key_belongs_to_the_name_that_had_it() {
    let mut loader = loaded(&files(&[HEAD, &services(0..2)].concat(), &[]));
    let thief = [HEAD, &services(0..2), &service("a", 1), &service("z", 9)].concat();
    let update = loader.update(NOW, &files(&thief, &[]));
    assert_eq!(
        problems(&update),
        format!(
            "endpoints.toml:9:11: a has the key {}, which s1 has at endpoints.toml:6:11; \
             a key belongs to one name\n",
            key(1).id()
        )
    );
    assert_eq!(names(&loader), ["s0", "s1", "z"]);
    assert_eq!(loader.directory().unwrap().speaker(key(1).id()).unwrap().name.as_str(), "s1");
}

#[test]
fn keys_that_nobody_had_before_go_to_none_of_their_claimants() {
    let mut loader = Loader::new();
    let text = [HEAD, &service("a", 1), &service("b", 1), &service("c", 3)].concat();
    let update = loader.update(NOW, &files(&text, &[]));
    assert_eq!(update.problems.len(), 2);
    assert_eq!(names(&loader), ["c"]);
}

#[test]
fn going_back_to_a_last_good_form_takes_its_keys_back_too() {
    // b gives its key 2 to c and claims a's key 1: b goes back to key 2, so c cannot have it.
    let mut loader = loaded(&files(&[HEAD, &service("a", 1), &service("b", 2)].concat(), &[]));
    let text = [HEAD, &service("a", 1), &service("b", 1), &service("c", 2)].concat();
    let update = loader.update(NOW, &files(&text, &[]));
    assert_eq!(update.problems.len(), 2);
    assert_eq!(names(&loader), ["a", "b"]);
    let swapped = [HEAD, &service("a", 2), &service("b", 1)].concat();
    let update = loader.update(NOW, &files(&swapped, &[]));
    assert_eq!(problems(&update), "");
    assert_eq!(loader.directory().unwrap().speaker(key(1).id()).unwrap().name.as_str(), "b");
}

#[test]
fn a_revocation_counts_at_once_whatever_else_is_wrong() {
    let good = [HEAD, &services(0..3)].concat();
    let mut loader = loaded(&files(&good, &[]));
    let text = format!(
        "{good}[services.bad]\n[wrong]\n[revoked]\nkeys = [\"{}\", \"nonsense\", \"{}\"]",
        key(0),
        key(1).id()
    );
    let update = loader.update(NOW, &files(&text, &[]));
    let directory = update.directory.unwrap();
    assert_eq!(directory.speaker(key(0).id()), Err(NoSpeaker::Revoked));
    assert_eq!(directory.speaker(key(1).id()), Err(NoSpeaker::Revoked));
    assert!(directory.speaker(key(2).id()).is_ok());
    let mut ids = [key(0).id(), key(1).id()];
    ids.sort();
    assert_eq!(update.changes.revoked, ids);
    let drop_in = format!("[revoked]\nkeys = \"{}\"", key(2));
    loader.update(NOW, &files("no = toml = at all", &[("x.toml", &drop_in)]));
    let directory = loader.directory().unwrap();
    assert_eq!(directory.revoked().count(), 3, "the union over all files, read or kept");
}

#[test]
fn a_drop_in_that_vanishes_takes_its_entries_along_but_never_with_the_main_file() {
    let (a, b) = (service("a", 1), service("b", 2));
    let both = files(HEAD, &[("a.toml", &a), ("b.toml", &b)]);
    let mut loader = loaded(&both);
    let mut gone = files(HEAD, &[]);
    gone.main.content = Err("no such file".to_owned());
    refused(&loader.update(NOW, &gone), "endpoints.toml:1:1: no such file\n");
    let mut unlisted = files(HEAD, &[]);
    unlisted.unlisted = Some("endpoints.d cannot be listed".to_owned());
    let update = loader.update(NOW, &unlisted);
    refused(&update, "endpoints.toml:1:1: endpoints.d cannot be listed\n");
    let update = loader.update(NOW, &files(HEAD, &[("b.toml", &b)]));
    assert_eq!(problems(&update), "");
    assert_eq!(names(&loader), ["b"]);
    let update = loader.update(NOW, &files(HEAD, &[("b.toml", "")]));
    refused(
        &update,
        "endpoints.d/b.toml:1:1: the file is empty; delete it to remove its entries\n",
    );
}

#[test]
fn a_mass_removal_needs_a_second_look() {
    let before = files(&[HEAD, &services(0..12)].concat(), &[]);
    let after = files(&[HEAD, &services(0..5), &service("new", 99)].concat(), &[]);
    let mut loader = loaded(&before);
    let update = loader.update(NOW, &after);
    assert_eq!(
        problems(&update),
        "endpoints.toml:1:1: 7 of 12 entries vanished at once (s10, s11, s5, s6, s7, …); \
         they stay until a second look 30 s later finds the same\n"
    );
    assert_eq!(names(&loader).len(), 13, "what is new is taken at once");
    let due = NOW + MASS_REMOVAL_WAIT;
    assert_eq!(loader.deadline(), Some(due));
    let early = loader.update(Time(due.0 - 1), &after);
    assert!(early.directory.is_none() && !early.problems.is_empty());
    let update = loader.update(due, &after);
    assert_eq!((problems(&update), names(&loader).len()), (String::new(), 6));
    assert_eq!(loader.deadline(), None);
}

#[test]
fn a_mass_removal_that_changes_meanwhile_waits_anew() {
    let mut loader = loaded(&files(&[HEAD, &services(0..12)].concat(), &[]));
    loader.update(NOW, &files(&[HEAD, &services(0..3)].concat(), &[]));
    let later = NOW + Duration::from_secs(20);
    loader.update(later, &files(&[HEAD, &services(0..2)].concat(), &[]));
    assert_eq!(loader.deadline(), Some(later + MASS_REMOVAL_WAIT));
    let update = loader.update(later, &files(&[HEAD, &services(0..12)].concat(), &[]));
    assert_eq!((problems(&update), loader.deadline()), (String::new(), None));
    assert_eq!(names(&loader).len(), 12);
}

#[test]
fn ten_entries_or_half_of_more_go_at_once() {
    for (before, after) in [(10, 0), (12, 6)] {
        let mut loader = loaded(&files(&[HEAD, &services(0..before)].concat(), &[]));
        let update = loader.update(NOW, &files(&[HEAD, &services(0..after)].concat(), &[]));
        assert_eq!(problems(&update), "");
        assert_eq!(names(&loader).len(), after as usize);
    }
}

#[test]
fn the_same_bytes_again_change_nothing() {
    let all = files(&[HEAD, &services(0..2), "[services.bad]"].concat(), &[]);
    let mut loader = Loader::new();
    let first = loader.update(NOW, &all);
    let second = loader.update(NOW, &all);
    assert!(second.directory.is_none() && second.changes.is_empty());
    assert_eq!(first.problems, second.problems, "what is wrong is still told");
}

#[test]
fn a_restored_loader_keeps_what_is_broken_and_drops_what_is_gone() {
    let (a, b, c) = (service("a", 1), service("b", 2), service("c", 3));
    let revoked = format!("[revoked]\nkeys = [\"{}\"]", key(8));
    let main = [HEAD, &relay("r", 7), &revoked].concat();
    let all = [("a.toml", &*a), ("b.toml", &b), ("c.toml", &c)];
    let before = loaded(&files(&main, &all));
    let mut loader = Loader::restored(&before.export());
    assert!(loader.directory().is_none());
    let update =
        loader.update(NOW, &files("broken", &[("a.toml", "[services.a]"), ("b.toml", "[")]));
    assert_eq!(update.problems.len(), 4, "{}", problems(&update));
    assert_eq!(names(&loader), ["a", "b", "r"], "c has no file any more");
    assert_eq!(loader.directory().unwrap().revoked().count(), 1);
    assert_eq!(Loader::restored(&loader.export()).export(), "", "nothing before the first update");
}

#[test]
fn an_export_of_another_fabric_is_forgotten() {
    let before = loaded(&files(&[HEAD, &service("a", 1)].concat(), &[]));
    let mut loader = Loader::restored(&before.export());
    let text = format!("format = 1\nfabric = \"other\"\n{}", service("b", 2));
    let update = loader.update(NOW, &files(&text, &[]));
    assert_eq!(problems(&update), "");
    assert_eq!(names(&loader), ["b"]);
}

#[test]
fn nothing_usable_is_no_directory_until_there_is_one() {
    let mut loader = Loader::restored("nonsense");
    let update = loader.update(NOW, &files("", &[("a.toml", &service("a", 1))]));
    assert!(update.directory.is_none() && !update.problems.is_empty());
    assert_eq!(loader.export(), "");
    let update = loader.update(NOW, &files(HEAD, &[("a.toml", &service("a", 1))]));
    assert_eq!(update.directory.unwrap().services().count(), 1);
}
