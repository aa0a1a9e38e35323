//! The predecessor's end of the handoff.

use std::time::{Duration, Instant};

use super::words::{Later, Then};
use crate::manifest::Dialect;

/// How long a successor that has closed its ready pipe is given to turn out
/// dead. A process that ends closes its files first and is seen to have ended
/// a moment later; its exit status says more than the closed pipe.
const DYING: Duration = Duration::from_millis(50);

/// How long one that has said what the published crate says is given to say what
/// follows in ours, or to close its end. Ours says both in one piece; and nobody
/// waits for the end of a pipe that a helper of the successor may hold for good.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the successor is given to hear that it is settled, and to have its
/// last word on which sockets it wants. It answers at once; one that does not
/// has said all it will say.
const SETTLING: Duration = Duration::from_millis(200);

/// What the predecessor sees of its successor, or is asked meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is ready.
    Ready(Dialect),
    /// It said what the published crate says, and then nothing, so far.
    Paused,
    /// It closed its ready pipe: without a word, or because it is settled.
    Closed,
    /// It wrote something that is no readiness.
    Garbage,
    /// It said more, after it was ready.
    Later(Later),
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

impl Seen {
    /// What is asked for by this, if something is.
    pub(crate) fn asks(self) -> Option<Then> {
        match self {
            Self::AskedUpgrade => Some(Then::Upgrade),
            Self::AskedStop { partial: true } => Some(Then::PartialStop),
            Self::AskedStop { partial: false } => Some(Then::Stop),
            Self::Ready(_)
            | Self::Paused
            | Self::Closed
            | Self::Garbage
            | Self::Later(_)
            | Self::Died
            | Self::Deadline => None,
        }
    }
}

/// What the predecessor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// Stop accepting; keep the sockets.
    StopAccepting,
    /// Accept again.
    AcceptAgain,
    /// Tell the successor that we have stopped accepting.
    SayGo,
    /// Tell the successor that it is settled, and what was asked of us meanwhile.
    SaySettled(Then),
    /// Remember whether it wants the descriptor in this place of the manifest.
    Mark {
        /// The place, from 0.
        place: u16,
        /// Whether it does.
        wanted: bool,
    },
    /// End the successor, if it has not ended, and reap it. Whatever is left of it
    /// hears that it was given up.
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
    /// All that the published crate says has been said.
    Pausing,
    Probation(Dialect),
    /// The successor was told that it is settled.
    Settling,
    Done,
}

/// So much later than this moment; for a span beyond all clocks, like
/// [`Duration::MAX`], as good as never.
pub(crate) fn after(moment: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    moment.checked_add(span).unwrap_or_else(|| moment + NEVER)
}

/// The predecessor's end: one upgrade, from the start of the successor.
#[derive(Debug)]
pub(crate) struct Leaving {
    state: Leave,
    deadline: Instant,
    probation: Duration,
    then: Then,
    /// Whether `then` has still to be passed on.
    owed: bool,
    /// The successor is about to end, and that is no failure.
    stopping: bool,
    /// It has said so before anybody here was asked to stop.
    stops_first: bool,
    /// It stops partly.
    partly: bool,
}

impl Leaving {
    /// The successor has been started; it must be ready by `deadline`.
    pub(crate) fn new(deadline: Instant, probation: Duration) -> Self {
        Self {
            state: Leave::Initialising,
            deadline,
            probation,
            then: Then::Serve,
            owed: false,
            stopping: false,
            stops_first: false,
            partly: false,
        }
    }

