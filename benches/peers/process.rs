//! One measurement: a process for the publisher and for each subscriber, all of them this program
//! started again with a [`Task`].

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, io};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::measure::{Publishing, Received, Sent, Subscribing};
use crate::{Peer, Way, peer};

/// What one process does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    peer: String,
    case: Case,
    role: Role,
}

/// Which part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Role {
    Publish,
    /// Send on what is said there.
    Forward(String),
    Subscribe(Way),
}

/// What a process says, one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// A publisher or relay is bound and waits for its subscribers.
    Listening(String),
    /// It is done.
    Sent(Sent),
    /// A subscriber is done.
    Received(Received),
}

/// What one measurement yields.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The publisher's side.
    pub publisher: Sent,
    /// One for each subscriber.
    pub subscribers: Vec<Received>,
}

/// Runs `case` over `peer` in processes of their own.
pub fn measure(peer: &Peer, case: &Case) -> Result<Outcome> {
    let task = |role| Task { peer: peer.name.to_owned(), case: case.clone(), role };
    let mut publisher = Process::start(&task(Role::Publish))?;
    let at = publisher.listening()?;
    let forwards = case.relayed.then(|| Process::start(&task(Role::Forward(at.clone()))));
    let mut relay = forwards.transpose()?;
    let relay_at = relay.as_mut().map(Process::listening).transpose()?;
    let hear = task(Role::Subscribe(Way { publisher: at, relay: relay_at }));
    let started: Result<Vec<Process>> =
        (0..case.subscribers).map(|_| Process::start(&hear)).collect();
    let mut started = started?;
    let Word::Sent(sent) = publisher.word()? else { bail!("the publisher does not report") };
    let subscribers = started.iter_mut().map(|process| match process.word()? {
        Word::Received(received) => Ok(received),
        other => bail!("a subscriber says {other:?}"),
    });
    Ok(Outcome { publisher: sent, subscribers: subscribers.collect::<Result<_>>()? })
}

/// The other side of [`measure`]: does `task` and reports on standard output.
pub fn perform(task: &str) -> Result<()> {
    let Task { peer: name, case, role } = serde_json::from_str(task)?;
    let peer = peer(&name).context("no such peer")?;
    match role {
        Role::Publish => {
            let mut bodies = Publishing::new(case);
            (peer.publish)(&mut bodies)?;
            say(&Word::Sent(bodies.report()))?;
        }
        Role::Forward(publisher) => {
            let forward = peer.forward.context("it has no relay")?;
            forward(&publisher)?;
        }
        Role::Subscribe(way) => {
            let mut messages = Subscribing::new(case);
            (peer.subscribe)(&mut messages, &way)?;
            say(&Word::Received(messages.report()))?;
        }
    }
    Ok(())
}

/// Tells the process that started this one.
pub fn say(word: &Word) -> io::Result<()> {
    writeln!(stdout(), "{}", serde_json::to_string(word)?)
}

/// A process that does not outlive this value.
struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(task: &Task) -> Result<Process> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--task", &serde_json::to_string(task)?])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = child.stdout.take().context("a process without output")?;
        Ok(Process { child, says: BufReader::new(says) })
    }

    fn listening(&mut self) -> Result<String> {
        match self.word()? {
            Word::Listening(endpoint) => Ok(endpoint),
            other => bail!("it says {other:?} instead of where it is"),
        }
    }

    fn word(&mut self) -> Result<Word> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        serde_json::from_str(&line).context("a process ended before it reported")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has reported is about to end by itself; the others have failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
