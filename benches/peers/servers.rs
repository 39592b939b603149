//! Brokers are programs of their own: where they are looked for, how they are started on a free
//! port of the loopback interface, with a folder and a configuration of their own, and ended.
//!
//! Each measurement has a fresh one, so that none idles beside the measurement of another peer. It
//! is this program, started again, that becomes the server: until then it can ask the kernel to end
//! it with whoever started it, so that none is left even if that is killed.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::process::{Task, again};

/// All that peers can ask for.
pub const SERVERS: [&Server; 4] = [&NATS, &REDIS, &MOSQUITTO, &RABBITMQ];

/// Where they are looked for besides the directories of the PATH: what is in the first one is not
/// for users, but what is on the PATH in its place changes the user and the folder.
const FIRST: &str = "/usr/lib/rabbitmq/bin";
const LAST: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// How long one may take until it answers. RabbitMQ on a busy machine needs some of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(10);

/// How to run one. In arguments, environment and configuration `{port}` is where it has to listen,
/// `{spare}` another free port, `{beside}` the port of the one beside it, and `{folder}` its own,
/// where its configuration is called `config`.
pub struct Server {
    /// How its peer and `--server` call it.
    pub name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    config: &'static str,
    /// What to say to it, if anything, so that it answers.
    hello: &'static [u8],
    /// What has to run first.
    beside: Option<&'static Server>,
}

/// At most once. A subscriber is cut off when more than `max_pending` waits for it, which the
/// window does not let happen: the limit is out of the way.
pub const NATS: Server = Server {
    name: "nats",
    program: "nats-server",
    arguments: &["-c", "{folder}/config"],
    environment: &[],
    config: "listen: \"127.0.0.1:{port}\"\nmax_pending: 1GB\n",
    hello: b"", // it speaks first
    beside: None,
};

/// Nothing on the disk, and no subscriber cut off for what waits for it.
pub const REDIS: Server = Server {
    name: "redis",
    program: "redis-server",
    arguments: &["{folder}/config"],
    environment: &[],
    config: "bind 127.0.0.1\nport {port}\ndir {folder}\nsave \"\"\nappendonly no\n\
             client-output-buffer-limit pubsub 0 0 0\n",
    hello: b"PING\r\n",
    beside: None,
};

/// Nothing dropped because much waits already. The user is kept: another one would not end with us.
pub const MOSQUITTO: Server = Server {
    name: "mosquitto",
    program: "mosquitto",
    arguments: &["-c", "{folder}/config"],
    environment: &[],
    config: "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\n\
             max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n",
    hello: b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02hi", // CONNECT
    beside: None,
};

/// A node without plugins that nobody else finds. Its start script becomes the virtual machine only
/// if it thinks that systemd runs it.
pub const RABBITMQ: Server = Server {
    name: "rabbitmq",
    program: "rabbitmq-server",
    arguments: &[],
    environment: &[
        ("RUNNING_UNDER_SYSTEMD", "true"),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null"),
        ("RABBITMQ_CONFIG_FILE", "{folder}/config"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "{folder}/plugins"),
        ("RABBITMQ_MNESIA_BASE", "{folder}/mnesia"),
        ("RABBITMQ_LOG_BASE", "{folder}/log"),
        ("RABBITMQ_NODENAME", "bench@localhost"),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1"),
        ("RABBITMQ_NODE_PORT", "{port}"),
        ("RABBITMQ_DIST_PORT", "{spare}"),
        ("ERL_EPMD_ADDRESS", "127.0.0.1"),
        ("ERL_EPMD_PORT", "{beside}"),
        ("HOME", "{folder}"),
    ],
    config: "",
    hello: b"AMQP\x00\x00\x09\x01",
    beside: Some(&EPMD),
};

/// What tells Erlang's nodes of each other; RabbitMQ's would start one that outlives it.
const EPMD: Server = Server {
    name: "epmd",
    program: "epmd",
    arguments: &["-port", "{port}", "-address", "127.0.0.1"],
    environment: &[],
    config: "",
    hello: b"\x00\x01n", // which names are there?
    beside: None,
};

/// What to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A server that answers. It ends with this value.
pub struct Running {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    beside: Option<Box<Running>>,
}

impl Server {
    /// Where it is: what was named by option, or the first one found; else the reason, for users.
    pub fn find(&self, named: &[(String, PathBuf)]) -> Result<PathBuf, String> {
        if let Some((_, path)) = named.iter().find(|(name, _)| name == self.name) {
            return Ok(path.clone());
        }
        let program = self.program;
        on_path(program).ok_or_else(|| {
            format!("no {program} on the PATH; name one with --server {}=FILE", self.name)
        })
    }

    /// Starts the one at `path` and waits until it answers.
    pub fn start(&self, path: &Path) -> Result<Running> {
        let beside = self.beside.map(|other| {
            let path = on_path(other.program).with_context(|| format!("no {}", other.program))?;
            other.start(&path).map(Box::new)
        });
        let beside = beside.transpose()?;
        let folder = tempfile::tempdir()?;
        let [address, spare] = free_ports()?;
        let others = beside.as_ref().map_or(0, |other| other.address.port());
        let fill = |text: &str| {
            text.replace("{port}", &address.port().to_string())
                .replace("{spare}", &spare.port().to_string())
                .replace("{beside}", &others.to_string())
                .replace("{folder}", &folder.path().to_string_lossy())
        };
        fs::write(folder.path().join("config"), fill(self.config))?;
        let log = File::create(folder.path().join("output"))?;
        let program = Program {
            path: path.to_owned(),
            arguments: self.arguments.iter().map(|one| fill(one)).collect(),
            environment: self.environment.iter().map(|(k, v)| ((*k).to_owned(), fill(v))).collect(),
        };
        let child = again(&Task::Serve(program))?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut running = Running { child, address, folder, beside };
        running.wait_for_answer(self).with_context(|| format!("{} does not start", self.name))?;
        Ok(running)
    }

    /// One exchange with the server at an address.
    fn answers(&self, address: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(self.hello)?;
        stream.read_exact(&mut [0])
    }
}

impl Program {
    /// Turns this process into it, to end when the one that started it does. Returns on failure.
    pub fn run(self) -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let failed = Command::new(&self.path).args(self.arguments).envs(self.environment).exec();
        Err(failed).with_context(|| format!("cannot start {}", self.path.display()))
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The process that does the work.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_answer(&mut self, server: &Server) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = server.answers(self.address) {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() > end {
                let output = fs::read_to_string(self.folder.path().join("output"))?;
                let fate = status.map_or(error.to_string(), |status| status.to_string());
                bail!("{fate}\n{output}");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // nothing that it holds is wanted
        let _ = self.child.wait();
        self.beside = None;
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [FIRST.into()].into_iter().chain(env::split_paths(&path));
    let folders = folders.chain(LAST.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Ports that nobody uses at the moment.
pub fn free_ports() -> io::Result<[SocketAddr; 2]> {
    let [one, other] = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([one.local_addr()?, other.local_addr()?])
}
