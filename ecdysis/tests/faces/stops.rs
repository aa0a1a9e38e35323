//! One stop that reaches several generations, as a supervisor that signals a
//! whole cgroup has it, and a terminal. Each of them used to count what the other
//! had heard, and to cut its connections.

use nix::sys::signal::Signal;

use crate::clients::{Greeted, greet};
use crate::service::{Service, Start, eventually, signal, stop};

/// A service in the middle of a handoff, and a connection to each generation.
struct Handoff {
    service: Service,
    clients: [Greeted; 2],
}

impl Handoff {
    fn new() -> Self {
        let service = Start::new("tokio").with("PROBATION", "3600000").serve();
        let old = greet(service.address()).unwrap();
        signal(old.pid, Signal::SIGHUP);
        service.log_until("generation 1 is serving");
        let new = greet(service.address()).unwrap();
        assert_eq!((old.generation, new.generation), (0, 1));
        Self { service, clients: [old, new] }
    }

    /// Tells one of them to stop; it has heard it when this returns.
    fn stop(&mut self, generation: usize) {
        let client = &mut self.clients[generation];
        signal(client.pid, Signal::SIGTERM);
        eventually("it is delivered", || (!is_pending(client.pid)).then_some(()));
        // The signal is read by whoever reads these, and before them.
        let _ = (0..3).all(|_| client.echoes("in flight"));
    }

    /// Waits until one of them leaves.
    fn leaves(&self, generation: usize) {
        self.service.log_until(&format!("generation {generation} leaves"));
    }

    /// Both connections are served for as long as their clients want, and then
    /// both generations end.
    fn drains(mut self) {
        for client in &mut self.clients {
            assert!(client.echoes("in flight"), "generation {} has cut it", client.generation);
        }
        drop(self.clients);
        let log = self.service.log_to_the_end();
        let done = log.iter().filter(|line| line.contains("is done: ")).count();
        let cut = log.iter().any(|line| line.contains("connections cut"));
        assert!(done == 2 && !cut, "{log:#?}");
    }
}

/// Whether SIGTERM waits to be delivered to this process (proc_pid_status(5)).
fn is_pending(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & (1 << (Signal::SIGTERM as u32 - 1)) != 0
}

#[test]
fn a_stop_that_the_successor_hears_first_counts_once() {
    let mut handoff = Handoff::new();
    handoff.stop(1);
    handoff.leaves(1);
    // It has let go because of that.
    handoff.leaves(0);
    handoff.stop(0);
    handoff.drains();
}

#[test]
fn a_stop_that_the_predecessor_hears_first_counts_once() {
    let mut handoff = Handoff::new();
    handoff.stop(0);
    handoff.leaves(0);
    // It was passed on.
    handoff.leaves(1);
    handoff.stop(1);
    handoff.drains();
}

#[test]
fn a_stop_that_both_hear_at_once_counts_once() {
    let handoff = Handoff::new();
    let [old, new] = [&handoff.clients[0], &handoff.clients[1]].map(|client| client.pid);
    stop(old);
    signal(old, Signal::SIGTERM);
    signal(new, Signal::SIGTERM);
    handoff.service.log_until("generation 1 is stopping");
    signal(old, Signal::SIGCONT);
    handoff.leaves(0);
    handoff.leaves(1);
    handoff.drains();
}

#[test]
fn a_second_stop_after_one_that_both_have_heard_cuts() {
    for second in [0, 1] {
        let mut handoff = Handoff::new();
        handoff.stop(1 - second);
        handoff.leaves(0);
        handoff.leaves(1);
        handoff.stop(second);
        // The first once more, and then one that is none.
        handoff.stop(second);
        let done = handoff.service.log_until(&format!("generation {second} is done"));
        assert!(done.contains("1 of 1 connections cut"), "{done}");
    }
}
