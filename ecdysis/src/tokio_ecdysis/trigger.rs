//! What asks this process to be upgraded or to stop, as one stream of requests.

use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a process came to leave.
#[derive(Debug)]
pub enum ExitMode {
    /// A successor serves.
    Upgrade,
    /// The whole service stops.
    FullStop,
    /// The service stops on those sockets that are to stop on it.
    PartialStop,
}

/// What made it leave.
#[derive(Clone, Debug)]
pub enum ExitReason {
    /// This signal.
    Signal(SignalKind),
    /// A connection to this control socket.
    UnixListener(PathBuf),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// Sorted first: where a stop and an upgrade wait at once, the stop wins.
    Stop,
    PartialStop,
    Upgrade,
}

#[derive(Debug)]
struct Trigger {
    wish: Wish,
    kind: SignalKind,
    signal: Signal,
}

/// Everything that may ask.
#[derive(Debug, Default)]
pub(super) struct Triggers(Vec<Trigger>);

impl Triggers {
    /// From now on this signal is a request. Several of the same kind that
    /// come before one is looked at are one, as signal(7) has it.
    pub(super) fn on_signal(&mut self, wish: Wish, kind: SignalKind) -> io::Result<()> {
        let signal = signal(kind)?;
        self.0.push(Trigger { wish, kind, signal });
        self.0.sort_by_key(|trigger| trigger.wish);
        Ok(())
    }

    /// The numbers of all signals that mean something here.
    pub(super) fn signals(&self) -> Vec<i32> {
        self.0.iter().map(|trigger| trigger.kind.as_raw_value()).collect()
    }

    /// What a process is to give as the reason of a stop that its predecessor
    /// was asked for: the signal it would itself have stopped on.
    pub(super) fn reason_to(&self, wish: Wish) -> ExitReason {
        let found = self.0.iter().find(|trigger| trigger.wish == wish);
        ExitReason::Signal(found.map_or_else(SignalKind::terminate, |trigger| trigger.kind))
    }

    /// The next request.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Wish, ExitReason)> {
        for trigger in &mut self.0 {
            if trigger.signal.poll_recv(cx).is_ready() {
                return Poll::Ready((trigger.wish, ExitReason::Signal(trigger.kind)));
            }
        }
        Poll::Pending
    }
}
