//! Signals: many, early, and at the wrong moment.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::server::{Server, exists, field, signal};

#[test]
fn a_stop_during_an_upgrade_ends_the_successor_and_stops() {
    let mut server = Server::start(&[]);
    let first = server.first_pid();
    server.replace_with("echo started pid=$$ >&2; exec sleep 1000");
    signal(first, Signal::SIGHUP);
    let started = server.log_until("started");
    signal(first, Signal::SIGTERM);
    let report = server.log_until("failed after");
    assert!(report.contains("stopped while the successor started"), "{report}");
    assert_eq!(server.first_exit_code(), Some(0));
    assert!(!exists(field(&started, "pid").parse().unwrap()));
    server.log_to_the_end();
}

#[test]
fn a_stop_on_probation_stops_the_successor_too() {
    let mut server = Server::start(&["--probation", "1h"]);
    let first = server.first_pid();
    drop(server.upgrade(first, 1));
    signal(first, Signal::SIGTERM);
    assert_eq!(server.first_exit_code(), Some(0));
    server.log_until("stopping generation=1");
    server.log_to_the_end();
}

#[test]
fn a_stop_of_a_successor_on_probation_is_not_undone() {
    let mut server = Server::start(&["--probation", "1h"]);
    let new = server.upgrade(server.first_pid(), 1).pid;
    signal(new, Signal::SIGTERM);
    assert_eq!(server.first_exit_code(), Some(0));
    let log = server.log_to_the_end();
    assert!(log.iter().any(|line| line.contains("stopping generation=1")));
    assert!(!log.iter().any(|line| line.contains("serving again")));
}

#[test]
fn a_second_stop_ends_the_drain_at_once() {
    let mut server = Server::start(&["--drain-deadline", "1h"]);
    let client = server.greet();
    signal(client.pid, Signal::SIGTERM);
    server.log_until("stopping");
    signal(client.pid, Signal::SIGTERM);
    server.log_until("connections cut");
    assert_eq!(server.first_exit_code(), Some(0));
}

#[test]
fn many_requests_at_once_make_one_chain_and_leave_one_generation() {
    let mut server = Server::start(&["--probation", "0s"]);
    let first = server.first_pid();
    for _ in 0..100 {
        signal(first, Signal::SIGHUP);
    }
    assert_eq!(server.first_exit_code(), Some(0), "the first has been succeeded");
    // Whatever was asked of it when it could not any more was passed on, so
    // the chain goes on for a while, and ends with one generation that serves.
    while let Some(serving) = server.try_greet() {
        // It may just have been succeeded, and gone.
        let _ = kill(Pid::from_raw(serving.pid.cast_signed()), Signal::SIGTERM);
    }
    let log = server.log_to_the_end();
    let ready = log.iter().filter(|line| line.contains("ready generation=")).count();
    let left = ["drained generation=", "connections cut generation="];
    let left = log.iter().filter(|line| left.iter().any(|text| line.contains(text))).count();
    assert_eq!(ready, left, "every generation that began has ended:\n{}", log.join("\n"));
}

#[test]
fn a_request_during_an_upgrade_is_kept() {
    let mut server = Server::start(&["--probation", "0s"]);
    let first = server.first_pid();
    server.hold("exec $real \"$@\"");
    signal(first, Signal::SIGHUP);
    server.log_until("started");
    signal(first, Signal::SIGHUP);
    server.restore();
    server.release();
    server.log_until("ready generation=1");
    server.log_until("ready generation=2");
}

#[test]
fn a_request_after_a_failure_that_was_made_before_it_is_kept_too() {
    let mut server = Server::start(&[]);
    let first = server.first_pid();
    server.hold("exit 1");
    signal(first, Signal::SIGHUP);
    server.log_until("started");
    signal(first, Signal::SIGHUP);
    server.restore();
    server.release();
    server.log_until("failed after");
    server.log_until("ready generation=1");
}

#[test]
fn a_signal_that_comes_before_the_handlers_kills_no_successor() {
    let mut server = Server::start(&["--probation", "0s"]);
    let first = server.first_pid();
    server.hold("exec $real \"$@\"");
    signal(first, Signal::SIGHUP);
    let pid = field(&server.log_until("started"), "pid").parse().unwrap();
    for early in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        signal(pid, early);
    }
    server.release();
    server.log_until("ready generation=1");
    assert_eq!(server.first_exit_code(), Some(0));
    assert_eq!(server.greet().pid, pid);
}

