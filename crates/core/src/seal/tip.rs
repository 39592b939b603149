//! The tip: a signed heartbeat that says how far its publisher has come and what it still holds.

use alloc::vec::Vec;

use crate::Position;
use crate::topic::Topic;
use bytes::Bytes;

/// Earlier epochs in one tip at most.
pub const EPOCHS: usize = 16;
/// Voids in one tip at most.
pub const VOIDS: usize = 64;
/// Recent topics in one tip at most.
pub const RECENT: usize = 64;

/// What a tip says. `next` is the seal's first + n again, so that a body alone can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The number that the publisher's next message will have.
    pub next: u64,
    /// The oldest message that the publisher still holds; without a journal, its next one.
    pub oldest: Position,
    /// How earlier epochs ended, newest first, at most [`EPOCHS`].
    pub epochs: Vec<EpochEnd>,
    /// Numbers that will never come, at most [`VOIDS`].
    pub voids: Vec<Void>,
    /// Topics spoken last, newest first, at most [`RECENT`].
    pub recent: Vec<Recent>,
    /// Whether more topics were spoken in this epoch than `recent` lists.
    pub more: bool,
}

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// Which epoch.
    pub epoch: u64,
    /// The number after its last message known to its publisher.
    pub end: u64,
    /// False if messages at or above `end` may have been sent and are lost.
    pub clean: bool,
}

/// Numbers `from..to` of an epoch that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void {
    /// Which epoch.
    pub epoch: u64,
    /// First missing number.
    pub from: u64,
    /// First number that is not missing.
    pub to: u64,
}

/// The last message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// The topic.
    pub topic: Topic,
    /// Its number among the topic's messages; 0 if forgotten.
    pub tseq: u64,
    /// Its number in the stream.
    pub seq: u64,
}

/// A body that is no tip: its publisher's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of this tip does not follow its format")]
pub struct BadTip;

impl Tip {
    /// The body of a tip; lists beyond their bounds are cut (and `more` set).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 48 * self.recent.len());
        for number in [self.next, self.oldest.epoch, self.oldest.seq] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let epochs = &self.epochs[..self.epochs.len().min(EPOCHS)];
        out.push(epochs.len() as u8);
        for end in epochs {
            out.extend_from_slice(&end.epoch.to_le_bytes());
            out.extend_from_slice(&end.end.to_le_bytes());
            out.push(u8::from(end.clean));
        }
        let voids = &self.voids[..self.voids.len().min(VOIDS)];
        out.push(voids.len() as u8);
        for void in voids {
            for number in [void.epoch, void.from, void.to] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let recent = &self.recent[..self.recent.len().min(RECENT)];
        out.push(recent.len() as u8);
        for spoken in recent {
            out.push(spoken.topic.as_bytes().len() as u8); // a topic has at most 255 bytes
            out.extend_from_slice(spoken.topic.as_bytes());
            out.extend_from_slice(&spoken.tseq.to_le_bytes());
            out.extend_from_slice(&spoken.seq.to_le_bytes());
        }
        out.push(u8::from(self.more || recent.len() < self.recent.len()));
        out
    }

    /// Reads a body; bytes after the listed fields are ignored.
    ///
    /// # Errors
    /// [`BadTip`] if it is too short, a list too long, or a topic outside the grammar.
    pub fn parse(body: &Bytes) -> Result<Tip, BadTip> {
        let mut rest = Reader { body, at: 0 };
        let next = rest.u64()?;
        let oldest = Position::new(rest.u64()?, rest.u64()?);
        let epochs = rest.list(EPOCHS, |r| {
            Ok(EpochEnd { epoch: r.u64()?, end: r.u64()?, clean: r.u8()? != 0 })
        })?;
        let voids =
            rest.list(VOIDS, |r| Ok(Void { epoch: r.u64()?, from: r.u64()?, to: r.u64()? }))?;
        let recent = rest.list(RECENT, |r| {
            let len = usize::from(r.u8()?);
            let topic = Topic::new(r.take(len)?).map_err(|_| BadTip)?;
            Ok(Recent { topic, tseq: r.u64()?, seq: r.u64()? })
        })?;
        Ok(Tip { next, oldest, epochs, voids, recent, more: rest.u8()? != 0 })
    }
}

/// A place in a body.
struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<Bytes, BadTip> {
        if self.body.len() - self.at < len {
            return Err(BadTip);
        }
        self.at += len;
        Ok(self.body.slice(self.at - len..self.at))
    }

    fn u8(&mut self) -> Result<u8, BadTip> {
        let byte = *self.body.get(self.at).ok_or(BadTip)?;
        self.at += 1;
        Ok(byte)
    }

    fn u64(&mut self) -> Result<u64, BadTip> {
        let bytes = self.body.get(self.at..self.at + 8).ok_or(BadTip)?;
        self.at += 8;
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| BadTip)
    }

    /// A count byte of at most `most`, then that many items.
    fn list<T>(
        &mut self,
        most: usize,
        item: impl Fn(&mut Self) -> Result<T, BadTip>,
    ) -> Result<Vec<T>, BadTip> {
        let count = usize::from(self.u8()?);
        if count > most {
            return Err(BadTip);
        }
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tip {
        Tip {
            next: 7,
            oldest: Position::new(3, 5),
            epochs: Vec::from([EpochEnd { epoch: 2, end: 9, clean: true }]),
            voids: Vec::from([Void { epoch: 3, from: 1, to: 2 }]),
            recent: Vec::from([Recent { topic: "a.b".parse().unwrap(), tseq: 4, seq: 6 }]),
            more: true,
        }
    }

    #[test]
    fn a_tip_reads_back_and_ignores_what_follows() {
        let mut body = sample().encode();
        body.extend_from_slice(b"later fields");
        assert_eq!(Tip::parse(&body.into()), Ok(sample()));
    }

    #[test]
    fn every_cut_of_a_tip_is_refused() {
        let body = Bytes::from(sample().encode());
        for len in 0..body.len() {
            assert_eq!(Tip::parse(&body.slice(..len)), Err(BadTip), "{len}");
        }
    }
}
