//! The sockets of a process, made anew or taken over.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use socket2::{Domain, Socket, Type};

use crate::ecdysis::Ecdysis;
use crate::listed::Manner;
use crate::registry::Registration;
use crate::socket::SocketKey;
use crate::unix_path::{Inode, Kind, UnixOptions, bind, bind_abstract};

/// What `listen_tcp` asks for; the kernel cuts it to `net.core.somaxconn`. At
/// 128, the customary number, a pause of 20 ms overflows at 6 400 connections a
/// second, and an overflow costs its client a second.
const BACKLOG: i32 = 4096;

/// The sockets. Each is the predecessor's, if it passed one on that was asked
/// for by this address or name, and else a new one. All of them are passed on to
/// the successor. If several were made with one address (`SO_REUSEPORT`), they
/// are taken over one after the other, in the order in which they were made;
/// those that this process does not ask for are emptied and closed by the
/// predecessor, and those that it adds attract no connection before it accepts.
///
/// New ones block, unless `build` has it otherwise. One that is taken over is as
/// the predecessor's application has left it; what the library itself had made
/// non-blocking (a stream of Tokio, [`Ecdysis::incoming`]) blocks again when it is
/// this process's turn. An application that polls such a socket itself therefore
/// sets `O_NONBLOCK` after [`Ecdysis::ready`].
///
/// What the predecessor has passed on can be asked for until it has let go, also
/// after [`Ecdysis::ready`]; a socket that was not passed on can be made at any
/// time.
impl Ecdysis {
    /// Listens on a unix socket with this path. A file that a crashed process
    /// has left there is replaced; the file is removed when nobody serves on it
    /// any more, if it is still the same.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, or the file is no socket; those
    /// of socket(2), bind(2), listen(2).
    pub fn listen_unix<P: AsRef<Path> + Debug>(&self, path: P) -> io::Result<UnixListener> {
        self.listen_unix_with(path, &UnixOptions::default())
    }

    /// The same, with a mode, an owner or a backlog.
    ///
    /// # Errors
    /// Those of [`Self::listen_unix`], of chmod(2) and chown(2).
    pub fn listen_unix_with<P: AsRef<Path> + Debug>(
        &self,
        path: P,
        options: &UnixOptions,
    ) -> io::Result<UnixListener> {
        blocking(self.unix(path.as_ref(), options)?)
    }

    /// Listens on a unix socket with this name in the abstract namespace
    /// (unix(7)), given without the null byte that it begins with.
    ///
    /// # Errors
    /// Those of socket(2), bind(2), listen(2).
    pub fn listen_unix_abstract(&self, name: impl AsRef<[u8]>) -> io::Result<UnixListener> {
        blocking(self.unix_abstract(name.as_ref())?)
    }

    /// Listens on a unix seqpacket socket with this path; as with
    /// [`Self::listen_unix_with`]. The standard library has no type for it.
    ///
    /// # Errors
    /// As there.
    pub fn listen_unix_seqpacket_fd<P: AsRef<Path> + Debug>(
        &self,
        path: P,
        options: &UnixOptions,
    ) -> io::Result<OwnedFd> {
        blocking(self.seqpacket(path.as_ref(), options)?)
    }

