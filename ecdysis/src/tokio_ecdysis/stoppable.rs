//! Sockets whose long operations end when the process has to leave.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::stream::StopOnShutdown;
use crate::ecdysis::Ecdysis;
use crate::phase::{Gate, Watch};
use crate::registry::Registration;

/// A socket, and operations on it that are interrupted when its process has
/// served: on an upgrade, and, as asked ([`StopOnShutdown`]), on a stop. They do
/// not begin before the process serves, so that in an upgrade only one
/// generation reads.
pub struct Stoppable<S> {
    inner: S,
    registration: Registration,
    watch: Watch,
    ends_on_stop: bool,
}

impl<S> Stoppable<S> {
    pub(super) fn new(
        inner: S,
        registration: Registration,
        ecdysis: &Ecdysis,
        stop: StopOnShutdown,
    ) -> Self {
        let ends_on_stop = stop == StopOnShutdown::Yes;
        Self { inner, registration, watch: ecdysis.watch.clone(), ends_on_stop }
    }

    /// The socket itself, for operations that nothing interrupts.
    pub fn as_unstoppable_ref(&self) -> &S {
        &self.inner
    }

    /// The socket itself, for operations that nothing interrupts.
    pub fn as_unstoppable_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Runs the future that `operate` makes, while this process serves; `None`
    /// if it was interrupted. On a stop it is looked at once more, so that what
    /// is in the socket's queue can be read to the end.
    pub async fn until_stopped<'a, O, F>(&'a self, operate: impl FnOnce(&'a S) -> F) -> Option<O>
    where
        F: Future<Output = O>,
    {
        self.run(operate(&self.inner)).await
    }

    /// The same, with the socket to be changed.
    pub async fn until_stopped_mut<'a, O, F>(
        &'a mut self,
        operate: impl FnOnce(&'a mut S) -> F,
    ) -> Option<O>
    where
        F: Future<Output = O>,
    {
        let Self { inner, registration, watch, ends_on_stop } = self;
        run(operate(inner), registration, watch, *ends_on_stop).await
    }

    async fn run<O>(&self, operation: impl Future<Output = O>) -> Option<O> {
        run(operation, &self.registration, &self.watch, self.ends_on_stop).await
    }
}

async fn run<O>(
    operation: impl Future<Output = O>,
    registration: &Registration,
    watch: &Watch,
    ends_on_stop: bool,
) -> Option<O> {
    let listening = watch.listen();
    let mut operation = pin!(operation);
    poll_fn(|cx| {
        let unwanted = registration.listed.unwanted();
        // The phase is not held while the operation runs: it is the
        // application's, and may want to change the phase itself.
        match listening.poll_with(cx, |phase, _| phase.gate(ends_on_stop, unwanted)) {
            Gate::Shut => Poll::Pending,
            Gate::Over => Poll::Ready(None),
            Gate::Open => operation.as_mut().poll(cx).map(Some),
            Gate::Emptying => match operation.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => Poll::Ready(None),
            },
        }
    })
    .await
}

impl<S: fmt::Debug> fmt::Debug for Stoppable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stoppable").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::phase::Phase;

    fn stoppable(stop: StopOnShutdown) -> (Ecdysis, Stoppable<u8>) {
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let key = crate::socket::SocketKey::udp(socket.local_addr().unwrap());
        let registration = ecdysis.registry.enter(key, socket, None, false).unwrap();
        let stoppable = Stoppable::new(7, registration, &ecdysis, stop);
        (ecdysis, stoppable)
    }

    #[tokio::test]
    async fn an_operation_is_interrupted_as_asked() {
        for (stop, phase, output) in [
            (StopOnShutdown::Yes, Phase::Draining, None),
            (StopOnShutdown::No, Phase::Draining, None),
            (StopOnShutdown::Yes, Phase::Stopping, None),
            (StopOnShutdown::No, Phase::Stopping, Some(7)),
        ] {
            let (ecdysis, mut stoppable) = stoppable(stop);
            let watch = ecdysis.watch.clone();
            let changed = async { watch.set(phase) };
            let (interrupted, ()) = tokio::join!(
                stoppable.until_stopped(|_| async {
                    let mut polled = false;
                    // Pending once: what it waits for comes after the stop.
                    poll_fn(|cx| {
                        if std::mem::replace(&mut polled, true) {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    })
                    .await;
                    if stop == StopOnShutdown::Yes || phase == Phase::Draining {
                        pending::<()>().await;
                    }
                    7
                }),
                changed
            );
            assert_eq!(interrupted, output, "{stop:?} {phase:?}");
            // Afterwards: what is ready at once is still read on a stop.
            let last = stoppable.until_stopped_mut(|value| ready(*value)).await;
            assert_eq!(last.is_some(), phase == Phase::Stopping);
        }
    }

    #[tokio::test]
    async fn an_operation_does_not_begin_before_the_process_serves() {
        let (ecdysis, stoppable) = stoppable(StopOnShutdown::Yes);
        ecdysis.watch.set(Phase::Starting);
        let mut operation = pin!(stoppable.until_stopped(|value| ready(*value)));
        let waker = std::task::Waker::noop();
        let polled = operation.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert_eq!(polled, Poll::Pending);
        ecdysis.watch.set(Phase::Serving);
        assert_eq!(operation.await, Some(7));
    }
}
