//! Keeping new connections away from a listener, so that its queue can be
//! emptied and it can be closed without a reset.
//!
//! Closing a listener resets every connection that waits in its accept queue.
//! A queue that is emptied first fills again between the last accept and the
//! close, so the door must be shut before:
//!
//! | listener | shut the door with | then |
//! |---|---|---|
//! | TCP | [`refuse_handshakes`] | accept until [`queued`] is 0 and a round trip has passed, with [`allow_handshakes`] on each accepted socket; close |
//! | a member of a `SO_REUSEPORT` group | [`steer_to_first`], on the members that stay; then [`hide`] | the same |
//! | unix | unlink(2), [`shrink_backlog`] | accept until `EAGAIN`, close |
//!
//! The round trip is for handshakes under way: a client counts itself
//! connected when it has our SYN-ACK, and is reset if the listener is gone
//! when its ACK comes. With `TCP_DEFER_ACCEPT` it is the time until the client
//! sends data. No option tells how many they are: they show in a dump of the
//! whole connection table only, as `SYN_RECV` (`/proc/net/tcp`, `sock_diag(7)`).
//!
//! What is set here belongs to the socket, not to the process or the
//! descriptor: everyone who shares the socket is affected. So do this only
//! when nobody is to accept on the socket any more, or undo it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use libc::sock_filter;
use nix::errno::Errno;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use nix::sys::socket::{Backlog, listen, setsockopt};
use socket2::{Domain, SockRef};

/// `include/uapi/asm-generic/socket.h`.
const SO_BINDTOIFINDEX: libc::c_int = 62;

/// The state of a TCP listener (`include/net/tcp_states.h`).
const TCP_LISTEN: u8 = 10;

/// Drops segments with SYN set, passes all others whole. On a TCP socket the
/// filter sees the segment from its TCP header on (`tcp_filter` in
/// `net/ipv4/tcp_ipv4.c`); the flags are byte 13 of it (RFC 9293, section 3.1).
const DROP_SYN: [sock_filter; 4] = [
    op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 13),
    jump(libc::BPF_JSET, 0x02, 0, 1),
    op(libc::BPF_RET | libc::BPF_K, 0),
    op(libc::BPF_RET | libc::BPF_K, u32::MAX),
];

/// Makes a TCP listener deaf to new connects. Clients that try meanwhile get no
/// answer, try again after a second (RFC 6298), and are refused then if the
/// listener is closed, or admitted if [`allow_handshakes`] was called. What is
/// queued stays queued, and handshakes under way complete.
///
/// A filter on the listener does it. Recent kernels let only those who have
/// `CAP_NET_ADMIN` set one on a TCP socket (Linux commit 5d39580f68e6). Where we
/// may not, the listener demands a TTL of 255 instead
/// (`IP_MINTTL`, ip(7); `IPV6_MINHOPCOUNT`), which no packet has that was routed
/// and hardly one that was not, for systems begin at 64 or 128. The kernel asks
/// that of a SYN, but not of the ACK that completes a handshake under way
/// (`tcp_v4_rcv` in `net/ipv4/tcp_ipv4.c`), unless the queue of handshakes has
/// overflown and SYN cookies are in use.
///
/// A connection whose handshake ends meanwhile inherits the one or the other
/// (`sk_clone_lock` in `net/core/sock.c`). The filter does it hardly any harm;
/// the TTL makes it deaf, until [`allow_handshakes`] was called on the accepted
/// socket and the peer has sent again what was lost. So call that on each.
///
/// A filter or a least TTL that the application has set itself is replaced.
///
/// # Errors
/// `EOPNOTSUPP` if it is not a TCP socket, `EINVAL` if it does not listen.
pub(crate) fn refuse_handshakes(listener: impl AsFd) -> io::Result<()> {
    // A filter of any other kind of socket would read other bytes.
    queued(&listener)?;
    match SockRef::from(&listener).attach_filter(&DROP_SYN) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => demand_ttl(listener, 255),
        result => result,
    }
}

