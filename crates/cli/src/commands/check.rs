//! `selvedge check`: what is wrong with the directory, and where.

use std::process::ExitCode;

use selvedge::directory::{self, Directory, Problem, Severity};
use serde::Serialize;

use crate::options::Common;
use crate::output;

/// List the problems of the directory as file:line:column: text
///
/// Errors and warnings fail (exit 1); notes, such as topics that two services may say, do not.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// A problem as JSON.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    severity: &'static str,
    text: &'a str,
}

pub fn run(_: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let report = directory::check_files(common.directory());
    for problem in &report.problems {
        output::line(&shown(problem, common.json)?)?;
    }
    let count = |severity| report.problems.iter().filter(|p| p.severity == severity).count();
    let found = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
        (count(Severity::Note), "note"),
    ];
    let found = found.iter().filter(|(count, _)| *count > 0).map(|(count, what)| {
        let plural = if *count == 1 { "" } else { "s" };
        format!("{count} {what}{plural}")
    });
    let found = found.collect::<Vec<_>>().join(", ");
    let found = if found.is_empty() { "no problems" } else { &found };
    let path = common.directory().display();
    match &report.directory {
        Some(directory) => output::say(&format!("{path}: {found}; {}", summary(directory))),
        None => output::say(&format!("{path}: {found}; not usable")),
    }
    let fails = |problem: &Problem| problem.severity < Severity::Note;
    match report.problems.iter().any(fails) || report.directory.is_none() {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn shown(problem: &Problem, json: bool) -> anyhow::Result<String> {
    if !json {
        return Ok(problem.to_string());
    }
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let Problem { file, line, column, text, .. } = problem;
    Ok(serde_json::to_string(&Line { file, line: *line, column: *column, severity, text })?)
}

fn summary(directory: &Directory) -> String {
    let (services, relays) = (directory.services().count(), directory.relays().count());
    format!("fabric {}, services: {services}, relays: {relays}", directory.fabric())
}
