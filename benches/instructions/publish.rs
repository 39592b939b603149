//! From `Publisher::send` to bytes written: the whole library on one thread, heard by one stock
//! subscriber, a process of its own that is not counted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, net};

use anyhow::{Result, anyhow, ensure};
use selvedge::directory::Directory;
use selvedge::publisher::Options;
use selvedge::{ContentType, Listener, Outgoing, Publisher, Topic};
use selvedge_core::limits::READ_BYTES;
use selvedge_core::seal::SecretKey;
use selvedge_core::wire;
use tokio::sync::watch;

use crate::cases::COMMITS;
use crate::steps::{BODY, Shape};

/// How long all may take: it is slow where instructions are counted.
const PATIENCE: Duration = Duration::from_secs(120);

/// Publishes `commits` commits of [`COMMITS`] that were prepared.
pub fn run(shape: Shape, commits: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(publish(shape, commits))
}

async fn publish(shape: Shape, commits: u64) -> Result<()> {
    let state = tempfile::tempdir()?;
    let key = SecretKey::from_seed(&[7; 32]);
    let listener = net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let text = format!(
        "format = 1\nfabric = \"bench\"\n[services.bench]\nendpoint = \"tcp://{address}\"\n\
         key = \"{}\"\ntopics = [\"org.example.bench.#\"]",
        key.public()
    );
    let directory = Directory::from_text("endpoints.toml", &text);
    let directory = Arc::new(directory.map_err(|problems| anyhow!("{problems:?}"))?);
    let mut options = Options::new("bench".parse()?, key);
    options.listener = Some(Listener::from_tcp(listener)?);
    options.state = state.path().into();
    let publisher = Publisher::start(watch::channel(directory).1, options)?;
    let messages = messages(shape)?;
    let listener = Hearing::start(&address)?;
    publisher.listeners(messages[0].topic()).await;
    let mut prepared: Vec<Vec<Outgoing>> = (0..COMMITS).map(|_| messages.clone()).collect();
    for commit in prepared.drain(..commits as usize) {
        for message in commit {
            publisher.send(message)?;
        }
        publisher.flush(PATIENCE).await?; // all of a commit is taken in at once
    }
    std::mem::forget(prepared);
    publisher.close(PATIENCE).await?;
    ensure!(listener.end()?.success(), "the subscriber failed");
    Ok(())
}

/// One commit: the topics take turns.
fn messages(shape: Shape) -> Result<Vec<Outgoing>> {
    let topics = (0..shape.topics).map(|at| format!("org.example.bench.item{at}").parse());
    let topics = topics.collect::<Result<Vec<Topic>, _>>()?;
    let turns = topics.iter().cycle().take(shape.messages.into());
    let message =
        |topic: &Topic| Ok(Outgoing::raw(topic.clone(), ContentType::BYTES, vec![b'x'; BODY])?);
    turns.map(message).collect()
}

/// The process that hears; it does not outlive this value.
struct Hearing(Child);

impl Hearing {
    fn start(address: &str) -> Result<Hearing> {
        Ok(Hearing(Command::new(env::current_exe()?).args(["--hear", address]).spawn()?))
    }

    /// Once the publisher is closed.
    fn end(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// The other side: takes everything until the end, and looks at nothing.
pub fn hear(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&wire::greeting())?;
    stream.write_all(&wire::ready(wire::Role::Subscriber))?;
    stream.write_all(&wire::subscribe(b"", 1))?;
    let mut buffer = vec![0; READ_BYTES];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}
