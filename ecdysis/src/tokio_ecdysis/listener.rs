//! Streams of connections that can be stopped, and go on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use nix::errno::Errno;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_stream::wrappers::TcpListenerStream;

use crate::phase::{Listening, Phase};
use crate::registry::Registration;

/// The first pause after an accept that failed for want of something.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The pause doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Failed accepts in a row that are retried without letting other tasks run.
const RETRIES: u32 = 32;

/// Whether a stream ends when the service is told to stop. On an upgrade every
/// stream ends: the next generation has the socket then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOnShutdown {
    /// It ends on a stop.
    Yes,
    /// It goes on after a stop, until the process ends.
    No,
}

/// What to do about a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// That one connection failed: take the next.
    Connection,
    /// Something is used up: take the next in a while.
    Resource,
    /// The listener itself is broken: the application has to know.
    Listener,
}

/// Judges an item of the inner stream; `None`: it is no failure.
type Judge<T> = fn(&T) -> Option<Failure>;

/// A stream of connections that accepts while its process serves, waits while
/// it does not, and ends when it has served: on an upgrade, and, as asked
/// ([`StopOnShutdown`]), on a stop. When it ends, its listener is closed.
///
/// It does not end because an accept failed. A connection that was gone before
/// it was accepted is passed over. Where descriptors, buffers or memory are
/// used up, it waits, 5 ms at first and twice as long each time up to a second
/// (with the runtime's timer, which has to be enabled), and goes on; the
/// connections stay in the kernel's queue meanwhile. Only an error that will
/// not go away is handed out. So `while let Some(Ok(connection))` is right.
pub struct StoppableStream<S: Stream> {
    /// `None` once it has ended. Dropped then, and the registration with it,
    /// so that the socket is closed even if the application keeps the stream.
    inner: Option<(S, Registration)>,
    gate: Listening,
    ends_on_stop: bool,
    judge: Judge<S::Item>,
    pause: Option<Pin<Box<Sleep>>>,
    next_pause: Duration,
}

impl<S: Stream<Item = io::Result<TcpStream>>> StoppableStream<S> {
    pub(super) fn tcp(
        inner: S,
        registration: Registration,
        gate: Listening,
        stop: StopOnShutdown,
    ) -> Self {
        Self {
            inner: Some((inner, registration)),
            gate,
            ends_on_stop: stop == StopOnShutdown::Yes,
            judge: |item| item.as_ref().err().map(judge),
            pause: None,
            next_pause: FIRST_PAUSE,
        }
    }
}

