//! How fast does a fresh subscriber get the history of a publisher from its journal, verified?
//!
//! A journal is written with commits of `n` messages; then one process serves it and another hears
//! all of it, from the oldest. Wall time counts from the subscriber's start to the last message,
//! CPU time that of each process, kernel included.

use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use selvedge::directory::Directory;
use selvedge::publisher::Options;
use selvedge::subscriber::Start;
use selvedge::{ContentType, Event, Listener, Publisher, Subscriber, Topic, wall};
use selvedge_core::seal::{Draft, Group, Header, Identity, SecretKey, Unsealed};
use selvedge_journal::{Journal, Owner, Place, Record, disk};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Bytes of a body.
const BODY: usize = 256;

/// How long a subscriber waits for the next message.
const SILENCE: Duration = Duration::from_secs(20);

/// Measures replay from a journal, in separate processes on this host.
#[derive(Parser)]
struct Arguments {
    /// One JSON value, instead of a table.
    #[arg(long)]
    json: bool,
    /// A hundredth of the messages, once.
    #[arg(long)]
    smoke: bool,
    /// How often each is measured; medians are shown.
    #[arg(long, value_name = "N", default_value = "5")]
    runs: usize,
    /// What a process started by this one has to do.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// The same, and where.
    #[arg(long, hide = true)]
    hear: Option<String>,
    /// How many.
    #[arg(long, hide = true, default_value = "0")]
    messages: u64,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Medians of one case.
#[derive(Serialize)]
struct Row {
    /// Messages in each commit.
    n: u16,
    messages: u64,
    messages_per_second: f64,
    publisher_cpu_ns: f64,
    subscriber_cpu_ns: f64,
    /// What the subscriber alone could do on one core.
    messages_per_core_second: f64,
}

/// What the hearing process reports.
#[derive(Serialize, Deserialize)]
struct Heard {
    messages: u64,
    wall_ns: u64,
    cpu_ns: u64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.serve {
        return serve(folder);
    }
    if let Some(endpoint) = &arguments.hear {
        return hear(endpoint, arguments.messages);
    }
    let (share, runs) = if arguments.smoke { (100, 1) } else { (1, arguments.runs.max(1)) };
    let mut rows = Vec::new();
    for (n, messages) in [(512, 1_000_000), (64, 1_000_000), (1, 20_000)] {
        let messages = messages / share / u64::from(n) * u64::from(n);
        rows.push(measure(n, messages.max(u64::from(n)), runs)?);
    }
    match arguments.json {
        true => writeln!(stdout(), "{}", serde_json::to_string_pretty(&rows)?)?,
        false => print(&rows)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(rows: &[Row]) -> Result<()> {
    let mut out = stdout();
    writeln!(out, "replay of {BODY} B messages, verified")?;
    writeln!(
        out,
        "{:>6}{:>12}{:>14}{:>18}{:>18}{:>18}",
        "n", "messages", "messages/s", "publisher CPU ns", "subscriber CPU ns", "per core second"
    )?;
    for row in rows {
        writeln!(
            out,
            "{:>6}{:>12}{:>14.0}{:>18.0}{:>18.0}{:>18.0}",
            row.n,
            row.messages,
            row.messages_per_second,
            row.publisher_cpu_ns,
            row.subscriber_cpu_ns,
            row.messages_per_core_second
        )?;
    }
    Ok(())
}

fn measure(n: u16, messages: u64, runs: usize) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    write(&folder.path().join("journal"), n, messages)?;
    let (mut walls, mut serving, mut hearing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let path = folder.path().to_str().context("a path that is no text")?;
        let mut server = Process::start(&["--serve", path])?;
        let endpoint = server.line()?;
        let count = messages.to_string();
        let mut hears = Process::start(&["--hear", &endpoint, "--messages", &count])?;
        let heard: Heard = serde_json::from_str(&hears.line()?)?;
        ensure!(heard.messages == messages, "{} of {messages} came", heard.messages);
        walls.push(heard.wall_ns as f64 / messages as f64);
        hearing.push(heard.cpu_ns as f64 / messages as f64);
        server.end_input();
        serving.push(server.line()?.parse::<f64>()? / messages as f64);
    }
    let (wall, subscriber) = (median(walls), median(hearing));
    Ok(Row {
        n,
        messages,
        messages_per_second: 1e9 / wall,
        publisher_cpu_ns: median(serving),
        subscriber_cpu_ns: subscriber,
        messages_per_core_second: 1e9 / subscriber,
    })
}

/// A journal of one epoch, on one topic.
fn write(folder: &Path, n: u16, messages: u64) -> Result<()> {
    let identity = identity()?;
    let owner =
        Owner { fabric: "bench".into(), name: "bench".into(), key: *key().public().as_bytes() };
    let options = selvedge_journal::Options::new(owner);
    let mut journal = Journal::open(Arc::new(disk::Real), folder, options)?;
    let topic: Topic = "org.example.bench.item".parse()?;
    let speaker = selvedge::journal::speaker(&key().public(), &identity.publisher);
    let (epoch, time) = (wall().0, wall());
    for commit in 0..messages / u64::from(n) {
        let first = commit * u64::from(n);
        let draft = |seq: u64| Draft {
            topic: topic.clone(),
            ctype: ContentType::BYTES,
            time,
            extension: Bytes::new(),
            body: [&seq.to_le_bytes()[..], &[b'x'; BODY - 8]].concat().into(),
        };
        let messages = (0..n).map(|off| (off, draft(first + u64::from(off)))).collect();
        let header = Header { key: identity.key_id(), epoch, commit, first, time, n, m: 1 };
        let groups = vec![Group { topic: topic.clone(), tseq: first + 1, messages }];
        let sealed = Unsealed { header, groups }.seal(&identity, &mut Default::default());
        journal.append(&[Record {
            stream: header.key.0,
            from: Place::new(epoch, first),
            upto: Place::new(epoch, first + u64::from(n)),
            time_us: time.0,
            preamble: &speaker,
            body: &sealed.to_record(),
        }])?;
    }
    journal.close()?;
    Ok(())
}

/// Serves the journal until the end of standard input; then says how much CPU time that took.
fn serve(folder: &Path) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("tcp://{}", listener.local_addr()?);
        let mut options = Options::new("bench".parse()?, key());
        options.listener = Some(Listener::from_tcp(listener)?);
        options.state = folder.join("state");
        options.journal = Some(folder.join("journal"));
        let publisher = Publisher::start(directory(&endpoint)?, options)?;
        let before = cpu_time(); // what recovery takes is another question
        writeln!(stdout(), "{endpoint}")?;
        tokio::task::spawn_blocking(|| stdin().lines().count()).await?;
        writeln!(stdout(), "{}", cpu_time() - before)?;
        drop(publisher);
        Ok(ExitCode::SUCCESS)
    })
}

