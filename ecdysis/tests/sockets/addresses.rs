//! Addresses of the internet: the one that was asked for is the one that is
//! found.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::clients::{greet, visit};
use crate::process::udp_address;
use crate::server::{Server, signal};

#[test]
fn every_generation_has_the_port_that_the_kernel_chose_for_the_first() {
    let (tcp, udp) = ("tcp:127.0.0.1:0", "udp:127.0.0.1:0");
    let mut server = Server::with(&[tcp, udp]);
    let address: SocketAddr = server.address_of(tcp);
    let datagrams = udp_address(server.pid);
    for generation in 1..=3 {
        server.upgrade();
        assert_eq!(server.address_of(tcp), address);
        assert_eq!(udp_address(server.pid), datagrams);
        let by = visit(TcpStream::connect(address).unwrap()).unwrap();
        assert_eq!(by, (generation, server.pid));
    }
}

#[test]
fn an_address_with_a_scope_is_found_again() {
    let steps: Vec<String> =
        scoped().iter().map(|address| format!("tcp:[{}%{}]:0", address.0, address.1)).collect();
    if steps.is_empty() {
        // Nothing to prove on a machine without IPv6.
        return;
    }
    let mut server = Server::with(&steps);
    let before: Vec<SocketAddr> = steps.iter().map(|step| server.address_of(step)).collect();
    for generation in 1..=2 {
        server.upgrade();
        // With another port it would be another socket: they ask for port 0.
        let now: Vec<_> = steps.iter().map(|step| server.address_of(step)).collect();
        assert_eq!(now, before);
        for address in &now {
            let by = visit(TcpStream::connect(address).unwrap()).unwrap();
            assert_eq!(by, (generation, server.pid), "{address}");
        }
    }
}

/// The loopback and link-local addresses of this machine, with their scopes.
fn scoped() -> Vec<(Ipv6Addr, u32)> {
    /// `IFA_F_TENTATIVE`: it cannot be used yet (if_addr.h).
    const TENTATIVE: u32 = 0x40;
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let address = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(columns[at], 16).unwrap();
        let ip = Ipv6Addr::from(u128::from_str_radix(columns[0], 16).unwrap());
        let usable = number(4) & TENTATIVE == 0;
        (usable && (ip.is_loopback() || ip.is_unicast_link_local())).then(|| (ip, number(1)))
    };
    table.lines().filter_map(address).collect()
}

#[test]
fn a_crashed_server_is_started_again_on_its_port_at_once() {
    let mut server = Server::with(&["tcp:127.0.0.1:0"]);
    let address = server.address_of("tcp:127.0.0.1:0");
    // A connection that outlasts the crash of the server on its port: an older
    // generation has it. (One that lingers would do as well, but how many do is
    // for the whole machine to decide.)
    let mut client = greet(TcpStream::connect(address).unwrap()).unwrap();
    server.upgrade();
    signal(server.pid, Signal::SIGKILL);
    while TcpStream::connect(address).is_ok() {}
    let plain = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let error = plain.bind(&address.into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let again = Server::with(&[format!("tcp:{address}")]);
    assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (0, again.pid));
    client.echo("still served").unwrap();
}
