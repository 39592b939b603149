//! A process of its own that says what it uses each time it is asked.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use selvedge::directory::Directory;
use selvedge::publisher::Options;
use selvedge::{Publisher, Subscriber};
use selvedge_core::seal::SecretKey;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What a process does: its services are named from `p0` on, and their sockets by a number.
#[derive(Clone, Debug)]
pub enum Task {
    /// Be service `p0`.
    Publish { sockets: u32 },
    /// Hear so many services.
    Subscribe { sockets: u32, services: usize },
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Task, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("no number: {text}"));
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["publish", sockets] => Ok(Task::Publish { sockets: number(sockets)? }),
            ["subscribe", sockets, services] => {
                let services = number(services)? as usize;
                Ok(Task::Subscribe { sockets: number(sockets)?, services })
            }
            _ => Err(format!("no such task: {text}")),
        }
    }
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    pub resident_bytes: u64,
    /// Of all threads.
    pub cpu_ns: u64,
    /// How often the thread with the runtime slept and was woken.
    pub wake_ups: u64,
    /// Of a subscriber, links that are up.
    pub links: u64,
}

/// Does it until standard input ends.
pub fn perform(task: Task) -> Result<()> {
    runtime()?.block_on(async {
        let state = tempfile::tempdir()?;
        // Each keeps what it is about.
        let links: Box<dyn Fn() -> u64 + Send> = match task {
            Task::Publish { sockets } => {
                let mut options = Options::new("p0".parse()?, key(0));
                options.state = state.path().into();
                let publisher = Publisher::start(watched(text(sockets, 1)?)?, options)?;
                Box::new(move || count(&publisher.counters().snapshot(), "peers"))
            }
            Task::Subscribe { sockets, services } => {
                let subscriber = Subscriber::to(watched(text(sockets, services)?)?).connect()?;
                Box::new(move || count(&subscriber.counters().snapshot(), "links_up"))
            }
        };
        let asked = tokio::task::spawn_blocking(move || -> Result<()> {
            for _ in stdin().lines() {
                writeln!(stdout(), "{}", serde_json::to_string(&usage(links())?)?)?;
            }
            Ok(())
        });
        asked.await?
    })
}

/// A counter, by its name.
pub fn count(counted: &std::collections::BTreeMap<&'static str, u64>, name: &str) -> u64 {
    counted.get(name).copied().unwrap_or_default()
}

fn usage(links: u64) -> Result<Usage> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').nth(1).context("statm has another form")?.parse::<u64>()?;
    let status = fs::read_to_string("/proc/self/status")?; // of the main thread
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let wake_ups = line.context("status has another form")?.trim().parse()?;
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let cpu_ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    Ok(Usage { resident_bytes: pages * rustix::param::page_size() as u64, cpu_ns, wake_ups, links })
}

pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub fn key(at: usize) -> SecretKey {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&(at as u64).to_le_bytes());
    SecretKey::from_seed(&seed)
}

/// A directory of so many services, each on a socket of its own.
pub fn text(sockets: u32, services: usize) -> Result<String> {
    let service = |at: usize| {
        format!(
            "[services.p{at}]\nendpoint = \"ipc://@selvedge-costs-{sockets}-{at}\"\n\
             key = \"{}\"\ntopics = [\"bench.p{at}.#\"]\n",
            key(at).public()
        )
    };
    let services: String = (0..services).map(service).collect();
    Ok(format!("format = 1\nfabric = \"bench\"\n{services}"))
}

pub fn watched(text: String) -> Result<watch::Receiver<Arc<Directory>>> {
    let directory = Directory::from_text("endpoints.toml", &text);
    let directory = directory.map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(watch::channel(Arc::new(directory)).1)
}

/// This program again; it does not outlive this value.
pub struct Process {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(task: &str) -> Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--task", task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = child.stdin.take().context("a process without input")?;
        let says = BufReader::new(child.stdout.take().context("a process without output")?);
        Ok(Process { child, asks, says })
    }

    pub fn ask(&mut self) -> Result<Usage> {
        writeln!(self.asks)?;
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        serde_json::from_str(&line).context("the process ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