fn hear(endpoint: &str, messages: u64) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let state = tempfile::tempdir()?;
        let (start, cpu) = (Instant::now(), cpu_time());
        let mut subscriber = Subscriber::to(directory(endpoint)?)
            .name("bench".parse()?)
            .state(state.path())
            .start(Start::Oldest)
            .connect()?;
        let mut heard = 0;
        while heard < messages {
            match tokio::time::timeout(SILENCE, subscriber.next()).await {
                Ok(Some(Event::Message(message))) => {
                    ensure!(message.body[..8] == heard.to_le_bytes(), "out of order at {heard}");
                    heard += 1;
                }
                other => return Err(anyhow!("{other:?} after {heard}")),
            }
        }
        let wall_ns = start.elapsed().as_nanos() as u64;
        let heard = Heard { messages: heard, wall_ns, cpu_ns: cpu_time() - cpu };
        writeln!(stdout(), "{}", serde_json::to_string(&heard)?)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn identity() -> Result<Identity> {
    Ok(Identity { fabric: "bench".parse()?, publisher: "bench".parse()?, key: key() })
}

fn directory(endpoint: &str) -> Result<watch::Receiver<Arc<Directory>>> {
    let text = format!(
        "format = 1\nfabric = \"bench\"\n[services.bench]\nendpoint = \"{endpoint}\"\n\
         key = \"{}\"\ntopics = [\"org.example.bench.#\"]\n",
        key().public()
    );
    let directory = Directory::from_text("endpoints.toml", &text);
    let directory = directory.map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(watch::channel(Arc::new(directory)).1)
}

fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// This program again; it does not outlive this value.
struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = child.stdout.take().context("a process without output")?;
        Ok(Process { child, says: BufReader::new(says) })
    }

    fn end_input(&mut self) {
        self.child.stdin = None;
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a process ended before it reported");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
