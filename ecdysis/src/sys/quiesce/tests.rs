//! On real sockets. What is asserted of the kernel here is what the callers
//! rest on, so that a kernel that does it otherwise is found out.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use socket2::{SockAddr, Socket, Type};

use super::*;
use crate::sys::spawn::no_copy_is_left;

mod groups;
mod unix;

const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];
const PATIENCE: Duration = Duration::from_secs(10);

fn tcp_listener(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn connect(listener: &TcpListener) -> TcpStream {
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// A connect that does not wait for its end.
fn begin_connect(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(address.domain(), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    match socket.connect(address) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        result => result.map(|()| socket),
    }
}

/// Whether `event` comes within `milliseconds`.
fn comes(socket: impl AsFd, event: PollFlags, milliseconds: u16) -> bool {
    poll(&mut [PollFd::new(socket.as_fd(), event)], milliseconds).unwrap() == 1
}

/// The kernel may end a handshake on loopback a little after the connect.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let turns = 1_000_000;
    assert!((0..turns).any(|_| holds() || (std::thread::yield_now(), false).1), "never: {what}");
}

/// Segments that the socket has dropped (`SO_MEMINFO`, `sock_diag(7)`).
fn drops(socket: impl AsFd) -> u32 {
    let mut info = [0_u32; 9];
    let mut length = u32::try_from(size_of_val(&info)).unwrap();
    // SAFETY: the array and its length outlive the call and belong together.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    info[usize::try_from(libc::SK_MEMINFO_DROPS).unwrap()]
}

/// A listener that counts a connection only when the client has sent data, so
/// that its handshake stays under way for as long as a test wants.
fn deferring_listener() -> TcpListener {
    let listener = tcp_listener(LOOPBACK[0]);
    set_option(&listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 10).unwrap();
    listener
}

/// Each way in which the door is shut: as we are, which is with the filter if we
/// may, as a process without privileges, and without the filter in any case.
const DOORS: [fn(&TcpListener); 3] = [
    |listener| refuse_handshakes(listener).unwrap(),
    |listener| without_privileges(|| refuse_handshakes(listener).unwrap()),
    |listener| demand_ttl(listener, 255).unwrap(),
];

/// Runs `act` in a thread that has given up its capabilities; they are each
/// thread's own (capabilities(7)).
fn without_privileges(act: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (version_3, this_thread) = (0x2008_0522_u32, 0_u32);
            let (header, none) = ([version_3, this_thread], [0_u32; 6]);
            // SAFETY: the kernel reads the two arrays, which have the sizes
            // that version 3 says, and outlive the call.
            let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
            assert_eq!(result, 0);
            act();
        });
        thread.join().unwrap();
    });
}

/// Accepts whatever is queued.
fn empty(listener: &TcpListener) -> Vec<TcpStream> {
    let mut accepted = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                accepted.push(stream);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return accepted;
            }
        }
    }
}

/// Sends a byte each way.
fn talk(mut client: impl Read + Write, mut server: impl Read + Write) {
    let mut byte = [0];
    client.write_all(b"?").unwrap();
    server.read_exact(&mut byte).unwrap();
    server.write_all(b"!").unwrap();
    client.read_exact(&mut byte).unwrap();
}

