//! For every metric a gate that holds, one that does not, and one that too
//! little was seen for.

use std::time::Duration;

use super::{count, judge, killed, plan, recording, status};
use crate::clock::Stamp;
use crate::event::{Edge, Fate, Harm, Queue, Recording, Sample, Scope};
use crate::scenario::Plan;
use crate::scenario::gate::{
    Bound, Comparison, Figure, Gate, Limit, Metric, Resource, UpgradeSpan, Window,
};
use crate::verdict::{Check, Outcome, Status, Verdict};

const MS: Duration = Duration::from_millis(1);

fn gate(metric: Metric, comparison: Comparison, bound: Bound, min_samples: u64) -> Gate {
    Gate {
        name: "it".to_owned(),
        metric,
        is: "as it must be".to_owned(),
        limit: Limit { comparison, bound },
        min_samples,
        line: 41,
    }
}

fn at_most(metric: Metric, bound: Bound) -> Gate {
    gate(metric, Comparison::AtMost, bound, 1)
}

fn latency(window: Window, figure: Figure) -> Metric {
    Metric::Latency { population: "churn".to_owned(), window, figure }
}

/// What is said of a gate on the clean run when `spoil` has changed it.
fn judged(gate: Gate, spoil: impl FnOnce(&mut Plan, &mut Recording)) -> Verdict {
    let (mut plan, mut recording) = (plan(), recording());
    plan.gates = vec![gate];
    spoil(&mut plan, &mut recording);
    judge(&plan, &recording)
}

fn found(verdict: &Verdict) -> &Check {
    assert_eq!(verdict.checks[0].id, "gate.it", "gates come first");
    &verdict.checks[0]
}

/// That a gate holds on the clean run, and has `expected` once it is spoiled.
#[track_caller]
fn stops(gate: &Gate, expected: Status, spoil: impl FnOnce(&mut Plan, &mut Recording)) {
    let clean = judged(gate.clone(), |_, _| {});
    assert_eq!(found(&clean).status, Status::Pass, "{:?}", found(&clean));
    let spoiled = judged(gate.clone(), spoil);
    assert_eq!(found(&spoiled).status, expected, "{:?}", found(&spoiled));
    let outcome = if expected == Status::Fail { Outcome::Fail } else { Outcome::Inconclusive };
    assert!(spoiled.outcome >= outcome);
}

/// Makes the operations intended in the second `second` take `span`.
fn slow(run: &mut Recording, second: usize, span: Duration) {
    for operation in &mut run.operations[100 * second..100 * (second + 1)] {
        operation.finished = operation.intended.after(span);
    }
}

#[test]
fn a_gate_says_where_it_stands_and_what_it_rests_on() {
    let verdict = judged(at_most(Metric::Harm(None), Bound::Number(0.0)), |_, _| {});
    let gated = found(&verdict).gate.unwrap();
    assert_eq!((gated.line, gated.samples, gated.min_samples), (41, 400, 1));
    assert_eq!(found(&verdict).limit, "as it must be");
    assert!(verdict.checks[1..].iter().all(|check| check.gate.is_none()));
}

#[test]
fn harm_is_counted_in_kinds_and_in_all() {
    let hurt = |_: &mut Plan, run: &mut Recording| {
        run.operations[5].fate = Fate::Harmed(Harm::Refused);
    };
    stops(&at_most(Metric::Harm(None), Bound::Number(0.0)), Status::Fail, hurt);
    stops(&at_most(Metric::Harm(Some(Harm::Refused)), Bound::Number(0.0)), Status::Fail, hurt);
    let other = judged(at_most(Metric::Harm(Some(Harm::Epipe)), Bound::Number(0.0)), hurt);
    assert_eq!(found(&other).status, Status::Pass);
}

#[test]
fn too_few_operations_prove_no_harmlessness_but_one_harm_is_proof_enough() {
    let many = gate(Metric::Harm(None), Comparison::Equal, Bound::Number(0.0), 401);
    let few = judged(many.clone(), |_, _| {});
    assert_eq!(found(&few).status, Status::Inconclusive);
    assert!(found(&few).detail.as_ref().unwrap().contains("400 samples, and 401"));
    let hurt = judged(many, |_, run| run.operations[5].fate = Fate::Harmed(Harm::Refused));
    assert_eq!(found(&hurt).status, Status::Fail);
}

