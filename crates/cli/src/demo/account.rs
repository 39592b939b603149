//! The sums: is every accepted message delivered, declared lost, or older than its stream's start?
//!
//! Pure: histories in, sums out. Accepted is what publishers reported, and in an epoch that was cut
//! off also what anybody was handed: its signature proves that it was said, and the report may have
//! died with the publisher. For each subscriber, the accepted messages that it wants fall into
//! exactly one of three sets; what falls into none or two is [`Wrong`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use selvedge::{Pattern, Position, Topic};
use serde::{Deserialize, Serialize};

/// `publisher/epoch/seq`: names a message, or a place in a stream, for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    /// The name in the directory.
    pub publisher: String,
    /// The place in its stream.
    pub at: Position,
}

/// Not `publisher/epoch/seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

/// Numbers `from..to` of one publisher that a subscriber was told not to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first lost number.
    pub from: Id,
    /// The first number after it that is not lost.
    pub to: Id,
    /// The evidence, by its label.
    pub reason: String,
}

/// Everything that was said and heard.
#[derive(Debug, Default)]
pub struct History {
    /// What publishers accepted within what the directory allows them, with its topic.
    pub accepted: BTreeMap<Id, String>,
    /// What was said by a wrong key or on a denied topic: nobody may be handed it.
    pub outlawed: BTreeSet<Id>,
    /// Publishers and epochs that reported everything, and how much that is.
    pub complete: BTreeMap<(String, u64), u64>,
    /// By subscriber.
    pub heard: BTreeMap<String, Heard>,
}

/// What one subscriber reported.
#[derive(Debug, Default)]
pub struct Heard {
    /// What it wants.
    pub patterns: Vec<Pattern>,
    /// Where each publisher's stream began for it.
    pub starts: BTreeMap<String, Position>,
    /// In the order in which it was handed over, with its topic.
    pub delivered: Vec<(Id, String)>,
    /// What it was told to be lost.
    pub lost: Vec<Gap>,
}

/// The sum of one subscriber: right if `accepted = delivered + lost + before` and nothing is wrong.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Accepted messages that it wants.
    pub accepted: u64,
    /// Of these, handed over.
    pub delivered: u64,
    /// Of these, declared lost.
    pub lost: u64,
    /// Of these, said before its stream began here.
    pub before: u64,
    /// Whatever must not be.
    pub wrong: Vec<Wrong>,
}

/// One thing that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// Accepted and wanted; neither delivered, nor lost, nor before the start.
    Unaccounted(Id),
    /// In two of the three sets.
    InTwo(Id),
    /// Delivered more than once.
    Twice(Id),
    /// Delivered after a later message of its stream.
    OutOfOrder(Id),
    /// Delivered, and its publisher never said it, or had no right to.
    NeverAccepted(Id),
    /// Delivered, and no pattern asked for it.
    Unwanted(Id),
}

impl History {
    /// The sum of each subscriber.
    pub fn sums(&self) -> BTreeMap<&str, Sum> {
        let accepted = self.all_accepted();
        self.heard.iter().map(|(name, heard)| (name.as_str(), heard.sum(&accepted))).collect()
    }

    /// Publishers whose reports do not add up to what they accepted, with the epoch, what was
    /// accepted and what was reported.
    pub fn unreported(&self) -> Vec<(&str, u64, u64, u64)> {
        let mut reported: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for id in self.accepted.keys().chain(&self.outlawed) {
            *reported.entry((&id.publisher, id.at.epoch)).or_default() += 1;
        }
        let complete = self.complete.iter().map(|((name, epoch), count)| {
            let reported = reported.get(&(name.as_str(), *epoch)).copied().unwrap_or(0);
            (name.as_str(), *epoch, *count, reported)
        });
        complete.filter(|(_, _, count, reported)| count != reported).collect()
    }

    /// What was accepted, by publisher.
    pub fn by_publisher(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for id in self.all_accepted().keys() {
            *counts.entry(id.publisher.as_str()).or_default() += 1;
        }
        counts
    }

    /// What each subscriber was told to be lost, and how many accepted messages that it wants are
    /// in there.
    pub fn losses(&self) -> BTreeMap<&str, Vec<(&Gap, u64)>> {
        let accepted = self.all_accepted();
        let losses = |heard: &'_ Heard, gap: &Gap| {
            let inside = accepted.iter().filter(|(id, _)| gap.holds(id));
            inside.filter(|(_, topic)| heard.wants(topic)).count() as u64
        };
        let each = self.heard.iter().map(|(name, heard)| {
            let gaps = heard.lost.iter().map(|gap| (gap, losses(heard, gap)));
            (name.as_str(), gaps.collect())
        });
        each.collect()
    }

    /// What was reported, and what was delivered out of epochs that were cut off.
    fn all_accepted(&self) -> BTreeMap<&Id, &str> {
        let reported = self.accepted.iter().map(|(id, topic)| (id, topic.as_str()));
        let delivered = self.heard.values().flat_map(|heard| &heard.delivered);
        let proven = delivered.filter(|(id, _)| {
            let cut_off = !self.complete.contains_key(&(id.publisher.clone(), id.at.epoch));
            cut_off && !self.outlawed.contains(id)
        });
        proven.map(|(id, topic)| (id, topic.as_str())).chain(reported).collect()
    }
}

