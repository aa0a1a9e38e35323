//! The accept queues of listening sockets, asked of the kernel by sock_diag(7):
//! it looks at listeners alone, where `/proc/net/tcp` has to walk past every
//! connection that there was of late.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::event::Queue;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// The bit of the state `TCP_LISTEN`.
const LISTENING: u32 = 1 << 10;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `struct nlmsghdr`.
const HEAD: usize = 16;

/// More than the kernel puts into one answer.
const ANSWER: usize = 32 * 1024;

/// The accept queues of this network namespace's TCP listeners at `port`.
///
/// # Errors
///
/// The kernel was built without it, or cannot answer now.
pub fn queues(port: u16) -> io::Result<Vec<Queue>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut queues = of_family(&netlink, AF_INET, port)?;
    match of_family(&netlink, AF_INET6, port) {
        Ok(more) => queues.extend(more),
        // A kernel without IPv6 has no such listener.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(queues)
}

fn of_family(netlink: &OwnedFd, family: u8, port: u16) -> io::Result<Vec<Queue>> {
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &request(family), &kernel, MsgFlags::empty())?;
    let mut queues = Vec::new();
    let mut answer = vec![0_u8; ANSWER];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        if read(answer.get(..length).unwrap_or_default(), port, &mut queues)? {
            return Ok(queues);
        }
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`, for every listener of the family.
fn request(family: u8) -> Vec<u8> {
    const NLM_F_REQUEST_AND_DUMP: u16 = 1 | 0x300;
    const LENGTH: u32 = 72;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST_AND_DUMP.to_ne_bytes());
    // Sequence number and sender, which the kernel fills in.
    message.extend([0; 8]);
    // No extension, and padding.
    message.extend([family, IPPROTO_TCP, 0, 0]);
    message.extend(LISTENING.to_ne_bytes());
    // Any address.
    message.extend([0; 48]);
    message
}

/// Reads one answer of the kernel; whether it is the last.
fn read(mut answer: &[u8], port: u16, queues: &mut Vec<Queue>) -> io::Result<bool> {
    while let Some(length) = number(answer, 0).and_then(|length| usize::try_from(length).ok()) {
        let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        match kind {
            Some(SOCK_DIAG_BY_FAMILY) => queues.extend(queue(answer, port)),
            Some(NLMSG_DONE) => return Ok(true),
            Some(NLMSG_ERROR) => {
                let errno = number(answer, HEAD).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
            }
            Some(_) | None => {}
        }
        // Messages begin at multiples of four.
        let next = length.max(HEAD).next_multiple_of(4);
        answer = answer.get(next..).unwrap_or_default();
    }
    Ok(false)
}

/// `inet_diag_msg`, see linux/inet_diag.h: the port is in network order; of a
/// listener the two queues are how many wait, and how many may.
fn queue(message: &[u8], port: u16) -> Option<Queue> {
    let local = message.get(HEAD + 4..HEAD + 6)?.try_into().ok().map(u16::from_be_bytes)?;
    let waiting = number(message, HEAD + 56)?;
    let limit = number(message, HEAD + 60)?;
    let inode = number(message, HEAD + 68)?;
    let queue = Queue { inode: inode.into(), waiting: waiting.into(), limit: limit.into() };
    (local == port).then_some(queue)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn tells_how_many_wait_and_how_many_may() {
        for (domain, address) in [(Domain::IPV4, "127.0.0.1:0"), (Domain::IPV6, "[::1]:0")] {
            let listener = Socket::new(domain, Type::STREAM, None).unwrap();
            listener.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
            listener.listen(7).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            let waiting = |number| {
                let found = queues(address.port()).unwrap();
                assert_eq!(found.len(), 1, "{found:?}");
                assert_eq!((found[0].waiting, found[0].limit), (number, 7));
                assert_ne!(found[0].inode, 0);
            };
            waiting(0);
            let _clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
            waiting(2);
            let _accepted = listener.accept().unwrap();
            waiting(1);
        }
        assert_eq!(queues(0).unwrap(), []);
    }

    #[test]
    fn an_answer_may_be_cut_or_an_error() {
        let mut queues = Vec::new();
        assert!(!read(&[], 1, &mut queues).unwrap());
        assert!(!read(&[0; 3], 1, &mut queues).unwrap());
        assert!(!read(&[0; 40], 1, &mut queues).unwrap());
        let mut error = 20_u32.to_ne_bytes().to_vec();
        error.extend([2, 0, 0, 0]);
        error.extend([0; 8]);
        error.extend((-2_i32).to_ne_bytes());
        assert_eq!(read(&error, 1, &mut queues).unwrap_err().kind(), ErrorKind::NotFound);
        let mut cut = 88_u32.to_ne_bytes().to_vec();
        cut.extend([20, 0, 0, 0, 9, 9]);
        assert!(!read(&cut, 1, &mut queues).unwrap());
        assert!(queues.is_empty());
    }
}
