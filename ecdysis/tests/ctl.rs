//! `ecdysis-ctl`, as a script sees it: what it prints, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use tempfile::TempDir;

/// Runs `ecdysis-ctl SOCKET` and `arguments`.
fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_ecdysis-ctl");
    Command::new(program).arg(socket).args(arguments).output().unwrap()
}

/// The same, with a server at the socket that reads the request and does
/// `serve`; also returns the request.
fn asked(arguments: &[&str], serve: impl FnOnce(UnixStream) + Send) -> (Output, String) {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("control");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            serve(stream);
            request
        });
        let output = ctl(&socket, arguments);
        (output, server.join().unwrap())
    })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_yes_is_printed_as_it_came() {
    let line = "{\"new\": 1, \"ok\": true, \"command\": \"status\"}\n";
    let serve = |mut stream: UnixStream| stream.write_all(line.as_bytes()).unwrap();
    let (output, request) = asked(&["status"], serve);
    assert_eq!(request, "{\"command\":\"status\"}\n");
    assert_eq!((text(&output.stdout), text(&output.stderr)), (line, ""));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_no_is_explained() {
    let line = "{\"ok\":false,\"command\":\"upgrade\",\"error\":\"upgrade to generation 3 failed\",\
                \"upgrade\":{\"outcome\":\"rolled_back\"}}\n";
    let serve = |mut stream: UnixStream| stream.write_all(line.as_bytes()).unwrap();
    let (output, request) = asked(&["upgrade"], serve);
    assert_eq!(request, "{\"command\":\"upgrade\"}\n");
    assert_eq!(text(&output.stdout), line);
    assert_eq!(text(&output.stderr), "ecdysis-ctl: upgrade: upgrade to generation 3 failed\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn no_answer_has_its_own_code_and_names_the_socket() {
    let (closed, _) = asked(&["stop"], drop);
    let garbage = |mut stream: UnixStream| stream.write_all(b"hello\n").unwrap();
    let (garbage, _) = asked(&["stop"], garbage);
    let missing = ctl(Path::new("/nowhere/control"), &["stop"]);
    for (output, said) in
        [(closed, "without an answer"), (garbage, "no answer"), (missing, "/nowhere/control")]
    {
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn patience_ends() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("control");
    let _silent = UnixListener::bind(&socket).unwrap();
    let output = ctl(&socket, &["status", "--patience", "0.05"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("timed out"), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_command_line_teaches_the_right_one() {
    let output = ctl(Path::new("/run/x"), &["reload"]);
    assert_eq!(output.status.code(), Some(2));
    for part in ["reload", "status|upgrade|stop|drain", "--help"] {
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
    let output = ctl(Path::new("--help"), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Exit codes:"));
}
