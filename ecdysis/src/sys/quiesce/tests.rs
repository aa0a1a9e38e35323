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

/// Sockets on one port, in the order in which they joined the group.
struct Group {
    kind: Type,
    address: SocketAddr,
    members: Vec<Socket>,
}

impl Group {
    fn new(kind: Type, address: &str, members: usize) -> Self {
        let mut group = Self { kind, address: address.parse().unwrap(), members: Vec::new() };
        for _ in 0..members {
            group.join();
        }
        group
    }

    fn bind(&mut self) -> Socket {
        let socket = Socket::new(Domain::for_address(self.address), self.kind, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&self.address.into()).unwrap();
        self.address = socket.local_addr().unwrap().as_socket().unwrap();
        socket
    }

    fn join(&mut self) {
        let socket = self.bind();
        if self.kind == Type::STREAM {
            socket.listen(128).unwrap();
        }
        self.members.push(socket);
    }

    fn client(&self) -> Socket {
        let client = Socket::new(Domain::for_address(self.address), self.kind, None).unwrap();
        client.connect(&self.address.into()).unwrap();
        client
    }

    /// How many of 64 new flows each member gets.
    fn spread(&self) -> Vec<usize> {
        let clients: Vec<_> = (0..64).map(|_| self.client()).collect();
        if self.kind == Type::DGRAM {
            clients.iter().for_each(|client| assert_eq!(client.send(b"?").unwrap(), 1));
        }
        self.received(64)
    }

    /// Waits until `total` have come, and counts them.
    fn received(&self, total: usize) -> Vec<usize> {
        let mut counts = vec![0; self.members.len()];
        while counts.iter().sum::<usize>() < total {
            let wanted = |socket| PollFd::new(AsFd::as_fd(socket), PollFlags::POLLIN);
            let mut wanted: Vec<_> = self.members.iter().map(wanted).collect();
            assert_ne!(poll(&mut wanted, 10_000_u16).unwrap(), 0, "{counts:?} of {total}");
            for (member, count) in self.members.iter().zip(&mut counts) {
                while self.take(member) {
                    *count += 1;
                }
            }
        }
        counts
    }

    fn take(&self, member: &Socket) -> bool {
        let taken = if self.kind == Type::STREAM {
            member.accept().map(drop)
        } else {
            member.recv(&mut [MaybeUninit::uninit(); 8]).map(drop)
        };
        taken.map_err(|error| assert_eq!(error.kind(), ErrorKind::WouldBlock)).is_ok()
    }
}

fn groups(members: usize) -> impl Iterator<Item = Group> {
    let kinds = [Type::STREAM, Type::DGRAM].into_iter();
    kinds.flat_map(move |kind| LOOPBACK.map(|address| Group::new(kind, address, members)))
}

/// Which members got something.
fn places(counts: &[usize]) -> Vec<usize> {
    (0..counts.len()).filter(|&place| counts[place] > 0).collect()
}

#[test]
fn steering_keeps_to_the_first_until_it_stops() {
    for group in groups(4) {
        steer_to_first(&group.members[2], 1).unwrap();
        assert_eq!(group.spread(), [64, 0, 0, 0]);
        for count in [2, 3] {
            steer_to_first(&group.members[3], count).unwrap();
            let first: Vec<_> = (0..usize::try_from(count).unwrap()).collect();
            assert_eq!(places(&group.spread()), first);
        }
        stop_steering(&group.members[0]).unwrap();
        assert_eq!(places(&group.spread()), [0, 1, 2, 3]);
    }
}

#[test]
fn who_joins_while_steering_stands_gets_nothing() {
    for mut group in groups(2) {
        steer_to_first(&group.members[0], 2).unwrap();
        group.join();
        group.join();
        assert_eq!(places(&group.spread()), [0, 1]);
        stop_steering(&group.members[3]).unwrap();
        assert_eq!(places(&group.spread()), [0, 1, 2, 3]);
    }
}

