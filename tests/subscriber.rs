//! What moves a subscriber on, and what does it declare lost?

#[path = "support/stream.rs"]
mod stream;

use std::time::Duration;

use selvedge_core::limits::{AGE, HELD_BYTES, HOLE_PATIENCE, RANGES};
use selvedge_core::open::Trusted;
use selvedge_core::seal::{Commit, EpochEnd, Void};
use selvedge_core::subscriber::{Input, LinkId, Output, Subscriber};
use selvedge_core::wire::Mark;
use selvedge_core::{Now, Position, Time, Wall};
use stream::{Voice, WALL};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

/// A subscriber, and what it said in short: `+1` delivered, `>3` passed up to, `-4..6 NotHeld`.
struct Ear {
    subscriber: Subscriber,
    time: Time,
    said: Vec<String>,
}

impl Ear {
    fn new(wanted: &[&str], links: &[(LinkId, bool)]) -> Ear {
        let wanted = wanted.iter().map(|text| text.parse().unwrap()).collect();
        let mut ear = Ear { subscriber: Subscriber::new(wanted), time: Time(1), said: Vec::new() };
        for (link, selvedge) in links {
            ear.input(Input::LinkUp { link: *link, selvedge: *selvedge });
        }
        ear
    }

    /// One who wants `a`, over one link with MARKs.
    fn marked() -> Ear {
        Ear::new(&["a"], &[(A, true)])
    }

    /// One who wants `a`, over one link without.
    fn plain() -> Ear {
        Ear::new(&["a"], &[(A, false)])
    }

    fn input(&mut self, input: Input) {
        let now = Now { time: self.time, wall: Wall(WALL.0 + self.time.0) };
        let mut out = Vec::new();
        self.subscriber.handle(now, input, &mut out);
        let said = out.iter().filter(|output| !matches!(output, Output::Evidence { .. }));
        self.said.extend(said.map(show));
    }

    fn packet(&mut self, link: LinkId, trusted: Trusted) {
        self.input(Input::Packet { link, trusted });
    }

    /// The packets of `topic` and what follows it.
    fn hear(&mut self, link: LinkId, voice: &Voice, commit: &Commit, topic: &str) {
        voice.matching(commit, topic).into_iter().for_each(|trusted| self.packet(link, trusted));
    }

    fn mark(&mut self, link: LinkId, voice: &Voice, from: u64, upto: u64) {
        let (from, upto) = (voice.at(from), voice.at(upto));
        self.input(Input::Mark { link, mark: Mark { key: voice.key(), from, upto, flags: 0 } });
    }

    fn wait(&mut self, wait: Duration) {
        self.time = self.time + wait;
        self.input(Input::Tick);
    }

    /// What was said since the last look.
    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    fn counters(&self) -> selvedge_core::subscriber::Counters {
        self.subscriber.counters()
    }
}

fn show(output: &Output) -> String {
    match output {
        Output::Deliver(delivery) => {
            let numbers: Vec<_> = delivery.messages().map(|(seq, ..)| seq.to_string()).collect();
            format!("+{}", numbers.join(","))
        }
        Output::Passed { upto, .. } => format!(">{}", upto.seq),
        Output::Lost(lost) => format!("-{}..{} {:?}", lost.from.seq, lost.to.seq, lost.reason),
        Output::Started { at, .. } => format!("start {}", at.seq),
        Output::Tip(tip) => format!("tip {}", tip.packet().start().seq),
        Output::Ask { link, ask } => format!("?{} {}", link.0, ask.from.seq),
        Output::Evidence { at, .. } => format!("evidence {}", at.seq),
        Output::Superseded { epoch, .. } => format!("superseded {epoch}"),
    }
}

// ---- how streams begin -------------------------------------------------------------------------