impl StoppableStream<TcpListenerStream> {
    /// The address the socket is bound to; with the port the kernel chose, if
    /// port 0 was asked for.
    ///
    /// # Errors
    /// `NotConnected` once the stream has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            Some((stream, _)) => stream.as_ref().local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl<S: Stream + Unpin> Stream for StoppableStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        let Self { inner, gate, ends_on_stop, .. } = this;
        for _ in 0..RETRIES {
            if let Some(pause) = &mut this.pause {
                let over = pause.as_mut().poll(cx).is_ready();
                // A pause must not outlast the phase: look at it, accept nothing.
                let ended = gate.poll_with(cx, |phase, _| ends(phase, *ends_on_stop));
                if !over && !ended {
                    return Poll::Pending;
                }
                this.pause = None;
            }
            let Some((stream, _)) = inner else { return Poll::Ready(None) };
            // The phase is held while the stream accepts, so nothing is
            // accepted once the phase has changed.
            let item = ready!(gate.poll_with(cx, |phase, cx| {
                if ends(phase, *ends_on_stop) {
                    Poll::Ready(None)
                } else if accepts(phase) {
                    Pin::new(stream).poll_next(cx)
                } else {
                    Poll::Pending
                }
            }));
            let Some(item) = item else {
                *inner = None;
                return Poll::Ready(None);
            };
            match (this.judge)(&item) {
                None => {
                    this.next_pause = FIRST_PAUSE;
                    return Poll::Ready(Some(item));
                }
                Some(Failure::Listener) => return Poll::Ready(Some(item)),
                Some(Failure::Connection) => {}
                Some(Failure::Resource) => {
                    tracing::warn!(pause = ?this.next_pause, "cannot accept, resources are used up");
                    this.pause = Some(Box::pin(sleep(this.next_pause)));
                    this.next_pause = (this.next_pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        // Failures one after the other without end: let others run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream> fmt::Debug for StoppableStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoppableStream")
            .field("ended", &self.inner.is_none())
            .field("ends_on_stop", &self.ends_on_stop)
            .finish_non_exhaustive()
    }
}

fn accepts(phase: Phase) -> bool {
    match phase {
        Phase::Serving | Phase::Stopping => true,
        Phase::Starting | Phase::HandingOff | Phase::Draining => false,
    }
}

fn ends(phase: Phase, on_stop: bool) -> bool {
    match phase {
        Phase::Draining => true,
        Phase::Stopping => on_stop,
        Phase::Starting | Phase::Serving | Phase::HandingOff => false,
    }
}

/// What accept(2) says of its errors: some are those of the one connection,
/// which Linux hands out here; some pass when something is given back.
fn judge(error: &io::Error) -> Failure {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::ECONNABORTED
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::EINTR
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ETIMEDOUT,
        ) => Failure::Connection,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Failure::Resource,
        _ => Failure::Listener,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use futures::StreamExt;
    use futures::stream;

    use super::*;
    use crate::phase::Watch;
    use crate::registry::Registry;
    use crate::socket::SocketKey;

    type Item = io::Result<TcpStream>;

    fn stream_of(
        errors: Vec<Errno>,
        phase: Phase,
        stop: StopOnShutdown,
    ) -> (Watch, StoppableStream<impl Stream<Item = Item> + Unpin>) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let key = SocketKey::Tcp(socket.local_addr().unwrap());
        let registration = Registry::default().enter(key, &socket).unwrap();
        let watch = Watch::new(phase);
        let items = errors.into_iter().map(|errno| Err(errno.into()));
        let inner = stream::iter(items).chain(stream::pending());
        let stream = StoppableStream::tcp(inner, registration, watch.listen(), stop);
        (watch, stream)
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_are_passed_over() {
        let errors = vec![Errno::ECONNABORTED, Errno::EMFILE, Errno::ENOMEM, Errno::EINVAL];
        let (_watch, mut stream) = stream_of(errors, Phase::Serving, StopOnShutdown::Yes);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
    }

    #[tokio::test]
    async fn endless_failures_let_other_tasks_run() {
        let errors = vec![Errno::ECONNABORTED; 10_000];
        let (watch, mut stream) = stream_of(errors, Phase::Serving, StopOnShutdown::Yes);
        let ((), item) = tokio::join!(async { watch.set(Phase::Draining) }, stream.next());
        assert!(item.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_outlast_the_phase() {
        let errors = vec![Errno::EMFILE; 1000];
        let (watch, mut stream) = stream_of(errors, Phase::Serving, StopOnShutdown::Yes);
        let ((), item) = tokio::join!(async { watch.set(Phase::Draining) }, stream.next());
        assert!(item.is_none());
    }

    #[tokio::test]
    async fn a_shut_gate_yields_nothing_and_an_open_one_does() {
        for shut in [Phase::Starting, Phase::HandingOff] {
            let (watch, mut stream) = stream_of(vec![Errno::EINVAL], shut, StopOnShutdown::Yes);
            assert!(futures::poll!(stream.next()).is_pending());
            watch.set(Phase::Serving);
            assert!(futures::poll!(stream.next()).is_ready());
        }
    }

    #[tokio::test]
    async fn a_stop_ends_only_streams_that_are_to_end_on_it() {
        let (watch, mut ends) = stream_of(vec![], Phase::Serving, StopOnShutdown::Yes);
        watch.set(Phase::Stopping);
        assert!(ends.next().await.is_none());
        let (watch, mut goes_on) =
            stream_of(vec![Errno::EINVAL], Phase::Serving, StopOnShutdown::No);
        watch.set(Phase::Stopping);
        assert!(goes_on.next().await.is_some());
        watch.set(Phase::Draining);
        assert!(goes_on.next().await.is_none());
        assert!(goes_on.next().await.is_none(), "a stream that has ended has ended");
    }
}