#[test]
fn the_ledger_must_balance() {
    let balanced = gate(Metric::Ledger, Comparison::Equal, Bound::Balanced, 1);
    stops(&balanced, Status::Fail, |_, run| count(run, "Tcp.PassiveOpens", 1));
    stops(&balanced, Status::Inconclusive, |_, run| run.observer.intended[0] += 1);
    let demanding = gate(Metric::Ledger, Comparison::Equal, Bound::Balanced, 9);
    stops(&demanding, Status::Inconclusive, |plan, _| plan.target.ledger = None);
}

#[test]
fn a_counter_that_moved_is_found_or_cannot_be() {
    let none = at_most(Metric::KernelUnexplained, Bound::Number(0.0));
    stops(&none, Status::Fail, |_, run| count(run, "TcpExt.ListenDrops", 1));
    stops(&none, Status::Inconclusive, |_, run| run.kernel.scope = Scope::Host);
    stops(&none, Status::Inconclusive, |_, run| run.kernel.after.clear());
}

#[test]
fn unplanned_failures_are_counted() {
    let none = at_most(Metric::UnplannedFailures, Bound::Number(0.0));
    stops(&none, Status::Fail, |_, run| {
        run.upgrades[1].outcome = crate::event::Outcome::TimedOut;
    });
    stops(&none, Status::Inconclusive, |_, run| run.upgrades.clear());
    let (mut plan, run) = killed();
    plan.gates = vec![none];
    assert_eq!(status(&judge(&plan, &run), "gate.it"), Status::Pass, "these were planned");
}

#[test]
fn latency_is_that_of_its_window() {
    // Generation g serves the g-th second, and is gone at its end; the upgrade
    // to it begins 3 ms before, and so meets one operation, at its very end.
    for (window, samples) in [
        (Window::Init, 0),
        (Window::Handover, 3),
        (Window::Drain, 0),
        (Window::During, 3),
        (Window::After, 397),
    ] {
        let verdict = judged(at_most(latency(window, Figure::Max), Bound::Span(MS)), |_, _| {});
        let expected = if samples == 0 { Status::Inconclusive } else { Status::Pass };
        assert_eq!(found(&verdict).gate.unwrap().samples, samples, "{window:?}");
        assert_eq!(found(&verdict).status, expected, "{window:?}");
    }
    let after = at_most(latency(Window::After, Figure::Max), Bound::Span(MS));
    stops(&after, Status::Fail, |_, run| slow(run, 2, 2 * MS));
    let during = at_most(latency(Window::During, Figure::Max), Bound::Span(MS));
    let slow_elsewhere = judged(during, |_, run| {
        run.operations[150].finished = run.operations[150].intended.after(2 * MS);
    });
    assert_eq!(found(&slow_elsewhere).status, Status::Pass);
}

#[test]
fn a_quantile_is_that_of_those_that_went_well() {
    let half = latency(Window::After, Figure::Quantile(500_000));
    let limit = at_most(half, Bound::Span(MS));
    stops(&limit, Status::Fail, |_, run| (0..3).for_each(|second| slow(run, second, 2 * MS)));
    let one_quarter = judged(limit.clone(), |_, run| slow(run, 2, 2 * MS));
    assert_eq!(found(&one_quarter).status, Status::Pass);
    let harmed = judged(limit, |_, run| {
        (0..3).for_each(|second| slow(run, second, 2 * MS));
        for operation in &mut run.operations[..300] {
            operation.fate = Fate::Harmed(Harm::Timeout);
        }
    });
    assert_eq!(found(&harmed).status, Status::Pass);
}

#[test]
fn a_quantile_of_too_few_proves_nothing() {
    let tail = latency(Window::After, Figure::Quantile(999_000));
    let floor = Figure::Quantile(999_000).floor();
    let verdict = judged(gate(tail, Comparison::AtMost, Bound::Span(MS), floor), |_, _| {});
    assert_eq!(found(&verdict).status, Status::Inconclusive);
}

