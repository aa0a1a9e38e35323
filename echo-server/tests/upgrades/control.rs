//! The control socket when descriptors, files or manners are bad.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use ecdysis::control::{Answer, Command, Outcome, request};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::server::{Server, signal};

/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn ask(socket: &Path, command: Command) -> Answer {
    request(socket, command, PATIENCE).unwrap()
}

fn outcome(answer: &Answer) -> Outcome {
    answer.upgrade.as_ref().unwrap_or_else(|| panic!("{answer:?}")).outcome
}

#[test]
fn it_is_heard_again_when_descriptors_come_back() {
    const LIMIT: usize = 64;
    let script = format!(
        "ulimit -n {LIMIT}; exec \"$0\" \"$@\" --control \"${{0%/*}}/control\" --probation 0s"
    );
    let mut server = Server::start_with(&[], &script, &[]);
    let socket = server.path("control");
    // Each client takes a descriptor, and the last ones wait for one.
    let clients: Vec<_> = (0..LIMIT).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    server.log_until("cannot accept");
    let asked = {
        let socket = socket.clone();
        thread::spawn(move || ask(&socket, Command::Status))
    };
    server.log_until("cannot accept a control connection");
    // It goes on trying, and not all the time.
    server.log_until("cannot accept a control connection");
    drop(clients);
    let status = asked.join().unwrap().status.unwrap();
    assert_eq!((status.generation, status.phase.as_str()), (0, "serving"));
    assert!(status.counters["accept_resource_errors"].as_u64() > Some(0));
    assert_eq!(outcome(&ask(&socket, Command::Upgrade)), Outcome::Completed);
    assert_eq!(server.first_exit_code(), Some(0));
    assert!(ask(&socket, Command::Stop).ok);
    let log = server.log_to_the_end();
    let tries = log.iter().filter(|line| line.contains("a control connection")).count();
    assert!(tries < 50, "{tries} tries are too many: it must back off");
}

#[test]
fn one_that_a_killed_server_has_left_is_taken_over() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("control");
    let arguments = ["--control", socket.to_str().unwrap()];
    let mut killed = Server::start(&arguments);
    signal(killed.first_pid(), Signal::SIGKILL);
    assert_eq!(killed.first_exit_code(), None);
    assert!(fs::exists(&socket).unwrap(), "nothing is proved");
    let mut server = Server::start(&arguments);
    let status = ask(&socket, Command::Status).status.unwrap();
    assert_eq!(status.pid, server.first_pid());
    assert!(ask(&socket, Command::Stop).ok);
    assert_eq!(server.first_exit_code(), Some(0));
    assert!(!fs::exists(&socket).unwrap());
}

#[test]
fn a_second_server_does_not_take_it_from_the_first() {
    let server = Server::start_with(&[], "exec \"$0\" \"$@\" --control \"${0%/*}/control\"", &[]);
    let socket = server.path("control");
    let second = process::Command::new(env!("CARGO_BIN_EXE_echo-server"))
        .args(["--listen", "127.0.0.1:0", "--control"])
        .arg(&socket)
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        said.contains("a running process has it") && said.contains(socket.to_str().unwrap()),
        "{said}"
    );
    assert_eq!(ask(&socket, Command::Status).status.unwrap().pid, server.first_pid());
}

#[test]
fn arguments_and_paths_need_not_be_text() {
    // The name of the control socket, and so an argument and a key of the
    // manifest, has a byte in it that no UTF-8 has.
    let script = "exec \"$0\" \"$@\" --control \"${0%/*}/$(printf 'c\\377')\" --probation 0s";
    let mut server = Server::start_with(&[], script, &[]);
    let socket = server.program().with_file_name(OsStr::from_bytes(b"c\xff"));
    for generation in 1..=2 {
        assert_eq!(outcome(&ask(&socket, Command::Upgrade)), Outcome::Completed);
        server.log_until(&format!("settled generation={generation}"));
        assert_eq!(ask(&socket, Command::Status).status.unwrap().generation, generation);
    }
    assert!(ask(&socket, Command::Stop).ok);
    server.log_to_the_end();
    assert!(!socket.exists());
}

#[test]
fn a_stop_is_answered_at_once_and_ends_with_the_process() {
    let script = "exec \"$0\" \"$@\" --control \"${0%/*}/control\" --drain-deadline 1h";
    let mut server = Server::start_with(&[], script, &[]);
    let mut client = server.greet();
    let mut asking = UnixStream::connect(server.path("control")).unwrap();
    std::io::Write::write_all(&mut asking, b"{\"command\":\"stop\"}\n").unwrap();
    // The connection of the client keeps the process; the answer is there.
    let mut byte = [0];
    let mut line = Vec::new();
    while byte != *b"\n" {
        asking.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    let answer: Answer = serde_json::from_slice(&line).unwrap();
    assert!(answer.ok);
    assert!(client.echoes("still served"));
    asking.set_nonblocking(true).unwrap();
    let open = asking.read(&mut byte).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "it ends with the process only");
    asking.set_nonblocking(false).unwrap();
    drop(client);
    assert_eq!(asking.read(&mut byte).unwrap(), 0);
    assert_eq!(server.first_exit_code(), Some(0));
}