#[test]
fn closing_members_past_the_first_moves_none_of_them() {
    for mut group in groups(5) {
        steer_to_first(&group.members[0], 2).unwrap();
        for place in [3, 2, 2] {
            drop(group.members.remove(place));
            no_copy_is_left();
            assert_eq!(places(&group.spread()), [0, 1]);
        }
        steer_to_first(&group.members[1], 1).unwrap();
        assert_eq!(group.spread(), [64, 0]);
        stop_steering(&group.members[0]).unwrap();
        assert_eq!(places(&group.spread()), [0, 1]);
    }
}

#[test]
fn the_last_member_takes_the_place_of_a_closed_one() {
    for mut group in groups(4) {
        steer_to_first(&group.members[1], 1).unwrap();
        drop(group.members.remove(0));
        no_copy_is_left();
        assert_eq!(group.spread(), [0, 0, 64]);
    }
}

#[test]
fn tcp_members_stand_in_the_order_in_which_they_began_to_listen() {
    let mut group = Group::new(Type::STREAM, LOOPBACK[0], 0);
    let bound = [group.bind(), group.bind()];
    bound[1].listen(128).unwrap();
    bound[0].listen(128).unwrap();
    group.members.extend(bound);
    steer_to_first(&group.members[0], 1).unwrap();
    assert_eq!(group.spread(), [0, 64]);
}

#[test]
fn steering_set_before_listening_holds_and_keeps_from_joining_others() {
    let mut group = Group::new(Type::STREAM, LOOPBACK[0], 0);
    let first = group.bind();
    steer_to_first(&first, 1).unwrap();
    first.listen(128).unwrap();
    group.members.push(first);
    let second = group.bind();
    second.listen(128).unwrap();
    group.members.push(second);
    assert_eq!(group.spread(), [64, 0]);
    let third = group.bind();
    steer_to_first(&third, 1).unwrap();
    assert_eq!(errno(third.listen(128)), Some(libc::EADDRINUSE));
}

/// The member that a client is sent to, if it is one of the first `count`.
fn expected(client: &Socket, count: u32) -> usize {
    let address = client.local_addr().unwrap().as_socket().unwrap();
    let host = match address.ip() {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => u32::try_from(ip.to_bits() & u128::from(u32::MAX)).unwrap(),
    };
    let mixed = (host ^ u32::from(address.port())).wrapping_mul(0x9e37_79b1) >> 16;
    usize::try_from(mixed % count).unwrap()
}

#[test]
fn the_senders_address_and_port_alone_choose_the_member() {
    for group in groups(4) {
        steer_to_first(&group.members[0], 3).unwrap();
        for _ in 0..16 {
            let client = group.client();
            let mut arrivals = 1;
            if group.kind == Type::DGRAM {
                arrivals = 4;
                (0..arrivals).for_each(|_| assert_eq!(client.send(b"?").unwrap(), 1));
            }
            assert_eq!(places(&group.received(arrivals)), [expected(&client, 3)]);
        }
    }
}

#[test]
fn a_group_shrinks_without_a_reset() {
    let mut group = Group::new(Type::STREAM, LOOPBACK[0], 4);
    let members = std::mem::take(&mut group.members);
    let mut members: Vec<_> = members.into_iter().map(TcpListener::from).collect();
    let waiting = |some: &[TcpListener]| some.iter().map(|one| queued(one).unwrap()).sum::<u32>();
    let mut clients: Vec<_> = (0..64).map(|_| connect(&members[0])).collect();
    wait_until("all are queued", || waiting(&members) == 64);
    let before = waiting(&members[2..]);
    assert_ne!(before, 0);

    steer_to_first(&members[0], 2).unwrap();
    clients.extend((0..16).map(|_| connect(&members[0])));
    wait_until("all are queued", || waiting(&members) == 80);
    assert_eq!(waiting(&members[2..]), before);
    let mut accepted: Vec<_> = members[2..].iter().flat_map(empty).collect();
    assert_eq!(waiting(&members[2..]), 0);
    members.truncate(2);
    stop_steering(&members[0]).unwrap();
    accepted.extend(members.iter().flat_map(empty));
    talk_to_all(&clients, accepted);
}

