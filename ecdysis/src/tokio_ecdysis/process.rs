//! A process and its sockets.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
#[cfg(feature = "systemd_notify")]
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{SplitSink, SplitStream};
use socket2::Socket;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::{mpsc, oneshot};
use tokio_seqpacket::UnixSeqpacketListener;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::codec::BytesCodec;
use tokio_util::udp::UdpFramed;

use super::drain::{DrainOptions, drain};
use super::seqpacket::UnixSeqpacketListenerStream;
use super::stoppable::Stoppable;
use super::stream::{StopOnShutdown, StoppableStream};
use super::trigger::{Asked, Wish};
use crate::drain::{Connections, Drained};
use crate::ecdysis::Ecdysis;
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::hook;
use crate::listed::Manner;
use crate::registry::Registration;
use crate::report::UpgradeReport;
use crate::sockets::usual;
use crate::unix_path::UnixOptions;

/// The datagrams of a UDP socket, each with its sender.
pub type UdpStream = SplitStream<UdpFramed<BytesCodec>>;

/// What sends datagrams from the socket of a [`UdpStream`].
pub type UdpSink = SplitSink<UdpFramed<BytesCodec>, (Bytes, SocketAddr)>;

impl StoppableStream<UdpStream> {
    /// The address the socket is bound to; with the port the kernel chose, if
    /// port 0 was asked for.
    ///
    /// # Errors
    /// `NotConnected` once the stream has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket()?.local_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// This process and its sockets. Made by
/// [`TokioEcdysisBuilder`](super::TokioEcdysisBuilder), which dereferences to
/// it; handed out by [`ready`](super::TokioEcdysisBuilder::ready). Sockets can be
/// made before that and after.
///
/// Each socket is the predecessor's, if it passed one on that was asked for by
/// this address or name, and else a new one; see [`Ecdysis`] for how they are
/// told apart. The functions here must be called in a Tokio runtime with I/O
/// enabled.
#[derive(Debug)]
pub struct TokioEcdysis {
    pub(super) ecdysis: Ecdysis,
    pub(super) asks: mpsc::UnboundedSender<Asked>,
    /// Who ends before whom where systemd looks on.
    #[cfg(feature = "systemd_notify")]
    pub(super) company: Arc<super::systemd::Company>,
    /// What systemd has passed to this process, if that was looked at.
    #[cfg(feature = "systemd_sockets")]
    pub(super) systemd_sockets: Option<crate::systemd::sockets::SystemdSockets>,
    /// The application wants to ask for it.
    #[cfg(feature = "systemd_sockets")]
    pub(super) systemd_sockets_read: bool,
}

impl TokioEcdysis {
    /// Whether a predecessor started this process.
    #[must_use]
    pub fn is_child(&self) -> bool {
        self.ecdysis.is_child()
    }

    /// How many generations came before this one. A predecessor built on the
    /// published crate does not count; its successor is generation 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.ecdysis.generation()
    }

    /// The face without a runtime, of the same process. What it makes blocks.
    #[must_use]
    pub fn std_ecdysis(&self) -> &Ecdysis {
        &self.ecdysis
    }

