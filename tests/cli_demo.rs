//! Does `selvedge demo` add up, and leave nothing behind however it ends?
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

const SELVEDGE: &str = env!("CARGO_BIN_EXE_selvedge");

/// In the environment of every process of one demo; the value is its temporary folder.
const MARKER: &str = "SELVEDGE_DEMO_TEST";

/// How long everything may take to end.
const END: Duration = Duration::from_secs(2);

/// A demo whose files all lie in a folder of its own.
struct Demo {
    process: Child,
    told: BufReader<std::process::ChildStdout>,
    folder: tempfile::TempDir,
}

impl Demo {
    /// Run by a shell that ignores SIGINT, as a script does for what it starts in the background.
    fn start(arguments: &str) -> Demo {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("trap '' INT; exec {SELVEDGE} demo {arguments}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("TMPDIR", folder.path()).env(MARKER, folder.path());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(process.stdout.take().unwrap());
        Demo { process, told, folder }
    }

    /// Reads what it tells up to a line with this text.
    fn until(&mut self, text: &str) -> String {
        let mut lines = String::new();
        while !lines.lines().last().is_some_and(|line| line.contains(text)) {
            let read = self.told.read_line(&mut lines).unwrap();
            assert!(read > 0, "it ended before {text:?}:\n{lines}");
        }
        lines
    }

    fn processes(&self) -> Vec<OwnedFd> {
        marked(self.folder.path())
    }

    /// Sends a signal to the parent alone, and waits until it and all `others` are gone.
    fn end(&mut self, signal: Signal, others: &[OwnedFd]) -> ExitStatus {
        let since = Instant::now();
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).unwrap();
        let status = self.process.wait().unwrap();
        for other in others {
            let left = END.saturating_sub(since.elapsed());
            let left = Timespec::try_from(left).unwrap();
            let gone = poll(&mut [PollFd::new(other, PollFlags::IN)], Some(&left)).unwrap();
            assert_eq!(gone, 1, "a process lives on");
        }
        assert!(since.elapsed() < END, "it took {:?}", since.elapsed());
        assert!(self.processes().is_empty(), "a process lives on");
        status
    }

    fn leaves_no_file(&self) -> bool {
        fs::read_dir(self.folder.path()).unwrap().next().is_none()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill(); // of a test that failed; the others die with it
        let _ = self.process.wait();
    }
}

/// The processes that carry the marker of `folder`.
fn marked(folder: &Path) -> Vec<OwnedFd> {
    let wanted = format!("{MARKER}={}", folder.display());
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let marked = environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes());
        let pid = Pid::from_raw(pid).filter(|_| marked)?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    });
    processes.collect()
}

#[test]
fn every_accepted_message_is_accounted_for() {
    let mut demo = Demo::start("--json --seconds 5");
    let mut text = String::new();
    demo.told.read_to_string(&mut text).unwrap();
    assert_eq!(demo.process.wait().unwrap().code(), Some(0), "{text}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let publishers = summary["publishers"].as_object().unwrap();
    let said: u64 = publishers.values().map(number).sum();
    for name in ["direct", "relayed", "filtered"] {
        let sum = &summary["subscribers"][name];
        let [accepted, delivered, lost, before] =
            ["accepted", "delivered", "lost", "before"].map(|part| number(&sum[part]));
        assert_eq!(accepted, delivered + lost + before, "{name}: {text}");
        assert_eq!(sum["wrong"], serde_json::json!([]));
        assert!(delivered > 50, "{name}: {text}");
        assert_eq!(accepted == said, name != "filtered", "{name}: {text}");
    }
    for door in [&summary["subscribers"]["direct"]["refused"], &summary["relays"]["edge"]] {
        assert!(number(&door["unknown_key"]) > 0 && number(&door["topic_denied"]) > 0, "{text}");
    }
    assert!(demo.processes().is_empty() && demo.leaves_no_file());
}

#[test]
fn an_interrupt_of_the_parent_ends_everything_even_if_it_was_started_with_interrupts_ignored() {
    let mut demo = Demo::start("--seconds 60");
    demo.until("all three hear");
    let processes = demo.processes();
    assert_eq!(processes.len(), 8, "three services, a relay, three subscribers, the parent");
    let status = demo.end(Signal::INT, &processes);
    assert_eq!(status.code(), Some(1), "interrupted before the report");
    assert!(demo.leaves_no_file());
}

#[test]
fn the_processes_die_with_a_parent_that_is_killed() {
    let mut demo = Demo::start("--seconds 60");
    demo.until("all three hear");
    let processes = demo.processes();
    assert_eq!(processes.len(), 8);
    demo.end(Signal::KILL, &processes);
}

#[test]
fn a_fabric_that_is_kept_can_be_played_with_until_an_interrupt() {
    let mut demo = Demo::start("--keep --seconds 4");
    let told = demo.until("selvedge check");
    let directory = told.lines().find_map(|line| line.split("SELVEDGE_DIRECTORY=").nth(1)).unwrap();
    let play = |arguments: &[&str]| {
        let mut command = Command::new(SELVEDGE);
        command.args(arguments).env("SELVEDGE_DIRECTORY", directory).output().unwrap()
    };
    let check = play(&["check"]);
    assert!(check.status.success(), "{check:?}");
    let tail = play(&["tail", "demo.host.#", "--count", "3", "--timeout", "20"]);
    assert!(tail.status.success(), "{tail:?}");
    assert_eq!(String::from_utf8(tail.stdout).unwrap().lines().count(), 3);
    let processes = demo.processes();
    let status = demo.end(Signal::INT, &processes);
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(demo.leaves_no_file());
}
