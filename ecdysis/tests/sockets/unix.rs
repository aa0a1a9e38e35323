//! Unix sockets of every kind: they cross as they are, and their files are there
//! for as long as somebody serves, and no longer.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

use crate::clients::{connect_abstract, connect_seqpacket, read_greeting, visit};
use crate::process::sockets;
use crate::server::{EXEC, PATIENCE, Server};

/// A name that is no UTF-8.
const BYTES: &[u8] = b"by\xfftes\xc3";

/// What has a path, with its name.
fn with_paths(server: &Server) -> [(OsString, &'static OsStr); 4] {
    [
        (server.step("unix", OsStr::from_bytes(BYTES)), OsStr::from_bytes(BYTES)),
        (server.step("unix-mode:0660", "mode"), OsStr::new("mode")),
        (server.step("seqpacket", "packets"), OsStr::new("packets")),
        (server.step("unix-datagram", "datagrams"), OsStr::new("datagrams")),
    ]
}

/// Who serves on each of them.
fn who_serves(server: &Server) -> Vec<(u64, u32)> {
    let stream = |name: &OsStr| visit(UnixStream::connect(server.path(name)).unwrap()).unwrap();
    let packets = visit(connect_seqpacket(&server.path("packets")).unwrap()).unwrap();
    vec![
        stream(OsStr::from_bytes(BYTES)),
        stream(OsStr::new("mode")),
        packets,
        who_answers(server, "datagrams"),
    ]
}

fn who_answers(server: &Server, name: &str) -> (u64, u32) {
    let own = server.path("client");
    let client = UnixDatagram::bind(&own).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hello", server.path(name)).unwrap();
    let mut answer = [0; 1000];
    let count = client.recv(&mut answer).unwrap();
    fs::remove_file(own).unwrap();
    let text = std::str::from_utf8(&answer[..count]).unwrap();
    let (greeting, echo) = text.split_once('\n').unwrap();
    assert_eq!(echo, "hello");
    read_greeting(greeting).unwrap()
}

#[test]
fn every_kind_crosses_as_the_same_socket_with_its_file() {
    let mut server = Server::new();
    let paths = with_paths(&server);
    let name = server.path("abstract").into_os_string();
    let mut steps: Vec<_> = paths.iter().map(|(step, _)| step.clone()).collect();
    steps.push(server.step("abstract", "abstract"));
    server.steps(&steps);
    server.start();

    let files = |server: &Server| {
        let file = |name: &OsStr| fs::symlink_metadata(server.path(name)).unwrap();
        paths.each_ref().map(|(_, name)| (file(name).ino(), file(name).mode()))
    };
    let before = files(&server);
    assert_eq!(before[1].1 & 0o777, 0o660);
    let first = sockets(server.pid);
    for generation in 0..3 {
        let by = (generation, server.pid);
        assert_eq!(who_serves(&server), [by; 4]);
        assert_eq!(visit(connect_abstract(name.as_bytes()).unwrap()).unwrap(), by);
        assert_eq!(files(&server), before);
        if generation > 0 {
            // Whatever else a process has, it has for itself.
            assert_eq!(first.intersection(&sockets(server.pid)).count(), steps.len());
        }
        server.upgrade();
    }

    server.stop();
    for (_, name) in &paths {
        assert!(!server.path(name).exists(), "{name:?} is left");
    }
    let refused = connect_abstract(name.as_bytes()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_a_killed_server_has_left_is_replaced() {
    let mut server = Server::new();
    let paths = with_paths(&server);
    let steps = paths.each_ref().map(|(step, _)| step);
    server.steps(&steps);
    server.start();
    for upgrades in 0..2 {
        for _ in 0..upgrades {
            server.upgrade();
        }
        server.end();
        for (_, name) in &paths {
            assert!(server.path(name).exists(), "{name:?} is gone: nothing is proved");
        }
        server.start();
        assert_eq!(who_serves(&server), [(0, server.pid); 4]);
    }
    server.stop();
    for (_, name) in &paths {
        assert!(!server.path(name).exists(), "{name:?} is left");
    }
}

#[test]
fn a_path_on_which_somebody_serves_is_not_taken_away() {
    let mut server = Server::new();
    let steps = with_paths(&server).map(|(step, _)| step);
    server.steps(&steps);
    server.start();
    for step in &steps {
        let mut other = Server::new();
        other.steps(&[step]);
        other.launch(EXEC, &[&other.arguments()]);
        assert_eq!(other.first_status().code(), Some(1), "{step:?}");
    }
    assert_eq!(who_serves(&server), [(0, server.pid); 4]);
}

#[test]
fn a_successor_that_fails_leaves_the_files_alone() {
    let mut server = Server::new();
    let steps = with_paths(&server).map(|(step, _)| step);
    server.steps(&steps);
    server.start();
    server.steps(&[steps.as_slice(), &["abort".into()]].concat());
    server.fail();
    assert_eq!(who_serves(&server), [(0, server.pid); 4]);
}