    /// When [`Seen::Deadline`] has to be handed in, if the upgrade is not over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.state != Leave::Done).then_some(self.deadline)
    }

    /// What was asked meanwhile and could not be passed on in words, because
    /// the successor did not listen any more, or never does (the published
    /// crate). To be asked when the upgrade is completed.
    pub(crate) fn owes(&self) -> Option<Then> {
        self.owed.then_some(self.then)
    }

    /// Whether the successor was told to stop, and this process was not, so far.
    pub(crate) fn stops_first(&self) -> bool {
        self.stops_first
    }

    /// Whether the service is to stop, and all of it: then this process is not
    /// succeeded, and only the first of two to end.
    pub(crate) fn stops(&self) -> bool {
        match self.then {
            Then::Stop => true,
            Then::PartialStop => false,
            Then::Serve | Then::Upgrade => self.stopping && !self.partly,
        }
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, now: Instant, seen: Seen) -> Vec<Do> {
        match self.state {
            Leave::Initialising | Leave::Silent | Leave::Pausing => self.initialising(now, seen),
            Leave::Probation(dialect) => self.probation(now, dialect, seen),
            Leave::Settling => self.settling(seen),
            Leave::Done => Vec::new(),
        }
    }

    fn initialising(&mut self, now: Instant, seen: Seen) -> Vec<Do> {
        let why = match seen {
            Seen::Ready(dialect) => return self.hand_off(now, dialect),
            Seen::Deadline if self.state == Leave::Pausing => {
                return self.hand_off(now, Dialect::Published);
            }
            Seen::Paused => {
                self.state = Leave::Pausing;
                self.deadline = self.deadline.min(now + PAUSE);
                return Vec::new();
            }
            Seen::AskedUpgrade => {
                self.ask(Then::Upgrade);
                return Vec::new();
            }
            Seen::Closed => {
                self.state = Leave::Silent;
                self.deadline = self.deadline.min(now + DYING);
                return Vec::new();
            }
            Seen::AskedStop { .. } => Verdict::Stopped,
            Seen::Garbage | Seen::Later(_) => Verdict::Garbage,
            Seen::Died => Verdict::Exited,
            Seen::Deadline if self.state == Leave::Silent => Verdict::Closed,
            Seen::Deadline => Verdict::Deadline,
        };
        self.state = Leave::Done;
        vec![Do::Kill, Do::Finish(why)]
    }

    fn hand_off(&mut self, now: Instant, dialect: Dialect) -> Vec<Do> {
        self.state = Leave::Probation(dialect);
        self.deadline = after(now, self.probation);
        let go = (dialect == Dialect::Ours).then_some(Do::SayGo);
        [Do::StopAccepting].into_iter().chain(go).collect()
    }

    fn probation(&mut self, now: Instant, dialect: Dialect, seen: Seen) -> Vec<Do> {
        match seen {
            // It was ours after all, and slow to say so: it waits for *go*.
            Seen::Ready(Dialect::Ours) if dialect == Dialect::Published => {
                self.state = Leave::Probation(Dialect::Ours);
                vec![Do::SayGo]
            }
            // A successor that has gone may still have written these first.
            Seen::Ready(_) | Seen::Paused | Seen::Closed | Seen::Garbage => Vec::new(),
            Seen::Later(Later::Wants { place, wanted }) => vec![Do::Mark { place, wanted }],
            Seen::AskedUpgrade => {
                self.ask(Then::Upgrade);
                Vec::new()
            }
            // Of one that has declined nothing is lost, however it ends.
            Seen::Died | Seen::Later(Later::Declined) => self.roll_back(),
            // The successor has connections by now; killing it would hurt
            // them. It is told to stop as it would have been asked to.
            Seen::AskedStop { partial } => {
                self.ask(if partial { Then::PartialStop } else { Then::Stop });
                self.settle(now, dialect)
            }
            Seen::Later(Later::Partly) => {
                self.partly = true;
                Vec::new()
            }
            Seen::Later(Later::Stopping) => {
                self.successor_stops();
                self.settle(now, dialect)
            }
            Seen::Deadline => self.settle(now, dialect),
        }
    }

    fn settling(&mut self, seen: Seen) -> Vec<Do> {
        match seen {
            Seen::Ready(_) | Seen::Paused | Seen::Garbage => Vec::new(),
            Seen::Later(Later::Wants { place, wanted }) => vec![Do::Mark { place, wanted }],
            Seen::Later(Later::Partly) => {
                self.partly = true;
                Vec::new()
            }
            Seen::Later(Later::Stopping) => {
                self.successor_stops();
                Vec::new()
            }
            Seen::AskedUpgrade => {
                self.ask(Then::Upgrade);
                Vec::new()
            }
            Seen::AskedStop { partial } => {
                self.ask(if partial { Then::PartialStop } else { Then::Stop });
                Vec::new()
            }
            // We still have the sockets.
            Seen::Later(Later::Declined) => self.roll_back(),
            Seen::Died if !self.stopping => self.roll_back(),
            Seen::Closed | Seen::Died | Seen::Deadline => self.complete(),
        }
    }

    /// The successor says that it stops.
    fn successor_stops(&mut self) {
        self.stopping = true;
        self.stops_first = !matches!(self.then, Then::Stop | Then::PartialStop);
    }

    /// Keeps what is asked, if nothing outweighs it.
    fn ask(&mut self, then: Then) {
        self.stops_first &= then == Then::Upgrade;
        if then >= self.then {
            self.then = then;
            self.owed = true;
        }
    }

    fn settle(&mut self, now: Instant, dialect: Dialect) -> Vec<Do> {
        match dialect {
            Dialect::Published => self.complete(),
            Dialect::Ours => {
                self.state = Leave::Settling;
                self.deadline = now + SETTLING;
                self.owed = false;
                self.stopping |= matches!(self.then, Then::Stop | Then::PartialStop);
                // It hears of its own stop, too: so it knows that we knew of it.
                vec![Do::SaySettled(if self.stops() { Then::Stop } else { self.then })]
            }
        }
    }

    fn roll_back(&mut self) -> Vec<Do> {
        self.state = Leave::Done;
        vec![Do::AcceptAgain, Do::Kill, Do::Finish(Verdict::RolledBack)]
    }

    fn complete(&mut self) -> Vec<Do> {
        self.state = Leave::Done;
        vec![Do::Finish(Verdict::Completed)]
    }
}
