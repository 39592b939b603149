//! `--exec`: a command of the user's for each message.
//!
//! Never a shell: the words after `--` are the argument vector. The body is its standard input, and
//! its environment what is known of the message; its own output goes where ours goes.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use selvedge::Message;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::tail::message::type_name;
use crate::output::time;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Exec {
    /// Run COMMAND for each message instead of showing it
    ///
    /// One at a time, no shell. The body is its standard input; its environment has SELVEDGE_ID,
    /// SELVEDGE_TOPIC, SELVEDGE_PUBLISHER, SELVEDGE_EPOCH, SELVEDGE_SEQ, SELVEDGE_TSEQ,
    /// SELVEDGE_TIME, SELVEDGE_TYPE and SELVEDGE_HEADERS (JSON). Exit code 0: handled.
    #[arg(long, requires = "command")]
    exec: bool,
    /// Go on after a message that was not handled; the exit code is 1 in the end all the same
    #[arg(long, requires = "exec")]
    pub keep_going: bool,
    /// With --exec: the command and its arguments
    #[arg(last = true, requires = "exec", value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    /// What to run for each message, if anything.
    pub fn handler(&self, stop: &CancellationToken) -> Option<Handler> {
        let command = self.command.clone();
        self.exec.then(|| Handler { command, stop: stop.clone() })
    }
}

/// Runs the command.
#[derive(Clone, Debug)]
pub struct Handler {
    command: Vec<OsString>,
    stop: CancellationToken,
}

/// What became of a message.
#[derive(Debug)]
pub enum Handled {
    /// The command says that it is done.
    Yes,
    /// It does not, and how it ended.
    No(String),
}

impl Handler {
    /// Runs it once and waits for its end. When we are told to end, so is it.
    ///
    /// # Errors
    /// If it cannot be run at all.
    pub async fn run(&self, message: &Message) -> anyhow::Result<Handled> {
        let Some((program, arguments)) = self.command.split_first() else {
            anyhow::bail!("--exec needs a command after --");
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).envs(facts(message));
        let mut child =
            command.spawn().with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let mut input = child.stdin.take();
        let body = message.body.clone();
        let feed = async move {
            if let Some(input) = &mut input {
                // It need not read: how it ends is what counts.
                let _ = input.write_all(&body).await;
            }
            drop(input);
            std::future::pending::<()>().await;
        };
        let (mut feed, mut told) = (std::pin::pin!(feed), false);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.context("cannot wait for the command")?,
                () = self.stop.cancelled(), if !told => {
                    told = true;
                    // It may have ended just now; we have not waited for it, so it is still ours.
                    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
                }
                () = &mut feed => {}
            }
        };
        Ok(match status.success() {
            true => Handled::Yes,
            false => Handled::No(format!("{} {}", program.to_string_lossy(), ended(status))),
        })
    }
}

fn facts(message: &Message) -> [(&'static str, String); 9] {
    let headers = message.headers().unwrap_or_default(); // its publisher's fault, counted
    [
        ("SELVEDGE_ID", message.id()),
        ("SELVEDGE_TOPIC", message.topic().to_string()),
        ("SELVEDGE_PUBLISHER", message.publisher().to_string()),
        ("SELVEDGE_EPOCH", message.position.epoch.to_string()),
        ("SELVEDGE_SEQ", message.position.seq.to_string()),
        ("SELVEDGE_TSEQ", message.tseq.to_string()),
        ("SELVEDGE_TIME", time(message.time)),
        ("SELVEDGE_TYPE", type_name(message.ctype).into_owned()),
        ("SELVEDGE_HEADERS", serde_json::to_string(&headers).unwrap_or_default()),
    ]
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended in an unknown way".to_owned(),
    }
}