    /// Listens on `address`, with `SO_REUSEADDR` and a backlog of 4096 (which
    /// the kernel cuts to `net.core.somaxconn`).
    ///
    /// # Errors
    /// Those of socket(2), bind(2), listen(2).
    pub fn listen_tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        blocking(self.tcp(address, usual)?)
    }

    /// The same, with a socket that `build` makes of a fresh one. It is not
    /// called if there is a listener to take over.
    ///
    /// # Errors
    /// Those of socket(2), and of `build`.
    pub fn build_listen_tcp<F>(&self, address: SocketAddr, build: F) -> io::Result<TcpListener>
    where
        F: FnOnce(Socket, SocketAddr) -> io::Result<TcpListener>,
    {
        blocking(self.tcp(address, build)?)
    }

    /// A UDP socket, which `build` makes of a fresh one, unless there is one to
    /// take over. Datagrams in its queue are not lost in an upgrade; nothing
    /// keeps both generations from reading, though: what is read before
    /// [`Self::ready`] is read in the predecessor's place.
    ///
    /// # Errors
    /// Those of socket(2), and of `build`.
    pub fn build_socket_udp<F>(&self, address: SocketAddr, build: F) -> io::Result<UdpSocket>
    where
        F: FnOnce(Socket, SocketAddr) -> io::Result<UdpSocket>,
    {
        blocking(self.udp(address, build)?)
    }

    /// A unix datagram socket with this path; as with [`Self::listen_unix_with`].
    ///
    /// # Errors
    /// As there.
    pub fn unix_datagram<P: AsRef<Path> + Debug>(
        &self,
        path: P,
        options: &UnixOptions,
    ) -> io::Result<UnixDatagram> {
        blocking(self.datagram(path.as_ref(), options)?)
    }

    /// A chain of datagram sockets between successive generations: the first,
    /// if the predecessor has called this with the same name, leads to it; the
    /// second leads to the successor, whichever one it will be: after a failed
    /// upgrade, the next successor gets the same one.
    pub fn unix_datagram_pair(
        &self,
        name: String,
    ) -> (Option<UnixDatagram>, io::Result<UnixDatagram>) {
        let key = SocketKey::UnixDatagramPair { name };
        let to_predecessor = self.registry.take(&key).and_then(|taken| {
            let log = |error: &io::Error| tracing::error!(%error, ?key, "cannot take it over");
            taken.inspect_err(log).ok().map(UnixDatagram::from)
        });
        let to_successor = self.sound().and_then(|()| {
            let (ours, its) = UnixDatagram::pair()?;
            self.registry.enter(key, its, None, false)?.keep();
            Ok(ours)
        });
        (to_predecessor, to_successor)
    }

    /// Passes a descriptor of any kind on to the successor, which finds it by
    /// this name with [`Self::inherited_fd`]. It is duplicated; a second one with
    /// the same name comes after the first.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn pass_fd(&self, name: impl Into<String>, fd: impl AsFd) -> io::Result<()> {
        self.sound()?;
        self.registry.enter(SocketKey::Named { name: name.into() }, fd, None, false)?.keep();
        Ok(())
    }

    /// A descriptor that the predecessor has passed on by this name. It is not
    /// passed on again by itself.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn inherited_fd(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        self.registry.take(&SocketKey::Named { name: name.to_owned() }).transpose()
    }

    /// Unregisters a socket: it is not passed on any more, and closed when the
    /// application drops it. Otherwise the library holds on to it, so that it
    /// can be passed on. False if it was not registered.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn forget(&self, socket: &impl AsFd) -> io::Result<bool> {
        self.registry.forget(socket.as_fd())
    }

    pub(crate) fn tcp(
        &self,
        address: SocketAddr,
        build: impl FnOnce(Socket, SocketAddr) -> io::Result<TcpListener>,
    ) -> io::Result<(TcpListener, Registration)> {
        self.socket(SocketKey::tcp(address), || {
            let fresh = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            Ok((build(fresh, address)?, None))
        })
    }

    pub(crate) fn udp(
        &self,
        address: SocketAddr,
        build: impl FnOnce(Socket, SocketAddr) -> io::Result<UdpSocket>,
    ) -> io::Result<(UdpSocket, Registration)> {
        self.socket(SocketKey::udp(address), || {
            let fresh = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
            Ok((build(fresh, address)?, None))
        })
    }

    pub(crate) fn unix(
        &self,
        path: &Path,
        options: &UnixOptions,
    ) -> io::Result<(UnixListener, Registration)> {
        self.socket(SocketKey::Unix { path: Some(path.to_owned()) }, || {
            bind(Kind::Stream, path, options).map(made)
        })
    }

    pub(crate) fn unix_abstract(&self, name: &[u8]) -> io::Result<(UnixListener, Registration)> {
        self.socket(SocketKey::UnixAbstract { name: name.to_owned() }, || {
            let socket = bind_abstract(Kind::Stream, name, &UnixOptions::default())?;
            Ok((socket.into(), None))
        })
    }

    pub(crate) fn seqpacket(
        &self,
        path: &Path,
        options: &UnixOptions,
    ) -> io::Result<(OwnedFd, Registration)> {
        self.socket(SocketKey::UnixSeqpacket { path: Some(path.to_owned()) }, || {
            bind(Kind::Seqpacket, path, options).map(made)
        })
    }

    pub(crate) fn datagram(
        &self,
        path: &Path,
        options: &UnixOptions,
    ) -> io::Result<(UnixDatagram, Registration)> {
        self.socket(SocketKey::UnixDatagram { path: Some(path.to_owned()) }, || {
            bind(Kind::Datagram, path, options).map(made)
        })
    }

    /// Takes over the inherited socket with this key, or makes one. It does not
    /// block.
    pub(crate) fn socket<S: From<OwnedFd> + AsFd>(
        &self,
        key: SocketKey,
        make: impl FnOnce() -> io::Result<(S, Option<Inode>)>,
    ) -> io::Result<(S, Registration)> {
        self.sound()?;
        if let Some((fd, registration)) = self.registry.claim(&key)? {
            return Ok((fd.into(), registration));
        }
        self.registry.before_joining(&key)?;
        let (socket, inode) = make()?;
        let registration = self.registry.enter(key, &socket, inode, false)?;
        Ok((socket, registration))
    }
}

/// A listener as most servers want it.
pub(crate) fn usual(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // Without it, a restart after a crash fails while connections of the
    // crashed process are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for a program that blocks in its calls, and keeps no registration.
fn blocking<S>((socket, registration): (S, Registration)) -> io::Result<S> {
    registration.listed.decide(Manner::Blocking)?;
    registration.keep();
    Ok(socket)
}

fn made<S: From<OwnedFd>>((socket, inode): (OwnedFd, Inode)) -> (S, Option<Inode>) {
    (socket.into(), Some(inode))
}
