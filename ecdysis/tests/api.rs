//! A program written for the published crate 1.1.1 compiles here: each of that
//! crate's public items is used with the types and bounds that it has there.
//! Compiled is nearly all that this needs; the same text compiles against 1.1.1.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;

use ecdysis::{Ecdysis, Listener, ListenerInfo};
use socket2::Socket;

type Build<T> = fn(Socket, SocketAddr) -> io::Result<T>;

fn ordinary<T: Send + Sync + Unpin + 'static>() {}

/// What may be done with the outcome of an upgrade, whose error has no name there.
fn shown<E: std::fmt::Display + Send + Sync + Unpin + 'static + From<io::Error>>(
    _: fn(&Ecdysis) -> Result<(), E>,
) {
}

#[test]
fn the_face_without_a_runtime_is_as_published() {
    ordinary::<Ecdysis>();
    let _: [fn() -> Ecdysis; 2] = [Ecdysis::new, Ecdysis::default];
    let _: fn(&Ecdysis) -> bool = Ecdysis::is_child;
    let _: fn(&mut Ecdysis, String) = Ecdysis::set_pid_file::<String>;
    let _: fn(&mut Ecdysis) -> io::Result<()> = Ecdysis::ready;
    shown(Ecdysis::upgrade);
    let _: fn(&Ecdysis) = Ecdysis::quit;
    let _: fn(&Ecdysis, PathBuf) -> io::Result<UnixListener> = Ecdysis::listen_unix::<PathBuf>;
    let _: fn(&Ecdysis, SocketAddr) -> io::Result<TcpListener> = Ecdysis::listen_tcp;
    let _: fn(&Ecdysis, SocketAddr, Build<TcpListener>) -> io::Result<TcpListener> =
        Ecdysis::build_listen_tcp::<Build<TcpListener>>;
    let _: fn(&Ecdysis, SocketAddr, Build<UdpSocket>) -> io::Result<UdpSocket> =
        Ecdysis::build_socket_udp::<Build<UdpSocket>>;
    type Pair = (Option<UnixDatagram>, io::Result<UnixDatagram>);
    let _: fn(&Ecdysis, String) -> Pair = Ecdysis::unix_datagram_pair;
}

/// A listener of a program's own.
struct Own(TcpListener);

impl AsRawFd for Own {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl Listener for Own {
    fn info(&self) -> io::Result<ListenerInfo> {
        self.0.info()
    }
}

#[test]
fn a_program_may_implement_the_trait_for_a_listener_of_its_own() {
    fn kept<T>()
    where
        T: Clone
            + PartialEq
            + Eq
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
    }
    kept::<ListenerInfo>();
    ordinary::<ListenerInfo>();
    let own = Own(TcpListener::bind("127.0.0.1:0").unwrap());
    let listener: &dyn Listener = &own;
    assert_eq!(listener.info().unwrap(), own.0.info().unwrap());
    fn implemented<L: Listener>() {}
    implemented::<TcpListener>();
    implemented::<UdpSocket>();
    implemented::<UnixListener>();
    #[cfg(feature = "tokio_ecdysis")]
    implemented::<ecdysis::UnixSeqpacketListener>();
}

#[cfg(feature = "tokio_ecdysis")]
mod on_tokio {
    use std::future::{Future, ready};
    use std::ops::Deref;
    use std::path::Path;
    use std::sync::Arc;

    use ecdysis::UnixSeqpacketListenerStream;
    use ecdysis::tokio_ecdysis::{
        ExitMode, ExitReason, SignalKind, StopOnShutdown, Stoppable, StoppableStream, TokioEcdysis,
        TokioEcdysisBuilder, TokioEcdysisUpgradeResult, UdpStream,
    };
    use futures::{Stream, StreamExt};
    use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

    use super::*;

    type Shared<'a> = &'a TokioEcdysis;