#[test]
fn a_relative_limit_follows_the_baseline() {
    let relative =
        at_most(latency(Window::After, Figure::Max), Bound::OfBaseline { factor: 2.0, slack: MS });
    // The first second is the baseline, and the second upgrade the first in the storm.
    let split = |run: &mut Recording| {
        run.timeline.storm_began = Stamp(990_000_000);
        run.upgrades.remove(0);
    };
    for (usual, later, expected) in [
        (2 * MS, 5 * MS, Status::Pass),
        (2 * MS, 6 * MS, Status::Fail),
        (3 * MS, 6 * MS, Status::Pass),
    ] {
        let verdict = judged(relative.clone(), |_, run| {
            split(run);
            slow(run, 0, usual);
            slow(run, 2, later);
        });
        assert_eq!(found(&verdict).status, expected, "{usual:?} {later:?}");
        assert!(found(&verdict).detail.as_ref().unwrap().contains("baseline"));
    }
    let without = judged(relative, |_, _| {});
    assert_eq!(found(&without).status, Status::Inconclusive, "there is no baseline");
}

#[test]
fn the_longest_gap_is_gated() {
    let gap = at_most(Metric::Gap { population: "churn".to_owned() }, Bound::Span(50 * MS));
    let end = |run: &mut Recording| run.timeline.load_ended = Stamp(4_000_000_000);
    stops(&gap, Status::Fail, |_, run| {
        end(run);
        for operation in &mut run.operations[200..206] {
            operation.fate = Fate::Harmed(Harm::Refused);
        }
    });
    stops(&gap, Status::Fail, |_, run| {
        end(run);
        run.operations.truncate(300);
    });
    let verdict = judged(gap, |_, run| end(run));
    assert_eq!(verdict.gaps[0].length(), 10 * MS);
    assert_eq!(verdict.gaps[0].served, 400);
}

#[test]
fn upgrades_are_timed() {
    for (span, limit) in [
        (UpgradeSpan::Started, MS),
        (UpgradeSpan::Answered, 3 * MS),
        (UpgradeSpan::Drained, 3 * MS),
    ] {
        let figure = Figure::Max;
        let timed = at_most(Metric::Upgrade { span, figure }, Bound::Span(limit));
        stops(&timed, Status::Fail, |_, run| {
            let upgrade = &mut run.upgrades[1];
            upgrade.triggered = upgrade.triggered.before(MS);
        });
        let few = gate(Metric::Upgrade { span, figure }, Comparison::AtMost, Bound::Span(limit), 4);
        assert_eq!(found(&judged(few, |_, _| {})).status, Status::Inconclusive);
    }
}

#[test]
fn what_grows_with_each_upgrade_is_found() {
    for resource in [Resource::Fds, Resource::RssKib, Resource::Threads, Resource::EnvironBytes] {
        let flat = gate(Metric::Growth(resource), Comparison::Equal, Bound::Number(0.0), 2);
        stops(&flat, Status::Fail, |_, run| {
            let held = run.generations[3].resources.as_mut().unwrap();
            held.fds.insert(77, "pipe".to_owned());
            held.rss_kib += 2;
            held.threads += 2;
            held.environ_bytes += 2;
        });
        stops(&flat, Status::Inconclusive, |_, run| {
            run.generations[2].resources = None;
            run.generations[3].resources = None;
        });
    }
}

#[test]
fn leaked_processes_are_counted() {
    let none = at_most(Metric::Leaked, Bound::Number(0.0));
    stops(&none, Status::Fail, |_, run| run.leaked = vec![7]);
    stops(&none, Status::Fail, |_, run| run.generations[1].gone = None);
    stops(&none, Status::Inconclusive, |_, run| run.generations.clear());
}

#[test]
fn the_deepest_queue_is_gated() {
    let shallow = at_most(Metric::QueueDepth, Bound::Number(5.0));
    let queue = |inode, waiting| Queue { inode, waiting, limit: 128 };
    let sampled = |waiting: u64| {
        judged(shallow.clone(), move |_, run| {
            run.kernel.samples.rows.push(Sample {
                from: Stamp(1),
                to: Stamp(2),
                edges: vec![Edge::Triggered(1)],
                moved: Vec::new(),
                queues: vec![queue(42, waiting), queue(43, 1)],
            });
        })
    };
    assert_eq!(found(&sampled(5)).status, Status::Pass);
    assert_eq!(found(&sampled(6)).status, Status::Fail);
    let unsampled = judged(shallow, |_, run| run.kernel.samples.rows.clear());
    assert_eq!(found(&unsampled).status, Status::Inconclusive);
}
