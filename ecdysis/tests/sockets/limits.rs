//! A process that has used up its descriptors.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::clients::{Greeted, greet, visit};
use crate::process::descriptors;
use crate::server::{EXEC, Server};

const TCP: &str = "tcp:127.0.0.1:0";

/// How many descriptors it may have.
const LIMIT: usize = 64;

/// How many of the numbers below the limit are taken. What this test was started
/// with may be beyond it.
fn taken(pid: u32) -> usize {
    descriptors(pid).into_keys().filter(|number| (*number as usize) < LIMIT).count()
}

/// A server that may have few descriptors, and so many clients that it has used
/// them up; some more wait in its queue.
fn full() -> (Server, Vec<Greeted<TcpStream>>, Vec<TcpStream>) {
    let mut server = Server::new();
    server.steps(&[TCP]);
    let script = format!("ulimit -n {LIMIT}; {EXEC}");
    server.launch(&script, &[&server.arguments()]);
    server.has_started();
    let address: SocketAddr = server.address_of(TCP);
    let room = LIMIT - taken(server.pid);
    let mut clients: Vec<_> =
        (0..LIMIT + 20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let waiting = clients.split_off(room);
    // They are served in the order in which they came; whoever is greeted has
    // taken a descriptor.
    let greeted = clients.into_iter().map(|client| greet(client).unwrap()).collect();
    assert_eq!(taken(server.pid), LIMIT);
    (server, greeted, waiting)
}

#[test]
fn accepting_goes_on_when_descriptors_come_back() {
    let (mut server, greeted, waiting) = full();
    for mut client in greeted {
        client.echo("served").unwrap();
        client.finish().unwrap();
    }
    for client in waiting {
        assert_eq!(visit(client).unwrap(), (0, server.pid));
    }
    server.upgrade();
    let address = server.address_of(TCP);
    assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (1, server.pid));
}

#[test]
fn a_process_that_has_no_descriptors_left_can_be_upgraded() {
    let (mut server, greeted, waiting) = full();
    server.upgrade();
    // By whom does not matter: a descriptor that the upgrade has not needed may
    // have gone to one of them.
    for client in waiting {
        visit(client).unwrap();
    }
    for mut client in greeted {
        assert_eq!(client.generation, 0);
        client.echo("served to the end").unwrap();
        client.finish().unwrap();
    }
    server.log_until("ends generation=0");
}

#[test]
fn a_process_that_has_no_descriptors_left_can_be_upgraded_after_a_failure() {
    let (mut server, mut greeted, waiting) = full();
    server.steps(&[TCP, "abort"]);
    for _ in 0..5 {
        let report = server.fail();
        assert!(report.contains("SIGABRT"), "{report}");
        greeted[0].echo("served meanwhile").unwrap();
    }
    server.steps(&[TCP]);
    server.upgrade();
    for client in waiting {
        visit(client).unwrap();
    }
}

#[test]
fn a_process_that_has_no_descriptors_left_can_be_stopped() {
    let (mut server, greeted, waiting) = full();
    server.ask_to_stop();
    server.log_until("leaves generation=0");
    for client in greeted {
        client.finish().unwrap();
    }
    for client in waiting {
        assert_eq!(visit(client).unwrap(), (0, server.pid));
    }
    server.log_to_the_end();
}

#[test]
fn a_successor_that_lacks_descriptors_says_so_and_binds_nothing_anew() {
    // Ports that are known: to bind one anew would say that it is in use, which
    // would lead nobody to the reason.
    let free = |host| {
        let probe = TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        probe.local_addr().unwrap()
    };
    let before: Vec<SocketAddr> = (1..=8).map(free).collect();
    let steps: Vec<String> = before.iter().map(|address| format!("tcp:{address}")).collect();
    let mut server = Server::with(&steps);
    let mut failed = 0;
    // Every point at which it can run out, from before its first line on, to the
    // first limit that is enough.
    for limit in 5..100 {
        server.interpose(&format!("ulimit -n {limit}; exec \"$server\" \"$@\""));
        server.ask_to_upgrade();
        let report = server.outcome();
        if report.contains(" completed") {
            server.has_completed(&report);
            break;
        }
        failed += 1;
        for address in &before {
            assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (0, server.pid));
        }
    }
    // There are at least as many points as sockets.
    assert!(failed > steps.len(), "{failed}");
    for address in &before {
        assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (1, server.pid));
    }
    let log = server.stop();
    let lacking = log.iter().filter(|line| line.contains("Error:")).collect::<Vec<_>>();
    assert!(lacking.iter().any(|line| line.contains("code: 24")), "{lacking:?}");
    assert!(lacking.iter().all(|line| !line.contains("AddrInUse")), "{lacking:?}");
}

#[test]
fn a_process_that_may_have_hardly_any_descriptors_keeps_some_for_its_clients() {
    let mut server = Server::new();
    server.steps(&[TCP]);
    let starts_with = |server: &mut Server, limit: usize| {
        server.launch(&format!("ulimit -n {limit}; {EXEC}"), &[&server.arguments()]);
        server.tries_to_start()
    };
    let least = (5..LIMIT).find(|&limit| starts_with(&mut server, limit)).unwrap();
    // With the least it has none left; with these two more, one may be held back
    // for an upgrade.
    assert!(starts_with(&mut server, least + 2));
    let address = server.address_of(TCP);
    for _ in 0..3 {
        assert_eq!(visit(TcpStream::connect(address).unwrap()).unwrap(), (0, server.pid));
    }
}
