//! The judge, judged: for every check a recording that it stops, made from a
//! clean one by changing just one thing.

mod clean;
mod coverage;
mod faults;
mod gates;
mod network;
mod per_upgrade;
mod parts;
mod resets;
mod sweep;
mod web;
mod windows;

use std::time::Duration;

use proptest::prelude::*;

use super::{Outcome, Seen, Status, Verdict, judge};
use crate::clock::Stamp;
use crate::event::{
    Datagrams, Exit, Fate, Harm, OpKind, Outcome as Ended, Recording, Scope, Served,
};
use crate::scenario::Plan;
use crate::scenario::plan::{Addressee, Namespace};

use clean::{killed, plan, recording};

fn status(verdict: &Verdict, id: &str) -> Status {
    let found = verdict.checks.iter().find(|check| check.id == id);
    found.unwrap_or_else(|| panic!("no check {id}")).status
}

/// What the judge says of the clean run when `spoil` has changed it.
fn spoiled(spoil: impl FnOnce(&mut Plan, &mut Recording)) -> Verdict {
    let (mut plan, mut recording) = (plan(), recording());
    spoil(&mut plan, &mut recording);
    judge(&plan, &recording)
}

/// That `spoil` is noticed by the check `id`, as `status`, and decides the verdict.
#[track_caller]
fn stops(id: &str, expected: Status, spoil: impl FnOnce(&mut Plan, &mut Recording)) {
    let verdict = spoiled(spoil);
    assert_eq!(status(&verdict, id), expected, "{id}: {:?}", verdict.checks);
    let outcome = match expected {
        Status::Fail => Outcome::Fail,
        Status::Inconclusive => Outcome::Inconclusive,
        Status::Pass | Status::NotChecked => Outcome::Pass,
    };
    assert_eq!(verdict.outcome, outcome, "{:?}", verdict.checks);
}

#[test]
fn a_clean_run_passes_every_check() {
    let verdict = judge(&plan(), &recording());
    let held: Vec<_> = verdict.checks.iter().filter(|check| check.status != Status::Pass).collect();
    assert!(held.is_empty(), "{held:?}");
    assert_eq!(verdict.outcome, Outcome::Pass);
    assert!(verdict.bounds.bad_upgrade_upper < 0.8);
}

#[test]
fn a_run_with_killed_successors_passes() {
    let (plan, recording) = killed();
    let verdict = judge(&plan, &recording);
    assert_eq!(verdict.outcome, Outcome::Pass, "{:?}", verdict.checks);
    assert_eq!(status(&verdict, "faults.survived"), Status::Pass);
}

#[test]
fn every_kind_of_harm_fails_under_its_own_name() {
    for harm in Harm::ALL {
        let id = format!("harm.{harm}");
        stops(&id, Status::Fail, |_, run| run.operations[5].fate = Fate::Harmed(harm));
        let verdict = spoiled(|_, run| run.operations[5].fate = Fate::Harmed(harm));
        assert_eq!(verdict.harm[&harm], [run_operation(5)]);
        assert_eq!(verdict.harm.len(), Harm::ALL.len());
    }
}

fn run_operation(index: usize) -> u64 {
    recording().operations[index].id
}

#[test]
fn tolerated_harm_does_not_fail_by_itself() {
    stops("harm.eof_idle", Status::Pass, |plan, run| {
        plan.coverage.tolerated = vec![Harm::EofIdle];
        run.operations[5].fate = Fate::Harmed(Harm::EofIdle);
    });
}

#[test]
fn l1_misses_what_was_intended_and_never_begun() {
    stops("law.L1", Status::Inconclusive, |_, run| run.observer.intended[0] += 1);
}

#[test]
fn l2_sees_an_operation_that_is_there_twice() {
    stops("law.L2", Status::Fail, |_, run| run.operations[1].id = run.operations[0].id);
}

#[test]
fn l3_sees_a_connection_that_no_client_made() {
    stops("law.L3", Status::Fail, |_, run| count(run, "Tcp.ActiveOpens", 1));
}

