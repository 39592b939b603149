//! The last number of each topic, for as many topics as a publisher remembers.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::limits::TOPICS_REMEMBERED;
use crate::seal::{RECENT, Recent};
use crate::topic::Topic;

/// Topics and their numbers; the least recently spoken is forgotten first.
#[derive(Debug, Default)]
pub struct Topics {
    known: BTreeMap<Topic, Spoken>,
    /// By the number in the stream of their last message: that is also the order of use.
    by_seq: BTreeMap<u64, Topic>,
    forgot: bool,
}

#[derive(Clone, Copy, Debug)]
struct Spoken {
    /// The number that the topic's next message has.
    next: u64,
    /// The number in the stream of its last message.
    seq: u64,
}

impl Topics {
    /// The number of the first of `count` messages of `topic`, the last of which is `seq` in the
    /// stream. 1 for a topic never spoken; 0 where it may have been spoken and forgotten.
    pub fn number(&mut self, topic: &Topic, count: u64, seq: u64) -> u64 {
        let first = match self.known.get_mut(topic) {
            Some(spoken) => {
                let first = spoken.next;
                // The same topic, without another comparison.
                let known = self.by_seq.remove(&spoken.seq).unwrap_or_else(|| topic.clone());
                *spoken = Spoken { next: first.saturating_add(count), seq };
                self.by_seq.insert(seq, known);
                return first;
            }
            None => u64::from(!self.forgot),
        };
        self.known.insert(topic.clone(), Spoken { next: first.saturating_add(count), seq });
        self.by_seq.insert(seq, topic.clone());
        if self.known.len() > TOPICS_REMEMBERED
            && let Some((_, oldest)) = self.by_seq.pop_first()
        {
            self.known.remove(&oldest);
            self.forgot = true;
        }
        first
    }

    /// The topics spoken last, newest first, and whether there are more.
    pub fn recent(&self) -> (Vec<Recent>, bool) {
        let newest = self.by_seq.iter().rev().take(RECENT);
        let recent = newest.filter_map(|(&seq, topic)| {
            let last = self.known.get(topic)?.next.saturating_sub(1);
            Some(Recent { topic: topic.clone(), tseq: last, seq })
        });
        (recent.collect(), self.forgot || self.known.len() > RECENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn topic(i: usize) -> Topic {
        format!("t{i}").parse().unwrap()
    }

    #[test]
    fn numbers_rise_by_one_per_topic_until_it_is_forgotten() {
        let mut topics = Topics::default();
        assert_eq!(topics.number(&topic(0), 3, 2), 1);
        assert_eq!(topics.number(&topic(0), 1, 3), 4);
        for i in 1..=TOPICS_REMEMBERED {
            assert_eq!(topics.number(&topic(i), 1, 3 + i as u64), 1);
        }
        assert_eq!(topics.number(&topic(0), 2, 100_000), 0);
        assert_eq!(topics.number(&topic(0), 1, 100_001), 2);
    }

    #[test]
    fn the_newest_topics_come_first() {
        let mut topics = Topics::default();
        for i in 0..=RECENT {
            topics.number(&topic(i), 1, i as u64);
        }
        let (recent, more) = topics.recent();
        assert_eq!((recent.len(), more), (RECENT, true));
        assert_eq!((recent[0].tseq, recent[0].seq), (1, RECENT as u64));
    }
}
