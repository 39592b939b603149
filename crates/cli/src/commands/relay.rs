//! `selvedge relay`: many publishers, one stream.

use std::process::ExitCode;

use selvedge::{Name, keys};
use selvedge_relay::{Config, Node};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use super::{block_on, known_relays};
use crate::options::{Common, KeyFile};
use crate::{logging, notices, signals};

/// Condense what others publish into one stream, until it is told to end
///
/// SIGTERM goes on writing what waits for at most 30 s, a second one ends at once; SIGHUP looks at
/// the directory, which is watched anyway.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which relay of the directory this is
    #[arg(long, value_name = "RELAY")]
    name: Name,
    /// Another relay to hear, beside the services themselves; may be repeated
    #[arg(long, value_name = "RELAY")]
    via: Vec<Name>,
    #[command(flatten)]
    key: KeyFile,
}

pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    logging::start(common, LevelFilter::INFO, common.json);
    block_on(relay(args, common))
}

async fn relay(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let state = common.state_folder();
    let watched = common.watch(Some(&state))?;
    let now = watched.directory.borrow().clone();
    known_relays(&now, std::iter::once(&args.name).chain(&args.via))?;
    let mut config = Config::new(args.name.clone(), keys::read(&args.key.path(&args.name))?);
    let (notices, told) = notices::channel();
    tokio::spawn(notices::tell_each(told, notices::log));
    config.state = state;
    config.via.clone_from(&args.via);
    config.notices = notices;
    let node = Node::start(watched.directory.clone(), config)?;
    tracing::info!("the relay {} runs", args.name);
    let mut done = std::pin::pin!(node.run(shutdown));
    loop {
        tokio::select! {
            () = &mut done => break,
            Some(()) = hang_up.recv() => watched.look(),
        }
    }
    tracing::info!("the relay {} has ended", args.name);
    Ok(ExitCode::SUCCESS)
}
