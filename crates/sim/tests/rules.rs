//! Would the simulation notice if a rule were broken?
//!
//! Each test breaks one, and looks for a history in which that shows.

use selvedge_sim::{Knobs, failures};

/// Histories that are looked through at most.
const HISTORIES: u64 = 2_000;

/// With these knobs, some history fails, and in this way.
fn shows(knobs: Knobs, how: &str) {
    let failures = failures(0, HISTORIES, knobs, 20);
    let mut problems = failures.iter().flat_map(|(_, problems)| problems);
    assert!(problems.any(|problem| problem.contains(how)), "no {how:?} in {failures:#?}");
}

#[test]
fn without_tips_the_end_of_a_stream_is_not_noticed() {
    shows(Knobs { no_tips: true, ..Knobs::default() }, "not at its end");
}

#[test]
fn a_mark_that_is_believed_without_evidence_hides_a_loss() {
    shows(Knobs { blind_marks: true, ..Knobs::default() }, "missed silently");
}

#[test]
fn what_is_sent_before_it_is_kept_is_missed_by_others() {
    shows(Knobs { send_before_append: true, ..Knobs::default() }, "missed silently");
}

#[test]
fn a_cursor_that_moves_before_the_handler_skips_messages() {
    shows(Knobs { cursor_before_handler: true, ..Knobs::default() }, "missed silently");
}

#[test]
fn a_receipt_before_the_disk_has_it_is_a_lie() {
    shows(Knobs { receipt_before_sync: true, ..Knobs::default() }, "durable receipt");
}

#[test]
fn an_epoch_that_is_used_again_gives_numbers_out_twice() {
    shows(Knobs { same_epoch: true, ..Knobs::default() }, "given out twice");
}

#[test]
fn without_tips_on_disk_an_archive_serves_one_epoch_of_the_dead() {
    shows(Knobs { no_notes: true, ..Knobs::default() }, "an archive holds it, and it waits");
}
