//! A socket's identity across generations.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What a socket is to the service: its kind, and the address or name that was
/// *asked for*, not the one the kernel gave. So a listener on port 0 is found
/// again by the next generation, which asks for port 0 too.
///
/// Two sockets may have the same key (`SO_REUSEPORT`); the next generation
/// gets them in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SocketKey {
    /// A TCP listener.
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
    /// A unix stream listener.
    Unix(Option<PathBuf>),
    /// A unix seqpacket listener.
    UnixSeqpacket(Option<PathBuf>),
    /// One end of an unnamed datagram pair.
    UnixDatagramPair(String),
    /// Something a later version of this library handed to us. We cannot use
    /// it; it is carried to the next generation as it came.
    Foreign(serde_json::Value),
}
