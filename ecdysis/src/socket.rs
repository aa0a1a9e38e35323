//! A socket's identity across generations, and what tells it of a socket that
//! the application already has.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a socket is to the service: its kind, and the address or name that was
/// *asked for*, not the one the kernel gave. So a listener on port 0 is found
/// again by the next generation, which asks for port 0 too.
///
/// Two sockets may have the same key (`SO_REUSEPORT`); the next generation
/// gets them in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum SocketKey {
    /// A TCP listener.
    Tcp { address: SocketAddr },
    /// A UDP socket.
    Udp { address: SocketAddr },
    /// A unix stream listener.
    Unix {
        #[serde(with = "path_bytes")]
        path: Option<PathBuf>,
    },
    /// A unix seqpacket listener.
    UnixSeqpacket {
        #[serde(with = "path_bytes")]
        path: Option<PathBuf>,
    },
    /// A unix datagram socket that has a path.
    UnixDatagram {
        #[serde(with = "path_bytes")]
        path: Option<PathBuf>,
    },
    /// A unix stream listener in the abstract namespace (unix(7)).
    UnixAbstract { name: Vec<u8> },
    /// A unix seqpacket listener in the abstract namespace.
    UnixSeqpacketAbstract { name: Vec<u8> },
    /// One end of an unnamed datagram pair.
    UnixDatagramPair { name: String },
    /// A descriptor of any kind, passed on under a name.
    Named { name: String },
    /// The state that the predecessor leaves (a memory file).
    State,
    /// Something a later version of this library handed to us. We cannot use
    /// it; it is carried to the next generation as it came. (Numbers in it had
    /// better be integers: a fraction may lose its last digit on the way.)
    #[serde(untagged)]
    Foreign(serde_json::Value),
}

impl SocketKey {
    /// The key of a TCP listener.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self::Tcp { address: comparable(address) }
    }

    /// The key of a UDP socket.
    pub(crate) fn udp(address: SocketAddr) -> Self {
        Self::Udp { address: comparable(address) }
    }

    /// The path that it is bound to.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix { path } | Self::UnixSeqpacket { path } | Self::UnixDatagram { path } => {
                path.as_deref()
            }
            Self::Tcp { .. }
            | Self::Udp { .. }
            | Self::UnixAbstract { .. }
            | Self::UnixSeqpacketAbstract { .. }
            | Self::UnixDatagramPair { .. }
            | Self::Named { .. }
            | Self::State
            | Self::Foreign(_) => None,
        }
    }

    /// Whether there may be a queue of connections that closing it would reset.
    pub(crate) fn listens(&self) -> bool {
        match self {
            Self::Tcp { .. }
            | Self::Unix { .. }
            | Self::UnixSeqpacket { .. }
            | Self::UnixAbstract { .. }
            | Self::UnixSeqpacketAbstract { .. } => true,
            Self::Udp { .. }
            | Self::UnixDatagram { .. }
            | Self::UnixDatagramPair { .. }
            | Self::Named { .. }
            | Self::State
            | Self::Foreign(_) => false,
        }
    }
}

/// An address as a key has it: without flow information, which binds nothing
/// and does not cross.
fn comparable(mut address: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(address) = &mut address {
        address.set_flowinfo(0);
    }
    address
}

/// Paths are bytes: they need not be UTF-8.
mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.as_os_str().as_bytes()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let bytes = Option::<Vec<u8>>::deserialize(deserializer)?;
        Ok(bytes.map(|bytes| PathBuf::from(OsString::from_vec(bytes))))
    }
}

/// What a listening socket is: its descriptor and what it is bound to. Opaque;
/// two that are equal speak of the same socket of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerInfo {
    fd: i32,
    sock_info: SocketKey,
}

impl ListenerInfo {
    /// What `socket`, which is bound as `key` says, is.
    pub(crate) fn new(socket: &impl AsRawFd, key: SocketKey) -> Self {
        Self { fd: socket.as_raw_fd(), sock_info: key }
    }
}

/// A socket that can be handed from generation to generation. Implemented for
/// the sockets that this library makes; an application may implement it for what
/// it wraps around one of them.
pub trait Listener: AsRawFd {
    /// What it is, by the address that the kernel gave it (getsockname(2)).
    ///
    /// # Errors
    /// Those of getsockname(2).
    fn info(&self) -> io::Result<ListenerInfo>;
}

macro_rules! listener {
    ($($socket:ty => |$this:ident| $key:expr),+ $(,)?) => {$(
        impl Listener for $socket {
            fn info(&self) -> io::Result<ListenerInfo> {
                let $this = self;
                Ok(ListenerInfo::new(self, $key))
            }
        }
    )+};
}

listener! {
    TcpListener => |this| SocketKey::tcp(this.local_addr()?),
    UdpSocket => |this| SocketKey::udp(this.local_addr()?),
    UnixListener => |this| unix_key(&this.local_addr()?),
    UnixDatagram => |this| SocketKey::UnixDatagram {
        path: this.local_addr()?.as_pathname().map(PathBuf::from),
    },
}

fn unix_key(address: &UnixAddr) -> SocketKey {
    match address.as_abstract_name() {
        Some(name) => SocketKey::UnixAbstract { name: name.to_vec() },
        None => SocketKey::Unix { path: address.as_pathname().map(PathBuf::from) },
    }
}

#[cfg(feature = "tokio_ecdysis")]
listener! {
    tokio_seqpacket::UnixSeqpacketListener => |this| SocketKey::UnixSeqpacket {
        path: Some(this.local_addr()?),
    },
}

/// Whether both are descriptors of the same open socket.
pub(crate) fn same_socket(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let [one, other] = [nix::sys::stat::fstat(one)?, nix::sys::stat::fstat(other)?];
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_socket_tells_what_it_is_bound_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let info = listener.info().unwrap();
        assert_eq!(info, ListenerInfo::new(&listener, SocketKey::Tcp { address }));
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<ListenerInfo>(&text).unwrap(), info);
        assert!(same_socket(listener.as_fd(), listener.try_clone().unwrap().as_fd()).unwrap());
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!same_socket(listener.as_fd(), other.as_fd()).unwrap());
    }

    #[test]
    fn flow_information_is_no_part_of_a_key() {
        let mut address: SocketAddr = "[fe80::1%4]:80".parse().unwrap();
        let key = SocketKey::tcp(address);
        if let SocketAddr::V6(address) = &mut address {
            address.set_flowinfo(7);
        }
        assert_eq!(SocketKey::tcp(address), key);
    }

    #[test]
    fn a_kind_of_a_later_version_is_kept_as_it_came() {
        let value = serde_json::json!({ "kind": "vsock", "port": 7 });
        let key: SocketKey = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(key, SocketKey::Foreign(value.clone()));
        assert_eq!(serde_json::to_value(&key).unwrap(), value);
    }
}
