//! Are key files made, kept and told as `keygen` and `pubkey` promise?

#[path = "support/cli.rs"]
mod cli;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use cli::{Fabric, ends, succeeds, text};

#[test]
fn keygen_prints_the_line_that_pubkey_prints() {
    let fabric = Fabric::new();
    let path = fabric.path("new.key");
    let line = succeeds(&fabric.run(&["keygen", "--out", text(&path)]));
    assert!(line.starts_with("key = \"ed25519:") && line.ends_with("\"\n"), "{line}");
    assert_eq!(succeeds(&fabric.run(&["pubkey", text(&path)])), line);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn keygen_never_overwrites() {
    let fabric = Fabric::new();
    let path = fabric.path("web.key");
    let before = fs::read(&path).unwrap();
    ends(&fabric.run(&["keygen", "--out", text(&path)]), 1, "move it away");
    let line = succeeds(&fabric.run(&["keygen", "--if-missing", "--out", text(&path)]));
    assert_eq!(line, succeeds(&fabric.run(&["pubkey", text(&path)])));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn if_missing_does_not_hide_a_broken_file() {
    let fabric = Fabric::new();
    let path = fabric.path("broken.key");
    fs::write(&path, "garbage").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    ends(&fabric.run(&["keygen", "--if-missing", "--out", text(&path)]), 1, "not a private key");
}

#[test]
fn what_is_no_key_or_no_usage_is_said() {
    let fabric = Fabric::new();
    let missing = fabric.path("missing.key");
    ends(&fabric.run(&["pubkey", text(&missing)]), 1, "selvedge keygen --out");
    ends(&fabric.run(&["pubkey"]), 2, "Usage");
    ends(&fabric.run(&["keygen"]), 2, "--out");
    ends(&fabric.run(&["keygen", "--out", "/nowhere/x.key"]), 1, "/nowhere/x.key");
    ends(&fabric.run(&[]), 2, "Usage");
    ends(&fabric.run(&["nonsense"]), 2, "nonsense");
}