/// Stops the first generation until it has been sent these, in this order.
fn send_at_once(server: &Server, signals: &[Signal]) {
    let first = server.first_pid();
    signal(first, Signal::SIGSTOP);
    for each in signals {
        signal(first, *each);
    }
    signal(first, Signal::SIGCONT);
}

#[test]
fn a_stop_wins_over_an_upgrade_that_was_asked_for_at_the_same_time() {
    let mut server = Server::start(&[]);
    send_at_once(&server, &[Signal::SIGHUP, Signal::SIGTERM]);
    assert_eq!(server.first_exit_code(), Some(0));
    let log = server.log_to_the_end();
    assert!(!log.iter().any(|line| line.contains("ready generation=1")), "{}", log.join("\n"));
}

#[test]
fn a_stop_ends_the_drain_of_a_generation_that_was_succeeded() {
    let mut server = Server::start(&["--probation", "0s", "--drain-deadline", "1h"]);
    let old = server.greet();
    let new = server.upgrade(old.pid, 1);
    server.log_until("the next generation serves generation=0");
    // It has not stopped before, so this is its first.
    signal(old.pid, Signal::SIGTERM);
    server.log_until("connections cut generation=0");
    assert_eq!(server.first_exit_code(), Some(0));
    assert_eq!(server.greet().pid, new.pid, "the service goes on");
}

#[test]
fn an_upgrade_that_is_asked_of_a_generation_that_was_succeeded_does_not_happen() {
    let mut server = Server::start(&["--probation", "0s", "--drain-deadline", "1h"]);
    let old = server.greet();
    let new = server.upgrade(old.pid, 1);
    server.log_until("the next generation serves generation=0");
    signal(old.pid, Signal::SIGHUP);
    // It is heard, and by whoever drains: the next signal is heard after it.
    signal(old.pid, Signal::SIGTERM);
    server.log_until("connections cut generation=0");
    assert_eq!(server.greet().pid, new.pid);
    assert_eq!(server.first_exit_code(), Some(0));
}

/// Sends a signal to every process of the service, as a terminal does, or a
/// supervisor.
fn signal_all(server: &Server, signal: Signal) {
    killpg(Pid::from_raw(server.first_pid().cast_signed()), signal).unwrap();
}

#[test]
fn a_stop_of_the_whole_group_during_an_upgrade_stops_everyone() {
    let mut server = Server::start(&[]);
    server.hold("exec $real \"$@\"");
    signal(server.first_pid(), Signal::SIGHUP);
    server.log_until("started");
    signal_all(&server, Signal::SIGTERM);
    assert_eq!(server.first_exit_code(), Some(0));
    let log = server.log_to_the_end();
    assert!(!log.iter().any(|line| line.contains("ready generation=1")));
}

#[test]
fn a_stop_of_the_whole_group_on_probation_stops_everyone_and_is_no_rollback() {
    let script = "exec \"$0\" \"$@\" --pid-file \"${0%/*}/pid\" --control \"${0%/*}/control\"";
    for _ in 0..5 {
        let mut server = Server::start_with(&["--probation", "1h"], script, &[]);
        drop(server.upgrade(server.first_pid(), 1));
        signal_all(&server, Signal::SIGTERM);
        assert_eq!(server.first_exit_code(), Some(0));
        let log = server.log_to_the_end();
        assert!(!log.iter().any(|line| line.contains("serving again")), "{}", log.join("\n"));
        assert!(server.try_greet().is_none());
        assert!(!server.path("pid").exists() && !server.path("control").exists());
    }
}

#[test]
fn an_upgrade_of_the_whole_group_makes_one_chain() {
    let mut server = Server::start(&["--probation", "0s"]);
    server.hold("exec $real \"$@\"");
    signal(server.first_pid(), Signal::SIGHUP);
    server.log_until("started");
    // The successor has no handler yet, and must not die; the request is kept.
    signal_all(&server, Signal::SIGHUP);
    server.restore();
    server.release();
    server.log_until("settled generation=2");
    assert_eq!(server.first_exit_code(), Some(0));
    assert_eq!(server.greet().generation, 2);
}
