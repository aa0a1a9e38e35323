//! The phases of a process's life, and the watch that tells everyone.
//!
//! The watch is also the accept gate: who accepts does so while the phase is
//! held ([`Listening::poll_with`]), so when [`Watch::set`] returns, nobody
//! accepts under the old phase any more. No acknowledgement is needed from a
//! stream that nobody polls.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures::task::AtomicWaker;

use crate::hook;

/// Where a process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
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

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::HandingOff => "handing off",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        })
    }
}

/// What a phase means for one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Accept nothing; this may change.
    Shut,
    /// Accept.
    Open,
    /// Accept what is there, and close: nobody will after us.
    Emptying,
    /// Close: somebody else has it.
    Over,
}

impl Phase {
    /// For a socket that ends on a stop, or does not, and that the successor
    /// wants, or does not.
    pub(crate) fn gate(self, ends_on_stop: bool, unwanted: bool) -> Gate {
        match self {
            Self::Starting => Gate::Shut,
            Self::Serving => Gate::Open,
            Self::HandingOff if unwanted => Gate::Open,
            Self::HandingOff => Gate::Shut,
            Self::Draining if unwanted => Gate::Emptying,
            Self::Draining => Gate::Over,
            Self::Stopping if ends_on_stop => Gate::Emptying,
            Self::Stopping => Gate::Open,
        }
    }
}

/// Told of every change of phase.
pub(crate) type Hook = Arc<dyn Fn(Phase) + Send + Sync>;

struct Shared {
    phase: RwLock<Phase>,
    listeners: Mutex<Vec<Weak<AtomicWaker>>>,
    hooks: RwLock<Vec<Hook>>,
}

/// The phase of this process. Clones share it.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Shared>);

impl Watch {
    pub(crate) fn new(phase: Phase) -> Self {
        Self(Arc::new(Shared {
            phase: RwLock::new(phase),
            listeners: Mutex::default(),
            hooks: RwLock::default(),
        }))
    }

    /// The phase, now.
    pub(crate) fn phase(&self) -> Phase {
        *self.0.phase.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the phase and wakes everyone who listens. Returns only when
    /// every accept that was under way in the old phase is over.
    pub(crate) fn set(&self, phase: Phase) {
        *self.0.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed(phase);
    }

    /// The same, but only if the phase is `from`, and then true: a process that
    /// was told to stop meanwhile does not begin to serve.
    pub(crate) fn advance(&self, from: Phase, to: Phase) -> bool {
        let mut phase = self.0.phase.write().unwrap_or_else(PoisonError::into_inner);
        if *phase != from {
            return false;
        }
        *phase = to;
        drop(phase);
        self.changed(to);
        true
    }

    /// Keeps everyone from accepting until it is dropped.
    pub(crate) fn hold(&self) -> RwLockWriteGuard<'_, Phase> {
        self.0.phase.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `hook` told of every change.
    pub(crate) fn tell(&self, hook: Hook) {
        self.0.hooks.write().unwrap_or_else(PoisonError::into_inner).push(hook);
    }

    fn changed(&self, phase: Phase) {
        tracing::debug!(%phase, "phase");
        self.wake();
        // Not held while they are called: one of them may change the phase.
        let hooks = self.0.hooks.read().unwrap_or_else(PoisonError::into_inner).clone();
        for hook in hooks {
            hook::call(|| hook(phase));
        }
    }

    /// Has everyone who listens look again.
    pub(crate) fn wake(&self) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| {
            let Some(waker) = listener.upgrade() else { return false };
            waker.wake();
            true
        });
    }

    /// Waits, blocking this thread, until the phase is such.
    pub(crate) fn wait_until(&self, such: impl Fn(Phase) -> bool) -> Phase {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        let listening = self.listen();
        loop {
            let look = |phase, _: &mut Context<'_>| {
                if such(phase) { Poll::Ready(phase) } else { Poll::Pending }
            };
            match listening.poll_with(&mut cx, look) {
                Poll::Ready(phase) => return phase,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// A new listener.
    pub(crate) fn listen(&self) -> Listening {
        let waker = Arc::new(AtomicWaker::new());
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are gone are forgotten here, too: a service may make and
        // drop many and never change its phase.
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&waker));
        Listening { shared: Arc::clone(&self.0), waker }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.phase()).finish()
    }
}

/// One task's view of the phase.
pub(crate) struct Listening {
    shared: Arc<Shared>,
    waker: Arc<AtomicWaker>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
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
        thread::scope(|scope| {
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
