//! What does a relay cost with many producers? 500 of them, idle and at 20 messages a second each,
//! in one process; the relay, with a journal, in another, which reports its memory and CPU time.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use selvedge::directory::Directory;
use selvedge::publisher::Options;
use selvedge::{Name, Publisher, Topic};
use selvedge_core::seal::SecretKey;
use selvedge_relay::{Config, Node};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// Messages a second of each producer.
const RATE: u64 = 20;

/// How often some of them say something.
const TICK: Duration = Duration::from_millis(10);

/// Bytes of a body.
const BODY: usize = 256;

/// How long to wait until all are connected.
const CONNECT: Duration = Duration::from_secs(60);

/// Measures a relay with many producers, in separate processes on this host.
#[derive(Parser)]
struct Arguments {
    /// One JSON value, instead of text.
    #[arg(long)]
    json: bool,
    /// A tenth of the producers, for a second.
    #[arg(long)]
    smoke: bool,
    /// How many producers.
    #[arg(long, value_name = "N", default_value = "500")]
    producers: usize,
    /// How long to look, idle and busy.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    seconds: u64,
    /// What a process started by this one has to do.
    #[arg(long, hide = true)]
    relay: Option<PathBuf>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the relay says of itself.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Said {
    resident_bytes: u64,
    cpu_ns: u64,
    links: u64,
    delivered: u64,
}

/// The result.
#[derive(Serialize)]
struct Report {
    producers: usize,
    seconds: u64,
    idle: State,
    busy: State,
}

/// How the relay was in one of the two states.
#[derive(Serialize)]
struct State {
    resident_mib: f64,
    kib_per_producer: f64,
    cpu_percent: f64,
    messages_per_second: f64,
    cpu_us_per_message: f64,
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if let Some(folder) = &arguments.relay {
        return relay(folder);
    }
    if arguments.smoke {
        (arguments.producers, arguments.seconds) = (arguments.producers / 10, 1);
    }
    let report = runtime()?.block_on(measure(&arguments))?;
    match arguments.json {
        true => writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?,
        false => print(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) -> Result<()> {
    let Report { producers, seconds, idle, busy } = report;
    writeln!(stdout(), "a relay with a journal and {producers} producers, {seconds} s each")?;
    for (name, state) in [("idle", idle), ("busy", busy)] {
        let State { resident_mib, kib_per_producer, cpu_percent, .. } = state;
        let State { messages_per_second, cpu_us_per_message, .. } = state;
        writeln!(
            stdout(),
            "{name}: {resident_mib:.1} MiB resident ({kib_per_producer:.0} KiB a producer), \
             {cpu_percent:.1} % CPU, {messages_per_second:.0} messages/s, \
             {cpu_us_per_message:.1} us CPU a message"
        )?;
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("endpoints.toml"), text(arguments.producers)?)?;
    let directory = directory(folder.path())?;
    let mut publishers = Vec::new();
    for at in 0..arguments.producers {
        let mut options = Options::new(name(at)?, key(at));
        options.state = folder.path().join("state");
        publishers.push(Publisher::start(directory.clone(), options)?);
    }
    let mut relay = Process::start(folder.path())?;
    let deadline = Instant::now() + CONNECT;
    while relay.ask()?.links < arguments.producers as u64 {
        ensure!(Instant::now() < deadline, "not all producers are connected in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // first tips
    let length = Duration::from_secs(arguments.seconds);
    let idle = watch_it(&mut relay, arguments, tokio::time::sleep(length)).await?;
    let busy = watch_it(&mut relay, arguments, say(&publishers, length)).await?;
    Ok(Report { producers: arguments.producers, seconds: arguments.seconds, idle, busy })
}

/// What the relay took while something went on.
async fn watch_it(
    relay: &mut Process,
    arguments: &Arguments,
    what: impl Future<Output = ()>,
) -> Result<State> {
    let (before, began) = (relay.ask()?, Instant::now());
    what.await;
    let (after, took) = (relay.ask()?, began.elapsed());
    let cpu = (after.cpu_ns - before.cpu_ns) as f64;
    let messages = (after.delivered - before.delivered) as f64;
    Ok(State {
        resident_mib: after.resident_bytes as f64 / 1_048_576.0,
        kib_per_producer: after.resident_bytes as f64 / 1_024.0 / arguments.producers as f64,
        cpu_percent: cpu / took.as_nanos() as f64 * 100.0,
        messages_per_second: messages / took.as_secs_f64(),
        cpu_us_per_message: if messages > 0.0 { cpu / messages / 1e3 } else { 0.0 },
    })
}

/// Each producer says [`RATE`] messages a second, one after another.
async fn say(publishers: &[Publisher], length: Duration) {
    let topics: Vec<Topic> =
        (0..publishers.len()).filter_map(|at| format!("bench.p{at}.item").parse().ok()).collect();
    // Timers are good to a millisecond: some at each tick, in turn.
    let mut ticks = interval(TICK);
    let each = publishers.len() as u64 * RATE * TICK.as_millis() as u64 / 1_000;
    let end = Instant::now() + length;
    let mut turn = (0..publishers.len()).cycle();
    while ticks.tick().await < end {
        for at in turn.by_ref().take(each as usize) {
            let body = [b'x'; BODY];
            let _ = publishers[at].publish(topics[at].clone(), &body.as_slice()); // counted there
        }
    }
}

// ---- the relay ---------------------------------------------------------------------------------

/// Runs a relay that reports at each line of standard input, until that ends.
fn relay(folder: &Path) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let mut config = Config::new("edge".parse()?, relay_key());
        config.state = folder.join("edge");
        let node = Node::start(directory(folder)?, config)?;
        let links = node.counters().links;
        let running = tokio::spawn(node.run(CancellationToken::new()));
        let asked = tokio::task::spawn_blocking(move || -> Result<()> {
            for _ in stdin().lines() {
                let counted = links.snapshot();
                let count = |name: &str| counted.get(name).copied().unwrap_or_default();
                let said = Said {
                    resident_bytes: resident()?,
                    cpu_ns: cpu_time(),
                    links: count("links_up"),
                    delivered: count("delivered"),
                };
                writeln!(stdout(), "{}", serde_json::to_string(&said)?)?;
            }
            Ok(())
        });
        asked.await??;
        running.abort();
        Ok(ExitCode::SUCCESS)
    })
}

fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).context("statm has another form")?.parse::<u64>()?;
    Ok(pages * rustix::param::page_size() as u64)
}

fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

// ---- both --------------------------------------------------------------------------------------

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn name(at: usize) -> Result<Name> {
    Ok(format!("p{at}").parse()?)
}

fn key(at: usize) -> SecretKey {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&(at as u64).to_le_bytes());
    SecretKey::from_seed(&seed)
}

fn relay_key() -> SecretKey {
    SecretKey::from_seed(&[8; 32])
}

fn text(producers: usize) -> Result<String> {
    let socket = |name: &str| format!("ipc://@selvedge-bench-{}-{name}", std::process::id());
    let mut text = format!(
        "format = 1\nfabric = \"bench\"\n[relays.edge]\nendpoint = \"{}\"\nkey = \"{}\"\n\
         carries = [\"#\"]\njournal = true\n",
        socket("edge"),
        relay_key().public()
    );
    for at in 0..producers {
        let name = name(at)?;
        text += &format!(
            "[services.{name}]\nendpoint = \"{}\"\nkey = \"{}\"\ntopics = [\"bench.{name}.#\"]\n",
            socket(name.as_str()),
            key(at).public()
        );
    }
    Ok(text)
}

fn directory(folder: &Path) -> Result<watch::Receiver<Arc<Directory>>> {
    let text = fs::read_to_string(folder.join("endpoints.toml"))?;
    let directory = Directory::from_text("endpoints.toml", &text);
    let directory = directory.map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(watch::channel(Arc::new(directory)).1)
}

/// This program again, as the relay; it does not outlive this value.
struct Process {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(folder: &Path) -> Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--relay")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = child.stdin.take().context("a process without input")?;
        let says = BufReader::new(child.stdout.take().context("a process without output")?);
        Ok(Process { child, asks, says })
    }

    fn ask(&mut self) -> Result<Said> {
        writeln!(self.asks)?;
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        serde_json::from_str(&line).context("the relay ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