#[test]
fn l4_sees_a_connection_that_nobody_accepted() {
    stops("law.L4", Status::Fail, |_, run| count(run, "Tcp.PassiveOpens", 1));
}

#[test]
fn l5_sees_a_connection_that_was_accepted_and_never_served() {
    stops("law.L5", Status::Fail, |_, run| ledger(run, 0).first_read -= 1);
}

#[test]
fn l6_sees_a_reset_that_no_client_saw() {
    stops("law.L6", Status::Fail, |_, run| count(run, "Tcp.OutRsts", 1));
}

#[test]
fn l7_sees_bytes_that_went_missing_either_way() {
    stops("law.L7.out", Status::Fail, |_, run| ledger(run, 0).bytes_in -= 1);
    stops("law.L7.in", Status::Fail, |_, run| ledger(run, 0).bytes_out += 1);
}

/// Adds a flow that sent a hundred datagrams to the books of all three.
fn with_datagrams(run: &mut Recording) {
    let flow = Datagrams { sent: 100, received: 100, dropped: 0 };
    let row = crate::event::Connection {
        id: 1000,
        established: None,
        datagrams: Some(flow),
        ..run.connections[0].clone()
    };
    run.connections.push(row);
    count(run, "Udp.OutDatagrams", 200);
    count(run, "Udp.InDatagrams", 200);
    for (index, share) in [10, 20, 30, 40].into_iter().enumerate() {
        let ledger = ledger(run, index);
        (ledger.datagrams_in, ledger.datagrams_out) = (Some(share), Some(share));
    }
}

#[test]
fn l8_sees_datagrams_that_went_missing_either_way() {
    let spoil = |spoil: fn(&mut Recording)| {
        move |_: &mut Plan, run: &mut Recording| {
            with_datagrams(run);
            spoil(run);
        }
    };
    let verdict = spoiled(spoil(|_| ()));
    assert_eq!(verdict.outcome, Outcome::Pass, "{:?}", verdict.checks);
    stops("law.L8", Status::Fail, spoil(|run| count(run, "Udp.OutDatagrams", 1)));
    stops("law.L8.out", Status::Fail, spoil(|run| ledger(run, 0).datagrams_in = Some(9)));
    stops("law.L8.in", Status::Fail, spoil(|run| ledger(run, 0).datagrams_out = Some(11)));
    // What clients saw lost explains what the kernel turned away, and no more.
    let turned_away = spoil(|run| {
        run.connections.last_mut().unwrap().datagrams =
            Some(Datagrams { sent: 101, received: 100, dropped: 0 });
        count(run, "Udp.OutDatagrams", 1);
        count(run, "Udp.NoPorts", 1);
        run.operations[5].fate = Fate::Harmed(Harm::UdpLost);
    });
    let verdict = spoiled(turned_away);
    let failed = verdict.checks.iter().filter(|check| check.status == Status::Fail);
    assert_eq!(failed.map(|check| check.id.as_str()).collect::<Vec<_>>(), ["harm.udp_lost"]);
    // What our own socket had no room for is not the server's loss.
    let dropped = spoiled(spoil(|run| {
        run.connections.last_mut().unwrap().datagrams =
            Some(Datagrams { sent: 100, received: 99, dropped: 1 });
        count(run, "Udp.OutDatagrams", 1);
        count(run, "Udp.InErrors", 1);
        run.operations[5].fate = Fate::LimitHit;
        ledger(run, 0).datagrams_in = Some(10);
    }));
    assert_eq!(status(&dropped, "law.L8.out"), Status::Pass);
    assert_eq!(status(&dropped, "law.L8.in"), Status::Pass);
    assert_eq!(dropped.outcome, Outcome::Inconclusive, "{:?}", dropped.checks);
    // A server that does not count them is not accused.
    let verdict = spoiled(spoil(|run| ledger(run, 0).datagrams_in = None));
    assert_eq!(status(&verdict, "law.L8.out"), Status::NotChecked);
    assert_eq!(verdict.outcome, Outcome::Pass);
}

