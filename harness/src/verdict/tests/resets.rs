//! Resets that the kernel traced.

use std::time::Duration;

use super::{count, judge, plan, recording, spoiled, status, stops};
use crate::clock::Stamp;
use crate::event::{Fate, Harm, Recording, Reset, Resets, Scope};
use crate::verdict::{Status, Verdict};

const ID: &str = "law.L6.traced";

fn traced(resets: Vec<Reset>) -> Resets {
    Resets::Traced { resets, lost: Some(0), reasons: true, pids: true }
}

/// The old generation of the second upgrade closes its listener, and the
/// connection with this id is reset.
fn reset(run: &mut Recording, id: usize) -> Reset {
    let connection = &mut run.connections[id];
    connection.local = Some("127.0.1.5:4711".parse().unwrap());
    connection.reset = true;
    let at = connection.established.unwrap().after(Duration::from_micros(20));
    run.operations[id].fate = Fate::Harmed(Harm::ResetQueue);
    count(run, "Tcp.OutRsts", 1);
    count(run, "Tcp.EstabResets", 2);
    Reset {
        at,
        pid: run.generations[1].pid,
        command: "server".to_owned(),
        source: "127.0.0.1:80".parse().unwrap(),
        destination: "127.0.1.5:4711".parse().unwrap(),
        reason: Some("TCP_STATE".to_owned()),
    }
}

fn with_one_reset(change: impl FnOnce(&mut Recording, &mut Reset)) -> Verdict {
    spoiled(|_, run| {
        let mut reset = reset(run, 200);
        change(run, &mut reset);
        run.kernel.resets = traced(vec![reset]);
    })
}

#[test]
fn every_reset_that_was_counted_must_have_been_traced() {
    stops(ID, Status::Pass, |_, _| {});
    let verdict = with_one_reset(|_, _| {});
    assert_eq!(status(&verdict, ID), Status::Pass);
    assert_eq!(status(&verdict, "law.L6"), Status::Pass);
    let verdict = spoiled(|_, run| {
        reset(run, 200);
    });
    assert_eq!(status(&verdict, ID), Status::Inconclusive, "a trace with a hole");
}

#[test]
fn a_reset_that_a_listener_sends_to_nobody_harms_nobody() {
    let verdict = |reason: &str, destination: &str| {
        spoiled(|_, run| {
            count(run, "Tcp.OutRsts", 1);
            run.kernel.resets = traced(vec![Reset {
                at: run.upgrades[1].triggered,
                pid: 14,
                command: "ksoftirqd/0".to_owned(),
                source: "127.0.0.1:80".parse().unwrap(),
                destination: destination.parse().unwrap(),
                reason: Some(reason.to_owned()),
            }]);
        })
    };
    let stray = verdict("TCP_FLAGS", "0.0.0.0:0");
    for id in [ID, "law.L6", "kernel.unexplained", "upgrades.laws"] {
        assert_eq!(status(&stray, id), Status::Pass, "{id}");
    }
    for (reason, destination) in [("TCP_STATE", "0.0.0.0:0"), ("TCP_FLAGS", "127.0.1.5:4711")] {
        assert_eq!(status(&verdict(reason, destination), "law.L6"), Status::Fail);
    }
}

#[test]
fn a_trace_that_is_not_there_or_lost_something_proves_nothing() {
    for resets in [
        Resets::Untraced { why: "run as root".to_owned() },
        Resets::Traced { resets: Vec::new(), lost: Some(3), reasons: true, pids: true },
        Resets::Traced { resets: Vec::new(), lost: None, reasons: true, pids: true },
    ] {
        let verdict = spoiled(|_, run| run.kernel.resets = resets);
        assert_eq!(status(&verdict, ID), Status::NotChecked);
        let check = verdict.checks.iter().find(|check| check.id == ID).unwrap();
        assert!(check.detail.is_some());
    }
    let shared = spoiled(|_, run| run.kernel.scope = Scope::Host);
    assert_eq!(status(&shared, ID), Status::NotChecked);
}

#[test]
fn a_reset_is_joined_to_the_connection_it_hurt_and_to_who_sent_it() {
    let verdict = with_one_reset(|_, _| {});
    let named = &verdict.resets[0];
    assert_eq!((named.connection, named.hurt), (Some(200), true));
    assert_eq!((named.pid, named.generation), (Some(101), Some(1)));
    assert_eq!((named.upgrade, named.is_subject), (Some(2), true));
    assert_eq!(
        named.to_string(),
        "RST reason=TCP_STATE by pid 101 (generation 1), 3.07ms after the trigger of upgrade 2"
    );
    let check = verdict.checks.iter().find(|check| check.id == "harm.reset_queue").unwrap();
    assert_eq!(check.detail, Some(format!("operations 200; first by {named}")));
}

#[test]
fn the_direction_and_the_way_an_address_is_written_do_not_matter() {
    let verdict = with_one_reset(|_, reset| {
        reset.source = "[::ffff:127.0.1.5]:4711".parse().unwrap();
        reset.destination = "127.0.0.1:80".parse().unwrap();
    });
    assert_eq!(verdict.resets[0].connection, Some(200));
}

#[test]
fn of_connections_that_had_the_same_port_it_is_the_one_of_that_time() {
    let verdict = with_one_reset(|run, reset| {
        for other in [100, 300] {
            run.connections[other].local = Some(reset.destination);
        }
    });
    assert_eq!(verdict.resets[0].connection, Some(200));
    let late = with_one_reset(|run, reset| {
        reset.at = run.connections[200].closed.after(Duration::from_secs(1))
    });
    assert_eq!(late.resets[0].connection, Some(200), "it had it last");
    let early = with_one_reset(|_, reset| reset.at = Stamp(5));
    assert_eq!(early.resets[0].connection, None);
    assert_eq!(early.resets[0].upgrade, None);
}

#[test]
fn what_is_not_known_is_not_said() {
    let verdict = with_one_reset(|_, reset| {
        reset.pid = 4711;
        reset.reason = None;
        reset.destination = "127.0.1.6:1".parse().unwrap();
    });
    let named = &verdict.resets[0];
    assert_eq!((named.connection, named.hurt, named.generation), (None, false, None));
    assert_eq!(
        named.to_string(),
        "RST while pid 4711 (server) ran, 3.07ms after the trigger of upgrade 2"
    );
    let blind = spoiled(|_, run| {
        let reset = reset(run, 200);
        let resets = vec![reset];
        run.kernel.resets = Resets::Traced { resets, lost: Some(0), reasons: true, pids: false };
    });
    assert_eq!(blind.resets[0].pid, None);
    assert!(!blind.resets[0].to_string().contains("101"), "{}", blind.resets[0]);
    assert!(judge(&plan(), &recording()).resets.is_empty());
}
