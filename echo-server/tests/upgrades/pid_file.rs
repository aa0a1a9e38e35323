//! The PID file: it names the generation that serves, whatever happens.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::server::{Server, signal};

/// A server with its PID file in a directory `run`; started where nobody but
/// its user may read what it makes.
fn start(arguments: &[&str]) -> Server {
    let script =
        "umask 077; mkdir \"${0%/*}/run\"; exec \"$0\" \"$@\" --pid-file \"${0%/*}/run/pid\"";
    Server::start_with(arguments, script, &[])
}

fn read(server: &Server) -> String {
    fs::read_to_string(server.path("run/pid")).unwrap()
}

/// Looks until the file names this process: no event tells of it.
fn comes_to_name(server: &Server, pid: u32) {
    for _ in 0..10_000 {
        if read(server) == format!("{pid}\n") {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the PID file does not come to name {pid}: {:?}", read(server));
}

#[test]
fn it_names_who_serves_until_the_service_stops() {
    let mut server = start(&["--probation", "0s"]);
    let mut pid = server.first_pid();
    for generation in 1..=3 {
        assert_eq!(read(&server), format!("{pid}\n"));
        let mode = fs::metadata(server.path("run/pid")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        pid = server.upgrade(pid, generation).pid;
        // The one that was succeeded takes nothing away.
        server.log_until(&format!("drained generation={}", generation - 1));
    }
    assert_eq!(server.first_exit_code(), Some(0));
    assert_eq!(read(&server), format!("{pid}\n"));
    signal(pid, Signal::SIGTERM);
    server.log_to_the_end();
    assert_eq!(fs::read_dir(server.path("run")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_successor_that_fails_does_not_touch_it() {
    let mut server = start(&[]);
    let before = fs::metadata(server.path("run/pid")).unwrap();
    for script in ["exit 3", "exec $real --no-such-flag", "exec $real \"$@\" --ledger /dev/null"] {
        server.replace_with(script);
        signal(server.first_pid(), Signal::SIGHUP);
        server.log_until("failed after");
    }
    let after = fs::metadata(server.path("run/pid")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(read(&server), format!("{}\n", server.first_pid()));
    assert_eq!(fs::read_dir(server.path("run")).unwrap().count(), 1, "nothing is left");
}

/// The published crate does so. The file named a process that was gone.
#[test]
fn one_that_a_successor_writes_before_it_fails_names_the_old_one_again() {
    let mut server = start(&[]);
    server.replace_with("printf %s $$ >\"${0%/*}/run/pid\"; exit 3");
    signal(server.first_pid(), Signal::SIGHUP);
    server.log_until("failed after");
    comes_to_name(&server, server.first_pid());
}

#[test]
fn after_a_rollback_it_names_the_old_one_again() {
    let mut server = start(&["--probation", "1h"]);
    let first = server.first_pid();
    let new = server.upgrade(first, 1).pid;
    comes_to_name(&server, new);
    signal(new, Signal::SIGKILL);
    server.log_until("serving again");
    comes_to_name(&server, first);
    signal(first, Signal::SIGTERM);
    assert_eq!(server.first_exit_code(), Some(0));
    assert!(!server.path("run/pid").exists());
}

#[test]
fn a_start_that_cannot_write_it_fails_and_says_where() {
    let server = Command::new(env!("CARGO_BIN_EXE_echo-server"))
        .args(["--listen", "127.0.0.1:0", "--pid-file", "/nonexistent/run/pid"])
        .output()
        .unwrap();
    let said = String::from_utf8(server.stderr).unwrap();
    assert_eq!(server.status.code(), Some(1));
    assert!(said.contains("cannot write a PID file for \"/nonexistent/run/pid\""), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_directory_that_is_gone_costs_the_upgrade_and_not_the_service() {
    let mut server = start(&["--probation", "1h"]);
    let first = server.first_pid();
    let mut client = server.greet();
    fs::remove_dir_all(server.path("run")).unwrap();
    // The successor has its streams already when it fails: it must not have
    // taken a connection that dies with it.
    signal(first, Signal::SIGHUP);
    for _ in 0..100 {
        let mut greeted = server.greet();
        assert_eq!(greeted.pid, first);
        assert!(greeted.echoes("served"));
    }
    let said = server.log_until("cannot serve");
    assert!(said.contains("cannot write a PID file for"), "{said}");
    let report = server.log_until("failed after");
    assert!(report.contains("exit status: 1"), "{report}");

    fs::create_dir(server.path("run")).unwrap();
    let new = server.upgrade(first, 1).pid;
    fs::remove_dir_all(server.path("run")).unwrap();
    signal(new, Signal::SIGKILL);
    server.log_until("serving again");
    server.log_until("cannot write our pid to the PID file again");
    assert_eq!(server.greet().pid, first);
    assert!(client.echoes("still there"));
    drop(client);
    signal(first, Signal::SIGTERM);
    assert_eq!(server.first_exit_code(), Some(0));
    assert!(!server.log_to_the_end().iter().any(|line| line.contains("panicked")));
}
