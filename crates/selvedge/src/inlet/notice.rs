//! What happens to links, for people: connections, refusals, alarms.

use selvedge_core::open::Refusal;
use selvedge_core::topic::Name;
use selvedge_core::{KeyId, Position};
use tokio::sync::mpsc;

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A link is up.
    Connected {
        /// The service or relay.
        name: Name,
        /// Where it was reached.
        endpoint: String,
    },
    /// A link is down, or did not come up; it is tried again.
    Disconnected {
        /// The service or relay.
        name: Name,
        /// Where it was (to be) reached.
        endpoint: String,
        /// What ended it.
        why: String,
    },
    /// A stream begins: from this position on, all that is wanted of it is delivered or `Lost`.
    Started {
        /// Whose.
        publisher: Name,
        /// Its first position here; what was said before is not asked for.
        at: Position,
    },
    /// Packets did not pass the door. At most one notice a second, link and reason.
    Refused {
        /// Over which link.
        name: Name,
        /// Why.
        why: Refusal,
        /// The key that the last of them names.
        key: Option<KeyId>,
        /// The topic of the last of them, escaped and at most 64 bytes.
        topic: String,
        /// How many since the last such notice.
        times: u64,
    },
    /// Two commits with one number and two good signatures: a key that leaked, or runs twice.
    Forked {
        /// Whose key.
        publisher: Name,
    },
    /// Packets of an epoch that was left: two processes share one key.
    Superseded {
        /// Whose key.
        publisher: Name,
        /// Of the packet.
        epoch: u64,
    },
}

/// Where notices go: a channel of the application, or nowhere. A full channel drops them.
#[derive(Clone, Debug, Default)]
pub struct Notices(Option<mpsc::Sender<Notice>>);

impl Notices {
    /// Sends notices to `channel`.
    pub fn to(channel: mpsc::Sender<Notice>) -> Notices {
        Notices(Some(channel))
    }

    pub(crate) fn tell(&self, notice: Notice) {
        tracing::debug!(?notice);
        if let Some(channel) = &self.0 {
            let _ = channel.try_send(notice); // counters have the numbers
        }
    }
}
