//! What a publisher remembers of its topics: the last number of each, and the packet that it fills.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::grouping::Filled;
use crate::limits::TOPICS_REMEMBERED;
use crate::seal::{RECENT, Recent};
use crate::topic::Topic;

/// Beyond this many, the least recently spoken are forgotten, all that are too many at once.
const MOST: usize = TOPICS_REMEMBERED + TOPICS_REMEMBERED / 4;

/// Topics in order of first appearance, at least the [`TOPICS_REMEMBERED`] spoken last.
#[derive(Debug, Default)]
pub struct Topics {
    spoken: Vec<Spoken>,
    places: BTreeMap<Topic, usize>,
    /// The place of the topic spoken last.
    last: usize,
    forgot: bool,
}

/// A topic that was spoken, or is to be.
#[derive(Debug)]
pub struct Spoken {
    topic: Topic,
    /// The number that its next message has; 0 where it may have been spoken and forgotten.
    pub next: u64,
    /// The number in the stream of its last message.
    pub seq: u64,
    /// The packet that its last message went into.
    pub filled: Filled,
    /// The place of the topic that came after it the last time.
    then: usize,
}

impl Topics {
    /// What is known of a topic; the caller counts what is said on it.
    pub fn speak(&mut self, topic: &Topic) -> &mut Spoken {
        let last = self.last;
        // Services speak on one topic, or on some in turn: look there before comparing with all.
        let then = self.spoken.get(last).map_or(last, |spoken| spoken.then);
        let is_it = |at: &usize| self.spoken.get(*at).is_some_and(|at| same(&at.topic, topic));
        self.last = [then, last].into_iter().find(is_it).unwrap_or_else(|| self.place(topic));
        if self.last != last && self.last != then {
            self.spoken[last].then = self.last;
        }
        &mut self.spoken[self.last]
    }

    fn place(&mut self, topic: &Topic) -> usize {
        if let Some(place) = self.places.get(topic) {
            return *place;
        }
        let (place, next) = (self.spoken.len(), u64::from(!self.forgot));
        self.places.insert(topic.clone(), place);
        let (topic, filled) = (topic.clone(), Filled::default());
        self.spoken.push(Spoken { topic, next, seq: 0, filled, then: place });
        place
    }

    /// Forgets topics that were not spoken for long, if there are too many. Not within a commit.
    pub fn forget(&mut self) {
        if self.spoken.len() <= MOST {
            return;
        }
        self.spoken.sort_unstable_by_key(|spoken| Reverse(spoken.seq));
        self.spoken.truncate(TOPICS_REMEMBERED);
        let places = self.spoken.iter().zip(0..).map(|(spoken, at)| (spoken.topic.clone(), at));
        self.places = places.collect();
        (self.last, self.forgot) = (0, true);
    }

    /// The topics spoken last, newest first, and whether there are more.
    pub fn recent(&self) -> (Vec<Recent>, bool) {
        let mut newest = BTreeMap::new();
        for spoken in &self.spoken {
            if newest.len() < RECENT
                || newest.first_key_value().is_some_and(|(seq, _)| *seq < spoken.seq)
            {
                newest.insert(spoken.seq, spoken);
            }
            if newest.len() > RECENT {
                newest.pop_first();
            }
        }
        let newest = newest.into_iter().rev();
        let recent = newest.map(|(seq, spoken)| Recent {
            topic: spoken.topic.clone(),
            tseq: spoken.next.saturating_sub(1),
            seq,
        });
        (recent.collect(), self.forgot || self.spoken.len() > RECENT)
    }
}

/// Who says much on a topic clones it: then no text is compared.
fn same(a: &Topic, b: &Topic) -> bool {
    core::ptr::eq(&a.as_bytes()[..], &b.as_bytes()[..]) || a == b
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn topic(i: usize) -> Topic {
        format!("t{i}").parse().unwrap()
    }

    /// Says `count` messages, the last of which is `seq` in the stream.
    fn say(topics: &mut Topics, i: usize, count: u64, seq: u64) -> u64 {
        let spoken = topics.speak(&topic(i));
        assert_eq!(spoken.topic, topic(i));
        let first = spoken.next;
        (spoken.next, spoken.seq) = (first + count, seq);
        first
    }

    #[test]
    fn numbers_rise_by_one_per_topic_until_it_is_forgotten() {
        let mut topics = Topics::default();
        assert_eq!(say(&mut topics, 0, 3, 2), 1);
        assert_eq!(say(&mut topics, 0, 1, 3), 4);
        for i in 1..=MOST {
            assert_eq!(say(&mut topics, i, 1, 3 + i as u64), 1);
        }
        topics.forget();
        assert_eq!(say(&mut topics, MOST, 1, 100_000), 2);
        assert_eq!(say(&mut topics, MOST + 1 - TOPICS_REMEMBERED, 1, 100_001), 2);
        assert_eq!(say(&mut topics, 0, 2, 100_002), 0);
        assert_eq!(say(&mut topics, 0, 1, 100_003), 2);
    }

    #[test]
    fn topics_are_found_in_whatever_order_they_are_spoken() {
        let mut topics = Topics::default();
        let mut said = [0; 5];
        for (seq, i) in [0, 1, 2, 0, 1, 2, 0, 0, 1, 1, 3, 0, 2, 4, 4, 0, 3].into_iter().enumerate()
        {
            said[i] += 1;
            assert_eq!(say(&mut topics, i, 1, seq as u64), said[i]);
        }
    }

    #[test]
    fn the_newest_topics_come_first() {
        let mut topics = Topics::default();
        for i in 0..=RECENT {
            say(&mut topics, i, 1, i as u64);
        }
        let (recent, more) = topics.recent();
        assert_eq!((recent.len(), more), (RECENT, true));
        assert_eq!((recent[0].tseq, recent[0].seq), (1, RECENT as u64));
        assert_eq!(recent[RECENT - 1].seq, 1);
    }
}
