//! Is whatever keeps a command from starting said, with what to do?

#[path = "support/cli.rs"]
mod cli;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cli::{Fabric, ends, text};

const PUBLISH: [&str; 6] = ["publish", "org.example.a", "--name", "web", "--body", "x"];

#[test]
fn a_directory_that_is_missing_or_broken() {
    let fabric = Fabric::new();
    for command in [&PUBLISH[..], &["tail"], &["relay", "--name", "edge"]] {
        let args = [command, &["--directory", "/nowhere"]].concat();
        ends(&fabric.run(&args), 1, "name another with --directory or SELVEDGE_DIRECTORY");
    }
    fs::write(fabric.directory(), "format = ").unwrap();
    ends(&fabric.run(&["tail"]), 1, "endpoints.toml:1:10: ");
}

#[test]
fn a_directory_with_faults_that_is_usable_is_a_warning() {
    let fabric = Fabric::new();
    fabric.edit("org.db.#", "org..db");
    let output = fabric.run(&["tail", "--timeout", "0"]);
    ends(&output, 0, "WARN");
    ends(&output, 0, "endpoints.toml:10:11: ");
}

#[test]
fn a_name_that_the_directory_does_not_have() {
    let fabric = Fabric::new();
    let unknown = ["publish", "a", "--name", "nobody", "--body", "x"];
    ends(&fabric.run(&unknown), 1, "add [services.nobody]");
    ends(&fabric.run(&["relay", "--name", "web"]), 1, "add [relays.web]");
    ends(&fabric.run(&["tail", "--via", "web"]), 1, "no relay web");
    ends(&fabric.run(&["tail", "--from", "edge"]), 1, "no service edge");
    ends(&fabric.run(&["relay", "--name", "No!"]), 2, "No!");
}

#[test]
fn a_key_that_others_may_read_or_the_directory_does_not_list() {
    let fabric = Fabric::new();
    let key = fabric.path("loose.key");
    fs::copy(fabric.path("web.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    for (name, says) in [
        ("loose.key", "run: chmod 600"),
        ("db.key", "lists another key for web"),
        ("no.key", "selvedge keygen --out"),
    ] {
        let key = fabric.path(name);
        ends(&fabric.run(&[&PUBLISH[..], &["--key", text(&key)]].concat()), 1, says);
    }
    fabric.edit("fabric = \"test\"", "fabric = \"test\"\n[revoked]\nkeys = [REVOKED]");
    let public = fabric.run(&["pubkey", text(&fabric.path("web.key"))]).stdout;
    let public = String::from_utf8(public).unwrap();
    fabric.edit("REVOKED", public.trim_end().strip_prefix("key = ").unwrap());
    ends(&fabric.run(&PUBLISH), 1, "revoked");
}

#[test]
fn an_address_or_a_state_that_another_process_has() {
    let fabric = Fabric::new();
    let mut first = fabric.start(&["publish", "org.example.a", "--name", "web", "--wait", "60"]);
    let tail = fabric.start(&["tail"]);
    tail.says("connected to web");
    ends(&fabric.run(&PUBLISH), 1, "is in use by another process");
    let bind = fabric.path("elsewhere").display().to_string();
    let line = "topics = [\"org.example.#\"]";
    fabric.edit(line, &format!("{line}\nbind = \"ipc://{bind}\""));
    ends(&fabric.run(&PUBLISH), 1, "another process publishes as this service");
    first.close_input();
    assert!(first.end().success());
}

#[test]
fn a_journal_that_another_process_writes() {
    let fabric = Fabric::journaled();
    let journal = fabric.path("journal").display().to_string();
    fabric.edit(
        "topics = [\"org.example.#\"]\njournal = true",
        &format!("topics = [\"org.example.#\"]\njournal = \"{journal}\""),
    );
    let mut first = fabric.start(&["publish", "org.example.a", "--name", "web", "--receipts"]);
    first.write(b"x\n");
    assert!(first.line().starts_with("web/"));
    let bind = fabric.path("elsewhere").display().to_string();
    let line = format!("journal = \"{journal}\"");
    fabric.edit(&line, &format!("{line}\nbind = \"ipc://{bind}\""));
    let state = fabric.path("other").display().to_string();
    let second = fabric.run(&[&PUBLISH[..], &["--state", &state]].concat());
    ends(&second, 1, &journal);
    ends(&second, 1, "selvedge");
    first.close_input();
    assert!(first.end().success());
}
