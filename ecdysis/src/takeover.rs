//! Taking over from a predecessor: the state machine of `protocol` driven from
//! *ready* until the predecessor has let go, on a thread of its own.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::listed::Tenure;
use crate::manifest::Dialect;
use crate::phase::{Phase, Watch};
use crate::pidfile::Prepared;
use crate::predecessor::Predecessor;
use crate::protocol::{Act, Heard, Joining, Later, Then};
use crate::registry::Registry;
use crate::sys::{fd, signals};

/// For how long at least, from when this process accepts, what was passed on and
/// not asked for can be asked for yet, whatever the predecessor's probation. It
/// waits twice as long for our last word on that.
const LATE: Duration = Duration::from_millis(100);

#[expect(clippy::disallowed_methods, reason = "the face that drives the state machine")]
fn now() -> Instant {
    Instant::now()
}

/// How long a predecessor may take to empty what its successor does not want. It
/// has two seconds and a moment for each socket, and empties all at once; only
/// an application that does not read its streams to the end takes longer.
const EMPTYING: Duration = Duration::from_secs(3);

/// Whether this process may be upgraded: its predecessor has let go.
#[derive(Debug, Default)]
pub(crate) struct Settled(Mutex<bool>, Condvar);

impl Settled {
    pub(crate) fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn is_set(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait(&self) {
        let settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.wait_while(settled, |settled| !*settled));
    }
}

pub(crate) fn commit(pid_file: Option<Prepared>) {
    if let Some(Err(error)) = pid_file.map(Prepared::commit) {
        tracing::error!(%error, "cannot put the PID file in its place");
    }
}

/// Taking over from a predecessor.
pub(crate) struct Join {
    registry: Registry,
    watch: Watch,
    pid_file: Option<Prepared>,
    /// Places in the manifest.
    unwanted: Vec<u16>,
    predecessor: Predecessor,
    /// Signals that are ignored until we are settled.
    ignored: Vec<i32>,
    /// When it began to accept.
    accepts: Option<Instant>,
}

impl Join {
    /// Everything that was to be claimed in time has been.
    pub(crate) fn new(
        registry: Registry,
        watch: Watch,
        pid_file: Option<Prepared>,
        predecessor: Predecessor,
        ignored: Vec<i32>,
    ) -> Self {
        let (unwanted, accepts) = (Vec::new(), None);
        let mut join = Self { registry, watch, pid_file, unwanted, predecessor, ignored, accepts };
        join.unwanted = join.disclaim();
        join
    }

    /// What this process does not want; if it wants it later after all, the
    /// predecessor hears of that.
    fn disclaim(&self) -> Vec<u16> {
        let tell = self.predecessor.tell();
        // One that runs the published crate has no ear for it, and makes nothing deaf.
        let published = self.predecessor.dialect() == Dialect::Published;
        self.registry
            .disclaim(move |place| published || tell.say(&[Later::Wants { place, wanted: true }]))
    }

    /// Returns when this process is settled, with what is still to be done. No error
    /// can stop it: a predecessor that cannot be heard is one that is gone, and we
    /// hold its sockets. `None`: this process was told to stop before it heard *go*,
    /// cannot say that it is ready, or was given up, and is none of the service.
    pub(crate) fn run(mut self) -> Option<Then> {
        let gone = |error: io::Error| {
            tracing::error!(%error, "cannot hear the predecessor, carrying on without it");
            Heard::Gone
        };
        let mut joining = Joining::new(self.predecessor.dialect());
        let mut heard = fd::refuse_sigpipe().map_or_else(gone, |()| Heard::Initialised);
        if heard == Heard::Gone {
            joining.handle(heard);
            heard = Heard::Initialised;
        }
        loop {
            if heard == Heard::Gone {
                // It has not said that it lets go, and so has made nothing deaf.
                self.registry.tell_nobody();
            }
            for act in joining.handle(heard) {
                match act {
                    Act::SayReady => {
                        if self.watch.phase() != Phase::Starting {
                            // Stopped meanwhile: the predecessor need not even pause.
                            return None;
                        }
                        if let Err(error) = self.predecessor.say_ready(&self.unwanted) {
                            tracing::error!(%error, "cannot tell the predecessor that we are ready");
                            return None;
                        }
                        point!(READY_HAS_BEEN_SAID);
                    }
                    Act::Accept => {
                        point!(GO_IS_HEARD);
                        if !self.accept() {
                            self.predecessor.tell().say(&[Later::Declined]);
                            return None;
                        }
                        point!(ACCEPTING_HAS_BEGUN);
                    }
                    Act::GiveWay => {
                        tracing::error!("the predecessor has given this process up, and serves on");
                        self.give_way();
                        return None;
                    }
                    Act::Settle(then) => {
                        point!(SETTLED_IS_HEARD);
                        self.settle(then);
                        return Some(then);
                    }
                }
            }
            heard = self.predecessor.hear().unwrap_or_else(gone);
        }
    }

    /// Has whoever asks for a socket when he is ready find it.
    fn wait_for_the_late(&self) {
        let until = self.accepts.map(|accepts| accepts + LATE);
        if let (true, Some(until)) = (self.registry.has_unclaimed(), until) {
            thread::sleep(until.saturating_duration_since(now()));
        }
    }

    fn settle(self, then: Then) {
        self.wait_for_the_late();
        self.registry.close_unclaimed();
        self.registry.set_tenure(Tenure::Ours);
        // An application that handles one of them does by now.
        signals::let_in(&self.ignored);
        let stops =
            matches!(then, Then::Stop | Then::PartialStop) || self.watch.phase() == Phase::Stopping;
        // While the predecessor empties members of a group, new connections are
        // led past them. A successor of ours that joined the group would lead
        // them there again.
        if !self.unwanted.is_empty()
            && !stops
            && let Err(error) = self.predecessor.part(EMPTYING)
        {
            tracing::warn!(%error, "cannot wait for the predecessor to empty what we do not want");
        }
    }

    /// Accepts no more, if it did: the predecessor serves again. What it has accepted
    /// is drained.
    fn give_way(&self) {
        if self.watch.advance(Phase::Serving, Phase::Draining) {
            self.registry.clear(None);
        }
    }

    /// False: it was told to stop meanwhile.
    fn accept(&mut self) -> bool {
        if self.watch.phase() != Phase::Starting {
            return false;
        }
        self.accepts = Some(now());
        self.registry.set_tenure(Tenure::Probation);
        self.registry.assert_flags();
        commit(self.pid_file.take());
        self.watch.advance(Phase::Starting, Phase::Serving)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    /// The predecessor stopped accepting for it, and had to take that back.
    #[test]
    fn one_that_was_stopped_meanwhile_does_not_say_that_it_is_ready() {
        let (words, _its_words) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (heard, ready) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let watch = Watch::new(Phase::Draining);
        let predecessor = Predecessor::at(words, ready);
        let join = Join::new(Registry::default(), watch, None, predecessor, Vec::new());
        assert_eq!(join.run(), None);
        let mut said = Vec::new();
        File::from(heard).read_to_end(&mut said).unwrap();
        assert!(said.is_empty(), "{said:?}");
    }
}
