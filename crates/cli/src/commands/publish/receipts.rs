//! Telling on standard output what became of each message, in the order of the lines.

use std::time::Duration;

use anyhow::bail;
use selvedge::Receipt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::output;

/// Receipts that may wait to be told; no more messages are sent then.
const WAITING: usize = 64 << 10;

/// Lines are written when no more are at hand, or they have so many bytes.
const WRITE_BYTES: usize = 64 << 10;

/// How long a write may take that is under way when the command is told to end.
const GRACE: Duration = Duration::from_millis(500);

/// Where receipts go; nowhere unless somebody wants them.
pub struct Receipts(Option<(mpsc::Sender<Receipt>, JoinHandle<anyhow::Result<()>>)>);

impl Receipts {
    pub fn new(wanted: bool) -> Receipts {
        Receipts(wanted.then(|| {
            let (sender, receipts) = mpsc::channel(WAITING);
            (sender, tokio::spawn(tell(receipts)))
        }))
    }

    /// Tells of a message once it is known what became of it.
    ///
    /// # Errors
    /// If nobody can be told any more: [`Receipts::end`] says why.
    pub async fn expect(&self, receipt: Receipt, stop: &CancellationToken) -> anyhow::Result<()> {
        let Some((sender, _)) = &self.0 else { return Ok(()) };
        let sent = tokio::select! {
            sent = sender.send(receipt) => sent.is_ok(),
            () = stop.cancelled() => false,
        };
        if !sent {
            bail!("receipts are not read");
        }
        Ok(())
    }

    /// Waits until all was told. Said after the publisher was closed, which resolves every receipt.
    ///
    /// # Errors
    /// If standard output takes no more.
    pub async fn end(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let Some((sender, mut told)) = self.0 else { return Ok(()) };
        drop(sender);
        tokio::select! {
            told = &mut told => return told?,
            () = stop.cancelled() => {}
        }
        timeout(GRACE, told).await.map_or(Ok(()), |told| told?) // whoever stops us does not wait
    }
}

async fn tell(mut receipts: mpsc::Receiver<Receipt>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    loop {
        let receipt = tokio::select! {
            biased;
            receipt = receipts.recv() => receipt,
            () = std::future::ready(()), if !text.is_empty() => {
                write(&mut text)?;
                continue;
            }
        };
        let Some(receipt) = receipt else { return write(&mut text) };
        let mut sent = std::pin::pin!(receipt.sent());
        let sent = tokio::select! {
            biased;
            sent = &mut sent => sent,
            () = std::future::ready(()), if !text.is_empty() => {
                write(&mut text)?;
                sent.await
            }
        };
        let line = sent.map_or_else(|_| "-".to_owned(), |()| receipt.id());
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        if text.len() >= WRITE_BYTES {
            write(&mut text)?;
        }
    }
}

fn write(text: &mut Vec<u8>) -> anyhow::Result<()> {
    // It may take for ever; connections are attended to meanwhile.
    tokio::task::block_in_place(|| output::print(text))?;
    text.clear();
    Ok(())
}
