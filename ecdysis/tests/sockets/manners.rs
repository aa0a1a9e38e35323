//! Generations of different kinds: what one makes of a socket that it shares
//! must not trouble the other.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::clients::{Load, visit};
use crate::process::{flags, listeners, number_of};
use crate::server::{Server, field, program, signal};

const TCP: &str = "tcp:127.0.0.1:0";

/// Whether an accept from the one listener of this process would block.
fn blocks(pid: u32) -> bool {
    let listeners = listeners(pid);
    assert_eq!(listeners.len(), 1);
    !flags(pid, number_of(pid, listeners[0].0)).unwrap().contains(OFlag::O_NONBLOCK)
}

/// The shell command that makes the successor one without a runtime. It takes
/// itself for the program `other`.
fn without_a_runtime(server: &Server) -> String {
    symlink(program("bequest"), server.path("other")).unwrap();
    let [other, journal] = ["other", "journal"].map(|name| server.path(name));
    format!("exec {} 127.0.0.1:0 {}", other.display(), journal.display())
}

#[test]
fn a_service_goes_from_a_runtime_to_none_and_back_under_load() {
    let mut server = Server::with(&[TCP]);
    let address: SocketAddr = server.address_of(TCP);
    let load = Load::tcp(8, address);
    load.wait_for(100);
    server.interpose(&without_a_runtime(&server));
    server.upgrade();
    load.wait_for(100);
    // It starts its successor with its own arguments, which are others.
    server.write_script("other", &format!("exec $server {}", server.arguments()));
    server.upgrade();
    load.wait_for(100);
    assert_eq!(server.address_of(TCP), address);
    let tally = load.finish();
    assert_eq!((tally.refused, tally.harmed.as_slice()), (0, [].as_slice()));
    assert_eq!(tally.served.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_successor_that_means_to_block_does_not_make_its_predecessor_block() {
    let mut server = Server::with(&[TCP]);
    let address: SocketAddr = server.address_of(TCP);
    // It has taken over the listener, to block in accept(2), and now waits for
    // somebody to read its journal.
    let journal = server.path("journal");
    nix::unistd::mkfifo(&journal, Mode::S_IRWXU).unwrap();
    server.interpose(&format!("echo successor pid=$$; {}", without_a_runtime(&server)));
    server.ask_to_upgrade();
    let successor = server.log_until("successor pid=");
    server.log_until("bound at ");
    assert!(!blocks(server.pid));
    let load = Load::tcp(8, address);
    load.wait_for(500);
    signal(field(&successor, "pid").parse().unwrap(), Signal::SIGKILL);
    let report = server.outcome();
    assert!(report.contains("SIGKILL"), "{report}");
    load.wait_for(500);
    assert!(!blocks(server.pid));
    let tally = load.finish();
    assert_eq!((tally.refused, tally.harmed.as_slice()), (0, [].as_slice()));
    assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (0, server.pid));
}
