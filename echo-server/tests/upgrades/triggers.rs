//! Signals: many, early, and at the wrong moment.

use nix::sys::signal::{Signal, kill};
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