impl Heard {
    fn wants(&self, topic: &str) -> bool {
        let topic: Result<Topic, _> = topic.parse();
        topic.is_ok_and(|topic| self.patterns.iter().any(|pattern| pattern.matches(&topic)))
    }

    fn sum(&self, accepted: &BTreeMap<&Id, &str>) -> Sum {
        let mut sum = Sum::default();
        let delivered = self.check_delivered(accepted, &mut sum.wrong);
        for (id, _) in accepted.iter().filter(|(_, topic)| self.wants(topic)) {
            sum.accepted += 1;
            let is_delivered = delivered.contains(id);
            let is_lost = self.lost.iter().any(|gap| gap.holds(id));
            let is_before = self.starts.get(&id.publisher).is_some_and(|start| id.at < *start);
            match (is_delivered, is_lost, is_before) {
                (true, false, false) => sum.delivered += 1,
                (false, true, false) => sum.lost += 1,
                (false, false, true) => sum.before += 1,
                (false, false, false) => sum.wrong.push(Wrong::Unaccounted((*id).clone())),
                _ => sum.wrong.push(Wrong::InTwo((*id).clone())),
            }
        }
        sum
    }

    /// Judges what was delivered in its order, and returns it as a set.
    fn check_delivered(
        &self,
        accepted: &BTreeMap<&Id, &str>,
        wrong: &mut Vec<Wrong>,
    ) -> BTreeSet<&Id> {
        let mut delivered = BTreeSet::new();
        let mut last: BTreeMap<&str, Position> = BTreeMap::new();
        for (id, topic) in &self.delivered {
            let before = last.entry(&id.publisher).or_insert(id.at);
            if !delivered.insert(id) {
                wrong.push(Wrong::Twice(id.clone()));
            } else if id.at < *before {
                wrong.push(Wrong::OutOfOrder(id.clone()));
            }
            *before = id.at.max(*before);
            if accepted.get(id) != Some(&topic.as_str()) {
                wrong.push(Wrong::NeverAccepted(id.clone()));
            }
            if !self.wants(topic) {
                wrong.push(Wrong::Unwanted(id.clone()));
            }
        }
        delivered
    }
}

impl Gap {
    fn holds(&self, id: &Id) -> bool {
        id.publisher == self.from.publisher && (self.from.at..self.to.at).contains(&id.at)
    }
}

impl Sum {
    /// Whether every message is accounted for, once.
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.accepted == self.delivered + self.lost + self.before
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unaccounted(id) => write!(f, "{id}: neither delivered nor lost nor too early"),
            Wrong::InTwo(id) => write!(f, "{id}: two of delivered, lost and too early"),
            Wrong::Twice(id) => write!(f, "{id}: delivered twice"),
            Wrong::OutOfOrder(id) => write!(f, "{id}: delivered after a later message"),
            Wrong::NeverAccepted(id) => write!(f, "{id}: delivered, and never accepted as such"),
            Wrong::Unwanted(id) => write!(f, "{id}: delivered, and not asked for"),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.at)
    }
}

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is publisher/epoch/seq")
    }
}

impl FromStr for Id {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Id, NotAnId> {
        let mut parts = text.split('/');
        let (Some(publisher), Some(epoch), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnId);
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| NotAnId);
        let at = Position::new(number(epoch)?, number(seq)?);
        Ok(Id { publisher: publisher.to_owned(), at })
    }
}

