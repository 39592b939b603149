//! The only door: what makes a received packet a trusted one.
//!
//! Live, relayed or replayed, direct or not: every packet passes [`open`], and only a [`Trusted`]
//! one enters the subscriber. The checks run from cheap to dear, each with its own [`Refusal`]:
//! structure ([`Packet::parse`]) → known key → key not revoked, topic allowed → not below the
//! horizon → cached commit → budget → proof → signature.

mod budget;
mod cache;

pub use budget::Budget;
pub use cache::{Cache, CommitId, Verified};

use alloc::vec::Vec;

use alloc::sync::Arc;

use crate::directory::{Directory, NoSpeaker};
use crate::seal::{Commit, Malformed, Packet, Sealed, signed_bytes};
use crate::topic::{Name, Pattern};
use crate::{Position, Time};

/// A packet whose seal was made by a key that the directory allows its topic. Only [`open`] makes
/// one.
#[derive(Clone, Debug)]
pub struct Trusted {
    packet: Packet,
    publisher: Name,
    topics: Arc<[Pattern]>,
}

impl Trusted {
    /// The packet.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Its commit with this packet alone: a relay sends a tip on like this.
    pub fn to_commit(&self) -> Commit {
        let packets = Vec::from([Sealed::from(&self.packet)]);
        Commit { header: *self.packet.header(), packets }
    }

    /// Who said it: the name that the directory gives its key, which the signature covers.
    pub fn publisher(&self) -> &Name {
        &self.publisher
    }

    /// What the directory lets its publisher say.
    pub fn topics(&self) -> &Arc<[Pattern]> {
        &self.topics
    }
}

/// Why a packet did not pass. Each is counted; only some are the link's fault ([`Refusal::blame`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has not the structure of a packet.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The directory lists no such key.
    #[error("the directory does not know this key")]
    UnknownKey,
    /// The directory revokes this key.
    #[error("this key is revoked")]
    Revoked,
    /// The directory does not allow this key this topic.
    #[error("the directory does not allow this key this topic")]
    TopicDenied,
    /// All its numbers were delivered before.
    #[error("delivered before")]
    Duplicate,
    /// This link brought too many bad seals of this key.
    #[error("this key is muted on this link after too many bad seals")]
    Muted,
    /// A cached commit has another root than this packet proves.
    #[error("not part of the commit that it names")]
    BadProof,
    /// The signature is not this key's over this fabric, name, header and root.
    #[error("the signature does not verify")]
    BadSignature,
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody's that we could point at: directories reach hosts at different times.
    Nobody,
    /// The link's: a Selvedge peer checks before it sends, so this one is broken or hostile.
    Link,
}

impl Refusal {
    /// Whether the peer that handed the packet over should have known better.
    pub fn blame(self) -> Blame {
        match self {
            Refusal::Malformed(_) => Blame::Link,
            _ => Blame::Nobody,
        }
    }

    /// The label under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Revoked => "revoked",
            Refusal::TopicDenied => "topic_denied",
            Refusal::Duplicate => "duplicate",
            Refusal::Muted => "muted",
            Refusal::BadProof => "bad_proof",
            Refusal::BadSignature => "bad_signature",
        }
    }
}

/// What [`open`] judges by, read by the caller just before.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who may say what.
    pub directory: &'a Directory,
    /// The next number wanted of the packet's key, if it has a position. A stale one costs work,
    /// never correctness.
    pub horizon: Option<Position>,
    /// What [`Cache`] holds for the packet's commit.
    pub cached: Option<&'a Verified>,
    /// For the budget.
    pub now: Time,
}

/// A packet that passed, and what was learnt.
#[derive(Debug)]
pub struct Opened {
    /// The packet.
    pub trusted: Trusted,
    /// Its commit, if a signature was verified for it: for [`Cache::insert`].
    pub verified: Option<Verified>,
    /// Two different commits with one number, both signed: the key leaked, or two processes use it.
    pub fork: bool,
}

/// Judges one packet.
///
/// # Errors
/// A [`Refusal`] names the first check that failed.
pub fn open(packet: Packet, cx: &Context<'_>, budget: &mut Budget) -> Result<Opened, Refusal> {
    let header = *packet.header();
    let speaker = cx.directory.speaker(header.key).map_err(|why| match why {
        NoSpeaker::Unknown => Refusal::UnknownKey,
        NoSpeaker::Revoked => Refusal::Revoked,
    })?;
    if !speaker.may_say(packet.topic()) {
        return Err(Refusal::TopicDenied);
    }
    let delivered = |horizon: Position| horizon.epoch == header.epoch && packet.last() < horizon;
    if !packet.is_tip() && cx.horizon.is_some_and(delivered) {
        return Err(Refusal::Duplicate);
    }
    if budget.is_muted(header.key, cx.now) {
        return Err(Refusal::Muted);
    }
    let root = packet.root();
    let same = cx.cached.filter(|known| known.commit_bytes() == packet.commit_bytes());
    let verified = match same {
        Some(known) if *known.root() == root => None,
        Some(_) => return Err(budget.bad(header.key, cx.now, Refusal::BadProof)),
        None => {
            let fabric = cx.directory.fabric();
            let signed = signed_bytes(fabric, &speaker.name, packet.header_bytes(), &root);
            if !speaker.key.verifies(&signed, packet.signature()) {
                return Err(budget.bad(header.key, cx.now, Refusal::BadSignature));
            }
            Some(Verified::new(&packet, root))
        }
    };
    let fork = verified.is_some() && cx.cached.is_some();
    let (publisher, topics) = (speaker.name.clone(), speaker.topics.clone());
    Ok(Opened { trusted: Trusted { packet, publisher, topics }, verified, fork })
}
