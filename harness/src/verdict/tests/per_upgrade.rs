//! The laws between the edges of single upgrades.

use std::time::Duration;

use super::{judge, killed, plan, recording, spoiled, status, stops};
use crate::clock::Stamp;
use crate::event::{Connection, Edge, Fate, Harm, Queue, Recording, Resets, Scope};
use crate::scenario::plan::{Endpoint, Http, Load, Plan, Speak};
use crate::verdict::{Closing, Law, Status, UpgradeWindow, Verdict};

const ID: &str = "upgrades.laws";

/// What a law says in the window of an upgrade, counted from 1.
fn law<'a>(verdict: &'a Verdict, upgrade: usize, id: &str) -> &'a Law {
    verdict.upgrades[upgrade - 1].laws.iter().find(|law| law.id == id).unwrap()
}

fn laws(window: &UpgradeWindow) -> Vec<(&str, Status)> {
    window.laws.iter().map(|law| (law.id.as_str(), law.status)).collect()
}

/// Moves a counter between the trigger of the second upgrade and its end.
fn moved(run: &mut Recording, name: &str, by: i64) {
    let end = Edge::Gone(run.upgrades[1].old_pid);
    let samples = &mut run.kernel.samples;
    samples.names.push(name.to_owned());
    let place = samples.names.len() - 1;
    let (at, _) = samples.at(end).unwrap();
    samples.rows[at].moved.push((place, by));
}

#[test]
fn a_connection_by_a_unix_socket_is_none_of_the_kernels() {
    let (mut plan, mut run) = (plan(), recording());
    let to = Endpoint::Unix("/socket".to_owned());
    plan.loads.push(Load { name: "unix".to_owned(), to, ..plan.loads[0].clone() });
    let from = run.upgrades[1].triggered;
    let within = |one: &&Connection| one.opened.is_some_and(|opened| opened > from);
    let mut another = run.connections.iter().find(within).unwrap().clone();
    (another.id, another.population, another.reset) = (1_000_000, 1, true);
    run.connections.push(another);
    let verdict = judge(&plan, &run);
    for id in ["L3", "L6"] {
        assert_eq!(law(&verdict, 2, id).status, Status::Pass, "{id}");
    }
}

#[test]
fn every_law_is_exact_in_every_window_of_a_clean_run() {
    let verdict = judge(&plan(), &recording());
    assert_eq!(verdict.upgrades.len(), 3);
    for (window, run) in verdict.upgrades.iter().zip(recording().upgrades) {
        let exact = ["L1", "L2", "L3", "L6", "L10"].map(|id| (id, Status::Pass));
        assert_eq!(laws(window), exact);
        assert_eq!((window.number, window.from), (run.number, run.triggered));
        assert_eq!(window.closing, Closing::OldGone);
        assert_eq!(window.until, Stamp(window.number * 1_000_000_000));
        assert!(window.moved.is_empty());
    }
    assert_eq!(status(&verdict, ID), Status::Pass);
    // The operation at the full second is the new generation's.
    assert_eq!((verdict.upgrades[0].operations, law(&verdict, 1, "L3").lhs), (0, 1));
}

#[test]
fn upgrades_that_follow_each_other_close_each_others_windows() {
    let (plan, run) = killed();
    let verdict = judge(&plan, &run);
    let closings: Vec<_> = verdict.upgrades.iter().map(|window| window.closing).collect();
    assert_eq!(closings[..2], [Closing::NextTrigger, Closing::OldGone]);
    assert_eq!(verdict.upgrades[0].until, run.upgrades[1].triggered);
    assert_eq!(law(&verdict, 1, "L10").status, Status::NotChecked, "it never listened");
    assert_eq!(status(&verdict, ID), Status::Pass);
    let endless = spoiled(|_, run| run.generations[2].gone = None);
    assert_eq!(endless.upgrades[2].closing, Closing::RunEnded);
    assert_eq!(endless.upgrades[2].until, recording().timeline.ended);
}

/// Makes all upgrades long enough to have some operations of their own.
fn long(run: &mut Recording) {
    for upgrade in &mut run.upgrades {
        upgrade.triggered = upgrade.triggered.before(Duration::from_millis(200));
    }
    run.kernel.samples = super::clean::samples(run);
}

#[test]
fn an_operation_that_left_no_row_is_missed_where_it_was_intended() {
    stops(ID, Status::Inconclusive, |_, run| {
        long(run);
        run.operations.remove(190);
        run.connections.remove(190);
        // All other books agree.
        run.generations[1].ledger =
            run.generations[1].ledger.take().map(|ledger| crate::event::ServerLedger {
                accepted: ledger.accepted - 1,
                first_read: ledger.first_read - 1,
                bytes_in: ledger.bytes_in - 100,
                bytes_out: ledger.bytes_out - 122,
                ..ledger
            });
        for name in ["Tcp.ActiveOpens", "Tcp.PassiveOpens"] {
            *run.kernel.after.get_mut(name).unwrap() -= 1;
        }
        run.kernel.samples = super::clean::samples(run);
    });
    let verdict = spoiled(|_, run| {
        long(run);
        run.operations.remove(190);
    });
    let found: Vec<_> = (1..=3).map(|number| law(&verdict, number, "L1").status).collect();
    assert_eq!(found, [Status::Pass, Status::Inconclusive, Status::Pass]);
}

