//! Peers that are behind: ASK, reads of the journal, and how replay and live meet.
//!
//! A peer that asks for what it missed, or whose queue is full, is *behind* on that stream: it gets
//! nothing live, and is fed from the journal whenever its queue has room. What comes while a read
//! is under way is held; once a read has reached the place where that begins, the peer gets it and
//! is live again. So both meet here, in order, without loss and without a duplicate.

use alloc::vec::Vec;
use smallvec::SmallVec;

use super::told::{Reading, Told};
use super::{FanOut, Output, PeerId};
use crate::limits::{READERS, REFILL_BYTES};
use crate::seal::{Commit, Sealed};
use crate::wire::Ask;
use crate::{KeyId, Position, Time};

/// A commit as a journal holds it, or a tip: [`crate::subscriber::Output::Evidence`].
#[derive(Clone, Debug)]
pub struct Stored {
    /// Everything from here to the commit's end is in it: of a tip, nothing, and here it tells
    /// something of what is before. Numbers before the commit's first, and
    /// those it has no packet for, match nothing that this node carries.
    pub from: Position,
    /// The commit, as far as this node has it.
    pub commit: Commit,
}

/// What a journal answers to [`Output::Read`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// For whom.
    pub peer: PeerId,
    /// The stream.
    pub key: KeyId,
    /// As it was asked for.
    pub from: Position,
    /// Everything that is held in `from..upto`, in order.
    pub records: Vec<Stored>,
    /// How far that is; what lies below and is in no record cannot be read.
    pub upto: Position,
}

impl FanOut {
    /// A peer wants a stream from a place on.
    pub(super) fn ask(&mut self, now: Time, id: PeerId, ask: Ask, out: &mut Vec<Output>) {
        let Ask { key, from } = ask;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (Some(stream), Some(told)) = (self.streams.get(&key), peer.told(key)) else {
            self.counters.asks_unknown += 1;
            self.queued += peer.mark_unknown(key);
            return self.write(now, id, out);
        };
        self.counters.asks += 1;
        let have = if told.behind.is_some() { told.sent } else { told.from };
        if self.config.journal && from < have {
            peer.tell(key, Told::behind(from));
            self.waiting.push_back((id, key));
        }
        self.queued += peer.mark_answer(key, stream.next);
        // What of it is gone says more than the packets that follow.
        self.announce(id, key);
        self.write(now, id, out);
        self.pump(now, out);
    }

    /// Gives a peer the newest tip of a stream, whatever came after it.
    fn announce(&mut self, id: PeerId, key: KeyId) {
        let tip = self.streams.get(&key).and_then(|stream| stream.tip.as_ref());
        let (Some((_, tip)), Some(peer)) = (tip, self.peers.get_mut(&id)) else { return };
        if peer.has_room(tip.len()) && self.interest.is_match(id, tip.topic.as_bytes()) {
            self.queued += peer.push(tip);
        }
    }

    /// Starts reads, in turn, for peers that have room.
    pub(super) fn pump(&mut self, now: Time, out: &mut Vec<Output>) {
        while self.readers < READERS
            && let Some((id, key)) = self.waiting.pop_front()
        {
            let (Some(peer), Some(stream)) = (self.peers.get_mut(&id), self.streams.get(&key))
            else {
                continue;
            };
            if self.queued >= self.config.queues_bytes {
                return self.waiting.push_front((id, key)); // until somebody takes something
            }
            let room = peer.queued() < REFILL_BYTES;
            let (from, upto) = (peer.told(key).map_or(stream.next, |told| told.sent), stream.next);
            match peer.behind_on(key) {
                Some(behind) if behind.reading.is_some() => {}
                Some(_) if !room => peer.pause(key),
                Some(_) if from >= upto => self.join(now, id, key, out),
                Some(behind) => {
                    behind.read(Reading { from, upto });
                    self.readers += 1;
                    out.push(Output::Read { peer: id, key, from, upto });
                }
                None => {}
            }
        }
    }

    /// A peer's queue has drained: go on with what waited for that.
    pub(super) fn refill(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.queued() < REFILL_BYTES) {
            self.waiting.extend(peer.resume_paused().map(|key| (id, key)));
        }
    }

    /// What a journal has answered.
    pub(super) fn answer(&mut self, now: Time, answer: Answer, out: &mut Vec<Output>) {
        self.readers = self.readers.saturating_sub(1);
        let Answer { peer: id, key, from, records, upto } = answer;
        let asked = self.peers.get_mut(&id).and_then(|peer| peer.behind_on(key)?.reading.take());
        if let Some(asked) = asked {
            let told = self.peers.get(&id).and_then(|peer| peer.told(key));
            let is_wanted = asked.from == from && told.is_some_and(|told| told.sent == from);
            if is_wanted {
                self.replay(id, key, from, &records, upto.min(asked.upto));
            }
            match is_wanted && upto >= asked.upto {
                true => self.join(now, id, key, out),
                false => self.waiting.push_back((id, key)),
            }
            self.write(now, id, out);
        }
        self.pump(now, out);
    }

    /// Queues what a peer matches of `from..upto`. What is in no record is in no MARK.
    fn replay(
        &mut self,
        id: PeerId,
        key: KeyId,
        from: Position,
        records: &[Stored],
        upto: Position,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut covered = from;
        for Stored { from, commit } in records {
            if covered < *from {
                self.queued += peer.skip(key, covered, *from);
            }
            let header = commit.header;
            let matches = |packet: &&Sealed| self.interest.is_match(id, packet.topic.as_bytes());
            if header.n == 0 {
                covered = covered.max(*from);
                let tips: SmallVec<[&Sealed; 1]> =
                    commit.packets.iter().filter(|_| peer.hears_marks()).filter(matches).collect();
                self.queued += tips.into_iter().map(|tip| peer.push(tip)).sum::<usize>();
                continue;
            }
            covered = covered.max(header.end());
            let packets: SmallVec<[&Sealed; 4]> = commit.packets.iter().filter(matches).collect();
            if !packets.is_empty() {
                let (bytes, numbers) = peer.push_commit(&header, &packets);
                self.queued += bytes;
                self.counters.replayed += numbers;
            }
        }
        self.queued += peer.mark_before(key, covered);
        if covered < upto {
            self.queued += peer.skip(key, covered, upto);
        }
    }

    /// A peer has caught up: it gets what was held meanwhile, and is live.
    fn join(&mut self, now: Time, id: PeerId, key: KeyId, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get(&key) else { return };
        let next = stream.next;
        let is_current = stream.tip.as_ref().is_some_and(|(at, _)| *at == next);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(held) = peer.catch_up(key) else { return self.waiting.push_back((id, key)) };
        for live in held {
            let packets: SmallVec<[&Sealed; 4]> = live.packets.iter().collect();
            self.give(id, &live.header, &packets, out);
        }
        self.announce(id, key);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.queued += peer.mark_tip(key, next);
        if !is_current {
            out.push(Output::TipWanted(key));
        }
        self.write(now, id, out);
    }
}
