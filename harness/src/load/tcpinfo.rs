//! What the kernel knows of one connection, see `TCP_INFO` in tcp(7).

use std::os::fd::AsFd;

// The macro names the crate by itself.
use nix::libc;
use nix::sys::socket::getsockopt;

/// `TCP_INFO`, which no crate wraps.
#[derive(Clone, Copy, Debug)]
struct TcpInfo;

nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info,
    nix::sys::socket::sockopt::GetStruct<libc::tcp_info>
);

/// How many segments this end has sent again so far. Read when the handshake
/// is complete, it is the number of SYNs that were lost. `None`: the kernel
/// does not tell, or this is no TCP socket.
pub(super) fn retransmits(socket: &impl AsFd) -> Option<u32> {
    getsockopt(socket, TcpInfo).ok().map(|info| info.tcpi_total_retrans)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::unix::net::UnixDatagram;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[test]
    fn a_handshake_at_once_has_lost_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(retransmits(&stream), Some(0));
    }

    // The queue of a listener with a backlog of 0 holds one; the next SYN is dropped,
    // and is sent again after a second, when there is room.
    #[test]
    fn a_lost_syn_is_counted() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _first = TcpStream::connect(address).unwrap();
        let second = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        second.set_nonblocking(true).unwrap();
        let _ = second.connect(&address.into());
        assert_eq!(retransmits(&second), Some(0));
        let _accepted = listener.accept().unwrap();
        while second.peer_addr().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(retransmits(&second), Some(1));
    }

    #[test]
    fn other_sockets_have_no_such_count() {
        assert_eq!(retransmits(&UnixDatagram::unbound().unwrap()), None);
    }
}
