//! Groups that share a port, and who of them gets what.

use super::*;

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
fn who_is_hidden_takes_nothing_from_the_others_and_is_no_less_one_of_the_group() {
    for address in LOOPBACK {
        let mut group = Group::new(Type::STREAM, address, 3);
        steer_to_first(&group.members[0], 2).unwrap();
        hide(&group.members[2]).unwrap();
        assert_eq!(places(&group.spread()), [0, 1]);
        group.members.truncate(2);
        no_copy_is_left();
        assert_eq!(places(&group.spread()), [0, 1]);
    }
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
