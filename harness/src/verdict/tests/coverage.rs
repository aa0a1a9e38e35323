//! Too little seen, or by an observer that was not up to it.

use super::{judge, killed, status, stops};
use crate::event::{Fate, Recording};
use crate::scenario::Plan;
use crate::scenario::gate::Window;
use crate::scenario::plan::Delivered;
use crate::verdict::Status;

#[test]
fn a_run_that_saw_too_little_proves_nothing() {
    stops("coverage.upgrades", Status::Inconclusive, |plan, _| plan.coverage.upgrades = 100);
    stops("coverage.connections", Status::Inconclusive, |plan, _| {
        plan.coverage.connections = 1_000_000;
    });
    stops("coverage.connections_per_upgrade", Status::Inconclusive, |plan, _| {
        plan.coverage.connections_per_upgrade = 1000.0;
    });
}

#[test]
fn windows_that_saw_too_little_prove_nothing() {
    let named = |window, min| {
        move |plan: &mut Plan, _: &mut Recording| plan.coverage.ops_in_window = vec![(window, min)]
    };
    stops("coverage.ops_in_window.handover", Status::Pass, named(Window::Handover, 3));
    stops("coverage.ops_in_window.handover", Status::Inconclusive, named(Window::Handover, 4));
    stops("coverage.ops_in_window.init", Status::Inconclusive, named(Window::Init, 1));
    stops("coverage.ops_in_window.during", Status::Inconclusive, named(Window::During, 4));
}

#[test]
fn faults_that_were_not_delivered_prove_nothing() {
    let delivered = |wanted, spoil: fn(&mut Recording)| {
        let (mut plan, mut run) = killed();
        plan.coverage.faults_delivered = Some(wanted);
        spoil(&mut run);
        status(&judge(&plan, &run), "coverage.faults_delivered")
    };
    assert_eq!(delivered(Delivered::All, |_| {}), Status::Pass);
    assert_eq!(delivered(Delivered::AtLeast(3), |_| {}), Status::Pass);
    assert_eq!(delivered(Delivered::AtLeast(4), |_| {}), Status::Inconclusive);
    let last_missed = |run: &mut Recording| run.faults[2].delivered = false;
    assert_eq!(delivered(Delivered::All, last_missed), Status::Inconclusive);
    // It was aimed again, and hit.
    let first_missed = |run: &mut Recording| run.faults[0].delivered = false;
    assert_eq!(delivered(Delivered::All, first_missed), Status::Pass);
    assert_eq!(delivered(Delivered::All, |run| run.faults.clear()), Status::Inconclusive);
}

#[test]
fn an_observer_at_fault_proves_nothing() {
    stops("observer.limit_hit", Status::Inconclusive, |_, run| {
        run.operations[5].fate = Fate::LimitHit;
    });
    stops("observer.lateness_p99", Status::Inconclusive, |plan, run| {
        let late = plan.limits.lateness_p99 * 2;
        for operation in &mut run.operations {
            operation.dispatched = operation.intended.after(late);
        }
    });
    stops("observer.lateness_max", Status::Inconclusive, |plan, run| {
        let late = plan.limits.lateness_max * 2;
        run.operations[7].dispatched = run.operations[7].intended.after(late);
    });
    stops("observer.shed", Status::Inconclusive, |_, run| run.observer.intended[0] += 1);
    stops("observer.hiccup_max", Status::Inconclusive, |plan, run| {
        run.observer.hiccup_max = plan.limits.hiccup_max * 2;
    });
    stops("run.interrupted", Status::Inconclusive, |_, run| {
        run.interrupted = Some("SIGINT".to_owned());
    });
}
