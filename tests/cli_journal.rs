//! Do `journal inspect` and `journal verify` tell what is on disk, all that is wrong with it, and
//! nothing else?
#![allow(clippy::unwrap_used)]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/kept.rs"]
mod kept;

use std::fs;
use std::path::{Path, PathBuf};

use cli::{Fabric, ends, succeeds, text};
use kept::{Voice, flip, record_of, rewrite, segment};
use serde_json::Value;

/// A journal of `web` with `lines` messages, in commits of at most 1,024.
fn journal(fabric: &Fabric, lines: usize) -> PathBuf {
    let lines: String = (0..lines).map(|number| format!("{number}\n")).collect();
    fabric.say("org.example.a", &lines);
    fabric.path("state/web.journal")
}

fn findings(fabric: &Fabric, path: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let args = [&["journal", "verify", "--json", text(path)], more].concat();
    let output = fabric.run(&args);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let all: Vec<Value> = lines.collect();
    assert_eq!(all.last().unwrap()["kind"], "summary", "{text}");
    (output.status.code(), all)
}

#[test]
fn a_running_journal_is_shown_with_its_streams_and_ranges() {
    let fabric = Fabric::journaled();
    let journal = journal(&fabric, 3);
    let mut running = fabric.start(&["publish", "org.example.b", "--name", "web"]);
    let tail = fabric.start(&["tail", "org.example.b", "--count", "1"]);
    tail.says("connected to web");
    let said = tail.line_after(|| running.write(b"x\n"));
    let said: Value = serde_json::from_str(&said).unwrap();
    let shown = succeeds(&fabric.run(&["journal", "inspect", "--json", text(&journal)]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["fabric"], &shown["owner"]), (&"test".into(), &"web".into()));
    assert_eq!((&shown["number"], &shown["closed"]), (&1.into(), &false.into()));
    let stream = &shown["streams"][0];
    assert_eq!(stream["publisher"], "web");
    assert!(
        fs::read_to_string(fabric.directory()).unwrap().contains(stream["key"].as_str().unwrap())
    );
    let ranges = stream["ranges"].as_array().unwrap();
    assert_eq!(ranges.len(), 2, "one in each epoch: {shown}");
    assert_eq!(ranges[0]["upto"][1], 3);
    assert_eq!(ranges[1]["from"][0], said["epoch"]);
    assert!(stream["first"].as_str() < stream["last"].as_str());
    assert_eq!(shown["damages"].as_array().unwrap().len(), 0);
    ends(&fabric.run(&["journal", "verify", text(&journal)]), 0, "");
    running.close_input();
    succeeds(&running.output());
    let shown = succeeds(&fabric.run(&["journal", "inspect", text(&journal)]));
    assert!(shown.contains("journal of web of fabric test, closed"), "{shown}");
}

#[test]
fn a_good_journal_has_no_findings_and_stays_as_it_is() {
    let fabric = Fabric::journaled();
    let journal = journal(&fabric, 3_000);
    let before = fs::read(segment(&journal)).unwrap();
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    let count = names(&journal);
    for path in [&journal, &segment(&journal)] {
        let (code, all) = findings(&fabric, path, &["--strict"]);
        assert_eq!((code, all.len()), (Some(0), 1), "{all:?}");
        assert_eq!(all[0]["messages"], 3_000);
    }
    succeeds(&fabric.run(&["journal", "inspect", text(&journal)]));
    assert_eq!(fs::read(segment(&journal)).unwrap(), before);
    assert_eq!(names(&journal), count);
}

#[test]
fn a_flipped_bit_is_named_as_one_record() {
    let fabric = Fabric::journaled();
    let journal = journal(&fabric, 5_000);
    let file = segment(&journal);
    let (offset, from, upto) = record_of(&file, 2_000); // neither the first nor the last one
    // First in its body, then in its header as well.
    for at in [offset + 64 + 200, offset + 20] {
        flip(&file, at);
        let (code, all) = findings(&fabric, &journal, &[]);
        assert_eq!((code, all.len()), (Some(1), 2), "{all:?}");
        let found = &all[0];
        assert_eq!(found["offset"], offset);
        assert_eq!((&found["file"], &found["publisher"]), (&text(&file).into(), &"web".into()));
        let said = found["text"].as_str().unwrap();
        assert!(said.contains(&format!("/{from} up to ")), "{said}");
        assert!(said.contains(&format!("/{upto}, not included")), "{said}");
        assert_eq!(all[1]["messages"], 5_000 - (upto - from));
        let shown = fabric.run(&["journal", "inspect", text(&journal)]);
        ends(&shown, 1, "");
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains(&format!("DAMAGE at byte {offset}")), "{shown}");
    }
}

