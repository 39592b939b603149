//! A fabric in a folder of its own, and the binary run in it.
#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; reached only by a failure.
pub const LONG: Duration = Duration::from_secs(60);

/// A directory, keys and state. Removed when dropped.
pub struct Fabric(TempDir);

impl Fabric {
    /// Services `web` (`org.example.#`) and `db` (`org.db.#`), and the relay `edge`.
    pub fn new() -> Fabric {
        let fabric = Fabric(tempfile::tempdir().unwrap());
        let mut text = "format = 1\nfabric = \"test\"\n".to_owned();
        for (kind, name, rest) in [
            ("services", "web", "topics = [\"org.example.#\"]"),
            ("services", "db", "topics = [\"org.db.#\"]"),
            ("relays", "edge", "carries = [\"#\"]"),
        ] {
            let out = fabric.path(&format!("{name}.key"));
            let made = fabric.run(&["keygen", "--out", out.to_str().unwrap()]);
            let key = String::from_utf8(made.stdout).unwrap();
            let endpoint = fabric.path(name).display().to_string();
            text += &format!("[{kind}.{name}]\nendpoint = \"ipc://{endpoint}\"\n{key}{rest}\n");
        }
        fs::write(fabric.directory(), text).unwrap();
        fabric
    }

    /// The same, and `web` and the relay keep journals.
    pub fn journaled() -> Fabric {
        let fabric = Fabric::new();
        for last in ["topics = [\"org.example.#\"]", "carries = [\"#\"]"] {
            fabric.edit(last, &format!("{last}\njournal = true"));
        }
        fabric
    }

    /// `web` says these lines on this topic and ends: they are in its journal.
    pub fn say(&self, topic: &str, lines: &str) {
        let publish = ["publish", topic, "--name", "web"];
        succeeds(&self.run_with(&publish, lines.as_bytes()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The main file.
    pub fn directory(&self) -> PathBuf {
        self.path("endpoints.toml")
    }

    /// Replaces `from` in the main file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.directory()).unwrap();
        assert!(text.contains(from));
        fs::write(self.directory(), text.replace(from, to)).unwrap();
    }

    /// The binary, told of this fabric and of nothing else.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        command.args(args).env_clear().stdin(Stdio::null());
        command.env("SELVEDGE_DIRECTORY", self.directory());
        command.env("STATE_DIRECTORY", self.path("state"));
        command.env("CREDENTIALS_DIRECTORY", self.0.path());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it to its end with this standard input.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut running = self.start(args);
        running.write(input);
        running.close_input();
        running.output()
    }

    /// Starts it.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::new(self.command(args))
    }
}

/// A process that is killed when dropped.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    pub fn new(mut command: Command) -> Running {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = lines(child.stdout.take().unwrap());
        let errors = lines(child.stderr.take().unwrap());
        Running { child, input, output, errors }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        // It may have ended already, which its exit code tells.
        let _ = self.input.as_mut().unwrap().write_all(bytes);
    }

    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line of its standard output.
    pub fn line(&self) -> String {
        self.output.recv_timeout(LONG).expect("a line on standard output")
    }

    /// The next line of its standard output, if it comes before `deadline`.
    pub fn line_before(&self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.output.recv_timeout(left).ok()
    }

    /// The next line of its standard output; says `more` again and again until there is one.
    pub fn line_after(&self, mut more: impl FnMut()) -> String {
        for _ in 0..600 {
            more();
            if let Ok(line) = self.output.recv_timeout(LONG / 600) {
                return line;
            }
        }
        panic!("no line on standard output")
    }

    /// The next line of its standard error that has `part` in it.
    pub fn says(&self, part: &str) -> String {
        loop {
            let line = self.errors.recv_timeout(LONG);
            let line = line.unwrap_or_else(|_| panic!("it never says {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        // Both channels close with the process; what it says is kept for whoever asks.
        self.child.wait().unwrap()
    }

    /// Waits for its end; all that was not taken yet.
    pub fn output(mut self) -> Output {
        let stdout = rest(&self.output);
        let stderr = rest(&self.errors);
        Output { status: self.end(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read on a thread that ends with it. What has no end is none: its writer
/// was killed.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut pipe, mut line) = (BufReader::new(pipe), String::new());
        while pipe.read_line(&mut line).is_ok() && line.ends_with('\n') {
            line.pop();
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// All lines up to the end of the pipe.
fn rest(lines: &Receiver<String>) -> Vec<u8> {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(LONG) {
            Ok(line) => text += &(line + "\n"),
            Err(RecvTimeoutError::Disconnected) => return text.into_bytes(),
            Err(RecvTimeoutError::Timeout) => panic!("it does not end; so far: {text}"),
        }
    }
}

/// Asserts an exit code and what standard error says.
#[track_caller]
pub fn ends(output: &Output, code: i32, says: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(says), "{errors}");
}

/// Asserts exit code 0, and returns standard output.
#[track_caller]
pub fn succeeds(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