#[test]
fn a_stream_begins_with_a_recent_packet_or_tip_and_never_with_a_mark() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    voice.skip(&["a"]);
    ear.mark(A, &voice, 0, 1);
    assert_eq!(ear.subscriber.position(voice.key()), None);
    let commit = voice.say(&["a", "a"]);
    ear.hear(A, &voice, &commit, "a");
    assert_eq!(ear.said(), ["start 1", "+1,2"]);
    let (tip, mut other) = (voice.tip(), Ear::marked());
    other.hear(A, &voice, &tip, "$");
    assert_eq!(other.said(), ["start 3", "tip 3"]);
}

#[test]
fn a_packet_without_a_position_is_stale_30_s_from_now() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    for (distance, stale) in [(AGE + Duration::from_secs(1), 1), (AGE, 1)] {
        ear.time = Time(0);
        voice.wall = Wall(WALL.0 - distance.as_micros() as u64);
        let commit = voice.say(&["a"]);
        ear.hear(A, &voice, &commit, "a");
        assert_eq!(ear.counters().stale, stale);
    }
    // Once there is a position, numbers judge and not clocks.
    voice.wall = Wall(0);
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    assert_eq!(ear.said(), ["start 1", "+1", "+2"]);
}

// ---- over links with MARKs ---------------------------------------------------------------------

#[test]
fn a_filtered_stream_loses_nothing_when_a_tip_comes_before_its_mark() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    voice.skip(&["b", "b", "c"]);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    assert_eq!(ear.said(), ["start 0", "+0"]);
    ear.mark(A, &voice, 1, 4);
    assert_eq!(ear.said(), [">4", "tip 4"]);
}

#[test]
fn a_mark_alone_moves_nothing_beyond_what_was_signed() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    ear.mark(A, &voice, 1, 1_000);
    assert_eq!(ear.said(), ["start 0", "+0"]);
    voice.skip(&["b"]);
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    assert_eq!(ear.said(), [">2", "+2"]);
}

#[test]
fn a_hole_is_closed_by_a_tip_once_its_links_have_come_as_far() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a"], &[(A, true), (B, true)]));
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    ear.hear(B, &voice, &first, "a");
    voice.skip(&["a"]);
    let third = voice.say(&["a"]);
    ear.hear(A, &voice, &third, "a");
    assert_eq!(ear.said(), ["start 0", "+0"], "held: nobody says that 1 will not come");
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 3, 3);
    assert_eq!(ear.said(), [""; 0], "the other link may still bring it");
    ear.mark(B, &voice, 3, 3);
    assert_eq!(ear.said(), ["-1..2 NotHeld", "+2", "tip 3"]);
}

#[test]
fn a_link_that_stays_behind_is_waited_for_a_second() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a"], &[(A, true), (B, true)]));
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    ear.hear(B, &voice, &first, "a");
    voice.skip(&["a"]);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 2, 2);
    assert_eq!(ear.subscriber.deadline(), Some(ear.time + HOLE_PATIENCE));
    ear.wait(HOLE_PATIENCE - Duration::from_micros(1));
    assert_eq!(ear.said(), ["start 0", "+0"]);
    ear.wait(Duration::from_micros(1));
    assert_eq!(ear.said(), ["-1..2 NotHeld", "tip 2"]);
    assert_eq!(ear.subscriber.deadline(), None);
}

#[test]
fn a_link_that_goes_away_is_not_waited_for() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a"], &[(A, true), (B, true)]));
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    ear.hear(B, &voice, &first, "a");
    voice.skip(&["a"]);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 2, 2);
    ear.input(Input::LinkDown(B));
    assert_eq!(ear.said(), ["start 0", "+0", "-1..2 NotHeld", "tip 2"]);
}

#[test]
fn a_tip_that_still_holds_the_numbers_closes_no_hole() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a", "a", "a"]);
    let oldest = voice.at(2);
    let tip = voice.tip_with(|tip| tip.oldest = oldest);
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 4, 4);
    ear.wait(10 * HOLE_PATIENCE);
    assert_eq!(ear.said(), ["start 0", "+0", "-1..2 NotHeld", "?1 2"]);
}

