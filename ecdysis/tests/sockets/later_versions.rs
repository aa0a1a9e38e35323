//! A predecessor of a later version, which this test plays: it passes on
//! something of a kind that nobody knows yet.

use std::fs::{self, File};
use std::io::{Read, Write};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::process::descriptors;
use crate::server::{Server, field};

/// The list that the published crate reads, in which what it does not know has
/// a name that nobody asks for; and our own part (`manifest.rs`).
fn manifest() -> Vec<u8> {
    let name = b"ecdysis: descriptor 5";
    let body = br#"{"generation": 7, "weather": "fine", "sockets": [
        {"fd": 5, "colour": "blue", "socket": {"kind": "carrier_pigeon", "loft": 3}}
    ]}"#;
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap().to_le_bytes();
    [
        1_u64.to_le_bytes().as_slice(),
        &5_i32.to_le_bytes(),
        &3_u32.to_le_bytes(),
        &length(name),
        name,
        b"ecdysis\0",
        &1_u16.to_le_bytes(),
        &length(body),
        body,
    ]
    .concat()
}

#[test]
fn a_socket_of_a_kind_that_nobody_knows_yet_is_carried_on() {
    let mut server = Server::new();
    server.steps(&["tcp:127.0.0.1:0"]);
    for pipe in ["words", "ready"] {
        mkfifo(&server.path(pipe), Mode::S_IRWXU).unwrap();
    }
    fs::write(server.path("pigeon"), "").unwrap();
    let directory = server.path("").display().to_string();
    let script = format!(
        "cd {directory} && exec 3<words 4>ready 5<pigeon && \
         ECDYSIS_RUST_UPGRADE=yes ECDYSIS_RUST_PIPE_FDS=3 ECDYSIS_RUST_PIPE_READY=4 \
         exec \"$0\" \"$@\""
    );
    server.launch(&script, &[&server.arguments()]);
    let mut words = File::options().write(true).open(server.path("words")).unwrap();
    let mut ready = File::open(server.path("ready")).unwrap();
    words.write_all(&manifest()).unwrap();
    let mut said = [0; 4];
    ready.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"OKe\x01");
    // Go; something that nobody understands yet; settled.
    words.write_all(b"G*S").unwrap();
    let line = server.log_until("ready generation=7 ");
    (server.pid, server.generation) = (field(&line, "pid").parse().unwrap(), 7);

    let pigeon = server.path("pigeon");
    let carries = |pid| descriptors(pid).into_values().filter(|what| *what == pigeon).count();
    assert_eq!(carries(server.pid), 1);
    for generation in 8..=9 {
        server.upgrade();
        assert_eq!((server.generation, carries(server.pid)), (generation, 1));
    }
}
