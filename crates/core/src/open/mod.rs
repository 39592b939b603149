//! The only door: what makes a received packet a trusted one.
//!
//! Live, relayed or replayed, direct or not: every packet passes [`open`], and only a [`Trusted`]
//! one enters the subscriber. The checks run from cheap to dear, each with its own [`Refusal`]:
//! structure ([`Packet::parse`]) → known key → key not revoked, topic allowed → not below the
//! horizon → budget → proof → cached commit, or signature.
//!
//! What one read brings may be opened together, since hashing several packets at once is cheaper:
//! [`check`] each, [`hash`] those that passed, [`Hashed::verify`] each. There is no other
//! way, and [`open`] is the same for one packet.

mod budget;
mod cache;

pub use budget::Budget;
pub use cache::{Cache, CommitId, Verified};

use alloc::vec::Vec;

use alloc::sync::Arc;

use crate::directory::{Directory, NoSpeaker, Speaker};
use crate::seal::merkle::Hash;
use crate::seal::{Commit, Malformed, Packet, Sealed, signed_bytes};
use crate::topic::{Name, Pattern};
use crate::{KeyId, Position, Time};

/// A packet whose seal was made by a key that the directory allows its topic. Only this module
/// makes one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trusted(Arc<Passed>);

#[derive(Debug)]
struct Passed {
    packet: Packet,
    publisher: Name,
    topics: Arc<[Pattern]>,
}

impl Trusted {
    /// The packet.
    pub fn packet(&self) -> &Packet {
        &self.0.packet
    }

    /// Its commit with this packet alone: a relay sends a tip on like this.
    pub fn to_commit(&self) -> Commit {
        let packets = Vec::from([Sealed::from(self.packet())]);
        Commit { header: *self.packet().header(), packets }
    }

    /// Who said it: the name that the directory gives its key, which the signature covers.
    pub fn publisher(&self) -> &Name {
        &self.0.publisher
    }

    /// What the directory lets its publisher say.
    pub fn topics(&self) -> &Arc<[Pattern]> {
        &self.0.topics
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

/// A packet that passed every check that needs no hashing. Only [`check`] makes one.
#[derive(Debug)]
pub struct Checked(Packet);

/// The same, and the root that it leads to. Only [`hash`] makes one.
#[derive(Debug)]
pub struct Hashed {
    packet: Packet,
    root: Hash,
}

/// Judges one packet.
///
/// # Errors
/// A [`Refusal`] names the first check that failed.
pub fn open(packet: Packet, cx: &Context<'_>, budget: &mut Budget) -> Result<Opened, Refusal> {
    let Checked(packet) = check(packet, cx, budget)?;
    let root = Packet::roots(core::iter::once(&packet)).into_iter().next().unwrap_or_default();
    Hashed { packet, root }.verify(cx, budget)
}

/// Judges what needs no hashing.
///
/// # Errors
/// A [`Refusal`] names the first check that failed.
pub fn check(packet: Packet, cx: &Context<'_>, budget: &mut Budget) -> Result<Checked, Refusal> {
    let header = packet.header();
    if !speaker(cx, header.key)?.may_say(packet.topic()) {
        return Err(Refusal::TopicDenied);
    }
    let delivered = |horizon: Position| horizon.epoch == header.epoch && packet.last() < horizon;
    if !packet.is_tip() && cx.horizon.is_some_and(delivered) {
        return Err(Refusal::Duplicate);
    }
    if budget.is_muted(header.key, cx.now) {
        return Err(Refusal::Muted);
    }
    Ok(Checked(packet))
}

/// Hashes every byte of those that passed: together, they take less time than one by one. The
/// others stay as they are.
pub fn hash<E>(checked: Vec<Result<Checked, E>>) -> impl Iterator<Item = Result<Hashed, E>> {
    let mut roots = Packet::roots(checked.iter().flatten().map(|passed| &passed.0)).into_iter();
    let mut root = move || roots.next().unwrap_or_default(); // one for each
    checked
        .into_iter()
        .map(move |passed| passed.map(|Checked(packet)| Hashed { packet, root: root() }))
}

impl Hashed {
    /// The packet, of which nothing is proved yet.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Judges the rest; `cx` must be of the same directory as for [`check`], and may know more by
    /// now.
    ///
    /// # Errors
    /// A [`Refusal`] names the first check that failed.
    pub fn verify(self, cx: &Context<'_>, budget: &mut Budget) -> Result<Opened, Refusal> {
        let Hashed { packet, root } = self;
        let key = packet.header().key;
        let speaker = speaker(cx, key)?;
        if budget.is_muted(key, cx.now) {
            return Err(Refusal::Muted); // by what was hashed together with it
        }
        let same = cx.cached.filter(|known| known.commit_bytes() == packet.commit_bytes());
        let verified = match same {
            Some(known) if *known.root() == root => None,
            Some(_) => return Err(budget.bad(key, cx.now, Refusal::BadProof)),
            None => {
                let fabric = cx.directory.fabric();
                let signed = signed_bytes(fabric, &speaker.name, packet.header_bytes(), &root);
                if !speaker.key.verifies(&signed, packet.signature()) {
                    return Err(budget.bad(key, cx.now, Refusal::BadSignature));
                }
                Some(Verified::new(&packet, root))
            }
        };
        let fork = verified.is_some() && cx.cached.is_some();
        let (publisher, topics) = (speaker.name.clone(), speaker.topics.clone());
        let trusted = Trusted(Arc::new(Passed { packet, publisher, topics }));
        Ok(Opened { trusted, verified, fork })
    }
}

fn speaker<'a>(cx: &Context<'a>, key: KeyId) -> Result<&'a Speaker, Refusal> {
    cx.directory.speaker(key).map_err(|why| match why {
        NoSpeaker::Unknown => Refusal::UnknownKey,
        NoSpeaker::Revoked => Refusal::Revoked,
    })
}