#[test]
fn a_reset_that_a_retransmission_explains_is_so_in_its_window_too() {
    let http = Http { path: "/".into(), host: "h".into(), status: None, body_bytes: None };
    let closes_first = |plan: &mut Plan| plan.loads[0].speak = Speak::Http(http.clone());
    let loses = |plan: &mut Plan| plan.network.loss = Some(0.02);
    let resets = |what: &dyn Fn(&mut Plan), retransmitted: i64| {
        let verdict = spoiled(|plan, run| {
            what(plan);
            run.kernel.resets = Resets::default();
            moved(run, "Tcp.OutRsts", 2);
            moved(run, "Tcp.RetransSegs", retransmitted);
        });
        law(&verdict, 2, "L6").status
    };
    for what in [&closes_first as &dyn Fn(&mut Plan), &loses] {
        assert_eq!(resets(what, 2), Status::Pass);
        assert_eq!(resets(what, 1), Status::Fail);
    }
    assert_eq!(resets(&|_| (), 2), Status::Fail);
}

#[test]
fn ids_that_tell_nothing_leave_l1_unchecked() {
    let verdict = spoiled(|_, run| run.operations[7].id = 1_000_000);
    assert_eq!(law(&verdict, 2, "L1").status, Status::NotChecked);
}

#[test]
fn an_operation_that_is_there_twice_is_found_in_its_window() {
    let verdict = spoiled(|_, run| {
        long(run);
        let copy = run.operations[190].clone();
        run.operations.push(copy);
        run.observer.intended[0] += 1;
    });
    assert_eq!(law(&verdict, 2, "L2").status, Status::Fail);
    assert_eq!(law(&verdict, 1, "L2").status, Status::Pass);
    assert_eq!(status(&verdict, ID), Status::Fail);
}

#[test]
fn a_connection_that_no_client_made_is_found_in_its_window() {
    stops(ID, Status::Fail, |_, run| moved(run, "Tcp.ActiveOpens", 1));
    let verdict = spoiled(|_, run| moved(run, "Tcp.ActiveOpens", 1));
    let broken = law(&verdict, 2, "L3");
    assert_eq!((broken.lhs, broken.rhs, broken.status), (2, 1, Status::Fail));
    assert_eq!(law(&verdict, 1, "L3").status, Status::Pass);
}

#[test]
fn a_reset_that_no_client_saw_is_found_in_its_window() {
    stops(ID, Status::Fail, |_, run| moved(run, "Tcp.OutRsts", 1));
    let verdict = spoiled(|_, run| moved(run, "Tcp.OutRsts", 1));
    assert_eq!(verdict.upgrades[1].moved["Tcp.OutRsts"], 1);
    assert!(verdict.upgrades[2].moved.is_empty());
}

#[test]
fn what_is_under_way_at_an_edge_leaves_a_law_open_and_no_wider() {
    // Being opened while the counters are read at the trigger of the second upgrade.
    let under_way = |run: &mut Recording| {
        let (_, sample) = run.kernel.samples.at(Edge::Triggered(2)).unwrap();
        let (from, to) = (sample.from, sample.to);
        let late = &mut run.connections[198];
        late.opened = Some(from.before(Duration::from_micros(10)));
        late.established = Some(to.after(Duration::from_micros(10)));
    };
    let verdict = spoiled(|_, run| under_way(run));
    let open = law(&verdict, 2, "L3");
    assert_eq!(open.status, Status::NotChecked);
    assert!(open.says.ends_with("1 of them under way at the edges"), "{}", open.says);
    assert_eq!(status(&verdict, ID), Status::Pass, "the others held");
    // It may explain one, but not two.
    for (by, expected) in [(1, Status::NotChecked), (2, Status::Fail), (-1, Status::Fail)] {
        let verdict = spoiled(|_, run| {
            under_way(run);
            moved(run, "Tcp.ActiveOpens", by);
        });
        assert_eq!(law(&verdict, 2, "L3").status, expected, "{by}");
    }
}

#[test]
fn other_sockets_than_the_predecessors_are_found_at_the_upgrade_that_made_them() {
    let verdict = spoiled(|_, run| run.generations[2].listeners = [99].into());
    let found: Vec<_> = (1..=3).map(|number| law(&verdict, number, "L10").status).collect();
    assert_eq!(found, [Status::Pass, Status::Fail, Status::Fail]);
}

#[test]
fn without_samples_or_a_network_of_its_own_the_kernel_says_nothing() {
    for spoil in
        [(|run: &mut Recording| run.kernel.samples.rows.clear()) as fn(&mut Recording), |run| {
            run.kernel.scope = Scope::Host
        }]
    {
        let verdict = spoiled(|_, run| spoil(run));
        for id in ["L3", "L6"] {
            assert_eq!(law(&verdict, 2, id).status, Status::NotChecked);
        }
        assert_eq!(law(&verdict, 2, "L1").status, Status::Pass);
    }
    let none = spoiled(|plan, run| {
        plan.upgrades = None;
        run.upgrades.clear();
    });
    assert!(none.upgrades.is_empty() && none.checks.iter().all(|check| check.id != ID));
}

#[test]
fn a_window_counts_its_harm_and_its_deepest_queue() {
    let verdict = spoiled(|_, run| {
        long(run);
        run.operations[190].fate = Fate::Harmed(Harm::Refused);
        let (at, _) = run.kernel.samples.at(Edge::Gone(run.upgrades[1].old_pid)).unwrap();
        run.kernel.samples.rows[at].queues = vec![Queue { inode: 42, waiting: 9, limit: 128 }];
    });
    let of = |number: usize| {
        let window = &verdict.upgrades[number - 1];
        (window.harmed, window.deepest_queue)
    };
    assert_eq!([of(1), of(2), of(3)], [(0, 0), (1, 9), (0, 0)]);
}