#[test]
fn a_syn_that_was_sent_again_is_a_stall_however_short_it_seemed() {
    stops("harm.stall_syn", Status::Fail, |_, run| run.connections[5].syn_retransmits = Some(1));
    stops("harm.stall_syn", Status::Pass, |_, run| {
        run.connections[5].syn_retransmits = Some(0);
        run.connections[6].retransmits = Some(1);
    });
    // The kernel counted what the connection knows.
    let verdict = spoiled(|_, run| {
        run.connections[5].syn_retransmits = Some(2);
        count(run, "TcpExt.TCPSynRetrans", 2);
    });
    assert!(verdict.unexplained.is_empty(), "{:?}", verdict.unexplained);
}

#[test]
fn l9_sees_what_was_left_open_or_alive() {
    stops("law.L9", Status::Fail, |_, run| count(run, "Tcp.CurrEstab", 1));
    stops("law.L9.processes", Status::Fail, |_, run| run.leaked = vec![7]);
    stops("law.L9.processes", Status::Fail, |_, run| run.generations[2].gone = None);
}

#[test]
fn l10_sees_another_accept_queue() {
    stops("law.L10", Status::Fail, |_, run| run.generations[2].listeners = [99].into());
}

#[test]
fn a_counter_that_must_be_zero_fails_if_no_client_explains_it() {
    for name in ["TcpExt.ListenDrops", "Tcp.EstabResets", "TcpExt.TCPSynRetrans", "Udp.NoPorts"] {
        stops("kernel.unexplained", Status::Fail, |_, run| count(run, name, 1));
    }
}

#[test]
fn what_clients_saw_explains_just_as_much() {
    let refuse = |_: &mut Plan, run: &mut Recording| {
        run.operations[5].fate = Fate::Harmed(Harm::Refused);
        run.connections[5].reset = true;
        count(run, "Tcp.OutRsts", 1);
        count(run, "Tcp.AttemptFails", 1);
    };
    assert_eq!(status(&spoiled(refuse), "kernel.unexplained"), Status::Pass);
    let verdict = spoiled(|plan, run| {
        refuse(plan, run);
        count(run, "Tcp.OutRsts", 1);
    });
    assert_eq!(verdict.unexplained["Tcp.OutRsts"], 1);
}

#[test]
fn bounds_count_what_was_harmed() {
    let clean = judge(&plan(), &recording()).bounds;
    assert_eq!(
        (clean.upgrades, clean.connections),
        (Seen { harmed: 0, of: 3 }, Seen { harmed: 0, of: 400 })
    );
    let hurt = spoiled(|_, run| {
        run.upgrades[1].triggered = run.upgrades[1].triggered.before(Duration::from_millis(200));
        run.operations[190].fate = Fate::Harmed(Harm::Refused);
        run.operations[5].fate = Fate::Harmed(Harm::Refused);
    });
    assert_eq!(hurt.bounds.upgrades, Seen { harmed: 1, of: 3 });
    assert_eq!(hurt.bounds.connections, Seen { harmed: 2, of: 400 });
    assert!(hurt.bounds.bad_connection_upper > clean.bad_connection_upper);
}

#[test]
fn unread_counters_prove_nothing() {
    let verdict = spoiled(|_, run| run.kernel.after.clear());
    assert_eq!(status(&verdict, "kernel.unexplained"), Status::Inconclusive);
}

#[test]
fn a_shared_network_leaves_the_kernels_laws_unchecked() {
    let verdict = spoiled(|plan, run| {
        plan.network.namespace = Namespace::Host;
        run.kernel.scope = Scope::Host;
        count(run, "Tcp.OutRsts", 1000);
    });
    for id in ["law.L3", "law.L4", "law.L6", "law.L9", "kernel.unexplained"] {
        assert_eq!(status(&verdict, id), Status::NotChecked, "{id}");
    }
    assert_eq!(status(&verdict, "law.L5"), Status::Pass, "this one needs no kernel");
    assert!(
        verdict
            .checks
            .iter()
            .all(|check| check.status != Status::NotChecked || check.detail.is_some())
    );
}

