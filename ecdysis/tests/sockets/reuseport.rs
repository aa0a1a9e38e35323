//! Groups of sockets that share an address: they grow and shrink with the
//! generations, and no client notices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::clients::{Load, Tally};
use crate::process::listeners;
use crate::rounds::rounds;
use crate::server::Server;

/// A client whose SYN was dropped tries again after a second (RFC 6298).
const SYN_RETRY: Duration = Duration::from_millis(900);

const CLIENTS: u16 = 48;

/// An address that a group may have. As long as the socket is there, nobody else
/// is given it; it does not listen, so no client meets it.
fn reserved() -> (Socket, SocketAddr) {
    reserved_at(Ipv4Addr::LOCALHOST.into())
}

fn reserved_at(host: IpAddr) -> (Socket, SocketAddr) {
    let address = SocketAddr::new(host, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn nobody_is_reset(tally: &Tally) {
    assert_eq!((tally.refused, tally.harmed.as_slice()), (0, [].as_slice()), "{tally:?}");
}

fn no_harm(tally: &Tally) {
    nobody_is_reset(tally);
    assert!(tally.slowest_connect < SYN_RETRY, "{tally:?}");
}

#[test]
fn a_group_shrinks_and_grows_under_load_and_nobody_is_reset() {
    let (_reserved, address) = reserved();
    let group = |count| format!("reuseport:{address}*{count}");
    let mut server = Server::with(&[group(4)]);
    let load = Load::tcp(CLIENTS, address);
    load.wait_for(500);
    for round in 0..rounds() {
        // Some with a probation, in which both generations have the group.
        let probation = format!("probation:{}", round % 2 * 100);
        for count in [1, 4] {
            server.steps(&[&probation, &group(count)]);
            server.upgrade();
            assert_eq!(listeners(server.pid).len(), count);
        }
        load.wait_for(500);
    }
    let tally = load.finish();
    no_harm(&tally);
    assert_eq!(tally.served.len(), rounds() as usize * 2 + 1, "{tally:?}");
}

#[test]
fn every_member_of_a_group_gets_its_share_after_the_upgrades() {
    let (_reserved, address) = reserved();
    let group = |count| format!("reuseport:{address}*{count}");
    let mut server = Server::with(&[group(1)]);
    for count in [4, 2, 3] {
        server.steps(&[group(count)]);
        server.upgrade();
        server.log_until(&format!("ends generation={}", server.generation - 1));
        // Held by nobody who would not accept from it: every one of many
        // clients is served.
        let load = Load::tcp(CLIENTS, address);
        load.wait_for(1000);
        let tally = load.finish();
        no_harm(&tally);
        assert_eq!(tally.served.keys().copied().collect::<Vec<_>>(), [server.generation]);
    }
}

#[test]
fn a_successor_that_crashes_after_it_has_joined_the_group_resets_nobody() {
    let tally = crashes_after_joining(Ipv4Addr::LOCALHOST.into());
    nobody_is_reset(&tally);
    // Who has lost a SYN, as below, has lost one: it is admitted when it tries again.
    assert!(tally.slowest_connect < Duration::from_secs(1) + SYN_RETRY, "{tally:?}");
}

/// With IPv4 the kernel may drop a SYN in the instant in which it closes the sockets of
/// the crashed process, which it finds before those that are older (`__inet_hash` and
/// `inet_unhash` in `net/ipv4/inet_hashtables.c`); the library can do nothing about that.
/// With IPv6 it finds the older first, and so nobody may have to wait.
#[test]
fn and_delays_nobody_where_the_kernel_does_not() {
    no_harm(&crashes_after_joining(Ipv6Addr::LOCALHOST.into()));
}

fn crashes_after_joining(host: IpAddr) -> Tally {
    let (_reserved, address) = reserved_at(host);
    let group = |count| format!("reuseport:{address}*{count}");
    let mut server = Server::with(&[group(1)]);
    let gate = server.gate("gate");
    let load = Load::tcp(CLIENTS, address);
    for _ in 0..rounds() {
        server.steps(&[&group(4), gate.to_str().unwrap(), "abort"]);
        server.ask_to_upgrade();
        server.log_until("waits ");
        // The group has four members now, and three of them accept nothing.
        load.wait_for(1000);
        server.open_gate("gate");
        let report = server.outcome();
        assert!(report.contains("SIGABRT"), "{report}");
        load.wait_for(200);
    }
    server.steps(&[group(4)]);
    server.upgrade();
    load.wait_for(500);
    let tally = load.finish();
    assert_eq!(tally.served.keys().copied().collect::<Vec<_>>(), [0, 1]);
    tally
}
