//! Parts of a run, judged together.

use super::super::combine::{Part, judge_parts};
use super::super::{Outcome, Status, Verdict};
use super::clean::{plan, recording};
use super::status;
use crate::event::{Fate, Harm, Recording};

/// A part like the clean run, with numbers that no other part has.
fn part(number: u64) -> Recording {
    let mut recording = recording();
    for operation in &mut recording.operations {
        operation.id += number * 10_000;
        operation.connection += number * 10_000;
    }
    for connection in &mut recording.connections {
        connection.id += number * 10_000;
    }
    recording
}

fn together(parts: &[Recording], of: usize) -> Verdict {
    let named = parts.iter().enumerate().map(|(index, recording)| Part {
        name: format!("{}/{of}", index + 1),
        plan: plan(),
        recording,
    });
    judge_parts(&named.collect::<Vec<_>>(), of)
}

#[test]
fn clean_parts_are_a_clean_run_that_saw_more() {
    let one = together(&[part(0)], 1);
    let two = together(&[part(0), part(1)], 2);
    assert_eq!((one.outcome, two.outcome), (Outcome::Pass, Outcome::Pass), "{:?}", two.checks);
    assert_eq!(two.checks.len(), one.checks.len() + 1);
    assert!(two.bounds.bad_connection_upper < one.bounds.bad_connection_upper);
    for (law, alone) in two.laws.iter().zip(&one.laws) {
        assert_eq!((law.lhs, law.rhs), (2 * alone.lhs, 2 * alone.rhs), "{}", law.id);
    }
}

#[test]
fn harm_in_one_part_convicts_all_and_names_the_part() {
    let mut harmed = part(1);
    harmed.operations[5].fate = Fate::Harmed(Harm::ResetQueue);
    let id = harmed.operations[5].id;
    let verdict = together(&[part(0), harmed], 2);
    assert_eq!(verdict.outcome, Outcome::Fail);
    assert_eq!(verdict.harm[&Harm::ResetQueue], [id]);
    let check = verdict.checks.iter().find(|check| check.id == "harm.reset_queue").unwrap();
    assert_eq!((check.got.as_str(), check.status), ("1", Status::Fail));
    assert!(check.detail.as_ref().unwrap().starts_with("operations "), "{check:?}");
}

#[test]
fn two_wrongs_do_not_balance() {
    let (mut more, mut less) = (part(0), part(1));
    *more.kernel.after.get_mut("Tcp.ActiveOpens").unwrap() += 1;
    *less.kernel.after.get_mut("Tcp.ActiveOpens").unwrap() -= 1;
    let verdict = together(&[more, less], 2);
    assert_eq!(status(&verdict, "law.L3"), Status::Fail);
    let law = verdict.laws.iter().find(|law| law.id == "L3").unwrap();
    assert_eq!((law.lhs, law.status), (law.rhs, Status::Fail));
}

#[test]
fn a_slow_observer_cannot_hide_among_others() {
    let mut slow = part(1);
    slow.observer.hiccup_max = std::time::Duration::from_secs(100);
    let verdict = together(&[part(0), slow, part(2)], 3);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    let check = verdict.checks.iter().find(|check| check.id == "observer.hiccup_max").unwrap();
    assert_eq!(check.got, "100.0s", "{check:?}");
}

#[test]
fn a_part_that_is_missing_leaves_the_run_unproved() {
    let verdict = together(&[part(0), part(1)], 3);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(status(&verdict, "run.parts"), Status::Inconclusive);
}
