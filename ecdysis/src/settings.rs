//! What an application decides about its upgrades before it is ready: which
//! program follows, how long it may take, what it is left, and who is told.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::course::Stage;
use crate::ecdysis::Ecdysis;
use crate::phase::Phase;
use crate::pidfile::PidFile;
use crate::program::Program;
use crate::report::UpgradeReport;
use crate::socket::SocketKey;
use crate::state::{self, State, StateMaker};

impl Ecdysis {
    /// Has the process id in this file, with a newline, mode 0644, whenever this
    /// process serves: written by [`Self::ready`] when it takes over, by the
    /// predecessor again if it has to take the service back. It is replaced as a
    /// whole, and removed when the service stops, but not by a process that was
    /// succeeded.
    pub fn set_pid_file<P: AsRef<Path>>(&mut self, pid_file: P) {
        let path = pid_file.as_ref();
        // Where it is must not change with the working directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.pid_file = Some(PidFile::new(path));
    }

    /// How long a successor of this process may take until it is ready; one
    /// that takes longer is killed. One minute, if not set.
    pub fn set_ready_deadline(&mut self, span: Duration) {
        self.ready_deadline = span;
    }

    /// How long this process keeps its sockets, accepting nothing, when its
    /// successor has begun to serve. If that ends within this time, this
    /// process serves again and no new connection is refused. Half a second, if
    /// not set; zero: lets go at once.
    ///
    /// [`Self::upgrade`] returns only after it; the successor cannot be upgraded
    /// itself before.
    pub fn set_probation(&mut self, span: Duration) {
        self.probation = span;
    }

    /// How many older generations may drain at a time; when there are more, the
    /// oldest is told to end (by its stop signal: a second stop). 32, if not set.
    pub fn set_most_draining(&mut self, most: usize) {
        self.most_draining = most;
    }

    /// Which program the successor is, and what it is started with.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Leaves state to the successor: `make` is called when an upgrade begins,
    /// on a thread of its own, while this process serves on. If it fails, or
    /// takes longer than `deadline`, the upgrade has failed. The successor finds
    /// the bytes in [`Self::inherited_state`], with this version.
    pub fn set_state(
        &mut self,
        version: u32,
        deadline: Duration,
        make: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.state = Some(StateMaker::new(version, deadline, make));
    }

    /// The state that the predecessor has left, once. `None`: it left none.
    ///
    /// # Errors
    /// `InvalidData` if it is not what this library writes, or too large
    /// (64 MiB); those of reading a memory file.
    pub fn inherited_state(&self) -> io::Result<Option<State>> {
        match self.registry.take(&SocketKey::State).transpose()? {
            None => Ok(None),
            Some(file) => state::receive(file, state::MOST).map(Some),
        }
    }

    /// Has every upgrade of this process reported, completed or failed, and what
    /// was refused before it began while this process serves. `hook` is called on
    /// the upgrade's thread, or on the one that asks if none began, which waits for
    /// it; so it cannot wait for an upgrade itself ([`UpgradeErrorKind::InHook`]), and
    /// [`Self::quit`] returns at once in it.
    ///
    /// [`UpgradeErrorKind::InHook`]: crate::UpgradeErrorKind::InHook
    pub fn on_upgrade(&mut self, hook: impl Fn(&UpgradeReport) + Send + Sync + 'static) {
        self.observers.push(Arc::new(move |stage| {
            if let Stage::Decided(report) = stage {
                hook(report);
            }
        }));
    }

    /// Has `hook` told of every change of phase. It is called by whichever
    /// thread changes it, which waits for it; [`Self::on_upgrade`] says what it
    /// cannot do.
    pub fn on_phase(&mut self, hook: impl Fn(Phase) + Send + Sync + 'static) {
        self.watch.tell(Arc::new(hook));
    }
}
