//! A connection of any kind that carries bytes both ways.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Clients come from 127.0.1.1 to 127.0.1.64: ports are free per pair of
/// addresses, and one address alone would run out of them.
const SOURCES: u8 = 64;

/// Where the clients of a population connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a unix stream socket.
    Unix(PathBuf),
}

impl Door {
    /// Whether it is a unix socket: those have errors of their own.
    pub(super) fn is_unix(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Unix(_) => true,
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Link {
    /// Connects. `turn` chooses the address that a client on loopback comes from.
    pub(super) async fn open(door: &Door, turn: u8) -> io::Result<Self> {
        match door {
            Door::Tcp(target) => tcp(*target, turn).await.map(Self::Tcp),
            Door::Unix(path) => unix(path).await.map(Self::Unix),
        }
    }

    /// The client's own address, where it has one that names the connection.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Whether a reset has come that no read or write has told of: behind the end
    /// of what the server had sent, reads tell of the end alone.
    pub(super) fn was_reset(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        };
        matches!(error, Ok(Some(_)))
    }
}

async fn tcp(target: SocketAddr, turn: u8) -> io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if target.is_ipv4() && target.ip().is_loopback() {
        // The port is chosen by `connect`, when the whole pair is known.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        let source = Ipv4Addr::new(127, 0, 1, turn % SOURCES + 1);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    }
    socket.set_nodelay(true)?;
    socket.connect(target).await
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
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
