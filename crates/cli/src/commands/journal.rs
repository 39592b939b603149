//! `selvedge journal`: what is kept on disk, read beside whoever writes it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use selvedge::directory::{self, Directory};
use selvedge::recording::{self, FileSummary, Finding, Options, StreamSummary};
use selvedge::{KeyId, Position};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use crate::options::Common;
use crate::output::time;
use crate::{logging, output};

/// Look at journals and recordings on disk, also while they are written; nothing is changed
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what is held: files, streams, ranges, sizes, times, damage
    ///
    /// With --json one object a file. Exit 1 if anything is damaged. Signatures are not looked at:
    /// see verify.
    Inspect {
        /// The folder of a journal, a segment, or a recording
        path: PathBuf,
    },
    /// Verify every seal from the disk alone
    ///
    /// Structure, order, Merkle proofs and signatures, against the keys and names that the files
    /// carry. Where a directory is named (--directory or SELVEDGE_DIRECTORY), what it does not
    /// allow today is noted: it may have been allowed then. Exit 1 if anything is found.
    Verify {
        /// The folder of a journal, a segment, or a recording
        path: PathBuf,
        /// What the directory does not allow today is a finding
        #[arg(long)]
        strict: bool,
    },
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::WARN, false);
    let good = match &args.what {
        What::Inspect { path } => inspect(path, common.json)?,
        What::Verify { path, strict } => verify(path, *strict, common)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inspect(path: &Path, json: bool) -> anyhow::Result<bool> {
    let files = recording::summary(path)?;
    let mut good = true;
    for file in &files {
        good &= file.damages.is_empty() && file.header.is_ok();
        match json {
            true => output::line(&file_as_json(file).to_string())?,
            false => output::print(file_as_text(file).as_bytes())?,
        }
    }
    if files.is_empty() {
        output::say(&format!("{} holds no segment", path.display()));
    }
    Ok(good)
}

fn file_as_text(file: &FileSummary) -> String {
    let mut text = format!("{}: {}", file.path.display(), size(file.bytes));
    // Writing to a String does not fail.
    match &file.header {
        Ok((owner, number)) => {
            let what = if *number == 0 { "a recording".to_owned() } else { owned(&owner.name) };
            let end = if file.ended { "closed" } else { "not closed" };
            let _ = writeln!(text, ", {what} of fabric {}, {end}", owner.fabric);
        }
        Err(error) => {
            let _ = writeln!(text, ": {error}");
        }
    }
    for (key, stream) in &file.streams {
        let who = stream.speaker.as_ref().map_or("?", |speaker| speaker.name.as_str());
        let (records, bytes) = (stream.records, size(stream.bytes));
        let commits = if records == 1 { "commit" } else { "commits" };
        let _ = write!(text, "  {who} {key}: {records} {commits}, {bytes}");
        if let Some((first, last)) = stream.sealed {
            let _ = write!(text, ", {} to {}", at(first), at(last));
        }
        text.push('\n');
        for (from, upto) in &stream.ranges {
            let _ = writeln!(text, "    {from} up to {upto}, not included");
        }
    }
    for damage in &file.damages {
        let (offset, bytes) = (damage.offset, damage.bytes);
        let _ = write!(text, "  DAMAGE at byte {offset}: {bytes} bytes");
        if let Some((key, from, upto)) = damage.lost {
            let _ = write!(text, ": {key} {from} up to {upto}, not included");
        }
        text.push('\n');
    }
    let mut shown = String::with_capacity(text.len());
    for line in text.lines() {
        output::escape(line, &mut shown);
        shown.push('\n');
    }
    shown
}

fn owned(name: &str) -> String {
    format!("journal of {name}")
}

fn file_as_json(file: &FileSummary) -> Value {
    let mut object = json!({
        "file": file.path.display().to_string(),
        "bytes": file.bytes,
        "closed": file.ended,
        "streams": file.streams.iter().map(stream_as_json).collect::<Vec<_>>(),
        "damages": file.damages.iter().map(|damage| json!({
            "offset": damage.offset,
            "bytes": damage.bytes,
            "lost": damage.lost.map(|(key, from, upto)| json!({
                "key_id": key.to_string(), "from": place(from), "upto": place(upto),
            })),
        })).collect::<Vec<_>>(),
    });
    match &file.header {
        Ok((owner, number)) => {
            object["fabric"] = json!(owner.fabric);
            object["owner"] = json!(owner.name);
            object["number"] = json!(number);
        }
        Err(error) => object["error"] = json!(error.to_string()),
    }
    object
}

fn stream_as_json((key, stream): (&KeyId, &StreamSummary)) -> Value {
    let speaker = stream.speaker.as_ref();
    let ranges = stream.ranges.iter();
    json!({
        "publisher": speaker.map(|speaker| speaker.name.as_str()),
        "key": speaker.map(|speaker| speaker.key.to_string()),
        "key_id": key.to_string(),
        "commits": stream.records,
        "bytes": stream.bytes,
        "first": stream.sealed.map(|(first, _)| at(first)),
        "last": stream.sealed.map(|(_, last)| at(last)),
        "ranges": ranges.map(|(from, upto)| json!({"from": place(*from), "upto": place(*upto)}))
            .collect::<Vec<_>>(),
    })
}

fn verify(path: &Path, strict: bool, common: &Common) -> anyhow::Result<bool> {
    let directory: Option<Arc<Directory>> = match common.named_directory() {
        Some(path) => Some(directory::load(path)?.0),
        None => None,
    };
    let report = recording::verify(path, &Options { directory, threads: 0 })?;
    for (kind, found) in [("finding", &report.findings), ("note", &report.notes)] {
        for finding in found {
            match common.json {
                true => output::line(&finding_as_json(kind, finding).to_string())?,
                false => output::line(&finding_as_text(kind, finding))?,
            }
        }
    }
    let (found, notes) = (report.found, report.notes.len() as u64);
    let (files, commits, messages) = (report.files, report.commits, report.messages);
    let bytes = report.bytes;
    match common.json {
        true => output::line(
            &json!({
                "kind": "summary", "files": files, "commits": commits, "messages": messages,
                "bytes": bytes, "findings": found, "notes": notes,
            })
            .to_string(),
        )?,
        false => output::line(&format!(
            "{messages} messages in {commits} commits in {files} files ({}): {found} findings, \
             {notes} notes",
            size(bytes)
        ))?,
    }
    if files == 0 {
        anyhow::bail!("{} holds no segment", path.display());
    }
    Ok(found == 0 && !(strict && notes > 0))
}

fn finding_as_text(kind: &str, finding: &Finding) -> String {
    let mut who = String::new();
    if let Some(key) = finding.stream {
        let name = finding.publisher.as_ref().map(|name| format!("{name} "));
        let _ = write!(who, " {}{key}:", name.unwrap_or_default());
    }
    let note = if kind == "note" { "note: " } else { "" };
    let text =
        format!("{}:{}:{who} {note}{}", finding.file.display(), finding.offset, finding.fault);
    let mut shown = String::with_capacity(text.len());
    output::escape(&text, &mut shown);
    shown
}

fn finding_as_json(kind: &str, finding: &Finding) -> Value {
    json!({
        "kind": kind,
        "file": finding.file.display().to_string(),
        "offset": finding.offset,
        "key_id": finding.stream.map(|key| key.to_string()),
        "publisher": finding.publisher.as_ref().map(|name| name.as_str()),
        "text": finding.fault.to_string(),
    })
}

fn place(position: Position) -> Value {
    json!([position.epoch, position.seq])
}

fn at(time_us: u64) -> String {
    time(UNIX_EPOCH + Duration::from_micros(time_us))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, shown) in [(0, "0 bytes"), (1_023, "1023 bytes"), (1_536, "1.5 KiB")] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(size(64 << 20), "64.0 MiB");
    }
}
