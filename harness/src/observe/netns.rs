//! A network of the run's own, in which every counter counts only the run.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use nix::unistd::{getgid, getuid};

/// Why there is no private network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetnsError {
    /// The kernel does not let this user have one.
    #[error(
        "this kernel does not let this user make a network namespace ({source}); run as root, or \
         allow unprivileged user namespaces (user.max_user_namespaces > 0, and on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns = 0)"
    )]
    Refused {
        /// What it said.
        source: io::Error,
    },
    /// The namespace is there, but its loopback interface cannot be used.
    #[error("cannot bring up the loopback interface: {source}")]
    Loopback {
        /// Why.
        source: io::Error,
    },
    /// A setting was refused.
    #[error("cannot set {name} to {value:?}: {source}")]
    Sysctl {
        /// The setting.
        name: String,
        /// What it was to be.
        value: String,
        /// Why it was refused.
        source: io::Error,
    },
}

/// Takes this process into a network namespace of its own, with the loopback
/// interface up and these settings made. As root it is only that; otherwise a
/// user namespace comes with it, in which the user is who they were.
///
/// # Errors
/// See [`NetnsError`]. The process may have entered the namespaces even so. It
/// must have one thread: no other process can change its user namespace.
pub fn enter(sysctl: &[(String, String)]) -> Result<(), NetnsError> {
    if !getuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        enter_as_user().map_err(|source| NetnsError::Refused { source })?;
    }
    loopback_up().map_err(|source| NetnsError::Loopback { source })?;
    for (name, value) in sysctl {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::write(path, value).map_err(|source| NetnsError::Sysctl {
            name: name.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

fn enter_as_user() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // user_namespaces(7): without it, an unprivileged user may not write gid_map.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Sets the flag IFF_UP on the loopback interface, by a message as rtnetlink(7)
/// has it, so that no `ip` program is needed; then proves that it is up.
fn loopback_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    const LOOPBACK_INDEX: i32 = 1;
    const IFF_UP: u32 = 1;

    // struct nlmsghdr: length, type, flags, sequence number, port.
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, padding, device type, index, flags, flags to change.
    message.extend([0; 4]);
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());

    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // The answer is a header and, after it, the negative error number, 0 if done.
    if length < 20 || answer[4..6] != NLMSG_ERROR.to_ne_bytes() {
        return Err(io::Error::new(ErrorKind::InvalidData, "no answer from rtnetlink"));
    }
    let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(-errno));
    }
    match TcpStream::connect("127.0.0.1:1") {
        Err(error) if error.kind() != ErrorKind::ConnectionRefused => Err(error),
        // Nobody listens in a new namespace, so being refused is being heard.
        Ok(_) | Err(_) => Ok(()),
    }
}
