//! A network of the run's own: nobody else's packets are counted, nobody
//! else's ports are taken, and its settings are ours.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use nix::unistd::{Gid, Uid};
use thiserror::Error;

/// Why there is no private network.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// A namespace is entered by one thread; the others would stay outside.
    #[error("a network namespace must be entered before any thread is started; {0} are running")]
    Threads(usize),
    /// The kernel refused.
    #[error("no private network: {step}: {source}; {advice}, or run with the host's network")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// What to do about it.
        advice: String,
    },
    /// The namespace is there, but its loopback interface could not be used.
    #[error("the private network's loopback interface does not work: {step}: {source}")]
    Loopback {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A setting was not taken.
    #[error("cannot set sysctl {name} = {value}: {source}")]
    Sysctl {
        /// Its name, `net.ipv4.x`.
        name: String,
        /// The value that was to be set.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Moves this process into a fresh network namespace with a working loopback
/// interface, then applies `sysctl` there. Must be called while the process
/// has one thread. Processes started later are inside too.
///
/// # Errors
///
/// The namespace is not to be had, or a setting is not taken. The process may
/// then be inside a namespace already, and must not go on to use the network.
pub fn enter(sysctl: &[(String, String)]) -> Result<(), NetnsError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(NetnsError::Threads(threads));
    }
    detach()?;
    raise_loopback().map_err(|source| loopback("raising it", source))?;
    check_loopback().map_err(|source| loopback("connecting to 127.0.0.1", source))?;
    for (name, value) in sysctl {
        fs::write(sysctl_path(name), value).map_err(|source| NetnsError::Sysctl {
            name: name.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

fn loopback(step: &'static str, source: io::Error) -> NetnsError {
    // Where AppArmor withholds the capabilities of a user namespace, this is
    // the first step that needs one.
    if source.kind() == ErrorKind::PermissionDenied {
        refused("raising the loopback interface", source)
    } else {
        NetnsError::Loopback { step, source }
    }
}

/// Root needs no user namespace, and is better off without: it would lose its
/// power over other users' files. A container's root may be refused, and is
/// then as good as any other user.
fn detach() -> Result<(), NetnsError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(()),
            Err(Errno::EPERM) => {}
            Err(error) => return Err(refused("unshare(CLONE_NEWNET)", error.into())),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|error| refused("unshare(CLONE_NEWUSER | CLONE_NEWNET)", error.into()))?;
    let write = |path: &'static str, text: String| {
        fs::write(path, text).map_err(|source| refused(path, source))
    };
    // Without this, the kernel does not let a user map a group.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn refused(step: &'static str, source: io::Error) -> NetnsError {
    let advice = advise(|path| fs::read_to_string(path).ok());
    NetnsError::Refused { step, source, advice }
}

/// What most likely stands in the way, and how to remove it.
fn advise(read: impl Fn(&str) -> Option<String>) -> String {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts user namespaces: run as root, or set sysctl \
         kernel.apparmor_restrict_unprivileged_userns=0"
            .to_owned()
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "user namespaces are kept for root: run as root, or set sysctl \
         kernel.unprivileged_userns_clone=1"
            .to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are switched off: run as root, or raise sysctl user.max_user_namespaces"
            .to_owned()
    } else if is("/proc/sys/user/max_net_namespaces", "0") {
        "network namespaces are switched off: raise sysctl user.max_net_namespaces".to_owned()
    } else {
        "run as root, or, in a container, with CAP_SYS_ADMIN or a seccomp profile that allows \
         unshare"
            .to_owned()
    }
}

/// Raises `lo` by a message to the kernel: `ip` may not be installed.
fn raise_loopback() -> io::Result<()> {
    let index = if_nametoindex("lo")?;
    let netlink: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &raise_message(index), &kernel, MsgFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    read_answer(answer.get(..length).unwrap_or_default())
}

/// `RTM_NEWLINK` with `IFF_UP`: a `nlmsghdr` and an `ifinfomsg`, see rtnetlink(7).
fn raise_message(index: u32) -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LENGTH: u32 = 32;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    // Sequence number, and sender: the kernel fills in the latter.
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // Family (any), padding and device type.
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    // The flags that are to change.
    message.extend(IFF_UP.to_ne_bytes());
    message
}

/// The kernel answers with `NLMSG_ERROR`, whose error is 0 for success and a
/// negated errno otherwise.
fn read_answer(answer: &[u8]) -> io::Result<()> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
        (None | Some(_), _) => {
            Err(io::Error::new(ErrorKind::InvalidData, "the kernel's answer is no answer"))
        }
    }
}

/// Nobody listens yet, so a loopback interface that works refuses a
/// connection; one that does not is unreachable.
fn check_loopback() -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens at port 1")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_stays_where_it_is() {
        // The thread that runs this test is not the only one.
        assert!(matches!(enter(&[]), Err(NetnsError::Threads(2..))));
    }

    #[test]
    fn answers_of_the_kernel() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = vec![0; 36];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            read_answer(&bytes)
        };
        answer(2, 0).unwrap();
        assert_eq!(answer(2, -1).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(answer(3, 0).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read_answer(&[]).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(raise_message(1).len(), 32);
    }

    #[test]
    fn advice_names_what_stands_in_the_way() {
        let only = |wanted: &'static str, value: &'static str| {
            advise(move |path| path.ends_with(wanted).then(|| format!("{value}\n")))
        };
        assert!(only("apparmor_restrict_unprivileged_userns", "1").contains("AppArmor"));
        assert!(only("unprivileged_userns_clone", "0").contains("unprivileged_userns_clone=1"));
        assert!(only("max_user_namespaces", "0").contains("max_user_namespaces"));
        assert!(only("max_user_namespaces", "9").contains("root"));
    }

    #[test]
    fn settings_are_files() {
        assert_eq!(sysctl_path("net.ipv4.tcp_x"), "/proc/sys/net/ipv4/tcp_x");
    }
}
