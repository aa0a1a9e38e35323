//! Where a process begins.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;

use super::listener::{StopOnShutdown, StoppableStream};
use super::trigger::{Triggers, Wish};
use super::upgrader::{Hook, TokioEcdysisUpgradeResult, Upgrader};
use crate::ecdysis::Ecdysis;
use crate::registry::Registration;
use crate::report::UpgradeReport;

/// This process and its sockets.
#[derive(Debug)]
pub struct TokioEcdysis {
    ecdysis: Ecdysis,
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

    /// Listens on `address`: takes over the predecessor's listener, if there is
    /// one that was asked for by this address, or makes one, with
    /// `SO_REUSEADDR` and a backlog of 4096 (which the kernel cuts to
    /// `net.core.somaxconn`).
    ///
    /// In a successor the stream yields nothing until the predecessor has
    /// stopped accepting, so it can be used before [`TokioEcdysisBuilder::ready`].
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2). Must be called in a Tokio
    /// runtime with I/O enabled.
    pub fn listen_tcp(
        &self,
        stop: StopOnShutdown,
        address: SocketAddr,
    ) -> io::Result<StoppableStream<TcpListenerStream>> {
        self.stream(stop, self.ecdysis.listen_tcp(address)?)
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
        F: FnOnce(socket2::Socket, SocketAddr) -> io::Result<TcpListener>,
    {
        self.stream(stop, self.ecdysis.build_listen_tcp(address, build)?)
    }

    fn stream(
        &self,
        stop: StopOnShutdown,
        (listener, registration): (TcpListener, Registration),
    ) -> io::Result<StoppableStream<TcpListenerStream>> {
        let listener = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        Ok(StoppableStream::tcp(listener, registration, self.ecdysis.watch.listen(), stop))
    }
}

/// A process that has begun and is not ready yet. Runs in both: the first
/// generation, and a successor.
pub struct TokioEcdysisBuilder {
    inner: TokioEcdysis,
    triggers: Triggers,
    hook: Option<Hook>,
}

impl TokioEcdysisBuilder {
    /// Begins: takes over what the predecessor passed on, if there is one, and
    /// has `upgrade` start an upgrade of this process from now on (it is kept
    /// until [`Self::ready`]). To be called once in a process; in a second call
    /// there is no predecessor any more.
    ///
    /// Waits for the predecessor's manifest, which is there at once.
    ///
    /// # Errors
    /// `InvalidInput` or `InvalidData` if what the predecessor says cannot be
    /// meant, and those of installing a signal handler. The predecessor serves
    /// on; the right thing is to end. Must be called in a Tokio runtime with
    /// I/O enabled.
    pub fn new(upgrade: SignalKind) -> io::Result<Self> {
        // The handler before anything else: the signal is ignored until then.
        let mut triggers = Triggers::default();
        triggers.on_signal(Wish::Upgrade, upgrade)?;
        let ecdysis = Ecdysis::new(|name| std::env::var_os(name))?;
        Ok(Self { inner: TokioEcdysis { ecdysis }, triggers, hook: None })
    }

    /// Has a signal stop the whole service.
    ///
    /// # Errors
    /// Those of installing a signal handler.
    pub fn stop_on_signal(&mut self, signal: SignalKind) -> io::Result<()> {
        self.triggers.on_signal(Wish::Stop, signal)
    }

    /// Has a signal stop the service on those sockets that stop on it
    /// ([`StopOnShutdown::Yes`]).
    ///
    /// # Errors
    /// Those of installing a signal handler.
    pub fn partial_stop_on_signal(&mut self, signal: SignalKind) -> io::Result<()> {
        self.triggers.on_signal(Wish::PartialStop, signal)
    }

    /// How long a successor of this process may take until it is ready; one
    /// that takes longer is killed. One minute, if not set.
    pub fn set_ready_deadline(&mut self, span: Duration) {
        self.inner.ecdysis.set_ready_deadline(span);
    }

    /// How long this process keeps its sockets, accepting nothing, when its
    /// successor has begun to serve. If that ends within this time, this
    /// process serves again and no new connection is refused. Half a second, if
    /// not set; zero: lets go at once.
    ///
    /// The streams end, and the future of [`Self::ready`] resolves, only after
    /// it; the successor cannot be upgraded itself before.
    pub fn set_probation(&mut self, span: Duration) {
        self.inner.ecdysis.set_probation(span);
    }

    /// The program to start as the successor. If not set, it is the one this
    /// process was started as: its zeroth argument, made absolute at the start
    /// (along PATH, if it has no slash).
    pub fn set_program(&mut self, path: impl Into<PathBuf>) {
        self.inner.ecdysis.set_program(path.into());
    }

    /// Has every upgrade of this process reported, completed or failed.
    pub fn on_upgrade(&mut self, hook: impl Fn(&UpgradeReport) + Send + Sync + 'static) {
        self.hook = Some(Arc::new(hook));
    }

    /// Says that this process is ready to serve. In a successor, its streams
    /// begin to yield connections when the predecessor has stopped accepting,
    /// or has vanished, and not before. Inherited sockets that nobody has asked
    /// for are closed.
    ///
    /// The future resolves when this process has to leave: a successor serves,
    /// or a stop was asked for. It must be polled for signals to have any effect.
    ///
    /// # Errors
    /// When no thread can be started. The predecessor serves on; the right
    /// thing is to end.
    pub fn ready(
        self,
    ) -> io::Result<(Arc<TokioEcdysis>, impl Future<Output = TokioEcdysisUpgradeResult>)> {
        let (settle, settling) = oneshot::channel();
        let goodbye = self.inner.ecdysis.ready(move |then| {
            // Nobody hears it if the future was dropped.
            let _ = settle.send(then);
        })?;
        let course = self.inner.ecdysis.course(self.triggers.signals());
        let upgrader = Upgrader::new(self.triggers, course, self.hook, settling, goodbye);
        Ok((Arc::new(self.inner), upgrader.run()))
    }
}

impl Deref for TokioEcdysisBuilder {
    type Target = TokioEcdysis;

    fn deref(&self) -> &TokioEcdysis {
        &self.inner
    }
}

impl fmt::Debug for TokioEcdysisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioEcdysisBuilder").field("inner", &self.inner).finish_non_exhaustive()
    }
}
