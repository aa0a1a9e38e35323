//! Connections for a program that blocks: an accept loop that waits while its
//! process may not accept, and ends when it has to leave.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::accept::{Backoff, Failure};
use crate::counters::Counters;
use crate::ecdysis::Ecdysis;
use crate::listed::Manner;
use crate::phase::{Gate, Listening};
use crate::quiesce::{Next, Quiesce, admit};
use crate::registry::Registration;
use crate::socket::Listener;

mod sealed {
    #[expect(unnameable_types, reason = "that is how a trait is sealed")]
    pub trait Sealed {}
    impl Sealed for std::net::TcpListener {}
    impl Sealed for std::os::unix::net::UnixListener {}
}

/// A listener that connections can be taken from. Implemented for those of the
/// standard library.
pub trait Accept: Listener + AsFd + sealed::Sealed {
    /// A connection.
    type Connection;

    /// Takes one, if there is one (accept(2)).
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else those of accept(2).
    fn take(&self) -> io::Result<Self::Connection>;

    /// What has to be done to one that came while the listener was emptied.
    #[doc(hidden)]
    fn admit(_connection: &Self::Connection) {}
}

impl Accept for TcpListener {
    type Connection = TcpStream;

    fn take(&self) -> io::Result<TcpStream> {
        self.accept().map(|(connection, _)| connection)
    }

    fn admit(connection: &TcpStream) {
        admit(connection);
    }
}

impl Accept for UnixListener {
    type Connection = UnixStream;

    fn take(&self) -> io::Result<UnixStream> {
        self.accept().map(|(connection, _)| connection)
    }
}

/// The connections of a listener. It blocks until there is one, and while the
/// process may not accept: before it has taken over, and while its successor is
/// on probation. It ends when the process has been succeeded, or stops; before
/// that, if nobody accepts from the listener after it, it yields what is in the
/// queue, so that closing it resets nobody.
///
/// It does not end because an accept failed. A connection that was gone before
/// it was accepted is passed over. Where descriptors, buffers or memory are used
/// up, it waits, 5 ms at first and twice as long each time up to a second, and
/// goes on. Only an error that will not go away is handed out.
pub struct Incoming<L> {
    /// `None` once it has ended: the socket is closed then.
    listener: Option<(L, Option<Registration>)>,
    gate: Listening,
    wake: Arc<WakeUp>,
    waker: Waker,
    counters: Counters,
    backoff: Backoff,
    quiesce: Option<Quiesce>,
}

struct WakeUp(EventFd);

impl Wake for WakeUp {
    fn wake(self: Arc<Self>) {
        // It can only fail when the counter is full, and then it is readable.
        let _ = self.0.write(1);
    }
}

impl Ecdysis {
    /// The connections of a listener, as they come. A listener of this process
    /// is registered until the loop ends, or is dropped; if several loops take from
    /// clones of one listener, then the last of them.
    ///
    /// # Errors
    /// Those of eventfd(2) and fcntl(2).
    pub fn incoming<L: Accept>(&self, listener: L) -> io::Result<Incoming<L>> {
        let registration = self.registry.registration(listener.as_fd())?;
        match &registration {
            Some(registration) => registration.listed.decide(Manner::NonBlocking)?,
            None => crate::sys::fd::set_nonblocking(listener.as_fd(), true)?,
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(WakeUp(EventFd::from_value_and_flags(0, flags)?));
        Ok(Incoming {
            listener: Some((listener, registration)),
            gate: self.watch.listen(),
            waker: Waker::from(Arc::clone(&wake)),
            wake,
            counters: self.counters.clone(),
            backoff: Backoff::default(),
            quiesce: None,
        })
    }
}

/// What comes of one look at the listener.
enum Look<C> {
    Connection(C),
    Failed(io::Error),
    /// Nothing may be accepted.
    Shut,
    /// There was nothing.
    Empty,
    Over,
}

#[expect(clippy::disallowed_methods, reason = "a blocking loop drives its timers itself")]
fn now() -> Instant {
    Instant::now()
}

impl<L: Accept> Iterator for Incoming<L> {
    type Item = io::Result<L::Connection>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.look() {
                Look::Connection(connection) => {
                    self.counters.accepted();
                    self.backoff = Backoff::default();
                    if let Some(quiesce) = &mut self.quiesce {
                        quiesce.accepted();
                        L::admit(&connection);
                    }
                    return Some(Ok(connection));
                }
                Look::Failed(error) => match Failure::of(&error) {
                    Failure::Connection => self.counters.accept_connection_error(),
                    Failure::Resource => {
                        self.counters.accept_resource_error();
                        let pause = self.backoff.next();
                        tracing::warn!(?pause, %error, "cannot accept");
                        let starved = |quiesce: &Quiesce| quiesce.starved(now(), pause);
                        match self.quiesce.as_ref().map(starved) {
                            None => self.wait(false, Some(pause)),
                            Some(Next::Look(at)) => {
                                self.wait(false, Some(at.saturating_duration_since(now())));
                            }
                            Some(Next::Close) => self.close(),
                        }
                    }
                    Failure::Listener => return Some(Err(error)),
                },
                Look::Shut => self.wait(false, None),
                Look::Empty => match self.quiesce.as_mut().map(|quiesce| quiesce.empty(now())) {
                    None => self.wait(true, None),
                    Some(Next::Look(at)) => {
                        self.wait(true, Some(at.saturating_duration_since(now())));
                    }
                    Some(Next::Close) => self.close(),
                },
                Look::Over => {
                    self.close();
                    return None;
                }
            }
        }
    }
}

