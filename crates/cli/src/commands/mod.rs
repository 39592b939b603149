//! One file for each command: its arguments, and `run`.

pub mod bench;
pub mod bridge;
pub mod check;
pub mod dead;
pub mod exec;
pub mod journal;
pub mod keygen;
pub mod pubkey;
pub mod publish;
pub mod record;
pub mod relay;
pub mod replay;
pub mod tail;

use std::future::Future;
use std::process::ExitCode;

use selvedge::directory::Directory;
use selvedge::{Name, StartError};

use crate::signals;

/// Runs a command that talks to others.
///
/// What is still under way when it returns is left behind: reading standard input, or writing to
/// somebody who does not read, may take for ever.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    {
        let _within = runtime.enter();
        signals::survive_size_limits()?;
    }
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// Fails at the first of `names` that is no relay of `directory`.
fn known_relays<'a>(
    directory: &Directory,
    names: impl IntoIterator<Item = &'a Name>,
) -> Result<(), StartError> {
    known("relay", names, |name| directory.relay(name).is_some())
}

/// Fails at the first of `names` that is no service of `directory`.
fn known_services<'a>(
    directory: &Directory,
    names: impl IntoIterator<Item = &'a Name>,
) -> Result<(), StartError> {
    known("service", names, |name| directory.service(name).is_some())
}

fn known<'a>(
    kind: &'static str,
    names: impl IntoIterator<Item = &'a Name>,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), StartError> {
    match names.into_iter().find(|name| !is_known(name.as_str())) {
        Some(name) => Err(StartError::Unknown { kind, name: name.clone() }),
        None => Ok(()),
    }
}