#[test]
fn a_step_between_two_packets_of_one_commit_is_no_gap_before_it() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["b"]);
    let apart = voice.say_apart("a", 2);
    ear.hear(A, &voice, &apart, "a");
    ear.mark(A, &voice, 1, 2);
    assert_eq!(ear.said(), ["start 0", "+0", ">2", "+2,3"]);
    assert_eq!(ear.counters().void_marks, 0);
}

#[test]
fn a_tip_from_before_a_stream_began_is_not_passed_on() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let old = voice.tip();
    voice.skip(&["a"]);
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    ear.hear(A, &voice, &old, "$");
    assert_eq!((ear.said(), ear.counters().duplicates), (vec!["start 1".into(), "+1".into()], 1));
}

#[test]
fn a_stream_without_a_tip_begins_at_the_oldest_that_came_and_not_at_once() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let (key, publisher, at) = (voice.key(), "web".parse().unwrap(), Position::default());
    let answers = |ear: &mut Ear, link, from| {
        ear.input(Input::Carries { link, keys: [key].into() });
        let mark = Mark { key, from, upto: from, flags: Mark::ANSWER };
        ear.input(Input::Mark { link, mark });
    };
    ear.input(Input::Begin { key, publisher, at });
    let early = voice.say(&["a"]);
    let late = voice.say(&["a"]);
    answers(&mut ear, A, voice.at(1));
    ear.hear(A, &voice, &late, "a");
    ear.wait(HOLE_PATIENCE - Duration::from_micros(1));
    ear.input(Input::LinkUp { link: B, selvedge: true });
    answers(&mut ear, B, voice.at(0));
    ear.hear(B, &voice, &early, "a");
    ear.wait(HOLE_PATIENCE);
    let said = ear.said();
    let said: Vec<&String> = said.iter().filter(|said| !said.starts_with('?')).collect();
    assert_eq!(said, ["start 0", "+0", "+1"]);
}

#[test]
fn what_a_tip_calls_void_is_lost_even_if_it_is_held() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a", "a", "a"]);
    let (epoch, oldest) = (voice.epoch, voice.at(0));
    let tip = voice.tip_with(|tip| {
        tip.oldest = oldest;
        tip.voids = vec![Void { epoch, from: 1, to: 3 }];
    });
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 4, 4);
    assert_eq!(ear.said(), ["start 0", "+0", "-1..3 Void"]);
}

#[test]
fn numbers_lost_inside_a_commit_are_one_lost_each_and_the_rest_is_delivered() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["#"], &[(A, true)]));
    let commit = voice.say(&["a", "b", "a", "c", "b"]);
    ear.hear(A, &voice, &commit, "a");
    ear.hear(A, &voice, &commit, "c");
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 5, 5);
    assert_eq!(ear.said(), ["start 0", "-1..2 NotHeld", "-4..5 NotHeld", "+0,2,3", "tip 5"]);
}

#[test]
fn more_runs_than_are_remembered_can_be_lost_in_one_commit() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["#"], &[(A, true)]));
    let runs = RANGES + 10;
    let topics = (0..2 * runs).map(|i| if i % 2 == 1 { "b" } else { ["a.x", "a.y"][i / runs] });
    let commit = voice.say(&topics.collect::<Vec<_>>());
    ear.hear(A, &voice, &commit, "a");
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 2 * runs as u64, 2 * runs as u64);
    let said = ear.said();
    assert_eq!(said.iter().filter(|said| said.ends_with("NotHeld")).count(), runs);
    assert_eq!(said.last().unwrap(), &format!("tip {}", 2 * runs));
}

