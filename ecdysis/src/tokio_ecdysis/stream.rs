//! Streams of connections that can be stopped, and go on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::Stream;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep};
use tokio_stream::wrappers::TcpListenerStream;

use crate::accept::{Backoff, Failure};
use crate::counters::Counters;
use crate::ecdysis::Ecdysis;
use crate::phase::{Gate, Listening, Phase};
use crate::quiesce::{Next, Quiesce, admit};
use crate::registry::Registration;

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

/// What has to be known of the items of the inner stream. A stream can be named
/// whatever it holds, as in the published crate, so that `S` yields anything at
/// all is asked only where an item is at hand.
trait Judge<S>: Send + Sync {
    /// Whether an item is a failure.
    fn judge(&self, item: &S::Item) -> Option<Failure>
    where
        S: Stream;

    /// What to do with an item that came while its socket was being emptied.
    fn admit(&self, _item: &S::Item)
    where
        S: Stream,
    {
    }
}

/// Connections or datagrams, or why there is none.
struct Results;

impl<S: Stream<Item = io::Result<T>>, T> Judge<S> for Results {
    fn judge(&self, item: &io::Result<T>) -> Option<Failure> {
        item.as_ref().err().map(Failure::of)
    }
}

/// Connections over TCP.
struct TcpResults;

impl<S: Stream<Item = io::Result<TcpStream>>> Judge<S> for TcpResults {
    fn judge(&self, item: &io::Result<TcpStream>) -> Option<Failure> {
        item.as_ref().err().map(Failure::of)
    }

    fn admit(&self, item: &io::Result<TcpStream>) {
        item.iter().for_each(admit);
    }
}

/// A stream of connections (or datagrams) that accepts while its process
/// serves, waits while it does not, and ends when it has served: on an upgrade,
/// and, as asked ([`StopOnShutdown`]), on a stop. When it ends, its socket is
/// closed.
///
/// Where nobody accepts from the socket after this process (on a stop, or when
/// the next generation does not ask for it), the stream first yields what is in
/// the queue, while the kernel lets no new connection in, and ends when nothing
/// has come for a tenth of a second: closing it then resets nobody. It must be
/// polled to the end for that.
///
/// It does not end because an accept failed. A connection that was gone before
/// it was accepted is passed over. Where descriptors, buffers or memory are
/// used up, it waits, 5 ms at first and twice as long each time up to a second
/// (with the runtime's timer, which has to be enabled), and goes on; the
/// connections stay in the kernel's queue meanwhile. Only an error that will
/// not go away is handed out. So `while let Some(Ok(connection))` is right.
pub struct StoppableStream<S> {
    /// `None` once it has ended. Dropped then, and the registration with it,
    /// so that the socket is closed even if the application keeps the stream.
    inner: Option<(S, Registration)>,
    gate: Listening,
    ends_on_stop: bool,
    judge: Box<dyn Judge<S>>,
    counters: Counters,
    backoff: Backoff,
    /// Nothing is accepted before this.
    pause: Option<Pin<Box<Sleep>>>,
    quiesce: Option<Quiesce>,
    /// When to look again whether the queue is empty.
    look: Option<Pin<Box<Sleep>>>,
}

impl<S: Stream<Item = io::Result<T>>, T> StoppableStream<S> {
    pub(super) fn new(
        inner: S,
        registration: Registration,
        ecdysis: &Ecdysis,
        stop: StopOnShutdown,
    ) -> Self {
        Self {
            inner: Some((inner, registration)),
            gate: ecdysis.watch.listen(),
            ends_on_stop: stop == StopOnShutdown::Yes,
            judge: Box::new(Results),
            counters: ecdysis.counters.clone(),
            backoff: Backoff::default(),
            pause: None,
            quiesce: None,
            look: None,
        }
    }
}

