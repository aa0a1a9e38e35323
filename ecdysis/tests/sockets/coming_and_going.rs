//! Sockets that come late, are dropped, or are not wanted any more.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use crate::clients::{Connection, Greeted, Load, connect_seqpacket, greet, visit};
use crate::process::listeners;
use crate::server::Server;

const LATE: &str = "tcp:127.0.0.1:0";
const STAYS: &str = "tcp:127.0.0.2:0";

fn refused(address: SocketAddr) {
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_socket_that_is_asked_for_only_after_ready_is_found() {
    let mut server = Server::new();
    // As long as the predecessor keeps the sockets, they can be asked for. It
    // serves meanwhile on those that were not asked for yet.
    let gate = server.gate("gate");
    server.steps(&["probation:3000", STAYS, "ready", LATE]);
    server.start();
    let [late, stays]: [SocketAddr; 2] = [LATE, STAYS].map(|step| server.address_of(step));
    let loads = [late, stays].map(|address| Load::tcp(4, address));
    let waits = gate.to_str().unwrap();
    server.steps(&["probation:0", STAYS, "ready", waits, LATE]);
    server.ask_to_upgrade();
    server.log_until("waits ");
    loads[0].wait_for(100);
    server.open_gate("gate");
    assert_eq!(server.address_of(LATE), late);
    server.completes();
    server.log_until("ends generation=0");
    for (load, address) in loads.into_iter().zip([late, stays]) {
        let by = visit(TcpStream::connect(address).unwrap()).unwrap();
        assert_eq!(by, (1, server.pid), "{address}");
        let tally = load.finish();
        assert_eq!((tally.refused, tally.harmed.as_slice()), (0, [].as_slice()));
        assert!(tally.served.contains_key(&0), "{tally:?}");
    }
}

#[test]
fn a_listener_that_was_dropped_is_closed_for_good_and_can_be_bound_again() {
    let mut server = Server::new();
    let gates = ["dropped", "again"].map(|name| server.gate(name));
    let [dropped, again] = gates.each_ref().map(|gate| gate.to_str().unwrap());
    // The second place is not known before there is a first.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (step, drop_it) = (format!("tcp:{taken}"), format!("drop:tcp:{taken}"));
    server.steps(&[STAYS, &step, "ready", dropped, &drop_it, again, &step]);
    server.start();
    let mut client = greet(TcpStream::connect(taken).unwrap()).unwrap();

    server.open_gate("dropped");
    server.log_until(&format!("done {drop_it:?}"));
    refused(taken);
    assert!(listeners(server.pid).iter().all(|(_, address)| *address != taken));
    client.echo("whoever was served before is served on").unwrap();
    // Anybody may have it.
    drop(TcpListener::bind(taken).unwrap());

    server.open_gate("again");
    server.log_until(&format!("done {again:?}"));
    server.log_until(&format!("done {step:?}"));
    server.log_until(&format!("done {step:?}"));
    assert_eq!(visit(TcpStream::connect(taken).unwrap()).unwrap(), (0, server.pid));
    server.steps(&[&step, STAYS]);
    server.upgrade();
    assert_eq!(visit(TcpStream::connect(taken).unwrap()).unwrap(), (1, server.pid));
}

#[test]
fn a_dropped_listener_is_not_passed_on() {
    let mut server = Server::new();
    let drop_it = format!("drop:{LATE}");
    server.steps(&[STAYS, LATE, "ready", &drop_it]);
    server.start();
    let address: SocketAddr = server.address_of(LATE);
    server.log_until(&format!("done {drop_it:?}"));
    server.steps(&[STAYS]);
    server.upgrade();
    assert_eq!(listeners(server.pid).len(), 1);
    refused(address);
}

#[test]
fn who_waits_at_a_door_that_the_successor_does_not_want_is_served_and_the_door_is_shut() {
    let mut server = Server::new();
    let held = [
        server.step("hold:unix", "gone").into_string().unwrap(),
        server.step("hold:seqpacket", "packets").into_string().unwrap(),
    ];
    server.steps(&[STAYS, &format!("hold:{LATE}"), &held[0], &held[1]]);
    server.start();
    let address: SocketAddr = server.address_of(LATE);
    let tcp = [(); 50].map(|()| TcpStream::connect(address).unwrap());
    let unix = [(); 50].map(|()| UnixStream::connect(server.path("gone")).unwrap());
    let packets = [(); 50].map(|()| connect_seqpacket(&server.path("packets")).unwrap());

    server.steps(&[STAYS]);
    server.upgrade();
    fn all_served<C: Connection>(clients: [C; 50]) {
        for client in clients {
            let mut greeted: Greeted<C> = greet(client).unwrap();
            greeted.echo("served").unwrap();
            assert_eq!(greeted.generation, 0);
            greeted.finish().unwrap();
        }
    }
    all_served(tcp);
    all_served(unix);
    all_served(packets);
    server.log_until("ends generation=0");
    refused(address);
    assert!(!server.path("gone").exists() && !server.path("packets").exists());
    assert_eq!(listeners(server.pid).len(), 1);
}

#[test]
fn nobody_is_reset_while_a_door_is_being_shut() {
    let mut server = Server::with(&[STAYS, LATE]);
    let (stays, shut): (SocketAddr, SocketAddr) =
        (server.address_of(STAYS), server.address_of(LATE));
    let (goes_on, ends) = (Load::tcp(4, stays), Load::tcp(16, shut));
    ends.wait_for(200);
    server.steps(&[STAYS]);
    server.upgrade();
    // Each client comes until it is refused.
    let ended = ends.until_refused();
    assert_eq!((ended.refused, ended.harmed.as_slice()), (16, [].as_slice()));
    let tally = goes_on.finish();
    assert_eq!((tally.refused, tally.harmed.as_slice()), (0, [].as_slice()));
}
