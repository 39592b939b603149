//! One changed entry in a directory of many drop-ins: how soon it counts, and what else it touches.

use std::process::id;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use selvedge::publisher::Options;
use selvedge::{Publisher, Subscriber};
use selvedge_core::Time;
use selvedge_core::directory::{File, Files, Loader};
use serde::Serialize;
use tokio::sync::watch;

use crate::process::{count, key, runtime};

/// Services that somebody listens to; the others have no endpoint.
const LIVE: usize = 100;

/// How long to wait for links.
const CONNECT: Duration = Duration::from_secs(30);

/// One service gets an endpoint.
#[derive(Serialize)]
pub struct Change {
    pub services: usize,
    /// Until the new directory was there.
    pub read_ms: f64,
    /// Until the new link was up, counted from the same moment.
    pub applied_ms: f64,
    /// Links that went down meanwhile.
    pub links_lost: u64,
}

pub fn measure(services: usize) -> Result<Change> {
    runtime()?.block_on(async {
        let mut files = files(services);
        let mut loader = Loader::new();
        let first = loader.update(Time(0), &files).directory.context("no directory")?;
        let (sender, directories) = watch::channel(first);
        let state = tempfile::tempdir()?;
        let mut publishers = Vec::new();
        for at in 0..LIVE {
            let mut options = Options::new(format!("p{at}").parse()?, key(at));
            options.state = state.path().into();
            publishers.push(Publisher::start(directories.clone(), options)?);
        }
        let mut late = Options::new(format!("p{LIVE}").parse()?, key(LIVE));
        late.state = state.path().into();
        late.listener = Some(selvedge::Listener::bind(&endpoint(LIVE).parse()?)?);
        publishers.push(Publisher::start(directories.clone(), late)?);

        let subscriber = Subscriber::to(directories).connect()?;
        let counted = |name| count(&subscriber.counters().snapshot(), name);
        links(LIVE, &counted).await?;
        let change = service(LIVE, true);
        files.drop_ins[LIVE].content = Ok(change.into_bytes());
        let began = Instant::now();
        let next = loader.update(Time(1), &files).directory.context("nothing changed")?;
        let read = began.elapsed();
        sender.send_replace(next);
        links(LIVE + 1, &counted).await?;
        let applied = began.elapsed();
        Ok(Change {
            services,
            read_ms: read.as_secs_f64() * 1e3,
            applied_ms: applied.as_secs_f64() * 1e3,
            links_lost: counted("links_down"),
        })
    })
}

async fn links(wanted: usize, counted: &impl Fn(&'static str) -> u64) -> Result<()> {
    let deadline = Instant::now() + CONNECT;
    while counted("links_up") < wanted as u64 {
        ensure!(Instant::now() < deadline, "not all links are up in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn files(services: usize) -> Files {
    let mut files = Files::one("endpoints.toml", "format = 1\nfabric = \"bench\"\n");
    files.drop_ins = (0..services)
        .map(|at| File {
            name: format!("endpoints.d/p{at:05}.toml"),
            content: Ok(service(at, at < LIVE).into_bytes()),
        })
        .collect();
    files
}

fn service(at: usize, reachable: bool) -> String {
    let endpoint = if reachable { format!("endpoint = \"{}\"\n", endpoint(at)) } else { "".into() };
    let key = key(at).public();
    format!("[services.p{at}]\n{endpoint}key = \"{key}\"\ntopics = [\"bench.p{at}.#\"]\n")
}

fn endpoint(at: usize) -> String {
    format!("ipc://@selvedge-costs-{}-directory-{at}", id())
}