impl<S> StoppableStream<S> {
    /// The socket, for its options and addresses (a UDP stream has no other way
    /// to join a group or to set a buffer). Nothing interrupts what is done with
    /// it, and what is set holds for the next generation, too.
    ///
    /// # Errors
    /// `NotConnected` once the stream has ended.
    pub fn socket(&self) -> io::Result<SockRef<'_>> {
        match &self.inner {
            Some((_, registration)) => Ok(SockRef::from(&*registration.listed)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl StoppableStream<TcpListenerStream> {
    pub(super) fn tcp(
        inner: TcpListenerStream,
        registration: Registration,
        ecdysis: &Ecdysis,
        stop: StopOnShutdown,
    ) -> Self {
        let judge = Box::new(TcpResults);
        Self { judge, ..Self::new(inner, registration, ecdysis, stop) }
    }

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

/// What comes of one look at the inner stream.
enum Look<T> {
    /// Nothing may be accepted.
    Shut,
    /// There is nothing.
    Empty,
    Item(T),
    Over,
}

impl<S: Stream + Unpin> Stream for StoppableStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        for _ in 0..RETRIES {
            if this.pauses(cx) {
                return Poll::Pending;
            }
            match this.look(cx) {
                Look::Shut => return Poll::Pending,
                Look::Empty if this.waits(cx) => return Poll::Pending,
                Look::Empty => {}
                Look::Item(item) => match this.judge.judge(&item) {
                    None => {
                        this.succeeded(&item);
                        return Poll::Ready(Some(item));
                    }
                    Some(Failure::Listener) => return Poll::Ready(Some(item)),
                    Some(Failure::Connection) => this.counters.accept_connection_error(),
                    Some(Failure::Resource) => this.used_up(),
                },
                Look::Over => {
                    this.close();
                    return Poll::Ready(None);
                }
            }
        }
        // Failures one after the other without end: let others run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream + Unpin> StoppableStream<S> {
    /// The phase is held while the stream accepts, so nothing is accepted once
    /// the phase has changed.
    fn look(&mut self, cx: &mut Context<'_>) -> Look<S::Item> {
        let Self { inner, gate, ends_on_stop, quiesce, .. } = self;
        let Some((stream, registration)) = inner else { return Look::Over };
        let listed = &registration.listed;
        gate.poll_with(cx, |phase, cx| {
            match phase.gate(*ends_on_stop, listed.unwanted()) {
                Gate::Shut => return Look::Shut,
                Gate::Over => return Look::Over,
                Gate::Open => {}
                Gate::Emptying => {
                    quiesce.get_or_insert_with(|| Quiesce::begin(Arc::clone(listed), now()));
                }
            }
            match Pin::new(stream).poll_next(cx) {
                Poll::Pending => Look::Empty,
                Poll::Ready(Some(item)) => Look::Item(item),
                Poll::Ready(None) => Look::Over,
            }
        })
    }

    /// Whether a pause is not over. It must not outlast the phase.
    fn pauses(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { inner: Some((_, registration)), pause: Some(pause), .. } = self else {
            return false;
        };
        let (ends_on_stop, emptying) = (self.ends_on_stop, self.quiesce.is_some());
        let over = |phase: Phase, _: &mut Context<'_>| match phase
            .gate(ends_on_stop, registration.listed.unwanted())
        {
            Gate::Over => true,
            Gate::Emptying => !emptying,
            Gate::Shut | Gate::Open => false,
        };
        if pause.as_mut().poll(cx).is_pending() && !self.gate.poll_with(cx, over) {
            return true;
        }
        self.pause = None;
        false
    }

    /// Nothing is there: whether to wait for more.
    fn waits(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(quiesce) = &mut self.quiesce else { return true };
        if !has_budget_remaining() {
            // It is only our turn that is over: Tokio has others run now, and
            // wakes us again.
            return true;
        }
        match quiesce.empty(now()) {
            Next::Close => {
                self.close();
                false
            }
            Next::Look(at) => {
                let look = sleep(at.saturating_duration_since(now()));
                self.look.insert(Box::pin(look)).as_mut().poll(cx).is_pending()
            }
        }
    }

    fn succeeded(&mut self, item: &S::Item) {
        self.counters.accepted();
        self.backoff = Backoff::default();
        if let Some(quiesce) = &mut self.quiesce {
            quiesce.accepted();
            self.judge.admit(item);
        }
    }

    /// Lets go of the socket, the last of which is its entry in the registry.
    fn close(&mut self) {
        self.inner = None;
        self.quiesce = None;
    }

    fn used_up(&mut self) {
        self.counters.accept_resource_error();
        let mut pause = self.backoff.next();
        tracing::warn!(?pause, "cannot accept, resources are used up");
        match self.quiesce.as_ref().map(|quiesce| quiesce.starved(now(), pause)) {
            None => {}
            Some(Next::Look(at)) => pause = at.saturating_duration_since(now()),
            Some(Next::Close) => return self.close(),
        }
        self.pause = Some(Box::pin(sleep(pause)));
    }
}

impl<S> fmt::Debug for StoppableStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoppableStream")
            .field("ended", &self.inner.is_none())
            .field("ends_on_stop", &self.ends_on_stop)
            .finish_non_exhaustive()
    }
}

/// The runtime's clock, which its timers go by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use futures::StreamExt;
    use futures::stream;
    use nix::errno::Errno;

    use super::*;
    use crate::phase::Watch;
    use crate::socket::SocketKey;

    type Item = io::Result<TcpStream>;

