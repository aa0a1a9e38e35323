//! Where clients come in.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::Arguments;
use crate::clients::Clients;
use crate::fault::Fault;

/// A connection of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + AsFd + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + AsFd + Send + Unpin> Stream for S {}

/// The listening sockets of a generation.
#[derive(Debug)]
pub(crate) struct Doors {
    tcp: TcpListener,
    unix: Option<UnixListener>,
}

impl Doors {
    /// Binds what the arguments say.
    pub(crate) fn open(arguments: &Arguments) -> io::Result<Self> {
        let mut doors = Self { tcp: bind_tcp(arguments)?, unix: None };
        doors.open_unix(arguments)?;
        Ok(doors)
    }

    /// Takes over what the predecessor has handed over; without a TCP socket, binds one.
    pub(crate) fn inherit(arguments: &Arguments, inherited: Vec<OwnedFd>) -> io::Result<Self> {
        let mut inherited = inherited.into_iter();
        let tcp = match inherited.next() {
            Some(tcp) => TcpListener::from_std(tcp.into())?,
            None => bind_tcp(arguments)?,
        };
        let unix = inherited.next().map(|unix| UnixListener::from_std(unix.into())).transpose()?;
        Ok(Self { tcp, unix })
    }

    /// Binds the unix socket, unless it was inherited.
    pub(crate) fn open_unix(&mut self, arguments: &Arguments) -> io::Result<()> {
        if let (None, Some(path)) = (&self.unix, &arguments.unix) {
            self.unix = Some(bind_unix(path, arguments.backlog)?);
        }
        Ok(())
    }

    /// What the successor gets.
    pub(crate) fn to_hand_over(&self, arguments: &Arguments) -> Vec<BorrowedFd<'_>> {
        match arguments.fault {
            Some(fault) if fault.splits_the_queue() => Vec::new(),
            Some(Fault::LoseQueue | Fault::StalePath) => vec![self.tcp.as_fd()],
            _ => {
                [self.tcp.as_fd()].into_iter().chain(self.unix.as_ref().map(AsFd::as_fd)).collect()
            }
        }
    }

    /// The next client.
    pub(crate) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let by_unix = async {
            match &self.unix {
                Some(unix) => unix.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => Ok(Box::new(accepted?.0)),
            accepted = by_unix => Ok(Box::new(accepted?.0)),
        }
    }

    /// Lets in everybody who waits.
    pub(crate) fn empty(&self, clients: &Clients) -> io::Result<()> {
        while let Some(client) = waiting(&SockRef::from(&self.tcp))? {
            clients.welcome(Box::new(TcpStream::from_std(client.into())?));
        }
        while let Some(unix) = &self.unix
            && let Some(client) = waiting(&SockRef::from(unix))?
        {
            clients.welcome(Box::new(UnixStream::from_std(client.into())?));
        }
        Ok(())
    }

    /// From now on nobody can connect to the unix socket; whoever has, still waits.
    pub(crate) fn refuse_by_unix(&self) -> io::Result<()> {
        self.unix.as_ref().map_or(Ok(()), |unix| SockRef::from(unix).shutdown(Shutdown::Read))
    }
}

/// The first in the queue. Asked of the kernel, and not of a runtime that may not
/// have heard of him yet.
fn waiting(listener: &SockRef<'_>) -> io::Result<Option<Socket>> {
    match listener.accept() {
        Ok((client, _)) => {
            client.set_nonblocking(true)?;
            Ok(Some(client))
        }
        // The latter is what a unix socket says that was shut down.
        Err(error)
            if [io::ErrorKind::WouldBlock, io::ErrorKind::InvalidInput].contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn bind_tcp(arguments: &Arguments) -> io::Result<TcpListener> {
    let address: SocketAddr = arguments.listen;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(arguments.fault.is_some_and(Fault::splits_the_queue))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(arguments.backlog)?;
    TcpListener::from_std(socket.into())
}

/// Puts a new socket at `path`, in the place of what is there.
fn bind_unix(path: &Path, backlog: i32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let aside = path.with_extension(std::process::id().to_string());
    socket.bind(&SockAddr::unix(&aside)?)?;
    socket.set_nonblocking(true)?;
    socket.listen(backlog)?;
    fs::rename(aside, path)?;
    UnixListener::from_std(socket.into())
}
