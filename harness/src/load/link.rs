//! A connection of any kind that carries bytes both ways.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::seqpacket::Seqpacket;
use super::tcpinfo;

/// Clients come from 127.0.1.1 to 127.0.1.64: ports are free per pair of
/// addresses, and one address alone would run out of them.
const SOURCES: u32 = 64;

/// So many ports are tried in turn before the kernel is left to choose.
const TRIES: u32 = 16;

/// Where the clients of a population connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// An address, for TCP or for datagrams.
    Net(SocketAddr),
    /// The path of a unix stream socket.
    Unix(PathBuf),
    /// The path of a unix seqpacket socket.
    Seqpacket(PathBuf),
}

impl Door {
    /// Whether it is a unix socket: those have errors of their own.
    pub(super) fn is_unix(&self) -> bool {
        match self {
            Self::Net(_) => false,
            Self::Unix(_) | Self::Seqpacket(_) => true,
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
    Seqpacket(Seqpacket),
}

impl Link {
    /// Connects. `turn` chooses the address and port that a client on loopback comes from.
    pub(super) async fn open(door: &Door, turn: u32) -> io::Result<Self> {
        match door {
            Door::Net(target) => tcp(*target, turn).await.map(Self::Tcp),
            Door::Unix(path) => unix(path).await.map(Self::Unix),
            Door::Seqpacket(path) => Seqpacket::connect(path).map(Self::Seqpacket),
        }
    }

    /// The client's own address, where it has one that names the connection.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) | Self::Seqpacket(_) => None,
        }
    }

    /// Records that have come, where the socket keeps them apart.
    pub(super) fn records(&self) -> Option<u64> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Seqpacket(socket) => Some(socket.records()),
        }
    }

    /// Whether a reset has come that no read or write has told of: behind the end
    /// of what the server had sent, reads tell of the end alone.
    pub(super) fn was_reset(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
            // Its end and its reset are told apart by reading.
            Self::Seqpacket(_) => return false,
        };
        matches!(error, Ok(Some(_)))
    }

    /// Segments that were sent again so far, where the kernel counts them.
    pub(super) fn retransmits(&self) -> Option<u32> {
        match self {
            Self::Tcp(stream) => tcpinfo::retransmits(stream),
            Self::Unix(_) | Self::Seqpacket(_) => None,
        }
    }
}

async fn tcp(target: SocketAddr, turn: u32) -> io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if target.is_ipv4() && target.ip().is_loopback() {
        bind(&socket, turn)?;
    }
    socket.set_nodelay(true)?;
    socket.connect(target).await
}

/// The address that the client whose `turn` it is comes from, where it can choose.
pub(super) fn source(target: SocketAddr, turn: u32) -> Option<IpAddr> {
    let chooses = target.is_ipv4() && target.ip().is_loopback();
    chooses.then(|| address(turn).into())
}

/// Gives a client an address and a port. Each port is used in its turn, so that none
/// comes again soon: where the server was the first to close, the client's port is
/// free at once, and a late packet of the old connection would meet the new one, and
/// be answered by a reset that has harmed nobody.
fn bind(socket: &TcpSocket, turn: u32) -> io::Result<()> {
    let address = address(turn);
    let (low, high) = *ports();
    let count = u32::from(high - low) + 1;
    for turn in turn / SOURCES..turn / SOURCES + TRIES {
        let port = u32::from(low) + turn % count;
        let port = u16::try_from(port).map_err(io::Error::other)?;
        match socket.bind((address, port).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    // The port is chosen by `connect`, when the whole pair is known.
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind((address, 0).into())
}

fn address(turn: u32) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, low_byte(turn % SOURCES) + 1)
}

fn low_byte(number: u32) -> u8 {
    number.to_le_bytes()[0]
}

/// The ports that clients may have here, the last included.
fn ports() -> &'static (u16, u16) {
    static PORTS: OnceLock<(u16, u16)> = OnceLock::new();
    PORTS.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        parse_ports(&text.unwrap_or_default()).unwrap_or((32_768, 60_999))
    })
}

fn parse_ports(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    let (low, high) = (words.next()??, words.next()??);
    (low <= high).then_some((low, high))
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Seqpacket(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Seqpacket(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Seqpacket(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Seqpacket(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_comes_again_soon() {
        let mut seen = BTreeSet::new();
        let mut held = Vec::new();
        for turn in 7..407 {
            let socket = TcpSocket::new_v4().unwrap();
            bind(&socket, turn).unwrap();
            assert!(seen.insert(socket.local_addr().unwrap()));
            held.push(socket);
        }
        // One that is taken is passed over.
        let again = TcpSocket::new_v4().unwrap();
        bind(&again, 7).unwrap();
        assert!(seen.insert(again.local_addr().unwrap()));
    }

    #[test]
    fn the_range_of_ports_is_the_kernels() {
        assert_eq!(parse_ports("1024\t65535\n"), Some((1024, 65_535)));
        for text in ["", "1024", "9 8", "a b"] {
            assert_eq!(parse_ports(text), None, "{text}");
        }
    }
}
