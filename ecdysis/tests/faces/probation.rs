//! Successors on Tokio that crash when they have begun to serve.

use std::net::TcpStream;
use std::thread;

use ecdysis::control::{Command, Outcome, request};
use nix::sys::signal::Signal;

use crate::clients::{CLIENTS, Looping, connect, greet, greeted};
use crate::service::{PATIENCE, Start, signal, stop};

const NEVER_SETTLED: &str = "3600000";

#[test]
fn one_that_crashes_on_probation_is_rolled_back_and_nobody_is_refused() {
    let service = Start::new("tokio").with("PROBATION", NEVER_SETTLED).serve();
    let clients = Looping::begin(service.address());
    clients.wait_for(20, 0);
    let control = service.path("control");
    let asked = thread::spawn(move || request(&control, Command::Upgrade, PATIENCE).unwrap());
    clients.wait_for(100, 1);
    let pid = greet(service.address()).unwrap().pid;
    signal(pid, Signal::SIGKILL);

    let answer = asked.join().unwrap();
    let upgrade = answer.upgrade.unwrap();
    assert!(!answer.ok);
    assert_eq!((upgrade.outcome, upgrade.successor), (Outcome::RolledBack, Some(pid)));
    assert!(upgrade.error.unwrap().contains("signal: 9"));
    assert!(service.log_until("failed after").contains("ended on probation"));
    clients.wait_for(100, 0);
    let tally = clients.end();
    assert_eq!(tally.refused, 0);
    assert!(tally.broken.len() <= CLIENTS, "no more than it had accepted: {tally:?}");
    assert_eq!(greet(service.address()).unwrap().pid, service.first_pid());
}

#[test]
fn connections_that_a_crashed_successor_had_not_accepted_are_served() {
    let service = Start::new("tokio").with("PROBATION", NEVER_SETTLED).serve();
    signal(service.first_pid(), Signal::SIGHUP);
    let pid = field_of_generation_one(&service);
    // It accepts no more, and the old one does not yet: these are in the queue.
    stop(pid);
    let waiting: Vec<TcpStream> = (0..100).map(|_| connect(service.address()).unwrap()).collect();
    signal(pid, Signal::SIGKILL);
    for stream in waiting {
        let mut greeted = greeted(stream).unwrap();
        assert_eq!(greeted.pid, service.first_pid());
        assert!(greeted.echoes("served"));
    }
}

fn field_of_generation_one(service: &crate::service::Service) -> u32 {
    // When it says so, it accepts: the connections that come now are its own.
    service.log_until("generation 1 is serving");
    greet(service.address()).unwrap().pid
}
