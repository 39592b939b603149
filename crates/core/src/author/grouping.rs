//! Which messages of a commit share a packet: those of one topic, as far as a packet reaches.

use alloc::vec::Vec;

use super::topics::Topics;
use crate::limits::{BODIES, PACK_BYTES, SEAL_BYTES};
use crate::seal::{Draft, Group, entry_bytes};

/// What a head's entries may take: the seal frame less its fixed part, the largest proof and the
/// head's start.
const HEAD_ROOM: usize = SEAL_BYTES - 116 - 13 * 32 - 10;

/// The packet that a topic's last message went into.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filled {
    /// The number that follows the last one of its commit.
    end: u64,
    group: usize,
    messages: usize,
    head: usize,
    bytes: usize,
}

/// Groups `drafts`, whose numbers begin with `first`, by topic, in order of first appearance; a
/// group holds at most `pack` messages.
pub fn by_topic(
    drafts: impl ExactSizeIterator<Item = Draft>,
    pack: usize,
    first: u64,
    topics: &mut Topics,
) -> Vec<Group> {
    let (pack, end) = (pack.clamp(1, BODIES), first + drafts.len() as u64);
    let mut groups: Vec<Group> = Vec::new();
    for (off, draft) in drafts.enumerate() {
        let spoken = topics.speak(&draft.topic);
        let (filled, entry) = (&mut spoken.filled, entry_bytes(&draft));
        if filled.end != end || filled.is_full(pack, entry) {
            let messages = Vec::with_capacity(filled.messages); // as many as in the last one
            groups.push(Group { topic: draft.topic.clone(), tseq: spoken.next, messages });
            *filled = Filled { end, group: groups.len() - 1, ..Filled::default() };
        }
        filled.messages += 1;
        filled.head += entry;
        filled.bytes += draft.body.len();
        (spoken.next, spoken.seq) = (spoken.next.saturating_add(1), first + off as u64);
        groups[filled.group].messages.push((off as u16, draft)); // at most SIGN_MESSAGES
    }
    groups
}

impl Filled {
    fn is_full(&self, pack: usize, entry: usize) -> bool {
        self.messages >= pack || self.bytes >= PACK_BYTES || self.head + entry > HEAD_ROOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wall;
    use crate::seal::ContentType;
    use bytes::Bytes;

    fn draft(topic: &str, extension: usize) -> Draft {
        Draft {
            topic: topic.parse().unwrap(),
            ctype: ContentType::BYTES,
            time: Wall(0),
            extension: alloc::vec![0; extension].into(),
            body: Bytes::new(),
        }
    }

    fn grouped(drafts: Vec<Draft>, pack: usize) -> Vec<Group> {
        by_topic(drafts.into_iter(), pack, 0, &mut Topics::default())
    }

    fn offsets(groups: &[Group]) -> Vec<(&str, Vec<u16>)> {
        let of = |g: &Group| g.messages.iter().map(|(off, _)| *off).collect();
        groups.iter().map(|g| (g.topic.as_str(), of(g))).collect()
    }

    #[test]
    fn messages_of_one_topic_share_a_packet_and_keep_their_order() {
        let drafts = || ["a", "b", "a", "a", "b"].map(|t| draft(t, 0)).into_iter();
        let mut topics = Topics::default();
        for (first, numbers) in [(0, [1, 1]), (5, [4, 3])] {
            let groups = by_topic(drafts(), BODIES, first, &mut topics);
            assert_eq!(offsets(&groups), [("a", [0, 2, 3].to_vec()), ("b", [1, 4].to_vec())]);
            assert_eq!(groups.iter().map(|group| group.tseq).collect::<Vec<_>>(), numbers);
        }
    }

    #[test]
    fn pack_1_gives_each_message_a_packet_of_its_own() {
        let groups = grouped(["a", "a", "b", "a"].map(|t| draft(t, 0)).into(), 1);
        let numbers = groups.iter().map(|group| (group.topic.as_str(), group.tseq));
        assert_eq!(numbers.collect::<Vec<_>>(), [("a", 1), ("a", 2), ("b", 1), ("a", 3)]);
    }

    #[test]
    fn a_packet_is_full_once_it_has_16_kib_of_bodies() {
        let large = |len| Draft { body: alloc::vec![0; len].into(), ..draft("a", 0) };
        let groups = grouped([100, 20_000, 1, 16_384, 1].map(large).into(), BODIES);
        let offs = |offs: &[u16]| ("a", offs.to_vec());
        assert_eq!(offsets(&groups), [offs(&[0, 1]), offs(&[2, 3]), offs(&[4])]);
    }

    #[test]
    fn a_packet_ends_where_its_seal_frame_would_grow_too_large() {
        let groups = grouped((0..100).map(|_| draft("a", 1_024)).collect(), BODIES);
        assert_eq!(groups.len(), 2);
        assert!(groups.iter().all(|g| g.head_bytes() <= HEAD_ROOM + 10));
    }
}