impl TryFrom<String> for Id {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Id, NotAnId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        text.parse().unwrap()
    }

    /// `web` accepted `count` messages on `a.x` in epoch 1 and reported them all. One subscriber
    /// wants `a.#`, began at number 2, and was handed what `delivered` says.
    fn history(count: u64, delivered: &[u64]) -> History {
        let mut history = History::default();
        let at = |seq: u64| id(&format!("web/1/{seq}"));
        history.accepted.extend((0..count).map(|seq| (at(seq), "a.x".to_owned())));
        history.complete.insert(("web".to_owned(), 1), count);
        let heard = Heard {
            patterns: vec!["a.#".parse().unwrap()],
            starts: BTreeMap::from([("web".to_owned(), Position::new(1, 2))]),
            delivered: delivered.iter().map(|seq| (at(*seq), "a.x".to_owned())).collect(),
            lost: Vec::new(),
        };
        history.heard.insert("sub".to_owned(), heard);
        history
    }

    fn lose(history: &mut History, from: &str, to: &str) {
        let gap = Gap { from: id(from), to: id(to), reason: "gap".to_owned() };
        history.heard.get_mut("sub").unwrap().lost.push(gap);
    }

    fn sum(history: &History) -> Sum {
        history.sums().remove("sub").unwrap()
    }

    #[test]
    fn a_right_history_adds_up() {
        let mut history = history(7, &[2, 3, 6]);
        lose(&mut history, "web/1/4", "web/1/6");
        let expected = Sum { accepted: 7, delivered: 3, lost: 2, before: 2, wrong: vec![] };
        assert_eq!(sum(&history), expected);
        assert_eq!(history.losses()["sub"][0].1, 2);
        assert!(expected.is_right());
        assert_eq!(history.unreported(), []);
        assert_eq!(history.by_publisher(), BTreeMap::from([("web", 7)]));
    }

    #[test]
    fn a_message_in_no_set_is_found() {
        let sum = sum(&history(5, &[2, 4]));
        assert_eq!(sum.wrong, [Wrong::Unaccounted(id("web/1/3"))]);
        assert!(!sum.is_right());
    }

    #[test]
    fn a_stream_that_never_began_is_found() {
        let mut history = history(1, &[]);
        history.heard.get_mut("sub").unwrap().starts.clear();
        assert_eq!(sum(&history).wrong, [Wrong::Unaccounted(id("web/1/0"))]);
    }

    #[test]
    fn a_message_in_two_sets_is_found() {
        let mut both = history(3, &[2]);
        lose(&mut both, "web/1/2", "web/1/3");
        assert_eq!(sum(&both).wrong, [Wrong::InTwo(id("web/1/2"))]);
        assert_eq!(sum(&history(3, &[1, 2])).wrong, [Wrong::InTwo(id("web/1/1"))]);
        let mut lost_before = history(3, &[2]);
        lose(&mut lost_before, "web/0/9", "web/1/1");
        assert_eq!(sum(&lost_before).wrong, [Wrong::InTwo(id("web/1/0"))]);
    }

    #[test]
    fn a_second_delivery_and_a_wrong_order_are_found() {
        assert_eq!(sum(&history(4, &[2, 3, 3])).wrong, [Wrong::Twice(id("web/1/3"))]);
        assert_eq!(sum(&history(4, &[3, 2])).wrong, [Wrong::OutOfOrder(id("web/1/2"))]);
    }

    #[test]
    fn what_its_publisher_never_said_is_found() {
        let wrong = sum(&history(3, &[2, 3])).wrong;
        assert_eq!(wrong, [Wrong::NeverAccepted(id("web/1/3"))]);
    }

    #[test]
    fn another_topic_than_was_said_is_found() {
        let mut history = history(3, &[2]);
        history.heard.get_mut("sub").unwrap().delivered[0].1 = "a.y".to_owned();
        assert_eq!(sum(&history).wrong, [Wrong::NeverAccepted(id("web/1/2"))]);
    }

    #[test]
    fn what_nobody_had_a_right_to_say_is_found_even_of_an_epoch_that_was_cut_off() {
        let mut history = history(2, &[2]);
        history.complete.clear();
        history.outlawed.insert(id("web/1/2"));
        assert_eq!(sum(&history).wrong, [Wrong::NeverAccepted(id("web/1/2"))]);
    }

    #[test]
    fn what_was_delivered_of_an_epoch_that_was_cut_off_was_accepted() {
        let mut history = history(3, &[2, 3]);
        history.complete.clear();
        assert_eq!(
            sum(&history),
            Sum { accepted: 4, delivered: 2, lost: 0, before: 2, wrong: vec![] }
        );
    }

    #[test]
    fn it_counts_for_all_who_did_not_get_it_too() {
        let mut history = history(3, &[2, 3]);
        history.complete.clear();
        let other = Heard {
            patterns: vec![Pattern::all()],
            starts: BTreeMap::from([("web".to_owned(), Position::new(1, 3))]),
            ..Heard::default()
        };
        history.heard.insert("other".to_owned(), other);
        assert_eq!(history.sums()["other"].wrong, [Wrong::Unaccounted(id("web/1/3"))]);
    }

    #[test]
    fn what_nobody_asked_for_is_found_and_not_summed() {
        let mut history = history(3, &[2]);
        history.heard.get_mut("sub").unwrap().patterns = vec!["b".parse().unwrap()];
        let expected = Sum { wrong: vec![Wrong::Unwanted(id("web/1/2"))], ..Sum::default() };
        assert_eq!(sum(&history), expected);
    }

    #[test]
    fn a_gap_ends_before_its_end_and_may_reach_into_the_next_epoch() {
        let mut history = history(5, &[2]);
        lose(&mut history, "web/1/3", "web/2/1");
        for seq in 0..2 {
            history.accepted.insert(id(&format!("web/2/{seq}")), "a.x".to_owned());
        }
        let sum = sum(&history);
        assert_eq!((sum.lost, &sum.wrong[..]), (3, &[Wrong::Unaccounted(id("web/2/1"))][..]));
    }

    #[test]
    fn a_publisher_that_reported_less_than_it_accepted_is_found() {
        let mut history = history(3, &[2]);
        history.complete.insert(("web".to_owned(), 1), 4);
        assert_eq!(history.unreported(), [("web", 1, 4, 3)]);
    }

    #[test]
    fn ids_read_back_and_garbage_does_not() {
        assert_eq!(id("web/1/2").to_string(), "web/1/2");
        for text in ["", "web", "web/1", "web/1/2/3", "web/x/2", "web/1/-2"] {
            assert_eq!(text.parse::<Id>(), Err(NotAnId), "{text}");
        }
    }
}