#[test]
fn only_members_of_a_group_are_steered_and_only_to_somebody() {
    let alone = tcp_listener(LOOPBACK[0]);
    assert!(!is_reuseport(&alone).unwrap());
    assert_eq!(errno(steer_to_first(&alone, 1)), Some(libc::EINVAL));
    assert_eq!(errno(stop_steering(&alone)), Some(libc::EINVAL));
    for group in groups(1) {
        assert!(is_reuseport(&group.members[0]).unwrap());
        stop_steering(&group.members[0]).unwrap();
        assert_eq!(errno(steer_to_first(&group.members[0], 0)), Some(libc::EINVAL));
        // More than there are: the kernel chooses.
        steer_to_first(&group.members[0], 9).unwrap();
        assert_eq!(group.spread(), [64]);
        stop_steering(&group.members[0]).unwrap();
        stop_steering(&group.members[0]).unwrap();
    }
}

/// A unix listener with a short queue, and clients that nobody has accepted.
struct Unix {
    listener: Socket,
    address: SockAddr,
    _dir: tempfile::TempDir,
}

impl Unix {
    fn new(kind: Type, backlog: i32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SockAddr::unix(dir.path().join("s")).unwrap();
        let listener = Socket::new(Domain::UNIX, kind, None).unwrap();
        listener.bind(&address).unwrap();
        listener.listen(backlog).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, address, _dir: dir }
    }

    fn connect(&self) -> io::Result<Socket> {
        let client = Socket::new(Domain::UNIX, self.listener.r#type().unwrap(), None).unwrap();
        client.set_nonblocking(true).unwrap();
        client.connect(&self.address)?;
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(client)
    }

    fn accept(&self) -> io::Result<Socket> {
        let (socket, _) = self.listener.accept()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(socket)
    }
}

#[test]
fn a_unix_listener_is_emptied_and_closed_without_a_reset() {
    for kind in [Type::STREAM, Type::SEQPACKET] {
        let unix = Unix::new(kind, 8);
        let clients = [(); 2].map(|()| unix.connect().unwrap());
        shrink_backlog(&unix.listener).unwrap();
        assert_eq!(unix.connect().unwrap_err().kind(), ErrorKind::WouldBlock);
        let accepted = [(); 2].map(|()| unix.accept().unwrap());
        assert_eq!(unix.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(unix);
        for (client, server) in clients.iter().zip(&accepted) {
            talk(client, server);
        }
    }
}

#[test]
fn closing_a_unix_listener_resets_whom_nobody_has_accepted() {
    for kind in [Type::STREAM, Type::SEQPACKET] {
        let unix = Unix::new(kind, 8);
        let mut client = unix.connect().unwrap();
        drop(unix);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_shrunken_backlog_lets_one_in_when_nobody_waits() {
    let unix = Unix::new(Type::STREAM, 8);
    let clients = [(); 3].map(|()| unix.connect().unwrap());
    shrink_backlog(&unix.listener).unwrap();
    for client in &clients {
        assert_eq!(unix.connect().unwrap_err().kind(), ErrorKind::WouldBlock);
        talk(client, &unix.accept().unwrap());
    }
    let last = unix.connect().unwrap();
    assert_eq!(unix.connect().unwrap_err().kind(), ErrorKind::WouldBlock);
    talk(&last, &unix.accept().unwrap());
    unix.listener.listen(8).unwrap();
    let again = [(); 3].map(|()| unix.connect().unwrap());
    again.iter().for_each(|client| talk(client, &unix.accept().unwrap()));
}

#[test]
fn only_a_unix_listener_is_shrunk() {
    let tcp = tcp_listener(LOOPBACK[0]);
    let unbound = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    assert_eq!(errno(shrink_backlog(&tcp)), Some(libc::EOPNOTSUPP));
    assert_eq!(errno(shrink_backlog(&unbound)), Some(libc::EINVAL));
    connect(&tcp);
}
