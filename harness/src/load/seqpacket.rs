//! A unix socket that keeps records apart, in the clothes of a stream.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// A connected one. What is written at once is one record; a record that comes is
/// taken whole, so that nothing of it is cut off, and given out in pieces.
#[derive(Debug)]
pub(super) struct Seqpacket {
    /// A stream but for its reading, which is done here. Waiting, writing and
    /// finishing are the same for both kinds of socket.
    socket: UnixStream,
    record: Vec<u8>,
    /// How much of it has been given out.
    given: usize,
    records: u64,
}

impl Seqpacket {
    /// Connects; with a full backlog it fails at once.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        let socket = UnixStream::from_std(StdStream::from(OwnedFd::from(socket)))?;
        Ok(Self { socket, record: Vec::new(), given: 0, records: 0 })
    }

    /// Records that have come.
    pub(super) fn records(&self) -> u64 {
        self.records
    }
}

/// The next record; an empty one is the end.
fn next(socket: &UnixStream) -> io::Result<Vec<u8>> {
    let look = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    let nothing: &mut [u8] = &mut [];
    let (_, size) = recv(socket, nothing, look)?;
    let mut record = vec![0; size];
    let (count, _) = recv(socket, record.as_mut_slice(), RecvFlags::DONTWAIT)?;
    record.truncate(count);
    Ok(record)
}

impl AsyncRead for Seqpacket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.given == this.record.len() {
            ready!(this.socket.poll_read_ready(cx))?;
            match this.socket.try_io(Interest::READABLE, || next(&this.socket)) {
                // It was not ready after all, and the next look waits until it is.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                next => (this.record, this.given) = (next?, 0),
            }
            if this.record.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.records += 1;
        }
        let rest = this.record.get(this.given..).unwrap_or_default();
        let piece = rest.get(..buffer.remaining()).unwrap_or(rest);
        buffer.put_slice(piece);
        this.given += piece.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Seqpacket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
