//! One measurement: a process for each publisher, subscriber and relay, all of them this program
//! started again with a [`Task`].

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs, io};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::case::{Case, Transport};
use crate::measure::{Publishing, Received, Sent, Subscribing};
use crate::peer::{Middle, Peer, Place, Way};

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
    Publish {
        index: usize,
        place: Place,
    },
    /// Send on what is said there.
    Forward {
        publishers: Vec<String>,
        place: Place,
    },
    Subscribe(Way),
}

/// What a process says, one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// A publisher or relay is bound.
    Listening(String),
    /// A subscriber hears every publisher.
    Ready,
    /// A subscriber has heard the last of every publisher.
    Received(Received),
    /// A publisher has ended.
    Sent(Sent),
}

/// What one measurement yields.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// One for each publisher.
    pub publishers: Vec<Sent>,
    /// CPU time of the relay while the messages passed.
    pub relay_cpu_ns: Option<u64>,
    /// One for each subscriber.
    pub subscribers: Vec<Received>,
}

/// Runs `case` over `peer` in processes of their own.
pub fn measure(peer: &Peer, case: &Case) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let place = |name: &str| place(case, folder.path(), name);
    let start =
        |role| Process::start(&Task { peer: peer.name.to_owned(), case: case.clone(), role });
    let publish = |index| start(Role::Publish { index, place: place(&format!("p{index}")) });
    let mut publishers = (0..case.publishers).map(publish).collect::<Result<Vec<_>>>()?;
    let said: Result<Vec<String>> = publishers.iter_mut().map(Process::listening).collect();
    let mut way = Way { publishers: said?, relay: None };
    let mut relay = None;
    if case.relayed {
        let place = place("relay");
        let started =
            relay.insert(start(Role::Forward { publishers: way.publishers.clone(), place })?);
        way.relay = Some(started.listening()?);
    }
    let subscribe = |_| start(Role::Subscribe(way.clone()));
    let mut subscribers = (0..case.subscribers).map(subscribe).collect::<Result<Vec<_>>>()?;
    subscribers.iter_mut().try_for_each(Process::ready)?;
    let before = relay.as_ref().map(Process::cpu_ns).transpose()?;
    publishers.iter_mut().try_for_each(Process::go_on)?;
    let received = subscribers.iter_mut().map(Process::received).collect::<Result<_>>()?;
    let after = relay.as_ref().map(Process::cpu_ns).transpose()?;
    publishers.iter_mut().try_for_each(Process::go_on)?;
    let sent = publishers.iter_mut().map(Process::sent).collect::<Result<_>>()?;
    let relay_cpu_ns = after.zip(before).map(|(after, before)| after - before);
    Ok(Outcome { publishers: sent, relay_cpu_ns, subscribers: received })
}

fn place(case: &Case, folder: &Path, name: &str) -> Place {
    match case.transport {
        Transport::Tcp => Place::Tcp,
        Transport::Ipc => Place::Ipc(folder.join(name)),
    }
}

/// The other side of [`measure`]: does `task` and reports on standard output.
pub fn perform(task: &str) -> Result<()> {
    let Task { peer: name, case, role } = serde_json::from_str(task)?;
    let peer = Peer::named(&name).context("no such peer")?;
    match role {
        Role::Publish { index, place } => {
            let mut bodies = Publishing::new(case, index, place);
            (peer.publish)(&mut bodies)?;
            say(&Word::Sent(bodies.report()))?;
        }
        Role::Forward { publishers, place } => match peer.middle {
            Middle::Relay(forward) => forward(&publishers, &place)?,
            Middle::None => bail!("{name} has no relay"),
        },
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
    hears: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(task: &Task) -> Result<Process> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--task", &serde_json::to_string(task)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let hears = child.stdin.take().context("a process without input")?;
        let says = child.stdout.take().context("a process without output")?;
        Ok(Process { child, hears, says: BufReader::new(says) })
    }

    /// Tells a publisher to begin, or to end.
    fn go_on(&mut self) -> Result<()> {
        Ok(writeln!(self.hears)?)
    }

    fn listening(&mut self) -> Result<String> {
        match self.word()? {
            Word::Listening(endpoint) => Ok(endpoint),
            other => bail!("it says {other:?} instead of where it is"),
        }
    }

    fn ready(&mut self) -> Result<()> {
        match self.word()? {
            Word::Ready => Ok(()),
            other => bail!("a subscriber says {other:?} before it hears all publishers"),
        }
    }

    fn received(&mut self) -> Result<Received> {
        match self.word()? {
            Word::Received(received) => Ok(received),
            other => bail!("a subscriber says {other:?}"),
        }
    }

    fn sent(&mut self) -> Result<Sent> {
        match self.word()? {
            Word::Sent(sent) => Ok(sent),
            other => bail!("a publisher says {other:?}"),
        }
    }

    fn word(&mut self) -> Result<Word> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        serde_json::from_str(&line).context("a process ended before it reported")
    }

    /// CPU time of a process that does not tell, to a hundredth of a second.
    fn cpu_ns(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // proc_pid_stat(5): fields 14 and 15, counted behind the name, which may hold anything.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has another form")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has reported is about to end by itself; the others have failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
