//! What the application has handled of each stream, and so how far its cursor goes.
//!
//! Everything here happens in the order in which the application takes events. The cursor of a
//! stream stands before the first event that was taken and not handled; if there is none, where the
//! stream has come, which includes what matched nothing that is wanted.

use std::collections::{BTreeMap, VecDeque};

use selvedge_core::subscriber::{Delivery, Lost, Reason};
use selvedge_core::{KeyId, Position, Wall};

use crate::cursor::{Cursor, CursorError, Handle, Place, Places};

/// See the module.
#[derive(Debug)]
pub struct Progress {
    fronts: BTreeMap<KeyId, Front>,
    /// Streams without a place skip what was sealed before.
    since: Option<Wall>,
    /// Events taken, those that were handled and wait for one before them included.
    waiting: usize,
    /// Where it is kept, for a subscriber with a name.
    cursor: Option<Cursor>,
}

/// One stream.
#[derive(Debug, Default)]
struct Front {
    /// Everything before it was taken, passed, or declared lost.
    reached: Position,
    /// Skips what was sealed before, until the first commit that was not.
    since: Option<Wall>,
    /// Events that were taken, in rising order; the first of them is not handled.
    waiting: VecDeque<Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Of a message, its own place; of a loss, where the stream stood.
    at: Position,
    what: What,
    done: bool,
}

/// A loss comes before the message at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Lost,
    Message,
}

/// An event of the application's, as it is remembered here.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    key: KeyId,
    at: Position,
    what: What,
}

impl Ticket {
    /// Of the message at this place.
    pub fn of(key: KeyId, at: Position) -> Ticket {
        Ticket { key, at, what: What::Message }
    }

    /// The stream and the place of a message.
    pub fn place(self) -> (KeyId, Position) {
        (self.key, self.at)
    }
}

impl Progress {
    /// Goes on from `places`; streams without one skip what was sealed before `since`.
    pub fn new(places: &Places, since: Option<Wall>, cursor: Option<Cursor>) -> Progress {
        let front = |reached, since| Front { reached, since, waiting: VecDeque::new() };
        let fronts = places.iter().filter_map(|(key, place)| match *place {
            Place::Now => None,
            Place::At(at) => Some((*key, front(at, None))),
            Place::Since { time, at } => Some((*key, front(at, Some(time)))),
        });
        Progress { fronts: fronts.collect(), since, waiting: 0, cursor }
    }

    /// Whether a commit was sealed before what is wanted of its stream.
    pub fn is_too_old(&mut self, delivery: &Delivery) -> bool {
        let front = front(&mut self.fronts, delivery.key, self.since);
        if front.since.is_some_and(|since| delivery.header.time < since) {
            return true;
        }
        front.since = None;
        false
    }

    /// The application takes a message.
    pub fn take(&mut self, key: KeyId, at: Position) -> Ticket {
        self.taken(key, at, What::Message, at.after())
    }

    /// The application takes the news of a loss.
    pub fn take_lost(&mut self, lost: &Lost) -> Ticket {
        let reached = front(&mut self.fronts, lost.key, self.since).reached;
        // A gap is told late, or within a commit; so are messages that follow and are not lost.
        let moves = lost.reason != Reason::Gap && lost.from <= reached;
        let upto = if moves { lost.to } else { reached };
        self.taken(lost.key, reached, What::Lost, upto)
    }

    fn taken(&mut self, key: KeyId, at: Position, what: What, upto: Position) -> Ticket {
        let front = front(&mut self.fronts, key, self.since);
        front.waiting.push_back(Taken { at, what, done: false });
        front.reached = front.reached.max(upto);
        self.waiting += 1;
        Ticket { key, at, what }
    }

    /// Nothing before `upto` is for the application.
    pub fn pass(&mut self, key: KeyId, upto: Position) {
        let front = front(&mut self.fronts, key, self.since);
        if front.reached < upto {
            front.reached = upto;
            self.keep(key);
        }
    }

    /// An event was handled; one that is not known here, or was handled before, changes nothing.
    pub fn done(&mut self, Ticket { key, at, what }: Ticket) {
        let Some(front) = self.fronts.get_mut(&key) else { return };
        let index = front.waiting.partition_point(|taken| (taken.at, taken.what) < (at, what));
        let same = |taken: &&mut Taken| (taken.at, taken.what) == (at, what) && !taken.done;
        let Some(taken) = front.waiting.range_mut(index..).find(same) else { return };
        taken.done = true;
        let before = self.waiting;
        while front.waiting.front().is_some_and(|taken| taken.done) {
            front.waiting.pop_front();
            self.waiting -= 1;
        }
        if self.waiting < before {
            self.keep(key);
        }
    }

