//! Upgrades that succeed: what crosses, and what stays.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::server::{Server, descriptors, field, is_listener, signal};

#[test]
fn the_next_generation_greets_while_the_old_connection_still_echoes() {
    let mut server = Server::start(&["--probation", "0s"]);
    let mut old = server.greet();
    assert_eq!((old.generation, old.pid), (0, server.first_pid()));
    let mut new = server.upgrade(old.pid, 1);
    assert_ne!(new.pid, old.pid);
    assert!(new.echoes("new") && old.echoes("old"));
    server.log_until("the next generation serves generation=0");
    assert!(old.echoes("still there"));
    drop(old);
    assert_eq!(server.first_exit_code(), Some(0));
    assert!(new.echoes("and here"));
}

#[test]
fn the_old_generation_accepts_nothing_while_it_keeps_the_sockets_on_probation() {
    let mut server = Server::start(&["--probation", "1h"]);
    let first = server.first_pid();
    let new = server.upgrade(first, 1);
    let listening =
        |pid| descriptors(pid).into_values().filter(|what| is_listener(pid, what)).count();
    assert!(listening(first) > 0 && listening(new.pid) > 0);
    for _ in 0..100 {
        assert_eq!(server.greet().pid, new.pid);
    }
}

#[test]
fn a_descriptor_without_close_on_exec_does_not_cross() {
    // The server itself is started with a stray descriptor that would survive exec.
    let mut server = Server::start_with(&[], "exec 9</dev/zero; exec \"$0\" \"$@\"", &[]);
    let first = server.first_pid();
    assert_eq!(descriptors(first)[&9].to_str(), Some("/dev/zero"));
    let new = server.upgrade(first, 1);
    let stray = descriptors(new.pid).into_values().filter(|what| what.ends_with("zero")).count();
    assert_eq!(stray, 0);
}

#[test]
fn a_process_that_only_inherited_the_variables_is_no_successor() {
    let mut server = Server::start(&[]);
    let new = server.upgrade(server.first_pid(), 1);
    let environ = fs::read(format!("/proc/{}/environ", new.pid)).unwrap();
    let variables: Vec<(String, String)> = environ
        .split(|&byte| byte == 0)
        .filter_map(|variable| String::from_utf8_lossy(variable).split_once('=').map(own))
        .filter(|(name, _)| name.starts_with("ECDYSIS_"))
        .collect();
    assert_eq!(variables.len(), 4);
    let borrowed: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // It says "ready generation=0", or this does not return.
    let stranger = Server::start_with(&[], "exec \"$0\" \"$@\"", &borrowed);
    assert_eq!(stranger.greet().generation, 0);
}

#[test]
fn a_wrapper_in_the_place_of_the_program_may_exec_it() {
    let mut server = Server::start(&[]);
    server.replace_with("exec $real \"$@\"");
    let new = server.upgrade(server.first_pid(), 1);
    assert_eq!(new.generation, 1);
}

#[test]
fn a_ledger_is_answered_and_left_behind() {
    let directory = tempfile::TempDir::new().unwrap();
    let ledger = directory.path().to_str().unwrap();
    let mut server = Server::start(&["--ledger", ledger]);
    let mut client = server.greet();
    assert!(client.echoes("12345"));
    let pid = server.first_pid();
    let mut answer = String::new();
    let socket = std::os::unix::net::UnixStream::connect(format!("{ledger}/{pid}.sock")).unwrap();
    std::io::Read::read_to_string(&mut { socket }, &mut answer).unwrap();
    assert!(answer.contains("\"accepted\":1") && answer.contains("\"bytes_in\":5"), "{answer}");
    drop(client);
    signal(pid, Signal::SIGTERM);
    assert_eq!(server.first_exit_code(), Some(0));
    let left = fs::read_to_string(format!("{ledger}/{pid}.json")).unwrap();
    assert!(left.contains("\"closed_clean\":1") && left.contains("\"generation\":0"), "{left}");
    assert!(!fs::exists(format!("{ledger}/{pid}.sock")).unwrap());
}

#[test]
fn help_teaches() {
    let help = Command::new(env!("CARGO_BIN_EXE_echo-server")).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    for word in ["SIGHUP", "SIGTERM", "nc 127.0.0.1 7000", "--drain-deadline"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn a_new_connection_goes_to_the_generation_that_is_ready() {
    let mut server = Server::start(&["--probation", "0s"]);
    server.hold("exec $real \"$@\"");
    signal(server.first_pid(), Signal::SIGHUP);
    // It initialises for as long as we like, and the old one serves.
    for _ in 0..20 {
        assert_eq!(server.greet().generation, 0);
    }
    server.release();
    let ready = server.log_until("ready generation=1");
    server.log_until("the next generation serves");
    assert_eq!(server.greet().pid.to_string(), field(&ready, "pid"));
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
