//! Does `check` list what is wrong, where, and fail for errors and warnings alone?

#[path = "support/cli.rs"]
mod cli;

use std::fs;

use cli::{Fabric, ends, succeeds, text};

#[test]
fn a_good_directory_has_nothing_to_list() {
    let fabric = Fabric::new();
    let output = fabric.run(&["check"]);
    assert_eq!(succeeds(&output), "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no problems; fabric test, services: 2, relays: 1"), "{said}");
}

#[test]
fn an_error_is_listed_with_its_place_and_fails() {
    let fabric = Fabric::new();
    fabric.edit("topics = [\"org.db.#\"]", "topics = [\"org.db.#\", \"a..b\"]\ncolour = 7");
    let output = fabric.run(&["check"]);
    ends(&output, 1, "error");
    let listed = String::from_utf8(output.stdout).unwrap();
    let file = fabric.directory().display().to_string();
    let places: Vec<_> = listed.lines().map(|l| l.strip_prefix(&*file).unwrap_or(l)).collect();
    assert!(places.iter().any(|line| line.starts_with(":10:23: ")), "{listed}");
    assert!(places.iter().any(|line| line.starts_with(":11:1: ")), "{listed}");
}

#[test]
fn a_warning_fails_and_a_note_does_not() {
    let fabric = Fabric::new();
    fabric.edit("topics = [\"org.db.#\"]", "topics = [\"org.#\"]");
    let noted = succeeds(&fabric.run(&["check"]));
    assert!(noted.contains(": note: "), "{noted}");
    fabric.edit("topics = [\"org.#\"]", "topics = [\"org.db.#\"]\nprefer = [\"nobody\"]");
    let output = fabric.run(&["check"]);
    ends(&output, 1, "1 warning");
    assert!(String::from_utf8(output.stdout).unwrap().contains(": warning: "));
}

#[test]
fn json_is_one_object_a_line() {
    let fabric = Fabric::new();
    fabric.edit("format = 1", "format = \"one\"");
    let output = fabric.run(&["check", "--json"]);
    ends(&output, 1, "not usable");
    let line = String::from_utf8(output.stdout).unwrap();
    let problem: serde_json::Value = serde_json::from_str(&line).unwrap();
    let keys: Vec<_> = problem.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["column", "file", "line", "severity", "text"]);
    assert_eq!((&problem["line"], &problem["severity"]), (&1.into(), &"error".into()));
}

#[test]
fn options_come_before_the_environment_and_on_either_side() {
    let fabric = Fabric::new();
    let other = fabric.path("other.toml");
    fs::write(&other, "nonsense").unwrap();
    ends(&fabric.run(&["check", "--directory", text(&other)]), 1, "other.toml");
    ends(&fabric.run(&["--directory", text(&other), "check"]), 1, "other.toml");
    ends(&fabric.run(&["check", "--directory", "/nowhere"]), 1, "not usable");
    ends(&fabric.run(&["check", "more"]), 2, "more");
}
