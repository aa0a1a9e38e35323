//! One upgrade, from the request to the outcome: the state machine of
//! `protocol` driven with a real process and poll(2).
//!
//! It blocks, on a thread of its own, so that the same engine serves a
//! synchronous program and one with an async runtime, and no busy runtime can
//! delay a handoff.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::ancestors;
use crate::counters::Counters;
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::manifest::Ancestor;
use crate::phase::{Phase, Watch};
use crate::pidfile::PidFile;
use crate::program::Program;
use crate::protocol::{Do, Leaving, Seen, Then, Verdict, Word};
use crate::registry::{Registry, Tenure};
use crate::report::UpgradeReport;
use crate::spare::{Spares, used_up};
use crate::state::{self, StateMaker};
use crate::successor::{Launch, Successor};
use crate::sys::fd;

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
    pub(crate) state: Option<StateMaker>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) counters: Counters,
    pub(crate) requests: Arc<Requests>,
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
    Settling {
        /// Its pid.
        #[cfg_attr(
            not(feature = "systemd_notify"),
            expect(dead_code, reason = "nobody but systemd has to know")
        )]
        successor: u32,
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
    fn all(&self) -> Vec<i32> {
        [&self.upgrade[..], &self.stop, &self.partial_stop].concat()
    }

    /// What asks a process like ours for this.
    fn asking(&self, then: Then) -> Option<i32> {
        match then {
            Then::Serve => None,
            Then::Upgrade => self.upgrade.first().copied(),
            Then::Stop => self.stop.first().copied(),
            Then::PartialStop => self.partial_stop.first().copied(),
        }
    }

    /// What makes a process like ours end its drain.
    fn ending(&self) -> i32 {
        self.stop.first().copied().unwrap_or(libc::SIGTERM)
    }
}

/// What is asked of this process while an upgrade goes on, and the one place in
/// which an upgrade can go on.
#[derive(Debug)]
pub(crate) struct Requests {
    asked: Mutex<Vec<Seen>>,
    wake: EventFd,
    /// Held by the upgrade that is under way.
    slot: Mutex<()>,
    attempts: AtomicU64,
}