#[test]
fn far_marks_do_not_crowd_out_near_ones() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a"], &[(A, true), (B, true)]));
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    for i in 0..2 * RANGES as u64 {
        ear.mark(B, &voice, 1_000 + 2 * i, 1_001 + 2 * i);
    }
    voice.skip(&["b", "b"]);
    let commit = voice.say(&["a"]);
    ear.mark(A, &voice, 1, 3);
    ear.hear(A, &voice, &commit, "a");
    assert_eq!(ear.said(), ["start 0", "+0", ">3", "+3"]);
}

#[test]
fn a_tip_is_sent_on_after_all_that_it_announces() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["#"], &[(A, true), (B, true)]));
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    let second = voice.say(&["a"]);
    let tip = voice.tip();
    ear.hear(B, &voice, &tip, "$");
    assert_eq!(ear.said(), ["start 0", "+0"]);
    ear.hear(A, &voice, &second, "a");
    assert_eq!(ear.said(), ["+1", "tip 2"]);
}

// ---- MARKs that are wrong ----------------------------------------------------------------------

#[test]
fn a_step_in_the_topics_numbers_voids_a_mark_that_came_before_it() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a"]);
    let third = voice.say(&["a"]);
    ear.mark(A, &voice, 1, 2);
    ear.hear(A, &voice, &third, "a");
    assert_eq!((ear.said(), ear.counters().void_marks), (vec!["start 0".into(), "+0".into()], 1));
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 3, 3);
    assert_eq!(ear.said(), ["-1..2 NotHeld", "+2", "tip 3"]);
}

#[test]
fn a_step_in_the_topics_numbers_voids_a_mark_that_comes_after_it() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a"]);
    let third = voice.say(&["a"]);
    ear.hear(A, &voice, &third, "a");
    ear.mark(A, &voice, 1, 3);
    assert_eq!((ear.said(), ear.counters().void_marks), (vec!["start 0".into(), "+0".into()], 1));
}

#[test]
fn what_a_wrong_mark_passed_already_is_lost_when_it_shows() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a", "b"], &[(A, true)]));
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a"]);
    let third = voice.say(&["b"]);
    ear.mark(A, &voice, 1, 2);
    ear.hear(A, &voice, &third, "b");
    assert_eq!(ear.said(), ["start 0", "+0", ">2", "+2"]);
    let fourth = voice.say(&["a"]);
    ear.hear(A, &voice, &fourth, "a");
    assert_eq!(ear.said(), ["-1..3 Gap", "+3"]);
}

#[test]
fn a_message_that_a_tip_lists_is_passed_by_no_mark() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["b", "a", "b"]);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 1, 4);
    assert_eq!(ear.said(), ["start 0", "+0", ">2", "-2..3 NotHeld", ">4", "-1..3 Gap", "tip 4"]);
}

#[test]
fn a_packet_of_several_messages_settles_what_a_tip_listed() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a"], &[(A, true), (B, true)]));
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.hear(B, &voice, &tip, "$");
    let commit = voice.say(&["a", "b", "a", "a"]);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.hear(B, &voice, &commit, "a");
    ear.mark(B, &voice, 0, 4);
    assert_eq!(ear.said(), ["start 0", "tip 0", "+0,2,3", "tip 4"]);
    assert_eq!(ear.counters().void_marks, 0);
}

// ---- epochs ------------------------------------------------------------------------------------

/// One message in epoch 1, then a tip of epoch 2.
fn restarted(ends: &[EpochEnd], said: &[&str]) -> Vec<String> {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(said);
    voice.restart(2);
    voice.ends = ends.to_vec();
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, 0, 0);
    assert_eq!(ear.subscriber.position(voice.key()), Some(Position::new(2, 0)));
    ear.said()[2..].to_vec()
}

#[test]
fn an_epoch_that_ended_cleanly_where_we_are_costs_nothing() {
    let end = EpochEnd { epoch: 1, end: 1, clean: true };
    assert_eq!(restarted(&[end], &[]), [">0", "tip 0"]);
}

#[test]
fn the_tail_of_an_epoch_that_ended_cleanly_is_lost_by_number() {
    let end = EpochEnd { epoch: 1, end: 3, clean: true };
    assert_eq!(restarted(&[end], &["a", "a"]), ["-1..3 NotHeld", ">0", "tip 0"]);
}

