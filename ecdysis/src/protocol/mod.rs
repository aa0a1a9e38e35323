//! The handoff as two state machines, one for each end. No I/O and no clock:
//! inputs are events and `Instant`s, outputs are things to do and one deadline.
//!
//! ```text
//! predecessor: Leaving                        successor: Joining
//!
//!   Initialising  ◄────────── ready ───────────  Initialising
//!   stop accepting
//!   Probation     ─────────── go ─────────────►  Waiting → accept
//!     died: accept again                         Unsettled
//!   Done          ─────────── settled ────────►  Settled
//! ```
//!
//! A successor built on the published crate accepts when it has said ready,
//! and takes no words; a predecessor built on it sends none. Both are the same
//! machines with some arrows left out.

use std::time::{Duration, Instant};

use crate::manifest::Dialect;

/// What the predecessor writes on the manifest pipe after the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Accept: we have stopped.
    Go,
    /// We let go of the sockets. You may be upgraded yourself now; and this was
    /// asked of us meanwhile.
    Settled(Then),
}

/// What was asked of the predecessor when it could not do it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Serve,
    /// Another upgrade.
    Upgrade,
    /// A full stop.
    Stop,
    /// A partial stop.
    PartialStop,
}

impl Word {
    /// On the wire each word is a byte.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Go => b'G',
            Self::Settled(Then::Serve) => b'S',
            Self::Settled(Then::Upgrade) => b'U',
            Self::Settled(Then::Stop) => b'F',
            Self::Settled(Then::PartialStop) => b'P',
        }
    }

    /// The word that this byte is. Others are for later versions to say to
    /// later versions, and are passed over.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Go,
            Self::Settled(Then::Serve),
            Self::Settled(Then::Upgrade),
            Self::Settled(Then::Stop),
            Self::Settled(Then::PartialStop),
        ]
        .into_iter()
        .find(|word| word.byte() == byte)
    }
}

/// What the successor writes on the ready pipe: the published crate's two
/// bytes, which is all that the published crate reads.
pub(crate) const READY: &[u8; 2] = b"OK";

/// Ours follows them at once with the version of what it understands.
pub(crate) const READY_OURS: &[u8; 4] = b"OKe\x01";

/// And this, when it has begun to serve and is told to stop, before we have let
/// go: its end is then no failure, and must not be undone.
pub(crate) const STOPPING: u8 = b'S';

/// How long a successor that has closed its ready pipe is given to turn out
/// dead. A process that ends closes its files first and is seen to have ended
/// a moment later; its exit status says more than the closed pipe.
const DYING: Duration = Duration::from_millis(50);

/// What has come on the ready pipe so far, understood.
pub(crate) fn read_ready(bytes: &[u8], ended: bool) -> Option<Seen> {
    if bytes.len() >= READY_OURS.len() {
        // A later version may say more; it must begin like this one.
        let ours = bytes.starts_with(&READY_OURS[..3]);
        return Some(if ours { Seen::Ready(Dialect::Ours) } else { Seen::Garbage });
    }
    let expected = READY_OURS.starts_with(bytes);
    match (expected, ended) {
        (false, _) => Some(Seen::Garbage),
        (true, false) => None,
        (true, true) if bytes == READY => Some(Seen::Ready(Dialect::Published)),
        (true, true) if bytes.is_empty() => Some(Seen::Closed),
        (true, true) => Some(Seen::Garbage),
    }
}

/// What the predecessor sees of its successor, or is asked meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is ready.
    Ready(Dialect),
    /// It closed its ready pipe without a word.
    Closed,
    /// It wrote something that is no readiness.
    Garbage,
    /// It was told to stop, and will end.
    Stopping,
    /// It has ended.
    Died,
    /// Another upgrade was asked for.
    AskedUpgrade,
    /// A stop was asked for; partial if true.
    AskedStop {
        /// Partial, or full.
        partial: bool,
    },
    /// The deadline has passed.
    Deadline,
}

/// What the predecessor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// Stop accepting; keep the sockets.
    StopAccepting,
    /// Accept again.
    AcceptAgain,
    /// Say this to the successor.
    Say(Word),
    /// End the successor, if it has not ended, and reap it.
    Kill,
    /// The upgrade is over.
    Finish(Verdict),
}

/// How an upgrade ended, as far as the protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The successor serves; this process may go.
    Completed,
    /// It ended before it was ready.
    Exited,
    /// It was not ready in time.
    Deadline,
    /// It closed its ready pipe.
    Closed,
    /// It wrote something else.
    Garbage,
    /// It ended on probation.
    RolledBack,
    /// A stop was asked for before it was ready.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Initialising,
    /// The ready pipe was closed without a word.
    Silent,
    Probation(Dialect),
    Done,
}

/// The predecessor's end: one upgrade, from the start of the successor.
#[derive(Debug)]
pub(crate) struct Leaving {
    state: Leave,
    deadline: Instant,
    probation: Duration,
    then: Then,
}

impl Leaving {
    /// The successor has been started; it must be ready by `deadline`.
    pub(crate) fn new(deadline: Instant, probation: Duration) -> Self {
        Self { state: Leave::Initialising, deadline, probation, then: Then::Serve }
    }

