//! Publishing through a relay: nothing is bound, everything is offered.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use selvedge::directory::Directory;
use selvedge::publisher::{Options, Unsent};
use selvedge::{Outgoing, Publisher, StartError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::receipts::Receipts;
use super::{Format, all, send};
use crate::output;

/// How often a run looks whether another one of the same service has ended.
const AGAIN: Duration = Duration::from_millis(20);

/// What is to be said, and where to tell what became of it.
pub struct Messages<'a> {
    pub format: &'a Format,
    /// One message, instead of each line of standard input.
    pub single: Option<Outgoing>,
    pub receipts: Receipts,
}

/// Offers one message, or each line of standard input, and what earlier runs have kept.
pub async fn publish(
    directory: &watch::Receiver<Arc<Directory>>,
    options: impl Fn() -> Options,
    messages: Messages<'_>,
    wait: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + wait;
    let spool = options().journal;
    let publisher = start(directory, options, deadline).await?;
    let Messages { format, single, receipts } = messages;
    let outcome = match single {
        Some(message) => match send(&publisher, &message).await {
            Ok(receipt) => receipts.expect(receipt, stop).await,
            Err(error) => Err(error.into()),
        },
        None => all(&publisher, format, None, &receipts, stop).await,
    };
    // Time that went by while lines came in is nobody's fault.
    let left = deadline.saturating_duration_since(Instant::now()).max(wait / 2);
    let closed = publisher.close(left).await;
    receipts.end(stop).await?;
    outcome?;
    match (closed, &spool) {
        (Ok(()), None) => Ok(ExitCode::SUCCESS),
        (Ok(()), Some(spool)) => {
            empty(spool).with_context(|| format!("cannot empty {}", spool.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        (Err(Unsent { unsigned: 0, unwritten, unkept: 0 }), Some(spool)) => {
            let spool = spool.display();
            output::say(&format!("no relay has taken {unwritten} messages yet: kept in {spool}"));
            Ok(ExitCode::SUCCESS)
        }
        (Err(unsent), _) => {
            let missing = unsent.unsigned + unsent.unwritten + unsent.unkept;
            output::say(&format!("no relay has taken {missing} messages in time"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Starts once no other run of the same service is under way: hooks meet.
async fn start(
    directory: &watch::Receiver<Arc<Directory>>,
    options: impl Fn() -> Options,
    deadline: Instant,
) -> Result<Publisher, StartError> {
    loop {
        match Publisher::start(directory.clone(), options()) {
            Err(error) if error.is_locked() && Instant::now() < deadline => {
                tokio::time::sleep(AGAIN).await;
            }
            started => return started,
        }
    }
}

/// Everything in it was delivered.
fn empty(spool: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(spool)
}