    /// The connections in flight. The application enters each one; a second
    /// stop, while they are drained, ends the drain.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        self.ecdysis.connections()
    }

    /// Finishes the connections that were entered: tells them to finish, waits
    /// until they have, until the deadline, or until the process is told to stop
    /// (once more); and cuts what is left. To be called when nothing is accepted
    /// any more.
    ///
    /// Where systemd is told of what goes on, and this is a stop, it waits for the
    /// other generations that still drain, too: systemd takes the end of the main
    /// process for the end of the service, and kills them. They have no more time than
    /// the connections of this process. And systemd is asked for that time
    /// (`EXTEND_TIMEOUT_USEC`), so that `TimeoutStopSec=` does not end a drain before
    /// its deadline.
    pub async fn drain(&self, options: &DrainOptions) -> Drained {
        #[cfg(feature = "systemd_notify")]
        tokio::select! {
            drained = self.drain_in_company(options) => drained,
            never = self.company.ask_for_time(&self.ecdysis) => match never {},
        }
        #[cfg(not(feature = "systemd_notify"))]
        drain(self.ecdysis.connections(), options).await
    }

    #[cfg(feature = "systemd_notify")]
    async fn drain_in_company(&self, options: &DrainOptions) -> Drained {
        let began = tokio::time::Instant::now();
        let drained = drain(self.ecdysis.connections(), options).await;
        tokio::select! {
            () = self.company.others_end(&self.ecdysis) => {}
            () = self.connections().hurried() => {}
            () = tokio::time::sleep(options.deadline.saturating_sub(began.elapsed())) => {}
        }
        drained
    }

    /// Upgrades this process, as a signal would. Resolves when the outcome is
    /// certain. The future of [`ready`](super::TokioEcdysisBuilder::ready) must
    /// be polled meanwhile, and resolves as well if the upgrade is completed.
    ///
    /// If another upgrade is under way, this one begins when that has failed;
    /// when that has completed, it is passed on to the generation that serves
    /// then ([`UpgradeErrorKind::PassedOn`]).
    pub async fn upgrade(&self) -> UpgradeReport {
        if hook::is_called() {
            let error = UpgradeErrorKind::InHook.into();
            return UpgradeReport::not_started(self.generation(), error);
        }
        let (report, reported) = oneshot::channel();
        let asked = self.asks.send(Asked::by_call(Wish::Upgrade, Some(report)));
        let gone = |_| UpgradeError::new(UpgradeErrorKind::Stopping);
        let reported = match asked.map_err(|_| UpgradeError::new(UpgradeErrorKind::Stopping)) {
            Ok(()) => reported.await.map_err(gone),
            Err(error) => Err(error),
        };
        reported.unwrap_or_else(|error| UpgradeReport::not_started(self.generation(), error))
    }

    /// Stops the service, as a signal would.
    pub fn stop(&self) {
        // Nobody is there to hear it: then it has stopped, or been succeeded.
        let _ = self.asks.send(Asked::by_call(Wish::Stop, None));
    }

    /// Stops the service on those sockets that stop on it
    /// ([`StopOnShutdown::Yes`]), as a signal would.
    pub fn partial_stop(&self) {
        let _ = self.asks.send(Asked::by_call(Wish::PartialStop, None));
    }

    /// Listens on a unix socket with this path; see [`Ecdysis::listen_unix`].
    ///
    /// # Errors
    /// As there.
    pub fn listen_unix<P: AsRef<Path> + Debug>(
        &self,
        stop: StopOnShutdown,
        path: P,
    ) -> io::Result<StoppableStream<UnixListenerStream>> {
        self.listen_unix_with(stop, path, &UnixOptions::default())
    }

    /// The same, with a mode, an owner or a backlog.
    ///
    /// # Errors
    /// As with [`Ecdysis::listen_unix_with`].
    pub fn listen_unix_with<P: AsRef<Path> + Debug>(
        &self,
        stop: StopOnShutdown,
        path: P,
        options: &UnixOptions,
    ) -> io::Result<StoppableStream<UnixListenerStream>> {
        self.unix_stream(stop, self.ecdysis.unix(path.as_ref(), options)?)
    }

    /// Listens on a unix socket in the abstract namespace; see
    /// [`Ecdysis::listen_unix_abstract`].
    ///
    /// # Errors
    /// As there.
    pub fn listen_unix_abstract(
        &self,
        stop: StopOnShutdown,
        name: impl AsRef<[u8]>,
    ) -> io::Result<StoppableStream<UnixListenerStream>> {
        self.unix_stream(stop, self.ecdysis.unix_abstract(name.as_ref())?)
    }

    /// Listens on a unix seqpacket socket with this path.
    ///
    /// # Errors
    /// As with [`Ecdysis::listen_unix`].
    pub fn listen_unix_seqpacket<P: AsRef<Path> + Debug>(
        &self,
        stop: StopOnShutdown,
        path: P,
    ) -> io::Result<StoppableStream<UnixSeqpacketListenerStream>> {
        let (socket, registration) =
            self.ecdysis.seqpacket(path.as_ref(), &UnixOptions::default())?;
        self.seqpacket_stream(stop, socket, registration)
    }

    /// Listens on `address`; see [`Ecdysis::listen_tcp`].
    ///
    /// In a successor the stream yields nothing until the predecessor has
    /// stopped accepting, so it can be used before
    /// [`ready`](super::TokioEcdysisBuilder::ready).
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2).
    pub fn listen_tcp(
        &self,
        stop: StopOnShutdown,
        address: SocketAddr,
    ) -> io::Result<StoppableStream<TcpListenerStream>> {
        self.tcp_stream(stop, self.ecdysis.tcp(address, usual)?)
    }

    /// The same, with a socket that `build` makes of a fresh one. It is not
    /// called if there is a listener to take over.
    ///
    /// # Errors
    /// Those of socket(2), and of `build`.
    pub fn build_listen_tcp<F>(
        &self,
        stop: StopOnShutdown,
        address: SocketAddr,
        build: F,
    ) -> io::Result<StoppableStream<TcpListenerStream>>
    where
        F: FnOnce(Socket, SocketAddr) -> io::Result<TcpListener>,
    {
        self.tcp_stream(stop, self.ecdysis.tcp(address, build)?)
    }

    /// The datagrams that come to a UDP socket, which `build` makes of a fresh
    /// one, unless there is one to take over. In an upgrade the old process
    /// stops reading before the new one begins; nothing in the queue is lost.
    ///
    /// # Errors
    /// Those of socket(2), and of `build`.
    pub fn build_stream_udp<F>(
        &self,
        stop: StopOnShutdown,
        address: SocketAddr,
        build: F,
    ) -> io::Result<StoppableStream<UdpStream>>
    where
        F: FnOnce(Socket, SocketAddr) -> io::Result<std::net::UdpSocket>,
    {
        Ok(self.build_framed_udp(stop, address, build)?.1)
    }

    /// The same, and what sends from the same socket. Sending is not
    /// interrupted: an old process may still answer what it has read.
    ///
    /// # Errors
    /// Those of socket(2), and of `build`.
    pub fn build_framed_udp<F>(
        &self,
        stop: StopOnShutdown,
        address: SocketAddr,
        build: F,
    ) -> io::Result<(UdpSink, StoppableStream<UdpStream>)>
    where
        F: FnOnce(Socket, SocketAddr) -> io::Result<std::net::UdpSocket>,
    {
        let (socket, registration) = self.udp(address, build)?;
        let (sink, stream) = UdpFramed::new(socket, BytesCodec::new()).split();
        Ok((sink, StoppableStream::new(stream, registration, &self.ecdysis, stop)))
    }

    /// A UDP socket with operations that end when the process has to leave; see
    /// [`Self::build_stream_udp`].
    ///
    /// # Errors
    /// Those of socket(2), and of `build`.
    pub fn build_stoppable_socket_udp<F>(
        &self,
        stop: StopOnShutdown,
        address: SocketAddr,
        build: F,
    ) -> io::Result<Stoppable<UdpSocket>>
    where
        F: FnOnce(Socket, SocketAddr) -> io::Result<std::net::UdpSocket>,
    {
        let (socket, registration) = self.udp(address, build)?;
        Ok(Stoppable::new(socket, registration, &self.ecdysis, stop))
    }

    /// A unix datagram socket with this path, with operations that end when the
    /// process has to leave.
    ///
    /// # Errors
    /// As with [`Ecdysis::unix_datagram`].
    pub fn unix_datagram<P: AsRef<Path> + Debug>(
        &self,
        stop: StopOnShutdown,
        path: P,
        options: &UnixOptions,
    ) -> io::Result<Stoppable<UnixDatagram>> {
        let (socket, registration) = self.ecdysis.datagram(path.as_ref(), options)?;
        registration.listed.decide(Manner::NonBlocking)?;
        let socket = UnixDatagram::from_std(socket)?;
        Ok(Stoppable::new(socket, registration, &self.ecdysis, stop))
    }

    /// A chain of datagram sockets between successive generations; see
    /// [`Ecdysis::unix_datagram_pair`].
    pub fn unix_datagram_pair(
        &self,
        name: String,
    ) -> (Option<io::Result<UnixDatagram>>, io::Result<UnixDatagram>) {
        let from_std = |socket: std::os::unix::net::UnixDatagram| {
            socket.set_nonblocking(true)?;
            UnixDatagram::from_std(socket)
        };
        let (to_predecessor, to_successor) = self.ecdysis.unix_datagram_pair(name);
        (to_predecessor.map(from_std), to_successor.and_then(from_std))
    }

    pub(super) fn tcp_stream(
        &self,
        stop: StopOnShutdown,
        (listener, registration): (TcpListener, Registration),
    ) -> io::Result<StoppableStream<TcpListenerStream>> {
        registration.listed.decide(Manner::NonBlocking)?;
        let listener = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        Ok(StoppableStream::tcp(listener, registration, &self.ecdysis, stop))
    }

    pub(super) fn unix_stream(
        &self,
        stop: StopOnShutdown,
        (listener, registration): (std::os::unix::net::UnixListener, Registration),
    ) -> io::Result<StoppableStream<UnixListenerStream>> {
        registration.listed.decide(Manner::NonBlocking)?;
        let listener = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener)?);
        Ok(StoppableStream::new(listener, registration, &self.ecdysis, stop))
    }

    pub(super) fn seqpacket_stream(
        &self,
        stop: StopOnShutdown,
        socket: std::os::fd::OwnedFd,
        registration: Registration,
    ) -> io::Result<StoppableStream<UnixSeqpacketListenerStream>> {
        registration.listed.decide(Manner::NonBlocking)?;
        let listener = UnixSeqpacketListener::try_from(socket)?;
        let stream = UnixSeqpacketListenerStream::new(listener);
        Ok(StoppableStream::new(stream, registration, &self.ecdysis, stop))
    }

    fn udp(
        &self,
        address: SocketAddr,
        build: impl FnOnce(Socket, SocketAddr) -> io::Result<std::net::UdpSocket>,
    ) -> io::Result<(UdpSocket, Registration)> {
        let (socket, registration) = self.ecdysis.udp(address, build)?;
        registration.listed.decide(Manner::NonBlocking)?;
        Ok((UdpSocket::from_std(socket)?, registration))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::phase::Phase;

    fn bound(socket: Socket, address: SocketAddr) -> io::Result<std::net::UdpSocket> {
        socket.bind(&address.into())?;
        Ok(socket.into())
    }

    #[tokio::test]
    async fn a_stream_of_datagrams_tells_where_it_is_and_takes_options() {
        let process = TokioEcdysis {
            ecdysis: Ecdysis::from_environment(|_| None).unwrap(),
            asks: mpsc::unbounded_channel().0,
            #[cfg(feature = "systemd_notify")]
            company: Arc::default(),
            #[cfg(feature = "systemd_sockets")]
            systemd_sockets: None,
            #[cfg(feature = "systemd_sockets")]
            systemd_sockets_read: false,
        };
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let mut stream = process.build_stream_udp(StopOnShutdown::Yes, any, bound).unwrap();
        let address = stream.local_addr().unwrap();
        let client = std::net::UdpSocket::bind(any).unwrap();
        client.send_to(b"hello", address).unwrap();
        let (datagram, sender) = stream.next().await.unwrap().unwrap();
        assert_eq!((&*datagram, sender), (&b"hello"[..], client.local_addr().unwrap()));
        stream.socket().unwrap().set_broadcast(true).unwrap();
        assert!(stream.socket().unwrap().broadcast().unwrap());
        process.ecdysis.watch.set(Phase::Draining);
        assert!(stream.next().await.is_none());
        assert_eq!(stream.local_addr().unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}