#[test]
fn what_was_changed_or_signed_by_others_is_named() {
    let fabric = Fabric::journaled();
    let web = Voice::new("test", "web", &fabric.path("web.key"));
    let commits: Vec<_> =
        (0..5).map(|seq| web.commit(7, seq, 1_000 + seq, "org.example.a", "body")).collect();
    let good = fabric.path("good");
    web.recording(&good, &commits);
    assert_eq!(findings(&fabric, &good, &["--strict"]).0, Some(0));
    let forged = fabric.path("forged");
    rewrite(&good, &forged, |record, body| {
        if record == 2 {
            *body.last_mut().unwrap() ^= 1; // checksums of the file are made anew
        }
        true
    });
    let (code, all) = findings(&fabric, &forged, &[]);
    assert_eq!((code, all.len()), (Some(1), 2), "{all:?}");
    let said = all[0]["text"].as_str().unwrap();
    assert!(said.contains("7/2, org.example.a") && said.contains("signature"), "{said}");
    // The preamble says web, the seal is of another fabric.
    let elsewhere = Voice::new("other", "web", &fabric.path("web.key"));
    let mixed = fabric.path("mixed");
    let mut both = commits.clone();
    both.push(elsewhere.commit(7, 5, 2_000, "org.example.a", "body"));
    web.recording(&mixed, &both);
    let (code, all) = findings(&fabric, &mixed, &[]);
    assert_eq!((code, all.len()), (Some(1), 2), "{all:?}");
    let disordered = fabric.path("disordered");
    web.recording(&disordered, &[&commits[..2], &commits[..1], &commits[2..]].concat());
    let (code, all) = findings(&fabric, &disordered, &[]);
    assert_eq!((code, all.len()), (Some(1), 2), "{all:?}");
    assert!(all[0]["text"].as_str().unwrap().contains("begins before 7/2"), "{all:?}");
}

#[test]
fn what_the_directory_does_not_allow_today_is_a_note() {
    let fabric = Fabric::journaled();
    let journal = journal(&fabric, 3);
    fabric.edit("org.example.#", "org.other.#");
    let (code, all) = findings(&fabric, &journal, &[]);
    assert_eq!((code, all.len()), (Some(0), 2), "{all:?}");
    assert_eq!(all[0]["kind"], "note");
    assert!(all[0]["text"].as_str().unwrap().contains("does not allow org.example.a"), "{all:?}");
    assert_eq!(findings(&fabric, &journal, &["--strict"]).0, Some(1));
    // Without a directory there is nothing to note.
    let mut command = fabric.command(&["journal", "verify", "--strict", text(&journal)]);
    succeeds(&command.env_remove("SELVEDGE_DIRECTORY").output().unwrap());
}

#[test]
fn what_is_no_journal_is_told_apart() {
    let fabric = Fabric::journaled();
    let recording = fabric.path("recording");
    let web = Voice::new("test", "web", &fabric.path("web.key"));
    let commits: Vec<_> =
        (0..50).map(|seq| web.commit(7, seq, 1_000, "org.example.a", &"x".repeat(500))).collect();
    web.recording(&recording, &commits);
    let whole = fs::read(&recording).unwrap();
    let newer: Vec<u8> = [&whole[..8], &[9], &whole[9..2_056], &[9], &whole[2_057..]].concat();
    for (name, bytes, says) in [
        ("text", b"no recording".to_vec(), "is no segment or recording"),
        ("newer", newer, "has format 9, newer than 1"),
    ] {
        let path = fabric.path(name);
        fs::write(&path, bytes).unwrap();
        for command in ["inspect", "verify"] {
            ends(&fabric.run(&["journal", command, text(&path)]), 1, says);
        }
    }
    let cut = fabric.path("cut");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let (code, all) = findings(&fabric, &cut, &[]);
    assert_eq!(code, Some(1));
    assert!(all.iter().any(|found| found["text"].as_str().unwrap_or("").contains("cut off")));
    ends(&fabric.run(&["journal", "verify", text(&fabric.path("none"))]), 1, "No such file");
    let empty = fabric.path("empty");
    fs::create_dir(&empty).unwrap();
    ends(&fabric.run(&["journal", "verify", text(&empty)]), 1, "holds no segment");
}