#[test]
fn a_server_without_ledger_leaves_its_laws_unchecked() {
    let verdict = spoiled(|plan, run| {
        plan.target.ledger = None;
        run.generations.iter_mut().for_each(|generation| generation.ledger = None);
    });
    for id in ["law.L4", "law.L5", "law.L7.in", "law.L7.out"] {
        assert_eq!(status(&verdict, id), Status::NotChecked, "{id}");
    }
    assert_eq!(verdict.outcome, Outcome::Pass);
}

#[test]
fn a_server_that_does_not_say_who_it_is_cannot_be_caught_as_the_wrong_one() {
    stops("harm.wrong_generation", Status::NotChecked, |plan, run| {
        plan.target.greeting = None;
        run.connections.iter_mut().for_each(|connection| connection.served = None);
    });
}

#[test]
fn a_missing_ledger_is_missed() {
    stops("ledger.complete", Status::Fail, |_, run| run.generations[1].ledger = None);
}

#[test]
fn an_exit_that_is_not_zero_fails() {
    for exit in [Some(Exit::Code(1)), Some(Exit::Signal(11)), None] {
        stops("processes.exits", Status::Fail, |_, run| run.generations[1].exit = exit);
    }
    stops("processes.exits", Status::Pass, |_, run| run.generations[1].exit = Some(Exit::Reaped));
}

#[test]
fn a_descriptor_an_environment_or_memory_that_grows_fails() {
    stops("processes.resources", Status::Fail, |_, run| {
        held(run).fds.insert(77, "pipe".to_owned());
    });
    stops("processes.resources", Status::Fail, |_, run| held(run).environ_bytes += 1);
    stops("processes.resources", Status::Fail, |_, run| held(run).rss_kib += 100_000);
    stops("processes.resources", Status::NotChecked, |_, run| {
        run.generations[2].resources = None;
        run.generations[3].resources = None;
    });
}

#[test]
fn an_answer_from_a_generation_that_had_been_succeeded_is_wrong() {
    stops("harm.wrong_generation", Status::Fail, |_, run| {
        let last = run.connections.len() - 1;
        run.connections[last].served =
            Some(Served { generation: Some(0), pid: run.generations[0].pid });
    });
    // What it had accepted before is its own to answer.
    stops("harm.wrong_generation", Status::Pass, |_, run| {
        let first = run.upgrades[0].decided;
        let soon = run.connections.iter().position(|one| one.opened > Some(first)).unwrap();
        run.connections[soon].served =
            Some(Served { generation: Some(0), pid: run.generations[0].pid });
    });
}

#[test]
fn an_answer_from_a_stranger_or_from_the_dead_is_wrong() {
    stops("harm.wrong_generation", Status::Fail, |_, run| {
        run.connections[3].served = Some(Served { generation: Some(0), pid: 4_000_000 });
    });
    let (plan, mut run) = killed();
    run.connections[3].served =
        Some(Served { generation: Some(1), pid: run.faults[0].pid.unwrap() });
    let verdict = judge(&plan, &run);
    assert_eq!(status(&verdict, "harm.wrong_generation"), Status::Fail);
}

#[test]
fn a_supervised_server_may_answer_from_whichever_worker() {
    let verdict = spoiled(|plan, run| {
        plan.target.trigger.to = Addressee::Main;
        let last = run.connections.len() - 1;
        run.connections[last].served =
            Some(Served { generation: Some(0), pid: run.generations[0].pid });
    });
    assert_eq!(status(&verdict, "harm.wrong_generation"), Status::Pass);
}

#[test]
fn an_upgrade_that_nobody_planned_to_fail_fails() {
    for outcome in [Ended::TimedOut, Ended::ServerGone, Ended::FailedAsPlanned] {
        stops("upgrades.unplanned_failures", Status::Fail, |plan, run| {
            plan.coverage.upgrades = 1;
            run.upgrades[2].outcome = outcome;
        });
    }
}

