//! `tail --exec`: a command for each message, with or without a cursor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge::{Event, Outcome, Subscriber};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{End, at, tell_lost};
use crate::commands::exec::{Handled, Handler};
use crate::output;

/// What becomes of messages.
pub struct Handling {
    pub handler: Handler,
    /// Whether one that was not handled is passed over.
    pub keep_going: bool,
    /// How many more, if anybody counts.
    pub left: Option<u64>,
    pub deadline: Option<Instant>,
    pub stop: CancellationToken,
}

impl Handling {
    /// Each message once, until one is not handled.
    pub async fn each(mut self, mut subscriber: Subscriber) -> anyhow::Result<End> {
        let mut good = true;
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = at(self.deadline) => return Ok(End::Late { left: self.left }),
                event = subscriber.next() => event,
            };
            let message = match event {
                Some(Event::Message(message)) => message,
                Some(Event::Lost(lost)) => {
                    tell_lost(&lost);
                    continue;
                }
                None => break,
            };
            if let Handled::No(why) = self.handler.run(&message).await? {
                output::say(&format!("{message} was not handled: {why}"));
                good = false;
                if !self.keep_going {
                    return Ok(End::Unhandled);
                }
            }
            self.left = self.left.map(|left| left - 1);
            if self.left == Some(0) {
                break;
            }
        }
        Ok(if good { End::Done } else { End::Unhandled })
    }

    /// From where the cursor stands; what is not handled is tried again, then put aside.
    pub async fn run(self, subscriber: Subscriber) -> anyhow::Result<End> {
        let Handling { handler, left, deadline, stop, .. } = self;
        let enough = stop.child_token();
        let handled = Arc::new(AtomicU64::new(0));
        let handle = |event| {
            let (handler, handled, enough) = (handler.clone(), handled.clone(), enough.clone());
            async move {
                let message = match event {
                    Event::Message(message) => message,
                    Event::Lost(lost) => {
                        tell_lost(&lost);
                        return Outcome::Ack;
                    }
                };
                match handler.run(&message).await {
                    Ok(Handled::Yes) => {
                        let count = handled.fetch_add(1, Ordering::Relaxed) + 1;
                        if left.is_some_and(|left| count >= left) {
                            enough.cancel();
                        }
                        Outcome::Ack
                    }
                    Ok(Handled::No(why)) => Err::<(), String>(why).into(),
                    Err(error) => Outcome::Halt { why: format!("{error:#}") },
                }
            }
        };
        let late = async {
            at(deadline).await;
            enough.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = subscriber.run(handle, enough.clone()) => ended?,
            () = late => {}
        }
        let count = handled.load(Ordering::Relaxed);
        let missing = left.map(|left| left.saturating_sub(count)).filter(|missing| *missing > 0);
        Ok(match missing {
            Some(_) if !stop.is_cancelled() => End::Late { left: missing },
            _ => End::Done,
        })
    }
}