/// The accepted ends in the order of the clients.
fn talk_to_all(clients: &[TcpStream], mut accepted: Vec<TcpStream>) {
    assert_eq!(clients.len(), accepted.len());
    for client in clients {
        let ours = |end: &TcpStream| end.peer_addr().unwrap() == client.local_addr().unwrap();
        let place = accepted.iter().position(ours).unwrap();
        talk(client, &accepted.remove(place));
    }
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn a_listener_is_emptied_and_closed_without_a_reset() {
    // One after another they would each wait a second for the newcomer.
    std::thread::scope(|scope| {
        for (address, shut) in LOOPBACK.into_iter().flat_map(|one| DOORS.map(|door| (one, door))) {
            scope.spawn(move || empty_and_close(address, shut));
        }
    });
}

fn empty_and_close(address: &str, shut: fn(&TcpListener)) {
    let listener = tcp_listener(address);
    let clients: Vec<_> = (0..3).map(|_| connect(&listener)).collect();
    wait_until("three are queued", || queued(&listener).unwrap() == 3);
    assert_eq!(drops(&listener), 0);

    shut(&listener);
    let newcomer = begin_connect(&listener.local_addr().unwrap().into()).unwrap();
    wait_until("the newcomer's SYN is dropped", || drops(&listener) > 0);
    let accepted = empty(&listener);
    assert_eq!(queued(&listener).unwrap(), 0);
    assert!(!comes(&newcomer, PollFlags::POLLOUT, 0), "the newcomer got an answer");

    drop(listener);
    talk_to_all(&clients, accepted);
    // Its next SYN, a second after the first, meets nobody.
    assert!(comes(&newcomer, PollFlags::POLLOUT, 10_000));
    let error = newcomer.take_error().unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_ipv6_listener_keeps_ipv4_clients_out_too() {
    for shut in DOORS {
        let listener = tcp_listener("[::]:0");
        shut(&listener);
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let newcomer = begin_connect(&address.into()).unwrap();
        wait_until("the newcomer's SYN is dropped", || drops(&listener) > 0);
        assert!(!comes(&newcomer, PollFlags::POLLOUT, 0), "the newcomer got an answer");
    }
}

#[test]
fn closing_a_listener_resets_whom_nobody_has_accepted() {
    let listener = tcp_listener(LOOPBACK[0]);
    let mut client = connect(&listener);
    wait_until("it is queued", || queued(&listener).unwrap() == 1);
    drop(listener);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn one_that_is_hidden_has_its_queue_and_nobody_finds_it() {
    for address in LOOPBACK {
        let listener = tcp_listener(address);
        let clients: Vec<_> = (0..3).map(|_| connect(&listener)).collect();
        wait_until("three are queued", || queued(&listener).unwrap() == 3);
        without_privileges(|| {
            hide(&listener).unwrap();
            assert_eq!(errno(hide(&listener)), Some(libc::EPERM), "once and for all");
        });
        let newcomer = TcpStream::connect(listener.local_addr().unwrap());
        assert_eq!(newcomer.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        talk_to_all(&clients, empty(&listener));
    }
}

#[test]
fn a_handshake_under_way_completes_at_one_that_is_hidden() {
    let listener = deferring_listener();
    let client = connect(&listener);
    hide(&listener).unwrap();
    assert_eq!(queued(&listener).unwrap(), 0);
    (&client).write_all(b"!").unwrap();
    assert!(comes(&listener, PollFlags::POLLIN, 10_000));
    let mut accepted = empty(&listener);
    accepted[0].read_exact(&mut [0]).unwrap();
    talk(client, accepted.remove(0));
}

#[test]
fn newcomers_are_admitted_again() {
    for (address, shut) in LOOPBACK.into_iter().flat_map(|one| DOORS.map(|door| (one, door))) {
        let listener = tcp_listener(address);
        allow_handshakes(&listener).unwrap();
        shut(&listener);
        shut(&listener);
        allow_handshakes(&listener).unwrap();
        allow_handshakes(&listener).unwrap();
        let client = connect(&listener);
        assert!(comes(&listener, PollFlags::POLLIN, 10_000));
        talk_to_all(&[client], empty(&listener));
    }
}

#[test]
fn a_handshake_under_way_completes_behind_the_door() {
    for shut in DOORS {
        let listener = deferring_listener();
        let mut client = connect(&listener);
        shut(&listener);
        assert_eq!(queued(&listener).unwrap(), 0);
        client.write_all(b"?").unwrap();
        assert!(comes(&listener, PollFlags::POLLIN, 10_000));
        let mut accepted = empty(&listener);
        drop(listener);
        accepted[0].read_exact(&mut [0]).unwrap();
        // What it has inherited is taken off, a filter and a TTL alike.
        allow_handshakes(&accepted[0]).unwrap();
        assert_eq!(errno(SockRef::from(&accepted[0]).detach_filter()), Some(libc::ENOENT));
        talk(&client, &accepted[0]);
    }
}

#[test]
fn a_handshake_under_way_is_not_counted_and_does_not_survive_the_close() {
    for shut in DOORS {
        let listener = deferring_listener();
        let mut client = connect(&listener);
        shut(&listener);
        assert_eq!(queued(&listener).unwrap(), 0);
        drop(listener);
        client.write_all(b"?").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn only_a_tcp_listener_has_a_queue_that_can_be_counted_and_filtered() {
    let pair = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind(LOOPBACK[0]).unwrap();
    let tcp = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    assert_eq!(queued(&pair.0).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(errno(queued(&udp)), Some(libc::EOPNOTSUPP));
    assert_eq!(errno(queued(&tcp)), Some(libc::EINVAL));
    assert_eq!(errno(refuse_handshakes(&pair.0)), Some(libc::EOPNOTSUPP));
    assert_eq!(errno(refuse_handshakes(&udp)), Some(libc::EOPNOTSUPP));
    assert_eq!(errno(refuse_handshakes(&tcp)), Some(libc::EINVAL));
}
