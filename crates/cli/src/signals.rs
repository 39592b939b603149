//! How a process is asked to end.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first SIGINT or SIGTERM; a second one ends the process at once. Must be called
/// within a tokio runtime.
///
/// # Errors
/// If the system does not let signals be handled.
pub fn shutdown() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => 128 + 2,
                _ = terminate.recv() => 128 + 15,
            };
            if asked.is_cancelled() {
                std::process::exit(code);
            }
            asked.cancel();
        }
    });
    Ok(token)
}

/// From now on a file that would grow over the limit of this process (RLIMIT_FSIZE) is an error, as
/// a full disk is, and not the end of the process. Must be called within a tokio runtime.
///
/// # Errors
/// If the system does not let signals be handled.
pub fn survive_size_limits() -> std::io::Result<()> {
    // A handler, unlike what is ignored, is nothing that commands which we run inherit.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