/// The opposite of [`refuse_handshakes`], for a listener and for a socket that
/// was accepted from it. If there is nothing to undo, nothing happens.
///
/// # Errors
/// `EPERM` if the application has locked a filter of its own
/// (`SO_LOCK_FILTER`); the TTL is free again even so.
pub(crate) fn allow_handshakes(socket: impl AsFd) -> io::Result<()> {
    demand_ttl(&socket, 0)?;
    match SockRef::from(&socket).detach_filter() {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// Drops what comes to a TCP socket with a lower TTL (IPv6: hop limit). An IPv6
/// socket may have IPv4 peers too.
fn demand_ttl(socket: impl AsFd, ttl: libc::c_int) -> io::Result<()> {
    if SockRef::from(&socket).domain()? == Domain::IPV6 {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, ttl)?;
    }
    set_option(&socket, libc::IPPROTO_IP, libc::IP_MINTTL, ttl)?;
    Ok(())
}

/// How many connections of a TCP listener wait to be accepted. Linux puts the
/// length of the accept queue into `tcpi_unacked` (`tcp_get_info` in
/// `net/ipv4/tcp.c`). Handshakes under way are not among them.
///
/// # Errors
/// `EOPNOTSUPP` if it is not a TCP socket: no option tells the queue of a unix
/// listener. `EINVAL` if it does not listen.
pub(crate) fn queued(listener: impl AsFd) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = u32::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: `info` and `length` outlive the call, and the kernel writes at
    // most `length` bytes, which is the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match Errno::result(result) {
        Ok(_) => {}
        // UDP says that the option is unknown, unix that it has no options.
        Err(Errno::ENOPROTOOPT) => return Err(Errno::EOPNOTSUPP.into()),
        Err(errno) => return Err(errno.into()),
    }
    // SAFETY: it consists of integers, was zeroed, and an old kernel with a
    // shorter structure leaves the rest as it was.
    let info = unsafe { info.assume_init() };
    if info.tcpi_state == TCP_LISTEN { Ok(info.tcpi_unacked) } else { Err(Errno::EINVAL.into()) }
}

/// Whether a socket has `SO_REUSEPORT`, and so may be one of a group that
/// shares an address.
pub(crate) fn is_reuseport(socket: impl AsFd) -> io::Result<bool> {
    SockRef::from(&socket).reuse_port()
}

/// Has new connections (TCP) or datagrams (UDP) go to the first `count`
/// members of a `SO_REUSEPORT` group only. Connections that wait in the queues
/// of the others, and handshakes under way there, stay where they are.
///
/// Members stand in the order in which they joined: TCP sockets when they
/// began to listen, UDP sockets when they were bound. Those that join come last
/// and get nothing. The place of one that is closed is taken by the last, so
/// closing members past the first `count` moves none of the first; but if one
/// of the first is closed, the last begins to get its share
/// (`__reuseport_add_sock`, `__reuseport_detach_sock` in
/// `net/core/sock_reuseport.c`).
///
/// The choice depends on the sender's address and port alone, so a flow of
/// datagrams keeps its member; beginning and ending may each move it once.
/// Unlike the kernel's own choice it uses no secret.
///
/// Any member that listens will do, and the first before it listens. Steering
/// set on a TCP socket that does not listen yet makes a group of that socket
/// alone: others can join it, but if others listen already, its own listen(2)
/// fails with `EADDRINUSE` (`inet_csk_bind_conflict`). So a successor sets it on
/// a socket it has inherited, never on one it has just bound.
///
/// With fewer than `count` members, what would go to a missing one goes where
/// the kernel would have it go without us. With `net.ipv4.tcp_migrate_req` set
/// the kernel moves the queue of a closed listener to the others by its own
/// choice, not by ours.
///
/// # Errors
/// `EINVAL` if the socket was bound without `SO_REUSEPORT`, or `count` is 0.
pub(crate) fn steer_to_first(member: impl AsFd, count: u32) -> io::Result<()> {
    let mut program = first_by_flow(count);
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    // The kernel copies the program before the call returns.
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    Ok(setsockopt(&member, AttachReusePortCbpf, &program)?)
}