    #[test]
    fn the_builder_is_as_published() {
        type Builder<'a> = &'a mut TokioEcdysisBuilder;
        fn dereferences<T: Deref<Target = TokioEcdysis>>() {}
        ordinary::<TokioEcdysisBuilder>();
        dereferences::<TokioEcdysisBuilder>();
        let _: fn(SignalKind) -> io::Result<TokioEcdysisBuilder> = TokioEcdysisBuilder::new;
        let _: [fn(Builder<'_>, SignalKind) -> io::Result<()>; 2] =
            [TokioEcdysisBuilder::stop_on_signal, TokioEcdysisBuilder::partial_stop_on_signal];
        let _: [fn(Builder<'_>, &'static str) -> io::Result<()>; 3] = [
            TokioEcdysisBuilder::upgrade_on_socket::<&'static str>,
            TokioEcdysisBuilder::stop_on_socket::<&'static str>,
            TokioEcdysisBuilder::partial_stop_on_socket::<&'static str>,
        ];
        let _: fn(Builder<'_>, PathBuf) = TokioEcdysisBuilder::set_pid_file::<PathBuf>;
    }

    /// What `ready` gives, whose future has no name.
    fn begun<F: Future<Output = Result<(ExitMode, ExitReason), String>> + Send + 'static>(
        _: fn(TokioEcdysisBuilder) -> io::Result<(Arc<TokioEcdysis>, F)>,
    ) {
    }

    #[test]
    fn what_ready_gives_is_as_published() {
        begun(TokioEcdysisBuilder::ready);
        fn debugged<T: std::fmt::Debug>() {}
        fn cloned<T: Clone + std::fmt::Debug>() {}
        ordinary::<TokioEcdysisUpgradeResult>();
        debugged::<ExitMode>();
        cloned::<ExitReason>();
        // Nothing else can have happened, for a program that looks at each.
        let _ = |mode: ExitMode| match mode {
            ExitMode::Upgrade | ExitMode::FullStop | ExitMode::PartialStop => {}
            #[cfg(feature = "systemd_notify")]
            ExitMode::PartialStopWithSystemd(notifier) => {
                drop::<ecdysis::SystemdNotifier>(notifier);
            }
        };
        let _ = |reason: ExitReason| match reason {
            ExitReason::Signal(kind) => Some::<SignalKind>(kind),
            ExitReason::UnixListener(path) => (path == PathBuf::new()).then(SignalKind::hangup),
        };
    }

    #[test]
    fn the_sockets_are_as_published() {
        use StopOnShutdown as Stop;
        ordinary::<TokioEcdysis>();
        let _: fn(Shared<'_>) -> bool = TokioEcdysis::is_child;
        let _: fn(Shared<'_>) -> &Ecdysis = TokioEcdysis::std_ecdysis;
        let _: fn(
            Shared<'_>,
            Stop,
            &'static Path,
        ) -> io::Result<StoppableStream<UnixListenerStream>> =
            TokioEcdysis::listen_unix::<&'static Path>;
        let _: fn(
            Shared<'_>,
            Stop,
            &'static Path,
        ) -> io::Result<StoppableStream<UnixSeqpacketListenerStream>> =
            TokioEcdysis::listen_unix_seqpacket::<&'static Path>;
        let _: fn(Shared<'_>, Stop, SocketAddr) -> io::Result<StoppableStream<TcpListenerStream>> =
            TokioEcdysis::listen_tcp;
        let _: fn(
            Shared<'_>,
            Stop,
            SocketAddr,
            Build<TcpListener>,
        ) -> io::Result<StoppableStream<TcpListenerStream>> =
            TokioEcdysis::build_listen_tcp::<Build<TcpListener>>;
        let _: fn(
            Shared<'_>,
            Stop,
            SocketAddr,
            Build<UdpSocket>,
        ) -> io::Result<StoppableStream<UdpStream>> =
            TokioEcdysis::build_stream_udp::<Build<UdpSocket>>;
        let _: fn(
            Shared<'_>,
            Stop,
            SocketAddr,
            Build<UdpSocket>,
        ) -> io::Result<Stoppable<tokio::net::UdpSocket>> =
            TokioEcdysis::build_stoppable_socket_udp::<Build<UdpSocket>>;
        type Pair =
            (Option<io::Result<tokio::net::UnixDatagram>>, io::Result<tokio::net::UnixDatagram>);
        let _: fn(Shared<'_>, String) -> Pair = TokioEcdysis::unix_datagram_pair;
        let _: fn(ecdysis::UnixSeqpacketListener) -> UnixSeqpacketListenerStream =
            UnixSeqpacketListenerStream::new;
        let _: fn(tokio_seqpacket::UnixSeqpacketListener) -> UnixSeqpacketListenerStream =
            UnixSeqpacketListenerStream::new;
    }

    /// Neither type asks for anything of what it holds.
    struct Holds<S>(StoppableStream<S>, Stoppable<S>);

    /// And a stream is one of whatever it holds.
    async fn first<S: Stream + Unpin>(mut stream: StoppableStream<S>) -> Option<S::Item> {
        stream.next().await
    }

    fn of<S: Stream<Item = T>, T>() {}

    #[test]
    fn the_streams_are_as_published() {
        fn sent<F: Future + Send>(_: fn(StoppableStream<TcpListenerStream>) -> F) {}
        sent(first);
        let _ = |Holds::<()>(stream, socket)| (stream, socket);
        // Each has two paths.
        let _ = |stream: StoppableStream<()>, socket: Stoppable<()>, stop: StopOnShutdown| {
            use ecdysis::tokio_ecdysis::supervisor::{StopOnShutdown, Stoppable, StoppableStream};
            let same: (StoppableStream<()>, Stoppable<()>, StopOnShutdown) = (stream, socket, stop);
            same
        };
        let _ = |stop| match stop {
            StopOnShutdown::Yes | StopOnShutdown::No => {}
        };
        ordinary::<StopOnShutdown>();
        ordinary::<StoppableStream<u8>>();
        ordinary::<Stoppable<u8>>();
        of::<StoppableStream<TcpListenerStream>, io::Result<tokio::net::TcpStream>>();
        of::<StoppableStream<UnixListenerStream>, io::Result<tokio::net::UnixStream>>();
        of::<
            StoppableStream<UnixSeqpacketListenerStream>,
            io::Result<tokio_seqpacket::UnixSeqpacket>,
        >();
        of::<StoppableStream<UdpStream>, io::Result<(bytes::BytesMut, SocketAddr)>>();
        ordinary::<StoppableStream<TcpListenerStream>>();
        ordinary::<StoppableStream<UnixListenerStream>>();
        ordinary::<StoppableStream<UnixSeqpacketListenerStream>>();
        ordinary::<StoppableStream<UdpStream>>();
        let _ = |stream: UdpStream| {
            let framed: futures::stream::SplitStream<
                tokio_util::udp::UdpFramed<tokio_util::codec::BytesCodec>,
            > = stream;
            framed
        };
    }

    async fn operate(socket: &mut Stoppable<Vec<u8>>) -> Option<()> {
        let _: &Vec<u8> = socket.as_unstoppable_ref();
        let _: &mut Vec<u8> = socket.as_unstoppable_mut();
        let length: Option<usize> = socket.until_stopped(|bytes| ready(bytes.len())).await;
        let _ = socket.until_stopped(async |bytes: &Vec<u8>| bytes.len()).await;
        socket.until_stopped_mut(|bytes| async { bytes.extend(length.map(|_| 7)) }).await
    }

    #[test]
    fn the_operations_of_a_socket_are_as_published() {
        fn on_any_thread<F: Future + Send>(_: fn(&'static mut Stoppable<Vec<u8>>) -> F) {}
        on_any_thread(operate);
    }
}

#[cfg(feature = "systemd_notify")]
mod systemd_notify {
    use std::future::Future;
    use std::time::Duration;

    use ecdysis::tokio_ecdysis::TokioEcdysisBuilder;
    use ecdysis::{SystemdNotifier, SystemdNotifierError};

    use super::*;

    fn on_any_thread<F: Future<Output = io::Result<()>> + Send>(future: F) -> F {
        future
    }

    async fn all(notifier: &mut SystemdNotifier, builder: &mut TokioEcdysisBuilder) {
        let states = [("STATUS", "well".to_owned())];
        let _ = on_any_thread(notifier.notify(states.into_iter())).await;
        let _ = on_any_thread(notifier.notify([("A", "b")].iter().copied())).await;
        let _ = on_any_thread(notifier.notify_ready()).await;
        let _ = on_any_thread(notifier.notify_reloading()).await;
        let _ = on_any_thread(notifier.notify_stopping()).await;
        let _ = on_any_thread(notifier.notify_extend_timeouts(Duration::from_secs(1))).await;
        let _ = on_any_thread(builder.extend_systemd_timeouts(Duration::from_secs(1))).await;
    }

    #[test]
    fn the_notifier_is_as_published() {
        fn error<T: std::error::Error + Send + Sync + Unpin + 'static>() {}
        fn debugged<T: std::fmt::Debug>() {}
        ordinary::<SystemdNotifier>();
        debugged::<SystemdNotifier>();
        error::<SystemdNotifierError>();
        let _ = |notifier, builder| drop(all(notifier, builder));
        let _: fn() -> Result<SystemdNotifier, SystemdNotifierError> = SystemdNotifier::new;
        let _: fn(&mut TokioEcdysisBuilder) -> Result<(), SystemdNotifierError> =
            TokioEcdysisBuilder::enable_systemd_notifications;
        let _ = |error: SystemdNotifierError| match error {
            SystemdNotifierError::NotifySocketUnset => None,
            SystemdNotifierError::SocketCreateError(source)
            | SystemdNotifierError::SocketConnectError(source) => Some::<io::Error>(source),
        };
        let unset = SystemdNotifierError::NotifySocketUnset.to_string();
        assert!(unset.contains("NOTIFY_SOCKET"));
    }
}

#[cfg(feature = "systemd_sockets")]
mod systemd_sockets {
    use std::future::Future;
    use std::path::Path;

    use ecdysis::tokio_ecdysis::{
        StopOnShutdown, StoppableStream, TokioEcdysis, TokioEcdysisBuilder, UdpStream,
    };
    use ecdysis::{SystemdSocketError, SystemdSocketsReadError, UnixSeqpacketListenerStream};
    use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

    use super::*;

    async fn found<T>(
        future: impl Future<Output = Result<T, SystemdSocketError>> + Send,
    ) -> Result<T, SystemdSocketError> {
        future.await
    }

    async fn all(ecdysis: &TokioEcdysis, address: SocketAddr) -> Result<(), SystemdSocketError> {
        use StopOnShutdown::{No, Yes};
        let name = || "name".to_owned();
        let path = || "/path".to_owned();
        let _: StoppableStream<UnixListenerStream> =
            found(ecdysis.systemd_listen_unix(Yes, name(), path())).await?;
        let _: StoppableStream<UnixListenerStream> =
            found(ecdysis.systemd_listen_unix::<&Path>(No, name(), Path::new("/path"))).await?;
        let _: StoppableStream<UnixSeqpacketListenerStream> =
            found(ecdysis.systemd_listen_unix_seqpacket(Yes, name(), path())).await?;
        let _: StoppableStream<TcpListenerStream> =
            found(ecdysis.systemd_listen_tcp(Yes, name(), address)).await?;
        let _: tokio::net::UdpSocket = found(ecdysis.systemd_socket_udp(name(), address)).await?;
        let _: StoppableStream<UdpStream> =
            found(ecdysis.systemd_stream_udp(Yes, name(), address)).await?;
        Ok(Err(io::Error::from(io::ErrorKind::Other))?)
    }

    #[test]
    fn what_systemd_passes_is_as_published() {
        fn debugged<T: std::fmt::Debug + Send + Sync + Unpin + 'static>() {}
        let _ = |ecdysis, address| drop(all(ecdysis, address));
        debugged::<SystemdSocketsReadError>();
        debugged::<SystemdSocketError>();
        let _: fn(&mut TokioEcdysisBuilder) -> Result<(), SystemdSocketsReadError> =
            TokioEcdysisBuilder::read_systemd_sockets;
        let _: fn(&mut TokioEcdysis) -> Result<(), SystemdSocketsReadError> =
            TokioEcdysis::read_systemd_sockets;
        let _ = |error: SystemdSocketsReadError| match error {
            SystemdSocketsReadError::EnvironmentVariableError(what) => what,
            SystemdSocketsReadError::DoesNotMatchListenPid
            | SystemdSocketsReadError::DuplicateSystemdSocketsRead => String::new(),
        };
        let _ = |error: SystemdSocketError| match error {
            SystemdSocketError::SystemdSocketsNotInitialized => String::new(),
            SystemdSocketError::SocketNotFoundInParent(what)
            | SystemdSocketError::SocketNotFoundInChildRegistry(what)
            | SystemdSocketError::SockInfoIncorrect(what) => what,
            SystemdSocketError::IoError(source) => source.to_string(),
        };
    }
}
