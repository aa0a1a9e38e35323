//! What an upgrade needs to know of the process that makes it, and whom it tells.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::counters::Counters;
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::hook;
use crate::manifest::Ancestor;
use crate::phase::{Phase, Watch};
use crate::pidfile::PidFile;
use crate::predecessor::Tell;
use crate::program::Program;
use crate::protocol::Then;
use crate::registry::Registry;
use crate::report::UpgradeReport;
use crate::requests::Requests;
use crate::spare::Spares;
use crate::state::StateMaker;
use crate::successor::Successor;
use crate::sys::child::Kin;

/// What an upgrade needs to know of the process that makes it. Clones share
/// what the upgrades of one process have in common.
#[derive(Clone)]
pub(crate) struct Course {
    pub(crate) registry: Registry,
    pub(crate) watch: Watch,
    pub(crate) program: Program,
    /// Our own generation, and those before it.
    pub(crate) generation: u64,
    pub(crate) ancestors: Vec<Ancestor>,
    pub(crate) ready_deadline: Duration,
    pub(crate) probation: Duration,
    /// Signals that mean something to us, and so must not kill a successor that
    /// has no handlers yet.
    pub(crate) signals: Signals,
    /// Whose child the successor becomes.
    pub(crate) kin: Kin,
    pub(crate) state: Option<StateMaker>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) counters: Counters,
    pub(crate) requests: Arc<Requests>,
    /// For as long as a predecessor listens.
    pub(crate) tell: Tell,
    pub(crate) observers: Vec<Observer>,
}

/// What has been reached in an upgrade.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage<'a> {
    /// It begins.
    Begun,
    /// The successor is ready, this process has stopped accepting; the
    /// successor is about to.
    HandedOff,
    /// The successor has stood the test and is about to hear that it is the one.
    #[cfg_attr(
        not(feature = "systemd_notify"),
        expect(dead_code, reason = "nobody but systemd has to know")
    )]
    Settling {
        /// Its pid.
        successor: u32,
        /// The service stops, and both with it.
        stops: bool,
    },
    /// It is over; before anybody else knows, and before the successor is let go.
    Decided(&'a UpgradeReport),
}

/// Told of the stages. Called on the upgrade's thread, which waits for it.
pub(crate) type Observer = Arc<dyn Fn(Stage<'_>) + Send + Sync>;

/// The signals that mean something to this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    pub(crate) upgrade: Vec<i32>,
    pub(crate) stop: Vec<i32>,
    pub(crate) partial_stop: Vec<i32>,
}

impl Signals {
    pub(crate) fn all(&self) -> Vec<i32> {
        [&self.upgrade[..], &self.stop, &self.partial_stop].concat()
    }

    /// What asks a process like ours for this.
    fn asking(&self, then: Then) -> Option<i32> {
        match then {
            Then::Serve => None,
            Then::Upgrade => self.upgrade.first().copied(),
            Then::Stop => Some(self.ending()),
            Then::PartialStop => self.partial_stop.first().copied(),
        }
    }

    /// What makes a process like ours stop, and end its drain. One that names no
    /// signal is still ended by the one that ends any service.
    pub(crate) fn ending(&self) -> i32 {
        self.stop.first().copied().unwrap_or(libc::SIGTERM)
    }
}

impl Course {
    /// One that cannot begin, for want of a thread to make it on. The hooks are
    /// called here, on the thread that asks.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn cannot_begin(&self, error: std::io::Error) -> UpgradeReport {
        let report = UpgradeReport::not_started(self.generation, error.into());
        tracing::error!("{report}");
        self.counters.upgrade_started();
        self.count(&report);
        self.observe(Stage::Decided(&report));
        report
    }

    /// An upgrade that does not even begin.
    pub(crate) fn refuse(&self, kind: UpgradeErrorKind) -> UpgradeReport {
        let report = UpgradeReport::not_started(self.generation, UpgradeError::new(kind));
        self.observe(Stage::Decided(&report));
        report
    }

    pub(crate) fn observe(&self, stage: Stage<'_>) {
        for observer in &self.observers {
            hook::call(|| observer(stage));
        }
    }

    /// What could not be passed on in words is, as far as it goes, by the signal
    /// that has asked us for it: the successor is the same service.
    pub(crate) fn pass_on(&self, then: Option<Then>, successor: &Successor) {
        let Some(then) = then else { return };
        match self.signals.asking(then).map(|signal| successor.signal(signal)) {
            Some(Ok(())) => return,
            Some(Err(error)) => tracing::error!(%error, ?then, "cannot pass a request on"),
            None => tracing::error!(?then, "a request is lost: no signal stands for it"),
        }
        if then == Then::Upgrade {
            self.requests.lose();
        }
    }

    pub(crate) fn count(&self, report: &UpgradeReport) {
        match &report.outcome {
            Ok(()) => self.counters.upgrade_completed(),
            Err(error) if matches!(error.kind(), UpgradeErrorKind::RolledBack(_)) => {
                self.counters.upgrade_rolled_back();
            }
            Err(_) => self.counters.upgrade_failed(),
        }
    }

    /// Nothing has changed, as far as anybody can see.
    pub(crate) fn serve_again(&self, report: &UpgradeReport) {
        // What the successor has made of what we share with it.
        self.registry.take_back();
        // A failing system call of ours may have left the gate shut.
        self.watch.advance(Phase::HandingOff, Phase::Serving);
        if let (Some(pid_file), Some(pid)) = (&self.pid_file, report.successor)
            && let Err(error) = pid_file.clean_up_after(pid)
        {
            tracing::warn!(%error, "the successor may have left a file");
        }
        // One that runs the published crate writes the file before it says ready.
        let is_its = |file: &PidFile| {
            report.handed_off.is_some() || report.successor.is_some_and(|pid| file.names(pid))
        };
        if let Some(pid_file) = self.pid_file.as_ref().filter(|file| is_its(file)) {
            let written = pid_file.prepare(std::process::id()).and_then(|file| file.commit());
            if let Err(error) = written {
                tracing::error!(%error, "cannot write our pid to the PID file again");
            }
        }
    }
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course")
            .field("generation", &self.generation)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}
