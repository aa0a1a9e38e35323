//! Faults that are answered otherwise than they must be, and whom they may harm.

use super::clean::killed;
use super::status;
use crate::clock::Stamp;
use crate::event::{Exit, Fate, Harm, Outcome as Ended, Recording, Spared, Upshot};
use crate::scenario::Plan;
use crate::scenario::plan::When;
use crate::verdict::{Outcome, Status, judge};

/// What is said of the first fault when `spoil` has changed the run of killed successors.
fn answered(spoil: impl FnOnce(&mut Plan, &mut Recording)) -> (Status, String) {
    let (mut plan, mut run) = killed();
    spoil(&mut plan, &mut run);
    let verdict = judge(&plan, &run);
    (status(&verdict, "faults.met"), verdict.faults[0].got.clone())
}

#[test]
fn an_upgrade_that_completes_though_it_is_to_fail_is_named() {
    let (met, got) = answered(|_, run| run.upgrades[0].outcome = Ended::Completed);
    assert_eq!(met, Status::Fail);
    assert!(got.contains("completed") && got.contains("it was to fail"), "{got}");
    let (met, got) = answered(|_, run| run.faults[0].expected.upgrade = Upshot::Completes);
    assert_eq!(met, Status::Fail);
    assert!(got.contains("it was to complete"), "{got}");
}

#[test]
fn a_failure_counts_as_planned_only_if_the_fault_hit_and_it_was_to_fail() {
    let (plan, run) = killed();
    assert_eq!(status(&judge(&plan, &run), "upgrades.unplanned_failures"), Status::Pass);
    for spoil in
        [(|run| run.faults[0].expected.upgrade = Upshot::Completes) as fn(&mut Recording), |run| {
            run.faults[0].delivered = false
        }]
    {
        let (plan, mut run) = killed();
        spoil(&mut run);
        let verdict = judge(&plan, &run);
        assert_eq!(status(&verdict, "upgrades.unplanned_failures"), Status::Fail);
    }
}

#[test]
fn whoever_asked_must_be_told_what_the_plan_says() {
    let told = |words: &'static str| {
        answered(move |_, run| {
            run.faults[0].expected.told = Some("signal: 9".to_owned());
            run.upgrades[0].trouble = Some(words.to_owned());
        })
    };
    assert_eq!(told("ended before it was ready (signal: 9 (SIGKILL))").0, Status::Pass);
    let (met, got) = told("no idea");
    assert_eq!(met, Status::Fail);
    assert!(got.contains("to be told `signal: 9`"), "{got}");
}

#[test]
fn what_a_failed_upgrade_leaves_behind_is_named() {
    let (met, got) = answered(|_, run| run.faults[0].left = vec![4711]);
    assert_eq!(met, Status::Fail);
    assert!(got.contains("4711"), "{got}");
}

#[test]
fn a_fault_that_is_to_hit_certain_upgrades_must_have_hit_as_many() {
    let delivered = |upgrades: Vec<u64>| {
        let (mut plan, run) = killed();
        plan.faults[0].when = When::Upgrades(upgrades);
        status(&judge(&plan, &run), "faults.delivered")
    };
    let (_, run) = killed();
    let hits = u64::try_from(run.faults.len()).unwrap();
    assert_eq!(delivered((1..=hits).collect()), Status::Pass);
    assert_eq!(delivered((1..=hits + 1).collect()), Status::Inconclusive);
}

/// A predecessor that was killed after all, with a client of its own harmed, and
/// another client, if one is given.
fn predecessor_killed(other: Option<usize>, clients: Spared) -> (Plan, Recording) {
    let (mut plan, mut run) = killed();
    let victim = run.generations[0].pid;
    let fault = &mut run.faults[0];
    (fault.victim, fault.expected.upgrade) = (Some(victim), Upshot::Completes);
    fault.expected.clients = clients;
    run.upgrades[0].outcome = Ended::Completed;
    let injected = run.faults[0].injected.unwrap();
    run.generations[0].exit = Some(Exit::Signal(9));
    run.generations[0].ledger = None;
    let own = run.connections.iter().position(|one| one.served.unwrap().pid == victim).unwrap();
    for index in [Some(own), other].into_iter().flatten() {
        run.operations[index].fate = Fate::Harmed(Harm::EofEarly);
        run.operations[index].finished = Stamp(injected.0 + 1);
        run.connections[index].closed = Stamp(injected.0 + 1);
    }
    plan.faults[0].expect.clients = clients;
    (plan, run)
}

#[test]
fn only_the_connections_of_the_process_that_died_may_be_harmed() {
    let harm = |(plan, run): (Plan, Recording)| {
        let verdict = judge(&plan, &run);
        (status(&verdict, "harm.eof_early"), verdict.outcome)
    };
    assert_eq!(harm(predecessor_killed(None, Spared::ButItsOwn)).0, Status::Pass);
    assert_eq!(harm(predecessor_killed(None, Spared::All)), (Status::Fail, Outcome::Fail));
    let (_, run) = killed();
    let others = run.connections.iter().rposition(|_| true);
    assert_eq!(harm(predecessor_killed(others, Spared::ButItsOwn)), (Status::Fail, Outcome::Fail));
}

#[test]
fn one_that_was_not_greeted_may_be_lost_if_it_had_begun_before() {
    let harm = |begun_after: u64, fate: Harm| {
        let (plan, mut run) = predecessor_killed(None, Spared::ButItsOwn);
        let injected = run.faults[0].injected.unwrap();
        let last = run.connections.len() - 1;
        run.operations[last].fate = Fate::Harmed(fate);
        run.operations[last].finished = Stamp(injected.0 + 9);
        let connection = &mut run.connections[last];
        connection.served = None;
        connection.opened = Some(Stamp(injected.0 - 1 + begun_after));
        // Noted late.
        connection.established = Some(Stamp(injected.0 + 5));
        connection.closed = Stamp(injected.0 + 9);
        status(&judge(&plan, &run), &format!("harm.{fate}"))
    };
    assert_eq!(harm(0, Harm::EofGreeting), Status::Pass);
    assert_eq!(harm(2, Harm::EofGreeting), Status::Fail);
    assert_eq!(harm(0, Harm::Refused), Status::Fail);
}

#[test]
fn a_successor_that_relapses_may_have_served_before() {
    let served = |clients: Spared| {
        let (plan, mut run) = killed();
        let (victim, injected) = (run.faults[0].victim.unwrap(), run.faults[0].injected.unwrap());
        run.faults[0].expected.clients = clients;
        let last = run.connections.iter().rposition(|one| one.opened < Some(injected)).unwrap();
        run.connections[last].served.as_mut().unwrap().pid = victim;
        status(&judge(&plan, &run), "harm.wrong_generation")
    };
    assert_eq!(served(Spared::All), Status::Fail);
    assert_eq!(served(Spared::ButItsOwn), Status::Pass);
}

#[test]
fn laws_that_need_the_ledger_of_the_dead_are_not_checked() {
    let (plan, run) = predecessor_killed(None, Spared::ButItsOwn);
    let verdict = judge(&plan, &run);
    for id in ["law.L4", "law.L5", "law.L7.out", "law.L7.in"] {
        assert_eq!(status(&verdict, id), Status::NotChecked, "{id}");
    }
    assert_eq!(status(&verdict, "ledger.complete"), Status::Pass);
    assert_eq!(status(&verdict, "processes.exits"), Status::Pass);
}