/// Ends [`steer_to_first`]: all members of the group are chosen from again. If
/// there is no steering, nothing happens. Linux 5.3 or later.
///
/// # Errors
/// `EINVAL` if the socket has no `SO_REUSEPORT`.
pub(crate) fn stop_steering(member: impl AsFd) -> io::Result<()> {
    // The kernel wants a number there and does not look at it.
    match set_option(member, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, 0) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Has the kernel find a listener no more when it looks for the one to which a SYN goes:
/// those who connect now go to others of its group, or are refused at once if there are
/// none. What is queued stays queued, and handshakes under way complete.
///
/// A member of a group has to be hidden before it is closed. The kernel takes it out of
/// the group first and out of the table of listeners then (`inet_unhash` in
/// `net/ipv4/inet_hashtables.c`), and a SYN that finds it in between belongs to no group
/// and goes to it: it is dropped, and comes again after a second. With IPv4 the last who
/// began to listen is found first.
///
/// What does it is an interface that does not exist (`SO_BINDTOIFINDEX`). That cannot be
/// undone without `CAP_NET_RAW`. Connections do not inherit it whose handshake began
/// before.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW` before Linux 5.7, and if the application has bound it to
/// an interface itself.
pub(crate) fn hide(listener: impl AsFd) -> io::Result<()> {
    Ok(set_option(listener, libc::SOL_SOCKET, SO_BINDTOIFINDEX, libc::c_int::MAX)?)
}

fn set_option(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> nix::Result<()> {
    let length = u32::try_from(size_of_val(&value)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `value` outlives the call and `length` is its size.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    Errno::result(result).map(drop)
}

/// Lets at most one more connection into the queue of a unix listener, and that
/// only when it is empty: a connect finds the queue full when it is *longer*
/// than the backlog (`unix_recvq_full` in `net/unix/af_unix.c`), and the
/// backlog is now 0. A blocking connect then waits until there is room or the
/// listener is gone, a nonblocking one fails with `EAGAIN`. What is queued
/// already stays.
///
/// `shutdown(SHUT_RD)` would refuse them at once, but the listener counts as
/// hung up then, and Tokio's `accept` spins on such a one for ever.
/// As with any `listen(2)`, clients see the caller as their peer afterwards
/// (`SO_PEERCRED`, unix(7)).
///
/// # Errors
/// `EOPNOTSUPP` if it is not a unix socket, `EINVAL` if it does not listen.
pub(crate) fn shrink_backlog(listener: impl AsFd) -> io::Result<()> {
    check_unix_listener(&listener)?;
    Ok(listen(&listener, Backlog::new(0)?)?)
}

/// On any other socket the calls would do something else: listen(2) would make
/// a listener of it, and shutdown(2) resets the queue of a TCP listener.
fn check_unix_listener(listener: impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(&listener);
    if socket.domain()? != Domain::UNIX {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if socket.is_listener()? { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

/// Chooses a number below `count` by the sender's address and port.
///
/// The program sees the packet from its payload on; the headers before it are
/// reached through the network header (`SKF_NET_OFF`, `linux/filter.h`). The
/// hash by which the kernel itself would choose is not to be had, and the one
/// that is (`SKF_AD_RXHASH`) is 0 where no network card has computed it.
fn first_by_flow(count: u32) -> [sock_filter; 20] {
    use libc::{
        BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP,
        BPF_LD, BPF_LDX, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST,
        BPF_TAX, BPF_W, BPF_X, BPF_XOR,
    };
    const NETWORK: u32 = libc::SKF_NET_OFF.cast_unsigned();
    [
        op(BPF_LD | BPF_B | BPF_ABS, NETWORK),
        op(BPF_ALU | BPF_RSH, 4),
        jump(BPF_JEQ, 6, 6, 0),
        // IPv4: the source address, and the header's length, counted in words.
        op(BPF_LD | BPF_W | BPF_ABS, NETWORK + 12),
        op(BPF_ST, 0),
        op(BPF_LD | BPF_B | BPF_ABS, NETWORK),
        op(BPF_ALU | BPF_AND, 0x0f),
        op(BPF_ALU | BPF_LSH, 2),
        op(BPF_JMP | BPF_JA, 3),
        // IPv6: the last word of the source address, and the fixed header. An
        // extension header would be read as the port, which is as good.
        op(BPF_LD | BPF_W | BPF_ABS, NETWORK + 20),
        op(BPF_ST, 0),
        op(BPF_LD | BPF_IMM, 40),
        // The source port, which comes first in the header of TCP and UDP alike.
        op(BPF_MISC | BPF_TAX, 0),
        op(BPF_LD | BPF_H | BPF_IND, NETWORK),
        op(BPF_LDX | BPF_MEM, 0),
        op(BPF_ALU | BPF_XOR | BPF_X, 0),
        // Fibonacci hashing. Clients' ports come in steps, often of two, and a
        // bare remainder would leave members without any.
        op(BPF_ALU | BPF_MUL, 0x9e37_79b1),
        op(BPF_ALU | BPF_RSH, 16),
        op(BPF_ALU | BPF_MOD, count),
        op(BPF_RET | libc::BPF_A, 0),
    ]
}

const fn op(code: u32, operand: u32) -> sock_filter {
    instruction(code, operand, 0, 0)
}

/// Skips `yes` or `no` instructions, as the condition holds for `operand`.
const fn jump(condition: u32, operand: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | condition, operand, yes, no)
}

#[expect(clippy::cast_possible_truncation, reason = "an opcode has eight bits")]
const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
