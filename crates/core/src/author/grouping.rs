//! Which messages of a commit share a packet: those of one topic, as far as a packet reaches.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::limits::{BODIES, PACK_BYTES, SEAL_BYTES};
use crate::seal::{Draft, Group, entry_bytes};
use crate::topic::Topic;

/// What a head's entries may take: the seal frame less its fixed part, the largest proof and the
/// head's start.
const HEAD_ROOM: usize = SEAL_BYTES - 116 - 13 * 32 - 10;

/// The packet of a topic that is being filled.
#[derive(Clone, Copy)]
struct Open {
    group: usize,
    head: usize,
    bytes: usize,
}

/// Groups `drafts` by topic, in order of first appearance; a group holds at most `pack` messages.
pub fn by_topic(drafts: impl Iterator<Item = Draft>, pack: usize) -> Vec<Group> {
    let pack = pack.clamp(1, BODIES);
    let mut groups: Vec<Group> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut topics: BTreeMap<Topic, usize> = BTreeMap::new();
    // Most commits are of one topic, or of some in turn: look there before comparing with all.
    let mut last = 0;
    for (off, draft) in drafts.enumerate() {
        let is_it = |at: &usize| open.get(*at).is_some_and(|o| same(&groups[o.group], &draft));
        let guess = [last, last + 1, 0].into_iter().find(is_it);
        let at = guess.or_else(|| topics.get(&draft.topic).copied()).unwrap_or_else(|| {
            topics.insert(draft.topic.clone(), open.len());
            open.push(start(&mut groups, &draft));
            open.len() - 1
        });
        last = at;
        let Open { group, head, bytes } = open[at];
        let entry = entry_bytes(&draft);
        let full = groups[group].messages.len() >= pack || bytes >= PACK_BYTES;
        if full || head + entry > HEAD_ROOM {
            let before = groups[group].messages.len();
            open[at] = start(&mut groups, &draft);
            groups[open[at].group].messages.reserve(before);
        }
        open[at].head += entry;
        open[at].bytes += draft.body.len();
        groups[open[at].group].messages.push((off as u16, draft)); // at most SIGN_MESSAGES
    }
    groups
}

/// Whether a draft's topic is the very one of a group: who says much on a topic clones it. False
/// for an equal one elsewhere.
fn same(group: &Group, draft: &Draft) -> bool {
    core::ptr::eq(&group.topic.as_bytes()[..], &draft.topic.as_bytes()[..])
}

fn start(groups: &mut Vec<Group>, draft: &Draft) -> Open {
    groups.push(Group { topic: draft.topic.clone(), tseq: 0, messages: Vec::new() });
    Open { group: groups.len() - 1, head: 0, bytes: 0 }
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

    fn offsets(groups: &[Group]) -> Vec<(&str, Vec<u16>)> {
        let of = |g: &Group| g.messages.iter().map(|(off, _)| *off).collect();
        groups.iter().map(|g| (g.topic.as_str(), of(g))).collect()
    }

    #[test]
    fn messages_of_one_topic_share_a_packet_and_keep_their_order() {
        let drafts = ["a", "b", "a", "a", "b"].map(|t| draft(t, 0));
        let groups = by_topic(drafts.into_iter(), BODIES);
        assert_eq!(offsets(&groups), [("a", [0, 2, 3].to_vec()), ("b", [1, 4].to_vec())]);
    }

    #[test]
    fn pack_1_gives_each_message_a_packet_of_its_own() {
        let groups = by_topic(["a", "a", "b", "a"].map(|t| draft(t, 0)).into_iter(), 1);
        assert_eq!(groups.len(), 4);
    }

    #[test]
    fn a_packet_is_full_once_it_has_16_kib_of_bodies() {
        let large = |len| Draft { body: alloc::vec![0; len].into(), ..draft("a", 0) };
        let groups = by_topic([100, 20_000, 1, 16_384, 1].map(large).into_iter(), BODIES);
        let offs = |offs: &[u16]| ("a", offs.to_vec());
        assert_eq!(offsets(&groups), [offs(&[0, 1]), offs(&[2, 3]), offs(&[4])]);
    }

    #[test]
    fn a_packet_ends_where_its_seal_frame_would_grow_too_large() {
        let groups = by_topic((0..100).map(|_| draft("a", 1_024)), BODIES);
        assert_eq!(groups.len(), 2);
        assert!(groups.iter().all(|g| g.head_bytes() <= HEAD_ROOM + 10));
    }
}
