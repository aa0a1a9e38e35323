//! What crosses besides sockets: nothing.

use std::net::{SocketAddr, TcpStream};

use nix::fcntl::OFlag;

use crate::clients::visit;
use crate::process::{descriptors, flags, sockets};
use crate::server::{EXEC, Server, field, signal};

const TCP: &str = "tcp:127.0.0.1:0";

/// Whether a descriptor is open and would be so in a program that the process starts.
fn is_kept(pid: u32, number: u32) -> bool {
    flags(pid, number).is_some_and(|flags| !flags.contains(OFlag::O_CLOEXEC))
}

#[test]
fn a_descriptor_without_close_on_exec_does_not_cross() {
    let mut server = Server::with(&[TCP, "stray:/dev/zero"]);
    let is_stray = |pid| {
        let all = descriptors(pid).into_iter();
        all.filter(|(_, what)| what.ends_with("zero")).map(|(number, _)| number).collect::<Vec<_>>()
    };
    let stray = is_stray(server.pid);
    assert_eq!(stray.len(), 1);
    assert!(is_kept(server.pid, stray[0]), "nothing is proved");
    server.steps(&[TCP]);
    server.upgrade();
    assert_eq!(is_stray(server.pid), []);
}

#[test]
fn what_has_crossed_is_close_on_exec_in_the_successor() {
    let mut server = Server::new();
    let mut steps: Vec<_> =
        [TCP, "udp:127.0.0.1:0", "reuseport:127.0.0.1:0*1"].map(Into::into).into();
    steps.extend(
        ["unix", "seqpacket", "unix-datagram", "abstract"].map(|kind| server.step(kind, kind)),
    );
    // Looked at before anything has been claimed, and when it serves.
    steps.insert(0, server.gate("gate"));
    server.steps(&steps);
    server.launch(EXEC, &[&server.arguments()]);
    server.open_gate("gate");
    server.has_started();
    let keeps = |pid| {
        let numbers = descriptors(pid).into_keys().filter(|number| *number > 2);
        numbers.filter(|&number| is_kept(pid, number)).collect::<Vec<_>>()
    };
    server.ask_to_upgrade();
    server.log_until("waits ");
    let successor = field(&server.log_until("waits "), "pid").parse().unwrap();
    let shared = sockets(server.pid).intersection(&sockets(successor)).count();
    assert_eq!((shared, keeps(successor)), (7, vec![]));
    server.open_gate("gate");
    server.completes();
    assert_eq!((server.pid, keeps(successor)), (successor, vec![]));
}

#[test]
fn a_helper_of_a_successor_is_nobodys_successor() {
    let mut server = Server::with(&[TCP]);
    let address: SocketAddr = server.address_of(TCP);
    // The helper is a server by itself, with the variables of the handoff in its
    // environment: first while the handoff goes on, then when it is over.
    let helper = crate::server::program("every_socket");
    let helper = format!("helper:exec {} tcp:127.0.0.3:0 probation:0", helper.display());
    server.steps(&[&helper, TCP, "ready", &helper]);
    server.upgrade();
    for _ in 0..2 {
        // "ready generation=0", or this does not return.
        let ready = server.log_until("ready generation=0 ");
        let pid: u32 = field(&ready, "pid").parse().unwrap();
        assert_eq!(sockets(pid).intersection(&sockets(server.pid)).count(), 0);
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8_lossy(&environ);
        assert!(environ.contains("ECDYSIS_RUST_UPGRADE"), "nothing is proved");
        // It can have a successor of its own, too.
        signal(pid, nix::sys::signal::Signal::SIGHUP);
        server.log_until(&format!("leaves generation=0 pid={pid} mode=Upgrade"));
    }
    assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (1, server.pid));
    server.steps(&[TCP]);
    server.upgrade();
    assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (2, server.pid));
}