#[test]
fn an_epoch_that_ended_uncleanly_or_is_not_listed_may_have_lost_more() {
    let end = EpochEnd { epoch: 1, end: 1, clean: false };
    assert_eq!(restarted(&[end], &[]), ["-1..0 UncleanEnd", "tip 0"]);
    assert_eq!(restarted(&[], &[]), ["-1..0 UncleanEnd", "tip 0"]);
    let known = EpochEnd { epoch: 1, end: 3, clean: false };
    assert_eq!(
        restarted(&[known], &["a", "a", "a"]),
        ["-1..3 NotHeld", "-3..0 UncleanEnd", "tip 0"]
    );
}

#[test]
fn packets_of_an_epoch_that_was_left_are_duplicates_or_a_second_process() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    let late = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.restart(2);
    voice.ends = vec![EpochEnd { epoch: 1, end: 1, clean: true }];
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.said();
    ear.hear(A, &voice, &first, "a");
    assert_eq!((ear.said(), ear.counters().duplicates), (Vec::new(), 1));
    ear.hear(A, &voice, &late, "a");
    assert_eq!((ear.said(), ear.counters().duplicates), (Vec::new(), 2));
    let mut other = Voice::new(1);
    other.wall = Wall(voice.wall.0 + 1);
    let second = other.say(&["a", "a"]);
    ear.hear(A, &other, &second, "a");
    assert_eq!((ear.said(), ear.counters().superseded), (vec!["superseded 1".to_owned()], 1));
}

#[test]
fn what_was_said_before_a_stream_began_is_no_second_process() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let early = voice.say(&["a"]);
    voice.restart(2);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.hear(A, &voice, &early, "a");
    assert_eq!(
        (ear.said(), ear.counters().superseded),
        (vec!["start 0".into(), "tip 0".into()], 0)
    );
}

// ---- what is not kept --------------------------------------------------------------------------

#[test]
fn duplicates_are_counted_and_dropped() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["#"], &[(A, true), (B, true)]));
    let commit = voice.say(&["a", "b"]);
    ear.packet(A, voice.trusted(&commit, 0));
    ear.packet(B, voice.trusted(&commit, 0));
    ear.packet(B, voice.trusted(&commit, 1));
    ear.packet(A, voice.trusted(&commit, 1));
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.hear(B, &voice, &tip, "$");
    assert_eq!(ear.said(), ["start 0", "+0,1", "tip 2"]);
    assert_eq!(ear.counters().duplicates, 3);
}

#[test]
fn two_commits_with_the_same_numbers_do_not_mix() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["#"], &[(A, true)]));
    let one = voice.say(&["a", "b"]);
    voice.next = 0;
    let other = voice.say(&["c", "b", "b"]);
    ear.hear(A, &voice, &one, "a");
    ear.hear(A, &voice, &other, "b");
    assert_eq!((ear.said(), ear.counters().conflicts), (vec!["start 0".to_owned()], 1));
}

#[test]
fn a_tip_that_is_none_is_counted() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    let bad = [voice.raw_tip(b"no tip"[..].into()), voice.tip_with(|tip| tip.next += 1)];
    bad.iter().for_each(|tip| ear.hear(A, &voice, tip, "$"));
    assert_eq!((ear.said().len(), ear.counters().bad_tips), (2, 2));
}

