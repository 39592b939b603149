//! How does a subscriber get from one epoch to the next, and what does it hand to who keeps it?

#[path = "support/stream.rs"]
mod stream;

use selvedge_core::seal::{Commit, EpochEnd};
use selvedge_core::subscriber::{Input, LinkId, Output, Reason, Subscriber};
use selvedge_core::{Now, Position, Time, Wall};
use stream::{Voice, WALL};

const A: LinkId = LinkId(1);

/// A subscriber over one link with MARKs, which wants a stream from its first epoch on.
struct Ear(Subscriber);

impl Ear {
    fn new(voice: &Voice) -> Ear {
        let mut ear = Ear(Subscriber::new(vec!["#".parse().unwrap()]));
        ear.input(Input::LinkUp { link: A, selvedge: true });
        let (key, publisher) = (voice.key(), "web".parse().unwrap());
        ear.input(Input::Begin { key, publisher, at: voice.at(0) });
        ear
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.0.handle(Now { time: Time(1), wall: Wall(WALL.0 + 1) }, input, &mut out);
        out
    }

    /// Hears all packets of a commit; where evidence was handed out, and how much was lost.
    fn hear(&mut self, voice: &Voice, commit: &Commit) -> (Vec<Position>, Vec<Reason>) {
        let (mut evidence, mut lost) = (Vec::new(), Vec::new());
        for trusted in voice.matching(commit, "") {
            for output in self.input(Input::Packet { link: A, trusted }) {
                match output {
                    Output::Evidence { at, .. } => evidence.push(at),
                    Output::Lost(said) => lost.push(said.reason),
                    _ => {}
                }
            }
        }
        (evidence, lost)
    }
}

/// The commits of so many epochs, one message each, and the tip that each begins with.
fn epochs(voice: &mut Voice, count: u64, clean: bool) -> Vec<(Commit, Commit)> {
    let mut said = Vec::new();
    for epoch in 1..=count {
        voice.restart(epoch);
        let tip = voice.tip_with(|tip| tip.oldest = Position::new(1, 0));
        said.push((tip, voice.say(&["a"])));
        voice.ends.insert(0, EpochEnd { epoch, end: voice.next, clean });
        voice.ends.truncate(16);
    }
    said
}

#[test]
fn the_tip_of_each_epoch_tells_how_the_one_before_ended_however_long_ago() {
    let mut voice = Voice::new(1);
    let mut ear = Ear::new(&voice);
    let said = epochs(&mut voice, 40, true);
    let newest = voice.tip_with(|tip| tip.oldest = Position::new(1, 0));
    assert_eq!(ear.hear(&voice, &newest), (vec![], vec![]));
    let mut crossed = Vec::new();
    for commit in said.iter().flat_map(|(tip, commit)| [tip, commit]) {
        let (evidence, lost) = ear.hear(&voice, commit);
        assert_eq!(lost, []);
        crossed.extend(evidence);
    }
    assert_eq!(crossed, Vec::from_iter((2..=40).map(|epoch| Position::new(epoch, 0))));
    let end = voice.at(voice.next);
    assert_eq!(ear.0.position(voice.key()), Some(end));
}

#[test]
fn who_keeps_a_stream_is_given_the_tip_with_every_loss() {
    let mut voice = Voice::new(1);
    let mut ear = Ear::new(&voice);
    let said = epochs(&mut voice, 2, false);
    ear.hear(&voice, &said[0].1);
    assert_eq!(ear.hear(&voice, &said[1].0), (vec![], vec![]), "more of it may come");
    let (evidence, lost) = ear.hear(&voice, &said[1].1);
    assert_eq!((evidence, lost), (vec![Position::new(2, 0)], vec![Reason::UncleanEnd]));
}

#[test]
fn nothing_but_a_tip_ends_an_epoch() {
    let mut voice = Voice::new(1);
    let mut ear = Ear::new(&voice);
    let said = epochs(&mut voice, 3, true);
    for (_, commit) in &said {
        assert_eq!(ear.hear(&voice, commit), (vec![], vec![]));
    }
    assert_eq!(ear.0.position(voice.key()), Some(Position::new(1, 1)));
    // The last one tells of both.
    let (evidence, lost) = ear.hear(&voice, &said[2].0);
    assert_eq!((evidence, lost), (vec![Position::new(2, 0), Position::new(3, 0)], vec![]));
    assert_eq!(ear.0.position(voice.key()), Some(voice.at(1)));
}
