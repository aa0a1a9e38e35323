//! The phases of a process's life, and the watch that tells everyone.
//!
//! The watch is also the accept gate: who accepts does so while the phase is
//! held ([`Listening::poll_with`]), so when [`Watch::set`] returns, nobody
//! accepts under the old phase any more. No acknowledgement is needed from a
//! stream that nobody polls.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::task::Context;

use futures::task::AtomicWaker;

/// Where a process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It initialises; its predecessor serves.
    Starting,
    /// It accepts.
    Serving,
    /// Its successor is ready and about to serve, or serves on probation. It
    /// keeps the listening sockets, and accepts nothing.
    HandingOff,
    /// Its successor serves. It finishes the connections it has.
    Draining,
    /// It was told to stop. It finishes the connections it has, and accepts
    /// only on sockets that were meant to outlive a stop.
    Stopping,
}

#[derive(Debug)]
struct Shared {
    phase: RwLock<Phase>,
    listeners: Mutex<Vec<Weak<AtomicWaker>>>,
}

/// The phase of this process. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Arc<Shared>);

impl Watch {
    pub(crate) fn new(phase: Phase) -> Self {
        Self(Arc::new(Shared { phase: RwLock::new(phase), listeners: Mutex::default() }))
    }

    /// Changes the phase and wakes everyone who listens. Returns only when
    /// every accept that was under way in the old phase is over.
    pub(crate) fn set(&self, phase: Phase) {
        *self.0.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
        self.tell();
    }

    /// The same, but only if the phase is `from`: a process that was told to
    /// stop meanwhile does not begin to serve.
    pub(crate) fn advance(&self, from: Phase, to: Phase) {
        let mut phase = self.0.phase.write().unwrap_or_else(PoisonError::into_inner);
        if *phase == from {
            *phase = to;
            drop(phase);
            self.tell();
        }
    }

    fn tell(&self) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| {
            let Some(waker) = listener.upgrade() else { return false };
            waker.wake();
            true
        });
    }

    /// A new listener.
    pub(crate) fn listen(&self) -> Listening {
        let waker = Arc::new(AtomicWaker::new());
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Arc::downgrade(&waker));
        Listening { shared: Arc::clone(&self.0), waker }
    }
}

/// One task's view of the phase.
#[derive(Debug)]
pub(crate) struct Listening {
    shared: Arc<Shared>,
    waker: Arc<AtomicWaker>,
}

impl Listening {
    /// Calls `act` with the phase, which cannot change until it returns, and
    /// has the task woken when the phase changes later.
    pub(crate) fn poll_with<R>(
        &self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Phase, &mut Context<'_>) -> R,
    ) -> R {
        // Registered before the look: a change in between is not missed.
        self.waker.register(cx.waker());
        let phase = self.shared.phase.read().unwrap_or_else(PoisonError::into_inner);
        act(*phase, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_change_wakes_whoever_looked() {
        let watch = Watch::new(Phase::Starting);
        let listening = watch.listen();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert_eq!(listening.poll_with(&mut cx, |phase, _| phase), Phase::Starting);
        watch.set(Phase::Serving);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(listening.poll_with(&mut cx, |phase, _| phase), Phase::Serving);
    }

    #[test]
    fn set_waits_for_an_accept_under_way() {
        let watch = Watch::new(Phase::Serving);
        let listening = watch.listen();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let (entered, seen) = std::sync::mpsc::channel();
            let (release, held) = std::sync::mpsc::channel();
            let order = &order;
            scope.spawn(move || {
                let mut cx = Context::from_waker(Waker::noop());
                listening.poll_with(&mut cx, |_, _| {
                    entered.send(()).unwrap();
                    held.recv().unwrap();
                    order.lock().unwrap().push("accepted");
                });
            });
            seen.recv().unwrap();
            let setter = scope.spawn(|| {
                watch.set(Phase::HandingOff);
                order.lock().unwrap().push("shut");
            });
            release.send(()).unwrap();
            setter.join().unwrap();
        });
        assert_eq!(*order.lock().unwrap(), ["accepted", "shut"]);
    }

    #[test]
    fn dropped_listeners_are_forgotten() {
        let watch = Watch::new(Phase::Serving);
        for _ in 0..10 {
            drop(watch.listen());
        }
        watch.set(Phase::Draining);
        assert!(watch.0.listeners.lock().unwrap().is_empty());
    }
}