    /// Events that were taken and keep a cursor back, handled or not.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Where it is kept.
    pub fn places(&self) -> Option<Handle> {
        self.cursor.as_ref().map(|cursor| cursor.places().clone())
    }

    /// Waits until it is on disk.
    pub async fn flush(&self) -> Result<(), CursorError> {
        match &self.cursor {
            Some(cursor) => cursor.places().flush().await,
            None => Ok(()),
        }
    }

    fn keep(&self, key: KeyId) {
        if let (Some(cursor), Some(front)) = (&self.cursor, self.fronts.get(&key)) {
            cursor.places().set(key, front.place());
        }
    }
}

impl Front {
    fn place(&self) -> Place {
        let at = self.waiting.front().map_or(self.reached, |taken| taken.at);
        match self.since {
            Some(time) => Place::Since { time, at },
            None => Place::At(at),
        }
    }
}

fn front(fronts: &mut BTreeMap<KeyId, Front>, key: KeyId, since: Option<Wall>) -> &mut Front {
    fronts.entry(key).or_insert_with(|| Front { since, ..Front::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId(1);

    fn at(seq: u64) -> Position {
        Position::new(1, seq)
    }

    fn progress() -> Progress {
        Progress::new(&Places::from([(KEY, Place::At(at(0)))]), None, None)
    }

    fn cursor(progress: &Progress) -> Position {
        match progress.fronts[&KEY].place() {
            Place::At(at) => at,
            other => panic!("{other:?}"),
        }
    }

    fn lost(from: u64, to: u64, reason: Reason) -> Lost {
        let publisher = "web".parse().unwrap();
        Lost { key: KEY, publisher, from: at(from), to: at(to), reason }
    }

    #[test]
    fn the_cursor_stands_before_the_first_that_is_not_handled() {
        let mut progress = progress();
        let tickets: Vec<Ticket> = [3, 4, 8].map(|seq| progress.take(KEY, at(seq))).into();
        progress.pass(KEY, at(10));
        assert_eq!(cursor(&progress), at(3));
        progress.done(tickets[1]);
        assert_eq!((cursor(&progress), progress.waiting()), (at(3), 3));
        progress.done(tickets[0]);
        assert_eq!((cursor(&progress), progress.waiting()), (at(8), 1));
        progress.done(tickets[0]);
        progress.done(tickets[2]);
        assert_eq!((cursor(&progress), progress.waiting()), (at(10), 0));
    }

    #[test]
    fn what_is_unknown_or_was_passed_moves_nothing_back() {
        let mut progress = progress();
        progress.done(Ticket::of(KEY, at(7)));
        progress.done(Ticket::of(KeyId(2), at(7)));
        progress.pass(KEY, at(5));
        progress.pass(KEY, at(4));
        assert_eq!(cursor(&progress), at(5));
    }

    #[test]
    fn a_loss_is_passed_once_it_was_handled() {
        let mut progress = progress();
        let ticket = progress.take_lost(&lost(0, 4, Reason::NotHeld));
        assert_eq!(cursor(&progress), at(0));
        progress.done(ticket);
        assert_eq!(cursor(&progress), at(4));
    }

    #[test]
    fn a_loss_within_a_commit_passes_none_of_its_messages() {
        let mut progress = progress();
        let told = progress.take_lost(&lost(5, 7, Reason::NotHeld));
        let first = progress.take(KEY, at(0));
        progress.done(first);
        assert_eq!(cursor(&progress), at(0));
        progress.done(told);
        assert_eq!(cursor(&progress), at(1));
        let late = progress.take_lost(&lost(0, 9, Reason::Gap));
        progress.done(late);
        assert_eq!(cursor(&progress), at(1));
    }

    #[test]
    fn a_stream_that_begins_now_has_no_place_until_it_is_heard() {
        let mut progress = Progress::new(&Places::from([(KEY, Place::Now)]), None, None);
        assert!(progress.fronts.is_empty());
        progress.pass(KEY, at(9));
        assert_eq!(cursor(&progress), at(9));
    }
}