impl Requests {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self {
            asked: Mutex::default(),
            wake,
            slot: Mutex::default(),
            attempts: AtomicU64::new(0),
        })
    }

    /// Asks.
    pub(crate) fn ask(&self, what: Seen) {
        self.lock().push(what);
        // It can only fail when the counter is full, and then it is readable.
        let _ = self.wake.write(1);
    }

    /// Takes the place of the one upgrade that can go on. If it is taken, the one
    /// who has it is asked for another upgrade, to be passed on if it completes.
    fn enter(&self) -> (MutexGuard<'_, ()>, bool) {
        match self.slot.try_lock() {
            Ok(slot) => (slot, false),
            Err(TryLockError::Poisoned(slot)) => (slot.into_inner(), false),
            Err(TryLockError::WouldBlock) => {
                self.ask(Seen::AskedUpgrade);
                (self.slot.lock().unwrap_or_else(PoisonError::into_inner), true)
            }
        }
    }

    /// Asks an upgrade that is under way to make way for a stop, and waits until
    /// none is.
    pub(crate) fn ask_stop(&self) {
        self.ask(Seen::AskedStop { partial: false });
        drop(self.slot.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Vec<Seen> {
        // Emptied before the list is: a request in between wakes once more.
        let _ = self.wake.read();
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the face that drives the state machine")]
fn now() -> Instant {
    Instant::now()
}

/// Makes one upgrade, when no other is under way. Blocks until the outcome is
/// certain. On failure this process accepts again, and nothing is left of the
/// successor; on success it drains.
pub(crate) fn run(course: &Course, environment: Vec<(OsString, OsString)>) -> UpgradeReport {
    let (_slot, waited) = course.requests.enter();
    match course.watch.phase() {
        Phase::Serving => make(course, environment),
        Phase::Draining | Phase::HandingOff if waited => course.refuse(UpgradeErrorKind::PassedOn),
        Phase::Draining | Phase::HandingOff => course.refuse(UpgradeErrorKind::Succeeded),
        Phase::Stopping | Phase::Starting => course.refuse(UpgradeErrorKind::Stopping),
    }
}

#[tracing::instrument(skip_all, name = "upgrade", fields(generation = course.generation + 1))]
fn make(course: &Course, environment: Vec<(OsString, OsString)>) -> UpgradeReport {
    let asked = now();
    let mut report = UpgradeReport {
        attempt: course.requests.attempts.fetch_add(1, Ordering::Relaxed) + 1,
        generation: course.generation + 1,
        predecessor: std::process::id(),
        successor: None,
        started: None,
        handed_off: None,
        decided: Duration::ZERO,
        outcome: Ok(()),
    };
    course.requests.take();
    course.counters.upgrade_started();
    course.observe(Stage::Begun);
    let mut successor = None;
    report.outcome = start(course, environment).and_then(|started| {
        report.successor = Some(started.pid());
        report.started = Some(now() - asked);
        let leaving = Leaving::new(asked + course.ready_deadline, course.probation);
        let successor = successor.insert(started);
        Drive { course, leaving, asked, report: &mut report, status: None, settled: false }
            .finish(successor)
    });
    report.decided = now() - asked;
    course.count(&report);
    match &report.outcome {
        Ok(()) => tracing::info!("{report}"),
        Err(_) => tracing::error!("{report}"),
    }
    course.observe(Stage::Decided(&report));
    match (&report.outcome, successor) {
        (Ok(()), Some(successor)) => {
            let emptied = successor.let_go();
            course.registry.set_tenure(Tenure::Successor);
            course.registry.clear(emptied);
            course.watch.set(Phase::Draining);
        }
        (_, failed) => {
            // Killed and reaped, if that has not been done; and what that sets
            // free is held back again before a connection can take it.
            let held = course.watch.hold();
            drop(failed);
            course.spares.refill();
            drop(held);
            course.serve_again(&report);
        }
    }
    report
}

/// Starts the successor; if there are no descriptors left, with those that were
/// held back for this. Nobody accepts meanwhile, so that none of them goes to a
/// connection.
fn start(
    course: &Course,
    environment: Vec<(OsString, OsString)>,
) -> Result<Successor, UpgradeError> {
    fd::refuse_sigpipe()?;
    let environment = course.program.environment(environment);
    let state = course.state.as_ref().map(StateMaker::make).transpose();
    let state = state.map_err(|error| UpgradeError::with_source(UpgradeErrorKind::State, error))?;
    let sockets = course.registry.export();
    let ignored = [course.signals.all(), course.program.ignored.clone()].concat();
    let launch = || {
        let state = state.as_ref().map(|state| state::pass(state.version(), state.bytes()));
        let state = state.transpose()?;
        // Looking at processes needs a descriptor, too.
        let this = ancestors::this_process(course.generation, course.signals.ending());
        let mut ancestors = ancestors::living(&course.ancestors);
        match this {
            Ok(this) => ancestors.push(this),
            Err(error) if used_up(&error) => return Err(error.into()),
            // Where /proc is not mounted. Nobody can end our drain for us then.
            Err(error) => tracing::warn!(%error, "successors will not know this process"),
        }
        Successor::start(&Launch {
            program: &course.program,
            environment: environment.clone(),
            sockets: &sockets,
            state,
            generation: course.generation + 1,
            ancestors,
            ignored: &ignored,
        })
    };
    match launch() {
        Err(error) if error.io().is_some_and(used_up) => {
            let _held = course.watch.hold();
            course.spares.release();
            let outcome = launch();
            course.spares.refill();
            outcome
        }
        outcome => outcome,
    }
}

impl Course {
    /// One that cannot begin, for want of a thread to make it on. The hooks are
    /// called here, on the thread that asks.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn cannot_begin(&self, error: io::Error) -> UpgradeReport {
        let report = UpgradeReport::not_started(self.generation, error.into());
        tracing::error!("{report}");
        self.counters.upgrade_started();
        self.count(&report);
        self.observe(Stage::Decided(&report));
        report
    }

    /// An upgrade that does not even begin.
    fn refuse(&self, kind: UpgradeErrorKind) -> UpgradeReport {
        let report = UpgradeReport::not_started(self.generation, UpgradeError::new(kind));
        self.observe(Stage::Decided(&report));
        report
    }

    fn observe(&self, stage: Stage<'_>) {
        for observer in &self.observers {
            // A hook that panics has been reported by the panic hook. It must
            // not take the successor with it, or leave the gate shut.
            let _ = catch_unwind(AssertUnwindSafe(|| observer(stage)));
        }
    }

    fn count(&self, report: &UpgradeReport) {
        match &report.outcome {
            Ok(()) => self.counters.upgrade_completed(),
            Err(error) if matches!(error.kind(), UpgradeErrorKind::RolledBack(_)) => {
                self.counters.upgrade_rolled_back();
            }
            Err(_) => self.counters.upgrade_failed(),
        }
    }

    /// Nothing has changed, as far as anybody can see.
    fn serve_again(&self, report: &UpgradeReport) {
        // What the successor has made of the flags that we share with it.
        self.registry.assert_flags();
        // A failing system call of ours may have left the gate shut.
        self.watch.advance(Phase::HandingOff, Phase::Serving);
        if let (Some(_), Some(pid_file)) = (report.handed_off, &self.pid_file) {
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

struct Drive<'a> {
    course: &'a Course,
    leaving: Leaving,
    asked: Instant,
    report: &'a mut UpgradeReport,
    /// How the successor ended.
    status: Option<ExitStatus>,
    /// It is the one now.
    settled: bool,
}

impl Drive<'_> {
    fn finish(mut self, successor: &mut Successor) -> Result<(), UpgradeError> {
        let requests = &self.course.requests;
        loop {
            let mut seen = requests.take();
            if let Some(deadline) = self.leaving.deadline() {
                let most = deadline.saturating_duration_since(now());
                let most = if seen.is_empty() { most } else { Duration::ZERO };
                seen.extend(successor.wait(most, requests.wake.as_fd())?);
            }
            for seen in seen {
                if let Some(verdict) = self.handle(seen, successor)? {
                    return self.conclude(verdict, successor);
                }
            }
            // Whatever was seen: one that talks without end is not waited for
            // without end. What was seen may have set another deadline.
            if self.leaving.deadline().is_some_and(|deadline| now() >= deadline)
                && let Some(verdict) = self.handle(Seen::Deadline, successor)?
            {
                return self.conclude(verdict, successor);
            }
        }
    }

    fn handle(
        &mut self,
        seen: Seen,
        successor: &mut Successor,
    ) -> Result<Option<Verdict>, UpgradeError> {
        for action in self.leaving.handle(now(), seen) {
            if let Some(verdict) = self.act(action, successor)? {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    fn act(
        &mut self,
        action: Do,
        successor: &mut Successor,
    ) -> Result<Option<Verdict>, UpgradeError> {
        match action {
            Do::StopAccepting => {
                self.course.watch.set(Phase::HandingOff);
                self.report.handed_off = Some(now() - self.asked);
                self.course.observe(Stage::HandedOff);
            }
            Do::AcceptAgain => {
                self.course.registry.assert_flags();
                self.course.watch.set(Phase::Serving);
            }
            Do::Say(word) => {
                if let Word::Settled(_) = word {
                    self.settling(successor);
                }
                successor.say(word)?;
            }
            Do::Mark { place, wanted } => {
                self.course.registry.mark(place, wanted);
                self.course.watch.wake();
            }
            Do::Kill => self.status = Some(successor.end()?),
            Do::Finish(verdict) => return Ok(Some(verdict)),
        }
        Ok(None)
    }

    fn conclude(&mut self, verdict: Verdict, successor: &Successor) -> Result<(), UpgradeError> {
        let status = self.status.unwrap_or_default();
        Err(UpgradeError::new(match verdict {
            Verdict::Completed => {
                self.settling(successor);
                self.pass_on(successor);
                return Ok(());
            }
            Verdict::Exited => UpgradeErrorKind::Exited(status),
            Verdict::Deadline => UpgradeErrorKind::Deadline(self.course.ready_deadline),
            Verdict::Closed => UpgradeErrorKind::ReadyPipeClosed,
            Verdict::Garbage => UpgradeErrorKind::Garbage,
            Verdict::RolledBack => UpgradeErrorKind::RolledBack(status),
            Verdict::Stopped => UpgradeErrorKind::Stopped,
        }))
    }

    /// Once; one built on the published crate is not told in words.
    fn settling(&mut self, successor: &Successor) {
        if !std::mem::replace(&mut self.settled, true) {
            self.course.observe(Stage::Settling { successor: successor.pid() });
        }
    }

    /// What could not be passed on in words is, as far as it goes, by the signal
    /// that has asked us for it: the successor is the same service.
    fn pass_on(&self, successor: &Successor) {
        let Some(then) = self.leaving.owes() else { return };
        match self.course.signals.asking(then).map(|signal| successor.signal(signal)) {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, ?then, "cannot pass a request on"),
            None => tracing::error!(?then, "a request is lost: no signal stands for it"),
        }
    }
}
