//! Which program the successor is, and what it is started with.

use std::fs;
use std::os::unix::fs::symlink;

use ecdysis::control::{Command, request};
use nix::sys::signal::Signal;

use crate::clients::greet;
use crate::service::{PATIENCE, Service, Start, eventually, field, signal};

/// Upgrades, and returns the pid of the new generation.
fn upgrade(service: &Service, to: u64) -> u32 {
    let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
    assert!(answer.ok, "{answer:?}");
    field(&service.log_until(&format!("generation {to} serves")), "pid").parse().unwrap()
}

fn failed(service: &Service) -> String {
    let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
    assert!(!answer.ok, "{answer:?}");
    answer.error.unwrap()
}

/// The value of a variable that a process was started with.
fn variable(pid: u32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut variables = environ.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    variables.find_map(|pair| pair.strip_prefix(&format!("{name}=")).map(ToOwned::to_owned))
}

fn start() -> Start {
    Start::new("tokio").with("PROBATION", "0")
}

#[test]
fn a_relative_path_outlives_the_working_directory_for_generations() {
    let service = start().by("cd \"${0%/*}\"; exec ./server \"$@\"").with("GOES_TO", "/").serve();
    for generation in 1..=3 {
        upgrade(&service, generation);
    }
    let script = "mkdir \"${0%/*}/gone\"; cd \"${0%/*}/gone\"; exec ../server \"$@\"";
    let service = start().by(script).serve();
    fs::remove_dir(service.path("gone")).unwrap();
    for generation in 1..=3 {
        upgrade(&service, generation);
    }
}

#[test]
fn a_bare_name_outlives_the_path_it_was_found_along() {
    let along = "PATH=\"${0%/*}:$PATH\" exec server \"$@\"";
    let here = "cd \"${0%/*}\"; PATH=. exec server \"$@\"";
    for script in [along, here] {
        let service = start().by(script).with("GOES_TO", "/").serve();
        upgrade(&service, 1);
        upgrade(&service, 2);
        service.replace_with("echo replaced; exec $real \"$@\"");
        upgrade(&service, 3);
        service.log_until("replaced");
    }
}

#[test]
fn a_program_that_is_replaced_is_the_new_one_each_time() {
    let service = start().serve();
    for generation in 1..=3 {
        // By a rename, as package managers do: what runs is then a deleted file.
        // The script leaves its place to the program that it calls.
        let script = format!("echo build {generation}; ln -f $real \"$0\"; exec \"$0\" \"$@\"");
        service.replace_with(&script);
        upgrade(&service, generation);
        service.log_until(&format!("build {generation}"));
    }
}

#[test]
fn another_program_can_be_named_and_is_its_own_successors_default() {
    let start = start();
    let other = start.path("other");
    let service = start.with("PROGRAM", &other).serve();
    let report = failed(&service);
    assert!(report.contains(&format!("cannot execute the program for {}", other.display())));
    assert!(report.contains("No such file or directory"), "{report}");
    symlink(service.path("real"), &other).unwrap();
    let second = upgrade(&service, 1);
    assert_eq!(variable(second, "PROGRAM"), None);
    // Nothing is at the first path any more.
    fs::remove_file(service.program()).unwrap();
    upgrade(&service, 2);
}

#[test]
fn variables_can_be_set_and_removed_and_the_rest_is_ours() {
    let service = start().with("CROSSES", "a value").with("STAYS", "as it is").serve();
    let pid = upgrade(&service, 1);
    assert_eq!(variable(pid, "CROSSED").as_deref(), Some("a value"));
    assert_eq!(variable(pid, "CROSSES"), None);
    assert_eq!(variable(pid, "STAYS").as_deref(), Some("as it is"));
}

#[test]
fn the_working_directory_can_be_named_and_must_exist() {
    let start = start();
    let directory = start.path("work");
    let service = start.with("DIRECTORY", &directory).serve();
    let report = failed(&service);
    assert!(report.contains("cannot change to the working directory"), "{report}");
    fs::create_dir(&directory).unwrap();
    let pid = upgrade(&service, 1);
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), directory);
    signal(pid, Signal::SIGTERM);
    service.log_to_the_end();
}

#[test]
fn a_second_constructor_in_a_successor_finds_no_predecessor() {
    let service = start().with("TWICE", "yes").serve();
    service.log_until("a second constructor: is_child=false");
    upgrade(&service, 1);
    service.log_until("a second constructor: is_child=false");
    assert_eq!(upgrade(&service, 2), greet(service.address()).unwrap().pid);
}

/// The signals that a process ignores, as bits (proc_pid_status(5)).
fn ignored(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// They stayed ignored for ever, and so nothing but SIGKILL could stop it.
#[test]
fn signals_that_the_successor_does_not_handle_have_their_effect_once_it_is_settled() {
    let service = Start::new("tokio").with("PROBATION", "0").serve();
    service.replace_with("exec $real --ignored --exact --nocapture subjects::blocking");
    signal(service.first_pid(), Signal::SIGHUP);
    let report = service.log_until("upgrade to generation 1 (pid ");
    let pid = report.split_once("(pid ").unwrap().1.split_once(')').unwrap().0.parse().unwrap();
    let bits = [Signal::SIGHUP, Signal::SIGTERM].map(|signal| 1_u64 << (signal as i32 - 1));
    eventually("they are let in", || (ignored(pid) & (bits[0] | bits[1]) == 0).then_some(()));
    signal(pid, Signal::SIGTERM);
    service.log_to_the_end();
}
