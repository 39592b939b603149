//! Runs a case under valgrind and reads how many instructions each function took.
//!
//! The format is described in valgrind's manual, "Callgrind Format Specification".

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

/// glibc copies and clears from 2 KiB on with an instruction that callgrind counts once a byte.
const PLAIN_COPIES: &str = "glibc.cpu.x86_rep_movsb_threshold=4000000000:\
                            glibc.cpu.x86_rep_stosb_threshold=4000000000";

/// Instructions by function, those of its callees not included.
pub type Profile = BTreeMap<String, i64>;

/// The version of valgrind; none if it is not installed.
pub fn version() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs this program with `arguments` and counts.
pub fn profile(arguments: &[&str]) -> Result<Profile> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {}: {said}", output.status);
    parse(&fs::read_to_string(file).context("callgrind's output")?)
}

fn parse(text: &str) -> Result<Profile> {
    let mut names = BTreeMap::new();
    let mut profile = Profile::new();
    let (mut function, mut of_callee) = (String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = expand(&mut names, name)?;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            expand(&mut names, name)?; // it may be named here first
        } else if line.starts_with("calls=") {
            of_callee = true; // the next line is what the call took
        } else if line.starts_with(|first: char| "+-*".contains(first) || first.is_ascii_digit()) {
            let cost = line.split(' ').nth(1).context("a line without a cost")?;
            if !std::mem::take(&mut of_callee) {
                *profile.entry(function.clone()).or_default() += cost.parse::<i64>()?;
            }
        }
    }
    ensure!(!profile.is_empty(), "callgrind's output has no functions");
    Ok(profile)
}

/// `(1) name` defines what `(1)` means from then on.
fn expand<'a>(names: &mut BTreeMap<&'a str, &'a str>, text: &'a str) -> Result<String> {
    let (id, name) = text.split_once(' ').unwrap_or((text, ""));
    if !name.is_empty() {
        names.insert(id, name);
    }
    Ok((*names.get(id).with_context(|| format!("{text} has no name"))?).to_owned())
}
