//! The face without a runtime: the example `blocking_echo`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;

use crate::clients::{CLIENTS, Looping, greet};
use crate::service::{Service, Start, exists, field, signal};

/// A command that awaits its answer.
struct Asked(BufReader<UnixStream>);

fn ask(service: &Service, command: &str) -> Asked {
    let mut client = UnixStream::connect(service.path("control")).unwrap();
    client.write_all(format!("{command}\n").as_bytes()).unwrap();
    Asked(BufReader::new(client))
}

impl Asked {
    fn answer(mut self) -> String {
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer
    }
}

fn upgrade(service: &Service) -> String {
    ask(service, "upgrade").answer()
}

/// The pid in a report.
fn successor(report: &str) -> u32 {
    let (_, rest) = report.split_once("(pid ").unwrap_or_else(|| panic!("{report}"));
    rest.split_once(')').unwrap().0.parse().unwrap()
}

#[test]
fn upgrades_under_load_harm_nobody() {
    let mut service = Start::new("blocking").serve();
    let clients = Looping::begin(service.address());
    for generation in 1..=10 {
        clients.wait_for(20, generation - 1);
        let report = upgrade(&service);
        assert!(report.contains(&format!("to generation {generation} (")), "{report}");
        assert!(report.contains(" completed"), "{report}");
    }
    clients.wait_for(20, 10);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");
    assert_eq!(service.first_exit_code(), Some(0));
    assert_eq!(ask(&service, "stop").answer(), "stopping\n");
    service.log_to_the_end();
}

#[test]
fn a_blocked_accept_wakes_when_the_process_is_succeeded() {
    // Nobody connects, so nothing but the upgrade can wake the loop.
    let mut service = Start::new("blocking").serve();
    assert!(upgrade(&service).contains("completed"));
    service.log_until("generation 0 leaves: no connections in flight");
    assert_eq!(service.first_exit_code(), Some(0));
    assert_eq!(greet(service.address()).unwrap().generation, 1);
}

#[test]
fn a_blocked_accept_wakes_when_the_process_stops() {
    let mut service = Start::new("blocking").serve();
    assert_eq!(ask(&service, "stop").answer(), "stopping\n");
    service.log_until("generation 0 leaves: no connections in flight");
    assert_eq!(service.first_exit_code(), Some(0));
    assert!(!service.path("control").exists());
    assert!(greet(service.address()).is_err());
}

#[test]
fn two_threads_that_upgrade_at_once_make_one_chain_and_both_are_answered() {
    let service = Start::new("blocking").with("PROBATION", "100").serve();
    let clients = Looping::begin(service.address());
    clients.wait_for(20, 0);
    service.hold("exec $real \"$@\"");
    let one = ask(&service, "upgrade");
    service.log_until("started");
    // The first is under way; this one cannot begin before it is over.
    let other = ask(&service, "upgrade");
    service.restore();
    service.release();
    let report = one.answer();
    assert!(report.contains("to generation 1 (") && report.contains("completed"), "{report}");
    let passed_on = other.answer();
    assert!(passed_on.contains("passed on to the new generation"), "{passed_on}");
    // Which it was: the new generation was upgraded in its turn.
    clients.wait_for(20, 2);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");
    assert_eq!(greet(service.address()).unwrap().generation, 2, "and nobody was killed");
}

#[test]
fn a_request_that_waits_for_one_that_fails_begins_then() {
    let service = Start::new("blocking").serve();
    service.hold("exit 3");
    let one = ask(&service, "upgrade");
    service.log_until("started");
    let other = ask(&service, "upgrade");
    service.restore();
    service.release();
    let report = one.answer();
    assert!(report.contains("ended before it was ready (exit status: 3)"), "{report}");
    let report = other.answer();
    assert!(report.contains("to generation 1 (") && report.contains("completed"), "{report}");
}

#[test]
fn a_successor_that_crashes_before_it_is_ready_harms_nobody() {
    let service = Start::new("blocking").serve();
    let clients = Looping::begin(service.address());
    for script in ["exit 3", "kill -SEGV $$"] {
        clients.wait_for(20, 0);
        service.replace_with(&format!("echo started pid=$$; {script}"));
        let report = upgrade(&service);
        assert!(report.contains("failed after"), "{report}");
        assert!(report.contains("ended before it was ready"), "{report}");
        let started = service.log_until("started");
        assert!(!exists(field(&started, "pid").parse().unwrap()), "it is dead and reaped");
    }
    service.restore();
    assert!(upgrade(&service).contains("completed"));
    clients.wait_for(20, 1);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");
}

#[test]
fn a_successor_that_crashes_on_probation_is_rolled_back_and_nobody_is_refused() {
    let service = Start::new("blocking").with("PROBATION", "3600000").serve();
    let clients = Looping::begin(service.address());
    clients.wait_for(20, 0);
    let asked = ask(&service, "upgrade");
    clients.wait_for(20, 1);
    let pid = greet(service.address()).unwrap().pid;
    signal(pid, Signal::SIGKILL);
    let report = asked.answer();
    assert!(report.contains("ended on probation (signal: 9 (SIGKILL)), serving again"), "{report}");
    assert_eq!(successor(&report), pid);
    clients.wait_for(20, 0);
    let tally = clients.end();
    assert_eq!(tally.refused, 0);
    assert!(tally.broken.len() <= CLIENTS, "no more than it had accepted: {tally:?}");
    // The next upgrade works, and a stop on its probation is one for both.
    let again = ask(&service, "upgrade");
    service.log_until("generation 1 serves");
    service.log_until("generation 1 serves");
    assert_eq!(ask(&service, "stop").answer(), "stopping\n");
    assert!(again.answer().contains("completed"));
}

#[test]
fn a_stop_during_an_upgrade_ends_the_successor() {
    let mut service = Start::new("blocking").serve();
    service.replace_with("echo started pid=$$; exec sleep 1000");
    let asked = ask(&service, "upgrade");
    let started = service.log_until("started");
    assert_eq!(ask(&service, "stop").answer(), "stopping\n");
    let report = asked.answer();
    assert!(report.contains("stopped while the successor started"), "{report}");
    assert!(!exists(field(&started, "pid").parse().unwrap()));
    assert_eq!(service.first_exit_code(), Some(0));
    service.log_to_the_end();
}

#[test]
fn a_silent_client_of_the_control_thread_is_in_nobodys_way() {
    let service = Start::new("blocking").serve();
    let silent = UnixStream::connect(service.path("control")).unwrap();
    assert!(upgrade(&service).contains("completed"));
    drop(silent);
    assert!(ask(&service, "reload").answer().contains("no such command"));
}
