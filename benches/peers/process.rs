//! One measurement: a process for each publisher, subscriber and relay, all of them this program
//! started again with a [`Task`]; and one for the server, if there is one.

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs, io};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::case::{Case, Transport};
use crate::measure::{Publishing, Received, Sent, Subscribing};
use crate::peer::{Middle, Peer, Place, Way};
use crate::servers::{Program, Running};
use crate::window::Window;

/// What one process does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Takes part in a measurement; publishers keep to the window if there is one.
    Measure { peer: String, case: Case, window: Option<PathBuf>, role: Role },
    /// Is a server.
    Serve(Program),
}

/// Which part it takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    Publish {
        index: usize,
        place: Place,
    },
    /// Send on what is said there.
    Forward {
        publishers: Vec<String>,
        place: Place,
    },
    Subscribe {
        index: usize,
        way: Way,
    },
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
    /// CPU time of the relay or server while the messages passed.
    pub relay_cpu_ns: Option<u64>,
    /// One for each subscriber.
    pub subscribers: Vec<Received>,
}

/// Runs `case` over `peer` in processes of their own; `program` is its server, if it needs one.
pub fn measure(peer: &Peer, program: Option<&Path>, case: &Case) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let server = match (&peer.middle, program) {
        (Middle::Server(server), Some(program)) => Some(server.start(program)?),
        _ => None,
    };
    let window = server.as_ref().map(|_| folder.path().join("window"));
    window.iter().try_for_each(|path| Window::create(path, case))?;
    let place = |name: &str| match &server {
        Some(server) => Place::Server(server.address()),
        None => place(case, folder.path(), name),
    };
    let start = |role| {
        let (peer, case, window) = (peer.name.to_owned(), case.clone(), window.clone());
        Process::start(&Task::Measure { peer, case, window, role })
    };
    let publish = |index| start(Role::Publish { index, place: place(&format!("p{index}")) });
    let mut publishers = (0..case.publishers).map(publish).collect::<Result<Vec<_>>>()?;
    let said: Result<Vec<String>> = publishers.iter_mut().map(Process::listening).collect();
    let server_address = server.as_ref().map(Running::address);
    let mut way = Way { publishers: said?, relay: server_address };
    let mut relay = None;
    if case.relayed {
        let place = place("relay");
        let started =
            relay.insert(start(Role::Forward { publishers: way.publishers.clone(), place })?);
        way.relay = Some(started.listening()?);
    }
    let subscribe = |index| start(Role::Subscribe { index, way: way.clone() });
    let mut subscribers = (0..case.subscribers).map(subscribe).collect::<Result<Vec<_>>>()?;
    subscribers.iter_mut().try_for_each(Process::ready)?;
    let middle = server.as_ref().map(Running::id).or(relay.as_ref().map(Process::id));
    let before = middle.map(cpu_ns).transpose()?;
    publishers.iter_mut().try_for_each(Process::go_on)?;
    let received = subscribers.iter_mut().map(Process::received).collect::<Result<_>>()?;
    let after = middle.map(cpu_ns).transpose()?;
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
    let (name, case, window, role) = match serde_json::from_str(task)? {
        Task::Measure { peer, case, window, role } => (peer, case, window, role),
        Task::Serve(program) => return program.run(),
    };
    let peer = Peer::named(&name).context("no such peer")?;
    let window = window.map(|path| Window::open(&path, &case)).transpose()?;
    match role {
        Role::Publish { index, place } => {
            let mut bodies = Publishing::new(case, index, place, window);
            (peer.publish)(&mut bodies)?;
            say(&Word::Sent(bodies.report()))?;
        }
        Role::Forward { publishers, place } => match peer.middle {
            Middle::Relay(forward) => forward(&publishers, &place)?,
            Middle::None | Middle::Server(_) => bail!("{name} has no relay"),
        },
        Role::Subscribe { index, way } => {
            let mut messages = Subscribing::new(case, index, window);
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

/// This program, to be started again with a task.
pub fn again(task: &Task) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--task", &serde_json::to_string(task)?]);
    Ok(command)
}

/// A process that does not outlive this value.
struct Process {
    child: Child,
    hears: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(task: &Task) -> Result<Process> {
        let mut child = again(task)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
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

    fn id(&self) -> u32 {
        self.child.id()
    }
}

/// CPU time of a process that does not tell, to a hundredth of a second.
fn cpu_ns(id: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // proc_pid_stat(5): fields 14 and 15, counted behind the name, which may hold anything.
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has another form")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second())
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has reported is about to end by itself; the others have failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
