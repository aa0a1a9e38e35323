//! What a service is started from, and what befalls its processes: an upgrade works
//! all the same, and nobody loses more than he must.

use nix::sys::signal::Signal;

use crate::server::{Greeted, Server, exists, field, signal};

#[test]
fn a_generation_that_is_killed_while_it_drains_takes_its_own_connections_and_no_other() {
    let mut server = Server::start(&["--probation", "0s"]);
    let first = server.first_pid();
    let mut its: Vec<Greeted> = (0..20).map(|_| server.greet()).collect();
    server.upgrade(first, 1);
    server.log_until("the next generation serves");
    let mut others: Vec<Greeted> = (0..20).map(|_| server.greet()).collect();
    assert!(its.iter_mut().all(|connection| connection.echoes("drained")));
    signal(first, Signal::SIGKILL);
    server.first_exit_code();
    assert!(its.iter_mut().all(|connection| !connection.echoes("killed")));
    assert!(others.iter_mut().all(|other| other.generation == 1 && other.echoes("served")));
}

#[test]
fn an_upgrade_does_not_wait_for_older_generations_that_drain() {
    let mut server = Server::start(&["--probation", "0s"]);
    let mut pid = server.first_pid();
    let mut connections = Vec::new();
    for generation in 0..5 {
        connections.push(server.greet());
        pid = server.upgrade(pid, generation + 1).pid;
    }
    for (connection, generation) in connections.iter_mut().zip(0..) {
        assert!(connection.generation == generation && connection.echoes("still there"));
    }
}

#[test]
fn a_server_that_was_started_without_stdin_and_stdout_can_be_upgraded() {
    let mut server = Server::start_with(&[], "exec \"$0\" \"$@\" <&- >&-", &[]);
    let first = server.first_pid();
    let new = server.upgrade(first, 1);
    assert_eq!(server.upgrade(new.pid, 2).generation, 2);
}

#[test]
fn a_server_that_was_started_with_sigchld_ignored_can_be_upgraded() {
    let mut server = Server::start_with(&[], "trap '' CHLD; exec \"$0\" \"$@\"", &[]);
    let first = server.first_pid();
    server.replace_with("echo started pid=$$ >&2; exit 3");
    signal(first, Signal::SIGHUP);
    let failed = field(&server.log_until("started"), "pid").parse().unwrap();
    // Its status is nobody's to take; that it has ended is seen all the same.
    server.log_until("successor ended before it was ready");
    assert!(!exists(failed));
    server.restore();
    let new = server.upgrade(first, 1);
    assert_eq!(server.upgrade(new.pid, 2).generation, 2);
}