#[test]
fn what_there_was_no_room_for_is_passed_by_no_mark() {
    const BODY: &[u8] = &[0; 1 << 20];
    let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a"]); // the hole
    let fit = HELD_BYTES / (BODY.len() + 200);
    for _ in 0..fit + 2 {
        let commit = voice.say_with(&["a"], BODY);
        ear.hear(A, &voice, &commit, "a");
    }
    assert_eq!(ear.counters().held_full, 2);
    let end = voice.next;
    ear.mark(A, &voice, 2, end);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    ear.mark(A, &voice, end, end);
    let held = 2 + fit as u64;
    let said = ear.said();
    assert_eq!(said[2], "-1..2 NotHeld");
    assert_eq!(said[3..said.len() - 2], (2..held).map(|i| format!("+{i}")).collect::<Vec<_>>());
    assert_eq!(said[said.len() - 2..], [format!("-{held}..{end} NotHeld"), format!("tip {end}")]);
}

// ---- keys that go ------------------------------------------------------------------------------

#[test]
fn what_waits_is_handed_over_when_a_key_goes_and_not_when_it_is_revoked() {
    for (revoked, expected) in
        [(false, vec!["-1..2 Removed", "+2", "-3..4 Removed"]), (true, vec!["-1..4 Removed"])]
    {
        let (mut voice, mut ear) = (Voice::new(1), Ear::marked());
        let first = voice.say(&["a"]);
        ear.hear(A, &voice, &first, "a");
        voice.skip(&["a"]);
        let third = voice.say(&["a"]);
        ear.hear(A, &voice, &third, "a");
        voice.skip(&["a"]);
        let oldest = voice.at(0);
        let tip = voice.tip_with(|tip| tip.oldest = oldest);
        ear.hear(A, &voice, &tip, "$");
        ear.said();
        ear.input(Input::Removed { key: voice.key(), revoked });
        assert_eq!(ear.said(), expected);
        assert_eq!(ear.subscriber.position(voice.key()), None);
    }
}

// ---- over links without MARKs ------------------------------------------------------------------

#[test]
fn a_packet_passes_what_its_link_would_have_brought_before_it() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::plain());
    for topics in [&["a"][..], &["b", "b"], &["a"]] {
        let commit = voice.say(topics);
        ear.hear(A, &voice, &commit, "a");
    }
    assert_eq!(ear.said(), ["start 0", "+0", ">3", "+3"]);
}

#[test]
fn a_step_in_the_topics_numbers_is_a_gap() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::plain());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["b", "a", "b"]);
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    assert_eq!(ear.said(), ["start 0", "+0", ">4", "-1..4 Gap", "+4"]);
}

#[test]
fn a_step_shows_although_another_topic_came_in_between() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::new(&["a", "b"], &[(A, false)]));
    for (topic, comes) in [("a", true), ("b", true), ("a", false), ("b", true), ("a", true)] {
        let commit = voice.say(&[topic]);
        if comes {
            ear.hear(A, &voice, &commit, topic);
        }
    }
    assert_eq!(ear.said(), ["start 0", "+0", "+1", ">3", "+3", "-1..4 Gap", "+4"]);
}

#[test]
fn the_first_message_of_a_topic_is_missed_after_a_tip_listed_all() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::plain());
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    voice.skip(&["a"]);
    let second = voice.say(&["a"]);
    ear.hear(A, &voice, &second, "a");
    assert_eq!(ear.said(), ["start 0", "tip 0", ">1", "-0..1 Gap", "+1"]);
}

#[test]
fn the_last_message_of_a_topic_is_missed_by_a_tip() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::plain());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["b", "a", "b"]);
    let tip = voice.tip();
    ear.hear(A, &voice, &tip, "$");
    assert_eq!(ear.said(), ["start 0", "+0", ">4", "-1..3 Gap", "tip 4"]);
}

#[test]
fn an_epoch_that_is_left_without_a_word_ended_uncleanly() {
    let (mut voice, mut ear) = (Voice::new(1), Ear::plain());
    let first = voice.say(&["a"]);
    ear.hear(A, &voice, &first, "a");
    voice.skip(&["a"]);
    voice.restart(2);
    let commit = voice.say(&["a"]);
    ear.hear(A, &voice, &commit, "a");
    assert_eq!(ear.said(), ["start 0", "+0", "-1..0 UncleanEnd", "+0"]);
}
