//! The successor's end of the handoff.

use super::words::{Then, Word};
use crate::manifest::Dialect;

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
    /// Accept nothing, or no more: the predecessor serves on.
    GiveWay,
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
            (Join::Initialising | Join::Waiting | Join::Unsettled, Heard::Word(Word::GivenUp)) => {
                self.state = Join::Settled;
                vec![Act::GiveWay]
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
