//! What crosses besides sockets because the application wants it to: state, a
//! descriptor with a name, a chain of datagram sockets. The program is the
//! example `bequest`, which has no runtime.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use crate::clients::{Load, visit};
use crate::server::{EXEC, Server};

/// Starts it, with its journal; where it listens.
fn start(more: &[&str]) -> (Server, fs::File, SocketAddr) {
    let mut server = Server::of("bequest");
    let path = server.path("journal").into_os_string().into_string().unwrap();
    fs::write(&path, "").unwrap();
    server.launch(EXEC, &[&["127.0.0.1:0", &path], more].concat());
    let bound = server.log_until("bound at ");
    server.has_started();
    let journal = fs::File::open(&path).unwrap();
    // Nobody can open it by its name any more.
    fs::remove_file(path).unwrap();
    (server, journal, bound.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn every_visit_is_counted_and_every_generation_writes_to_one_journal() {
    let (mut server, mut journal, address) = start(&[]);
    let load = Load::tcp(8, address);
    load.wait_for(100);
    for _ in 1..=5 {
        server.upgrade();
        server.log_until("inherits 8 bytes of version 1");
        // What has happened since the state was made comes by the chain.
        server.log_until("the predecessor had ");
        load.wait_for(100);
    }
    let tally = load.finish();
    assert_eq!((tally.refused, tally.harmed.as_slice()), (0, [].as_slice()));
    assert_eq!(tally.served.len(), 6, "{tally:?}");
    let visits: u64 = tally.served.values().sum();

    // The state alone must make up the count now, for nobody has come since.
    server.upgrade();
    let last = server.log_until("the predecessor had ");
    assert!(last.ends_with(&format!("had 0 more, {visits} in all")), "{visits}: {last}");
    server.stop();
    let mut text = String::new();
    journal.read_to_string(&mut text).unwrap();
    for generation in 0..=6 {
        for what in ["serves", "ends"] {
            let line = format!("generation {generation} {what}\n");
            assert_eq!(text.matches(&line).count(), 1, "{line} in:\n{text}");
        }
    }
}

#[test]
fn an_upgrade_without_its_state_fails_and_the_old_generation_serves() {
    let (mut server, _journal, address) = start(&["troubled"]);
    for why in ["no state today", "was not made within 1s", "panicked"] {
        let report = server.fail();
        assert!(report.contains(why), "{report}");
        assert!(report.contains("cannot make the state for the successor"), "{report}");
        assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (0, server.pid));
    }
    server.upgrade();
    server.log_until("inherits 8 bytes of version 1");
    // Nothing of the chain has gone to the three that never were.
    server.log_until("the predecessor had 0 more, 3 in all");
    assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (1, server.pid));
}