    /// When [`Seen::Deadline`] has to be handed in, if the upgrade is not over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.state != Leave::Done).then_some(self.deadline)
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, now: Instant, seen: Seen) -> Vec<Do> {
        match self.state {
            Leave::Initialising | Leave::Silent => self.initialising(now, seen),
            Leave::Probation(dialect) => self.probation(dialect, seen),
            Leave::Done => Vec::new(),
        }
    }

    fn initialising(&mut self, now: Instant, seen: Seen) -> Vec<Do> {
        let why = match seen {
            Seen::Ready(dialect) => {
                self.state = Leave::Probation(dialect);
                self.deadline = now + self.probation;
                let go = (dialect == Dialect::Ours).then_some(Do::Say(Word::Go));
                return [Do::StopAccepting].into_iter().chain(go).collect();
            }
            Seen::AskedUpgrade => {
                self.then = Then::Upgrade;
                return Vec::new();
            }
            Seen::Closed => {
                self.state = Leave::Silent;
                self.deadline = self.deadline.min(now + DYING);
                return Vec::new();
            }
            Seen::AskedStop { .. } => Verdict::Stopped,
            Seen::Garbage | Seen::Stopping => Verdict::Garbage,
            Seen::Died => Verdict::Exited,
            Seen::Deadline if self.state == Leave::Silent => Verdict::Closed,
            Seen::Deadline => Verdict::Deadline,
        };
        self.state = Leave::Done;
        vec![Do::Kill, Do::Finish(why)]
    }

    fn probation(&mut self, dialect: Dialect, seen: Seen) -> Vec<Do> {
        match seen {
            // A successor that has gone may still have written these first.
            Seen::Ready(_) | Seen::Closed | Seen::Garbage => Vec::new(),
            Seen::AskedUpgrade => {
                self.then = Then::Upgrade;
                Vec::new()
            }
            Seen::Died => {
                self.state = Leave::Done;
                vec![Do::AcceptAgain, Do::Kill, Do::Finish(Verdict::RolledBack)]
            }
            // The successor has connections by now; killing it would hurt
            // them. It is told to stop as it would have been asked to.
            Seen::AskedStop { partial } => {
                self.then = if partial { Then::PartialStop } else { Then::Stop };
                self.settle(dialect)
            }
            Seen::Stopping | Seen::Deadline => self.settle(dialect),
        }
    }

    fn settle(&mut self, dialect: Dialect) -> Vec<Do> {
        self.state = Leave::Done;
        let word = (dialect == Dialect::Ours).then_some(Do::Say(Word::Settled(self.then)));
        word.into_iter().chain([Do::Finish(Verdict::Completed)]).collect()
    }
}

/// What the successor sees of its predecessor, or is told by the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The application has initialised.
    Initialised,
    /// The predecessor said this.
    Word(Word),
    /// The predecessor is gone, or (the published crate) has nothing to say.
    Gone,
}

/// What the successor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Tell the predecessor that we are ready.
    SayReady,
    /// Accept.
    Accept,
    /// From now on this process may be upgraded itself; this is still to be done.
    Settle(Then),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    Initialising,
    Waiting,
    Unsettled,
    Settled,
}

/// The successor's end.
#[derive(Debug)]
pub(crate) struct Joining {
    state: Join,
    /// The predecessor is gone, or will not say more.
    alone: bool,
}

impl Joining {
    /// A successor that has read its manifest.
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { state: Join::Initialising, alone: dialect == Dialect::Published }
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, heard: Heard) -> Vec<Act> {
        match (self.state, heard) {
            (Join::Initialising, Heard::Initialised) if self.alone => {
                // Nobody will say go. A predecessor that vanished left us all
                // its sockets; one of the published kind just wants to know.
                self.state = Join::Settled;
                vec![Act::SayReady, Act::Accept, Act::Settle(Then::Serve)]
            }
            (Join::Initialising, Heard::Initialised) => {
                self.state = Join::Waiting;
                vec![Act::SayReady]
            }
            (Join::Initialising, Heard::Gone) => {
                self.alone = true;
                Vec::new()
            }
            (Join::Waiting, Heard::Word(Word::Go)) => {
                self.state = Join::Unsettled;
                vec![Act::Accept]
            }
            (Join::Waiting, Heard::Word(Word::Settled(then))) => {
                self.state = Join::Settled;
                vec![Act::Accept, Act::Settle(then)]
            }
            (Join::Waiting, Heard::Gone) => {
                self.state = Join::Settled;
                vec![Act::Accept, Act::Settle(Then::Serve)]
            }
            (Join::Unsettled, Heard::Word(Word::Settled(then))) => {
                self.state = Join::Settled;
                vec![Act::Settle(then)]
            }
            (Join::Unsettled, Heard::Gone) => {
                self.state = Join::Settled;
                vec![Act::Settle(Then::Serve)]
            }
            // Words before we are ready, twice, or out of order; and a second
            // `ready` of the application: nothing to do.
            (Join::Initialising, Heard::Word(_))
            | (Join::Waiting | Join::Unsettled, Heard::Initialised)
            | (Join::Unsettled, Heard::Word(Word::Go))
            | (Join::Settled, _) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
