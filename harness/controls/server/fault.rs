//! What can be broken.

use clap::ValueEnum;

/// One way to harm clients by an upgrade, or to leave something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// The old generation is killed as soon as the new one is ready.
    KillOld,
    /// The new generation pauses before it accepts.
    LateAccept,
    /// The new generation never accepts.
    ForgetAccept,
    /// The new generation accepts before it is ready, and then fails.
    EarlyAccept,
    /// The old generation accepts for ever, beside the new one. Each has a TCP queue of
    /// its own, by SO_REUSEPORT, so that both get their share.
    ServeOn,
    /// Each generation has a TCP queue of its own, by SO_REUSEPORT. The old one accepts
    /// nobody for a pause, and then closes its queue with whoever waits in it.
    OwnQueue,
    /// The same, but the old generation empties its queue before it closes it.
    DrainedQueue,
    /// Each generation has a TCP queue of its own, by SO_REUSEPORT. The old one is
    /// killed as soon as the new one is ready.
    KillOwnQueue,
    /// The old generation accepts nobody for a pause. Then the new one puts a unix
    /// socket of its own in the place of the old one, which is closed with its queue.
    LoseQueue,
    /// The old generation ends its unix socket a pause before the new one has its own.
    StalePath,
    /// The old generation removes the path of the unix socket that it has handed over.
    UnlinkLate,
    /// The old generation finishes connections that are quiet.
    DropQuiet,
    /// The old generation resets connections that are quiet.
    ResetQuiet,
    /// The old generation finishes connections whose clients are still sending.
    DropWriters,
    /// The old generation drops the reply of a client that has finished sending.
    HalfClose,
    /// The first reply of the new generation has a wrong bit.
    Corrupt,
    /// The first reply of the new generation lacks its first half.
    LoseBytes,
    /// The first reply of the new generation is sent twice.
    DoubleBytes,
    /// Each generation inherits one descriptor more.
    LeakDescriptor,
    /// The old generation never ends.
    Stay,
    /// The old generation ends with status 1.
    DirtyExit,
}

impl Fault {
    /// Whether each generation has a TCP queue of its own.
    pub(crate) fn splits_the_queue(self) -> bool {
        matches!(self, Self::OwnQueue | Self::DrainedQueue | Self::KillOwnQueue | Self::ServeOn)
    }
}