    fn stream_of(
        errors: Vec<Errno>,
        phase: Phase,
        stop: StopOnShutdown,
    ) -> (Watch, StoppableStream<impl Stream<Item = Item> + Unpin>) {
        let (ecdysis, stream) = process_with(errors, phase, stop);
        (ecdysis.watch.clone(), stream)
    }

    fn process_with(
        errors: Vec<Errno>,
        phase: Phase,
        stop: StopOnShutdown,
    ) -> (Ecdysis, StoppableStream<impl Stream<Item = Item> + Unpin>) {
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let key = SocketKey::tcp(socket.local_addr().unwrap());
        let registration = ecdysis.registry.enter(key, &socket, None, false).unwrap();
        ecdysis.watch.set(phase);
        let items = errors.into_iter().map(|errno| Err(errno.into()));
        let inner = stream::iter(items).chain(stream::pending());
        let stream = StoppableStream::new(inner, registration, &ecdysis, stop);
        (ecdysis, stream)
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

    /// What is used up is held by connections that hear of the stop only when the
    /// stream has ended.
    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_though_nothing_can_be_accepted() {
        let began = tokio::time::Instant::now();
        let starved = || vec![Errno::EMFILE; 10_000];
        let (watch, mut stream) = stream_of(starved(), Phase::Serving, StopOnShutdown::Yes);
        assert!(futures::poll!(stream.next()).is_pending(), "it pauses");
        watch.set(Phase::Stopping);
        assert!(stream.next().await.is_none());
        assert!(began.elapsed().as_secs() <= 2, "{:?}", began.elapsed());
        // Nor must one that the next generation does not want spin meanwhile.
        let (ecdysis, mut stream) = process_with(starved(), Phase::Serving, StopOnShutdown::Yes);
        drop(ecdysis.registry.export());
        ecdysis.registry.mark(0, false);
        ecdysis.watch.set(Phase::Draining);
        assert!(stream.next().await.is_none());
        assert!(ecdysis.counts().accept_resource_errors < 30);
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

    /// How a thousand clients fare that are in the queue when the stop comes.
    #[tokio::test]
    async fn a_stop_serves_what_is_in_the_queue() {
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let (listener, registration) =
            ecdysis.tcp(([127, 0, 0, 1], 0).into(), crate::sockets::usual).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        let mut stream =
            StoppableStream::tcp(listener, registration, &ecdysis, StopOnShutdown::Yes);
        let clients: Vec<_> =
            (0..300).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        ecdysis.watch.set(Phase::Stopping);
        let mut served = 0;
        while let Some(connection) = stream.next().await {
            drop(connection.unwrap());
            served += 1;
        }
        assert_eq!(served, 300);
        for client in clients {
            let read = io::Read::read(&mut &client, &mut [0]).unwrap();
            assert_eq!(read, 0, "closed, not reset");
        }
        crate::sys::spawn::no_copy_is_left();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// Tokio has a task that accepts without end pause after 128 connections. That
    /// nothing comes then was taken for an empty queue, and, on a machine so busy
    /// that the deadline had passed, the rest of the queue was reset.
    #[tokio::test(start_paused = true)]
    async fn a_slow_stop_serves_what_is_in_the_queue() {
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let (listener, registration) =
            ecdysis.tcp(([127, 0, 0, 1], 0).into(), crate::sockets::usual).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        let mut stream =
            StoppableStream::tcp(listener, registration, &ecdysis, StopOnShutdown::Yes);
        let clients: Vec<_> =
            (0..300).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        ecdysis.watch.set(Phase::Stopping);
        let mut served = Vec::new();
        while let Some(connection) = stream.next().await {
            served.push(connection.unwrap());
            if served.len() == 100 {
                tokio::time::advance(std::time::Duration::from_mins(1)).await;
            }
        }
        assert_eq!(served.len(), clients.len());
    }

    #[tokio::test]
    async fn a_stop_serves_the_queue_of_a_unix_socket_whose_file_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let options = crate::unix_path::UnixOptions::default();
        let (listener, registration) = ecdysis.unix(&path, &options).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let listener = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let mut stream =
            StoppableStream::new(listener, registration, &ecdysis, StopOnShutdown::Yes);
        let connect = |_| std::os::unix::net::UnixStream::connect(&path).unwrap();
        let clients: Vec<_> = (0..50).map(connect).collect();
        ecdysis.quit();
        let mut served = 0;
        while let Some(connection) = stream.next().await {
            drop(connection.unwrap());
            served += 1;
        }
        assert_eq!(served, 50);
        assert!(!path.exists());
        for client in clients {
            assert_eq!(io::Read::read(&mut &client, &mut [0]).unwrap(), 0, "closed, not reset");
        }
    }
}