impl<L: Accept> FusedIterator for Incoming<L> {}

impl<L: Accept> Incoming<L> {
    fn look(&mut self) -> Look<L::Connection> {
        let Self { listener, gate, waker, quiesce, .. } = self;
        let Some((listener, registration)) = listener else { return Look::Over };
        let listed = registration.as_ref().map(|registration| &registration.listed);
        // The phase is held while we accept, so nothing is accepted once it has
        // changed.
        gate.poll_with(&mut Context::from_waker(waker), |phase, _| {
            match phase.gate(true, listed.is_some_and(|listed| listed.unwanted())) {
                Gate::Shut => return Look::Shut,
                Gate::Open => {}
                Gate::Emptying => match listed {
                    None => return Look::Over,
                    Some(listed) => {
                        quiesce.get_or_insert_with(|| Quiesce::begin(Arc::clone(listed), now()));
                    }
                },
                Gate::Over => return Look::Over,
            }
            match listener.take() {
                Ok(connection) => Look::Connection(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Look::Empty,
                Err(error) => Look::Failed(error),
            }
        })
    }

    /// Lets go of the socket, the last of which is its entry in the registry.
    fn close(&mut self) {
        self.listener = None;
        self.quiesce = None;
    }

    /// Waits until the phase changes, or, if `for_connection`, one comes, or
    /// `most` has passed.
    fn wait(&self, for_connection: bool, most: Option<Duration>) {
        let mut polled = vec![PollFd::new(self.wake.0.as_fd(), PollFlags::POLLIN)];
        if let (true, Some((listener, _))) = (for_connection, &self.listener) {
            polled.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        let timeout = most.map_or(PollTimeout::NONE, |most| {
            // Rounded up: woken too early, we would look in vain.
            let most = u64::try_from(most.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, timeout) {
            // Whatever it was, the next look tells.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => tracing::error!(%errno, "cannot wait for connections"),
        }
        let _ = self.wake.0.read();
    }
}

impl<L: fmt::Debug> fmt::Debug for Incoming<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = self.listener.as_ref().map(|(listener, _)| listener);
        f.debug_struct("Incoming").field("listener", &listener).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, BorrowedFd};

    use super::*;
    use crate::phase::Phase;
    use crate::socket::ListenerInfo;

    /// A listener of a process that has used up its descriptors.
    struct Starved(TcpListener);

    impl AsFd for Starved {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl AsRawFd for Starved {
        fn as_raw_fd(&self) -> i32 {
            self.0.as_raw_fd()
        }
    }

    impl sealed::Sealed for Starved {}

    impl Listener for Starved {
        fn info(&self) -> io::Result<ListenerInfo> {
            self.0.info()
        }
    }

    impl Accept for Starved {
        type Connection = TcpStream;

        fn take(&self) -> io::Result<TcpStream> {
            Err(Errno::EMFILE.into())
        }
    }

    #[test]
    fn a_stop_ends_though_nothing_can_be_accepted() {
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let listener = ecdysis.listen_tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = ecdysis.incoming(Starved(listener)).unwrap();
        ecdysis.watch.set(Phase::Stopping);
        let began = now();
        assert!(incoming.next().is_none());
        assert!(began.elapsed().as_secs() >= 1, "it tried for a while");
        assert!(ecdysis.counts().accept_resource_errors > 5);
        drop(ecdysis);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
