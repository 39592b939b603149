//! The processes: started, spoken to over pipes, and ended with certainty.
//!
//! Each is this very program in a part of its own, in a process group of its own: an interrupt on
//! the terminal reaches the parent alone, which decides. A child ends when its standard input does,
//! so it outlives its parent in no case, not even if that is killed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use clap::ValueEnum as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::parts::{Order, Report};
use crate::options::Level;

/// What comes from a child.
#[derive(Debug)]
pub enum Word {
    /// What it reports.
    Report(Report),
    /// Nothing more: it ended.
    Ended,
}

/// Words with the names of those who say them.
pub type Words = mpsc::UnboundedReceiver<(String, Word)>;

/// All processes of the demo. Dropping it kills them.
#[derive(Debug)]
pub struct Children {
    program: PathBuf,
    /// How much they log, if anybody said.
    log: Option<Level>,
    running: BTreeMap<String, Running>,
    words: mpsc::UnboundedSender<(String, Word)>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    orders: ChildStdin,
    reader: JoinHandle<()>,
}

impl Children {
    /// None yet; what they say, with their names, comes out of the channel.
    pub fn new(log: Option<Level>) -> anyhow::Result<(Children, Words)> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let (words, heard) = mpsc::unbounded_channel();
        Ok((Children { program, log, running: BTreeMap::new(), words }, heard))
    }

    /// Starts `demo` with these arguments under a name, its standard error going to the file `log`.
    pub fn start<S: AsRef<OsStr>>(
        &mut self,
        name: &str,
        log: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.program);
        if let Some(level) = self.log.and_then(|level| level.to_possible_value()) {
            command.args(["--log", level.get_name()]);
        }
        command.arg("demo").args(arguments).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (Some(orders), Some(reports)) = (process.stdin.take(), process.stdout.take()) else {
            anyhow::bail!("{name} has no pipes");
        };
        let reader = tokio::spawn(read(name.to_owned(), reports, self.words.clone()));
        self.running.insert(name.to_owned(), Running { process, orders, reader });
        Ok(())
    }

    /// Tells a child what to do. One that is gone says so itself.
    pub async fn tell(&mut self, name: &str, order: Order) -> anyhow::Result<()> {
        let line = format!("{}\n", serde_json::to_string(&order)?);
        if let Some(child) = self.running.get_mut(name) {
            let _ = child.orders.write_all(line.as_bytes()).await;
        }
        Ok(())
    }

    /// Kills a child with SIGKILL. All that it said before has been handed on then.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(mut child) = self.running.remove(name) else { return Ok(()) };
        child.process.kill().await.with_context(|| format!("cannot kill {name}"))?;
        Ok(child.reader.await?)
    }

    /// Kills all, and waits until they are gone.
    pub async fn end(mut self) {
        for child in self.running.values_mut() {
            let _ = child.process.start_kill(); // gone already
        }
        for child in self.running.values_mut() {
            let _ = child.process.wait().await;
        }
    }
}

async fn read(name: String, reports: ChildStdout, words: mpsc::UnboundedSender<(String, Word)>) {
    let mut lines = BufReader::new(reports).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(report) = serde_json::from_str(&line) {
            let _ = words.send((name.clone(), Word::Report(report))); // the demo is over
        }
    }
    let _ = words.send((name, Word::Ended));
}

/// The last line that a child has logged.
pub fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it left no word").to_owned()
}