#[test]
fn a_fault_that_missed_and_was_not_made_up_for_proves_nothing() {
    let (plan, mut run) = killed();
    run.faults.push(run.faults[0].clone());
    let last = run.faults.len() - 1;
    run.faults[last].delivered = false;
    run.faults[last].upgrade = 5;
    assert_eq!(status(&judge(&plan, &run), "faults.delivered"), Status::Inconclusive);
    // Made up for: the next one hit.
    run.faults.swap(0, last);
    assert_eq!(status(&judge(&plan, &run), "faults.delivered"), Status::Pass);
}

#[test]
fn too_few_faults_prove_nothing() {
    let (mut plan, run) = killed();
    plan.coverage.faults = 100;
    assert_eq!(judge(&plan, &run).outcome, Outcome::Inconclusive);
}

#[test]
fn an_old_generation_that_accepts_nobody_after_a_fault_fails() {
    let (plan, mut run) = killed();
    run.faults[0].old_answered = None;
    assert_eq!(status(&judge(&plan, &run), "faults.survived"), Status::Fail);
}

#[test]
fn proven_harm_outranks_an_observer_at_fault() {
    let verdict = spoiled(|_, run| {
        run.interrupted = Some("SIGINT".to_owned());
        run.operations[5].fate = Fate::Harmed(Harm::Refused);
    });
    assert_eq!(verdict.outcome, Outcome::Fail);
}

#[test]
fn a_run_in_which_nothing_happened_proves_nothing() {
    let verdict = spoiled(|plan, run| {
        plan.upgrades = None;
        plan.coverage.connections = 0;
        run.operations.clear();
        run.connections.clear();
        run.upgrades.clear();
        run.observer.intended = vec![0];
        run.kernel.after = run.kernel.before.clone();
        for index in 0..run.generations.len() {
            *ledger(run, index) = crate::event::ServerLedger::default();
        }
    });
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert!((verdict.bounds.bad_connection_upper - 1.0).abs() < 1e-9);
}

proptest! {
    #[test]
    fn no_row_can_be_lost_without_notice(at in any::<prop::sample::Index>()) {
        let lost = spoiled(|_, run| {
            run.operations.remove(at.index(run.operations.len()));
        });
        prop_assert_ne!(lost.outcome, Outcome::Pass);
        let lost = spoiled(|_, run| {
            run.connections.remove(at.index(run.connections.len()));
        });
        prop_assert_ne!(lost.outcome, Outcome::Pass);
    }

    #[test]
    fn no_ledger_can_be_off_by_one_without_notice(at in any::<prop::sample::Index>(), more: bool) {
        let off = spoiled(|_, run| {
            let accepted = &mut ledger(run, at.index(4)).accepted;
            *accepted = if more { *accepted + 1 } else { *accepted - 1 };
        });
        prop_assert_eq!(off.outcome, Outcome::Fail);
    }

    #[test]
    fn judging_again_says_the_same(at in any::<prop::sample::Index>()) {
        let mut run = recording();
        let at = at.index(run.operations.len());
        run.operations[at].fate = Fate::Harmed(Harm::EofEarly);
        let stored = serde_json::to_string(&run).unwrap();
        let again: Recording = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(judge(&plan(), &run), judge(&plan(), &again));
    }
}

/// Moves a counter.
fn count(run: &mut Recording, name: &str, by: u64) {
    *run.kernel.after.entry(name.to_owned()).or_default() += by;
}

fn ledger(run: &mut Recording, generation: usize) -> &mut crate::event::ServerLedger {
    run.generations[generation].ledger.as_mut().unwrap()
}

/// What the last generation held.
fn held(run: &mut Recording) -> &mut crate::event::Resources {
    run.generations[3].resources.as_mut().unwrap()
}

#[test]
fn the_clean_run_is_what_it_claims_to_be() {
    let run = recording();
    assert!(run.operations.iter().all(|operation| operation.kind == OpKind::Churn));
    assert!(run.upgrades.windows(2).all(|pair| pair[0].decided < pair[1].triggered));
    assert!(run.connections.last().unwrap().opened > Some(Stamp(2_000_000_000)));
}
