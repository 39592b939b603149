//! Where the events come from: this machine's `/proc`, a folder that is watched, a file that grows.
//!
//! Each source is a thread of its own that hands events to the process that publishes them, and
//! ends with it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How often `/proc` and a growing file are read.
const EVERY: Duration = Duration::from_millis(100);

/// How often impostors speak: slowly enough for a tip in between (100 ms after a commit), which
/// lets subscribers pass what they refused.
const SLOWLY: Duration = Duration::from_millis(250);

/// Something happened: to be said on this topic.
#[derive(Debug)]
pub struct Event {
    pub topic: String,
    pub value: Value,
}

/// What a service reports.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Source {
    /// Load, memory and disk of this host
    Host,
    /// Bytes and packets of each network interface
    Net,
    /// Changes below a folder
    Files { folder: PathBuf },
    /// Lines appended to a text file
    Lines { file: PathBuf },
    /// The same topics again and again, whoever may say them
    Words { topics: Vec<String> },
}

/// Starts the source; its events come out of the channel that is returned.
pub fn start(source: Source) -> anyhow::Result<mpsc::Receiver<Event>> {
    let (say, events) = mpsc::channel(1_024);
    match source {
        Source::Host => regularly(EVERY, say, host),
        Source::Net => regularly(EVERY, say, net),
        Source::Words { topics } => regularly(SLOWLY, say, move || words(&topics)),
        Source::Files { folder } => watch(folder, say)?,
        Source::Lines { file } => follow(&file, say)?,
    }
    Ok(events)
}

/// Looks at something again and again, until nobody listens.
fn regularly(
    every: Duration,
    say: mpsc::Sender<Event>,
    mut look: impl FnMut() -> Vec<Event> + Send + 'static,
) {
    thread::spawn(move || {
        loop {
            for event in look() {
                if say.blocking_send(event).is_err() {
                    return;
                }
            }
            thread::sleep(every);
        }
    });
}

// ---- /proc -------------------------------------------------------------------------------------

fn host() -> Vec<Event> {
    let looks = [("load", load as fn() -> Option<Value>), ("memory", memory), ("disk", disk)];
    let seen = looks.into_iter().filter_map(|(what, look)| Some((what, look()?)));
    seen.map(|(what, value)| Event { topic: format!("demo.host.{what}"), value }).collect()
}

/// `/proc/loadavg`: three averages, running/all threads, the newest process.
fn load() -> Option<Value> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let average = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let (running, threads) = fields.get(3)?.split_once('/')?;
    Some(json!({
        "1min": average(0)?, "5min": average(1)?, "15min": average(2)?,
        "running": number(running)?, "threads": number(threads)?,
    }))
}

/// `/proc/meminfo`, in KiB.
fn memory() -> Option<Value> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        number(line.split_whitespace().next()?)
    };
    Some(json!({
        "total_kib": value("MemTotal")?, "free_kib": value("MemFree")?,
        "available_kib": value("MemAvailable")?,
    }))
}

/// `/proc/diskstats`, whole and partial devices alike, in operations and sectors of 512 bytes.
fn disk() -> Option<Value> {
    let text = fs::read_to_string("/proc/diskstats").ok()?;
    let devices = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let value = |at: usize| number(fields.get(at)?);
        let (name, reads, writes) = (fields.get(2)?, value(3)?, value(7)?);
        let numbers = json!({ "reads": reads, "read_sectors": value(5)?,
            "writes": writes, "written_sectors": value(9)? });
        (reads + writes > 0).then_some(((*name).to_owned(), numbers))
    });
    Some(Value::Object(devices.collect()))
}

/// `/proc/net/dev`: two lines of titles, then `name: ` and 8 numbers received, 8 sent.
fn net() -> Vec<Event> {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let interfaces = text.lines().skip(2).filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(number).collect();
        let [bytes_in, packets_in, _, _, _, _, _, _, bytes_out, packets_out, ..] = numbers[..]
        else {
            return None;
        };
        let value = json!({ "interface": name.trim(), "bytes_in": bytes_in,
            "packets_in": packets_in, "bytes_out": bytes_out, "packets_out": packets_out });
        Some(Event { topic: "demo.net.traffic".to_owned(), value })
    });
    interfaces.collect()
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// What an impostor says: its topics, with the time since boot.
fn words(topics: &[String]) -> Vec<Event> {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let event = |topic: &String| Event { topic: topic.clone(), value: json!(uptime.trim()) };
    topics.iter().map(event).collect()
}

// ---- files -------------------------------------------------------------------------------------

fn watch(folder: PathBuf, say: mpsc::Sender<Event>) -> anyhow::Result<()> {
    let (root, context) = (folder.clone(), format!("cannot watch {}", folder.display()));
    let changed = move |event: notify::Result<notify::Event>| {
        let event = event.ok().and_then(|event| change(&root, &event));
        event.map(|event| say.blocking_send(event));
    };
    let mut watcher = notify::recommended_watcher(changed).context(context.clone())?;
    watcher.watch(&folder, RecursiveMode::Recursive).context(context)?;
    std::mem::forget(watcher); // it watches as long as the process lives
    Ok(())
}

fn change(root: &Path, event: &notify::Event) -> Option<Event> {
    let what = match event.kind {
        EventKind::Create(_) => "created",
        EventKind::Modify(ModifyKind::Data(_)) => "modified",
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => "renamed",
        EventKind::Remove(_) => "removed",
        _ => return None, // looked at, or half of a rename that is told as a whole too
    };
    let shown = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let paths: Vec<String> = event.paths.iter().map(shown).collect();
    let value = match &paths[..] {
        [from, to] => json!({ "from": from, "to": to }),
        _ => json!({ "path": paths.first()? }),
    };
    Some(Event { topic: format!("demo.files.{what}"), value })
}

// ---- lines -------------------------------------------------------------------------------------

/// Says each line that is complete, from the start of the file on.
fn follow(path: &Path, say: mpsc::Sender<Event>) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut reader, mut partial) = (BufReader::new(file), Vec::new());
    regularly(EVERY, say, move || appended(&mut reader, &mut partial));
    Ok(())
}

/// The lines that were completed since; what the last one has so far stays in `partial`.
fn appended(reader: &mut impl BufRead, partial: &mut Vec<u8>) -> Vec<Event> {
    let mut events = Vec::new();
    while reader.read_until(b'\n', partial).is_ok_and(|bytes| bytes > 0) && partial.ends_with(b"\n")
    {
        let line = String::from_utf8_lossy(&std::mem::take(partial)).trim_end().to_owned();
        events.push(Event { topic: "demo.lines.appended".to_owned(), value: json!(line) });
    }
    events
}
