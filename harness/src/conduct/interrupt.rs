//! SIGINT and SIGTERM to the harness: the run ends early, in order, with a
//! report of what was seen.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The two signals, held back from their default action in this thread and
/// every thread it starts from now on.
#[derive(Debug)]
pub(super) struct Interrupts {
    pending: SignalFd,
}

impl Interrupts {
    pub(super) fn hold() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { pending: SignalFd::with_flags(&set, flags)? })
    }

    /// The name of the one that came, if one did.
    pub(super) fn came(&self) -> Option<String> {
        let info = self.pending.read_signal().ok().flatten()?;
        let signal =
            i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
        signal.map(|signal| signal.to_string())
    }
}
