//! Clients that do not behave, while the server is upgraded.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::net::TcpSocket;

use crate::server::{Greeted, Server, signal};

/// Stops the first generation, and waits until it has stopped.
fn stop(server: &Server) {
    let first = Pid::from_raw(server.first_pid().cast_signed());
    signal(server.first_pid(), Signal::SIGSTOP);
    let stopped = waitpid(first, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(first, Signal::SIGSTOP));
}

/// A connection that is reset when it is dropped; from this address, if one is given.
fn curt(to: SocketAddr, from: Option<SocketAddr>) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_zero_linger()?;
        if let Some(from) = from {
            socket.bind(from)?;
        }
        socket.connect(to).await?.into_std()
    });
    let connected = connected.unwrap();
    connected.set_nonblocking(false).unwrap();
    connected
}

#[test]
fn clients_that_reset_while_they_wait_are_in_nobodys_way() {
    let mut server = Server::start(&["--probation", "0s"]);
    let first = server.first_pid();
    stop(&server);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        for _ in 0..10 {
            drop(curt(server.address, None));
        }
        waiting.push(TcpStream::connect(server.address).unwrap());
    }
    signal(first, Signal::SIGHUP);
    signal(first, Signal::SIGCONT);
    for stream in waiting {
        let mut greeted = Greeted::by(stream).unwrap();
        assert!(greeted.generation <= 1 && greeted.echoes("served"));
    }
    server.log_until("ready generation=1");
    server.log_until("the next generation serves");
    assert_eq!(server.greet().generation, 1);
}

#[test]
fn a_client_that_reads_nothing_is_cut_at_the_deadline_and_keeps_nobody() {
    let mut server = Server::start(&["--probation", "0s", "--drain-deadline", "300ms"]);
    let first = server.first_pid();
    let mut deaf = server.greet();
    let stream = deaf.stream.get_mut();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Until its window, and every buffer on the way, is full.
    let full = loop {
        if let Err(error) = stream.write_all(&[7; 64 * 1024]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    assert_eq!(server.upgrade(first, 1).generation, 1);
    assert!(server.log_until("connections cut").contains("left=1"));
    assert_eq!(server.first_exit_code(), Some(0));
}

#[test]
fn a_client_that_comes_back_from_its_port_at_once_is_served_by_the_new_generation() {
    let mut server = Server::start(&["--probation", "0s"]);
    let first = server.first_pid();
    // An address of its own: on any other, the port may be somebody else's by then.
    let own = SocketAddr::from(([127, 0, 0, 77], 0));
    let before = Greeted::by(curt(server.address, Some(own))).unwrap();
    let port = before.stream.get_ref().local_addr().unwrap();
    server.upgrade(first, 1);
    drop(before);
    let mut again = Greeted::by(curt(server.address, Some(port))).unwrap();
    assert!(again.generation == 1 && again.echoes("served"));
}
