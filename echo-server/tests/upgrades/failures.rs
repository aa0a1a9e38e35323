//! Successors that fail: the old generation serves on, says why, and the next
//! upgrade works.

use std::fs;

use nix::sys::signal::Signal;

use crate::server::{Server, exists, field, signal};

/// A script in the place of the program, and what the log must say of it.
fn survives(script: &str, said: &str, arguments: &[&str]) -> Server {
    let mut server = Server::start(arguments);
    let first = server.first_pid();
    server.replace_with(&format!("echo started pid=$$ >&2; {script}"));
    signal(first, Signal::SIGHUP);
    let started = server.log_until("started");
    let report = server.log_until("failed after");
    assert!(report.contains(said), "{report}");
    assert!(!exists(field(&started, "pid").parse().unwrap()), "it is dead and reaped");
    assert_eq!(server.greet().pid, first, "the old one serves");
    server.restore();
    let new = server.upgrade(first, 1);
    assert_eq!(new.generation, 1, "the next upgrade works");
    server
}

#[test]
fn one_that_exits_is_reported_with_its_status() {
    survives("exit 3", "ended before it was ready (exit status: 3)", &[]);
    survives("exit 0", "ended before it was ready (exit status: 0)", &[]);
    survives("kill -KILL $$", "ended before it was ready (signal: 9 (SIGKILL))", &[]);
}

#[test]
fn one_that_hangs_is_killed_at_the_deadline() {
    survives("exec sleep 1000", "not ready within 300ms", &["--ready-deadline", "300ms"]);
    survives("kill -STOP $$", "not ready within 300ms", &["--ready-deadline", "300ms"]);
}

#[test]
fn one_that_writes_nonsense_is_killed() {
    survives("printf KO >&4; exec sleep 1000", "something other than ready", &[]);
    survives("printf O >&4; exec 4>&-; exec sleep 1000", "something other than ready", &[]);
}

#[test]
fn one_that_closes_its_ready_pipe_and_lives_is_killed() {
    survives("exec 4>&-; exec sleep 1000", "closed its ready pipe", &[]);
}

#[test]
fn one_that_leaves_its_pipes_to_a_helper_and_dies_is_noticed() {
    // The helper holds the ready pipe, so its end never comes.
    survives("sleep 1000 & exit 1", "ended before it was ready (exit status: 1)", &[]);
}

/// It took the end of its pipe for its predecessor's, and served beside it.
#[test]
fn one_that_goes_into_the_background_gives_way() {
    let background = "\"$real\" \"$@\" & exit 0";
    let mut server = survives(background, "ended before it was ready (exit status: 0)", &[]);
    server.log_until("given this process up");
    signal(server.greet().pid, Signal::SIGTERM);
    server.log_to_the_end();
}

#[test]
fn a_missing_program_is_reported_as_such_and_can_be_put_back() {
    let mut server = Server::start(&[]);
    let first = server.first_pid();
    fs::remove_file(server.program()).unwrap();
    for _ in 0..3 {
        signal(first, Signal::SIGHUP);
        let report = server.log_until("failed after");
        assert!(report.contains("cannot execute the program"), "{report}");
        assert!(report.contains("No such file or directory (os error 2)"), "{report}");
    }
    assert_eq!(server.greet().pid, first);
    server.restore();
    assert_eq!(server.upgrade(first, 1).generation, 1);
}

#[test]
fn a_program_that_cannot_be_executed_is_reported_with_the_reason() {
    for (content, mode, said) in [
        ("", 0o755, "Exec format error"),
        ("#!/nonexistent/interpreter\n", 0o755, "No such file or directory"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
    ] {
        let mut server = Server::start(&[]);
        server.replace_program(content, mode);
        signal(server.first_pid(), Signal::SIGHUP);
        let report = server.log_until("failed after");
        assert!(report.contains(said), "{report}");
    }
}

#[test]
fn one_that_dies_on_probation_is_rolled_back() {
    let mut server = Server::start(&["--probation", "1h"]);
    let first = server.first_pid();
    let new = server.upgrade(first, 1);
    signal(new.pid, Signal::SIGKILL);
    let report = server.log_until("failed after");
    assert!(report.contains("ended on probation (signal: 9 (SIGKILL)), serving again"), "{report}");
    assert_eq!(server.greet().pid, first);
    assert_eq!(server.upgrade(first, 1).generation, 1);
}

#[test]
fn a_successor_whose_predecessor_vanishes_before_it_is_ready_carries_on() {
    let mut server = Server::start(&[]);
    let first = server.first_pid();
    server.hold("exec $real \"$@\"");
    signal(first, Signal::SIGHUP);
    server.log_until("started");
    signal(first, Signal::SIGKILL);
    server.first_exit_code();
    // Nobody accepts now; a client that connects is kept in the queue.
    let address = server.address;
    let client = std::net::TcpStream::connect(address).unwrap();
    server.release();
    server.log_until("ready generation=1");
    let new = server.greet();
    assert_eq!(new.generation, 1);
    let mut greeting = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(client), &mut greeting).unwrap();
    assert_eq!(greeting, format!("generation 1 pid {}\n", new.pid));
    // And it is a full member of the chain.
    assert_eq!(
        {
            server.restore();
            server.upgrade(new.pid, 2)
        }
        .generation,
        2
    );
}
