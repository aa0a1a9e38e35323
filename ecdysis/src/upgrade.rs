//! One upgrade, from the request to the outcome: the state machine of
//! `protocol` driven with a real process and poll(2).
//!
//! It blocks, on a thread of its own, so that the same engine serves a
//! synchronous program and one with an async runtime, and no busy runtime can
//! delay a handoff.

use std::ffi::OsString;
use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ancestors;
use crate::counters::Counters;
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::hook;
use crate::listed::Tenure;
use crate::manifest::Ancestor;
use crate::phase::{Phase, Watch};
use crate::pidfile::PidFile;
use crate::predecessor::Tell;
use crate::program::Program;
use crate::protocol::{Do, Later, Leaving, Seen, Then, Verdict, Word};
use crate::registry::Registry;
use crate::report::UpgradeReport;
use crate::requests::Requests;
use crate::spare::{Spares, used_up};
use crate::state::{self, StateMaker};
use crate::successor::{Launch, Successor};
use crate::sys::child::Kin;
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
            Then::Stop => Some(self.ending()),
            Then::PartialStop => self.partial_stop.first().copied(),
        }
    }

    /// What makes a process like ours stop, and end its drain. One that names no
    /// signal is still ended by the one that ends any service.
    fn ending(&self) -> i32 {
        self.stop.first().copied().unwrap_or(libc::SIGTERM)
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
    let (slot, waited) = course.requests.enter();
    let report = match course.watch.phase() {
        _ if course.requests.is_stop_asked() => course.refuse(UpgradeErrorKind::Stopping),
        Phase::Serving => make(course, environment),
        Phase::Draining | Phase::HandingOff if waited => course.refuse(UpgradeErrorKind::PassedOn),
        Phase::Draining | Phase::HandingOff => course.refuse(UpgradeErrorKind::Succeeded),
        Phase::Stopping | Phase::Starting => course.refuse(UpgradeErrorKind::Stopping),
    };
    drop(slot);
    if course.requests.is_stop_asked() {
        // By a hook of ours, perhaps, which could not wait for its turn.
        stop_now(course);
    }
    report
}

/// Stops this process. If an upgrade is under way, it makes way, or passes the
/// stop on. Returns when that is over; in a hook at once.
pub(crate) fn stop(course: &Course) {
    course.requests.ask(Seen::AskedStop { partial: false });
    stop_now(course);
}

fn stop_now(course: &Course) {
    // Held until the phase shows it, so that no upgrade begins before.
    let Some(_slot) = course.requests.enter_to_stop() else { return };
    if course.watch.advance(Phase::Starting, Phase::Draining) {
        // The predecessor serves, and will see us end. What we share with it is
        // left as it is.
        course.registry.clear(None);
        return;
    }
    match course.watch.phase() {
        Phase::Draining | Phase::Stopping => {}
        Phase::Starting | Phase::Serving | Phase::HandingOff => {
            course.tell.say(&[Later::Stopping]);
            course.registry.set_tenure(Tenure::Ours);
            course.registry.clear(None);
            course.watch.set(Phase::Stopping);
        }
    }
}

#[tracing::instrument(skip_all, name = "upgrade", fields(generation = course.generation + 1))]
fn make(course: &Course, environment: Vec<(OsString, OsString)>) -> UpgradeReport {
    let asked = now();
    let mut report = UpgradeReport {
        attempt: course.requests.begin(),
        generation: course.generation + 1,
        predecessor: std::process::id(),
        successor: None,
        started: None,
        handed_off: None,
        decided: Duration::ZERO,
        outcome: Ok(()),
    };
    if let (1, Some(warning)) = (report.attempt, first_process(report.predecessor)) {
        tracing::warn!("{warning}");
    }
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
            // Up to here a stop is one of the service.
            course.pass_on(course.requests.succeed(), &successor);
            let (said, emptied) = successor.let_go();
            for said in said {
                if let Seen::Later(Later::Wants { place, wanted }) = said {
                    course.registry.mark(place, wanted);
                }
            }
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

/// What is wrong with upgrading the process with this number. The kernel ends
/// every other of a PID namespace with the first (pid_namespaces(7)).
fn first_process(pid: u32) -> Option<&'static str> {
    (pid == 1).then_some(
        "this process is PID 1: when it ends, after it has been succeeded, its container ends, and \
         the successor with it; start the service from a process that outlives all generations \
         (see the guide's page on containers)",
    )
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
            kin: course.kin,
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
    pub(crate) fn cannot_begin(&self, error: std::io::Error) -> UpgradeReport {
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
            hook::call(|| observer(stage));
        }
    }

    /// What could not be passed on in words is, as far as it goes, by the signal
    /// that has asked us for it: the successor is the same service.
    fn pass_on(&self, then: Option<Then>, successor: &Successor) {
        let Some(then) = then else { return };
        match self.signals.asking(then).map(|signal| successor.signal(signal)) {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, ?then, "cannot pass a request on"),
            None => tracing::error!(?then, "a request is lost: no signal stands for it"),
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
        // What the successor has made of what we share with it.
        self.registry.take_back();
        // A failing system call of ours may have left the gate shut.
        self.watch.advance(Phase::HandingOff, Phase::Serving);
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
                seen.extend(successor.wait(most, requests.wake())?);
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
                self.course.registry.take_back();
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
                self.course.pass_on(self.leaving.owes(), successor);
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
}

#[cfg(all(test, feature = "tokio_ecdysis"))]
pub(crate) use tests::Says;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::sync::mpsc;
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;
    use crate::ecdysis::Ecdysis;

    const STOP: Seen = Seen::AskedStop { partial: false };

    /// A successor of the published crate, which says so, to the file that is named
    /// in its environment, when a signal tells it to stop. (A shell cannot trap
    /// what it was started to ignore, so another program is asked to undo that.)
    pub(crate) const SERVES: [&str; 5] = [
        "--default-signal=TERM",
        "--default-signal=USR1",
        "/bin/sh",
        "-c",
        "sleep 1000 >&- 2>&- 4>&- & trap 'kill $!; echo stopped >\"$SAYS\"; exit' TERM USR1
         printf OK >&4; exec 4>&-; wait",
    ];

    /// A first generation whose successors are shell scripts.
    fn before(script: &str) -> Ecdysis {
        let mut ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        ecdysis.program_mut().path("/bin/sh").arguments(["-c", script]);
        ecdysis.set_probation(Duration::ZERO);
        ecdysis
    }

    /// One whose successor can be heard.
    fn before_one_that_says() -> (Ecdysis, Says) {
        let mut ecdysis = before("");
        let says = Says::of(ecdysis.program_mut());
        (ecdysis, says)
    }

    /// What a successor says when it is stopped.
    pub(crate) struct Says(File, TempDir);

    impl Says {
        pub(crate) fn of(program: &mut Program) -> Self {
            let directory = TempDir::new().unwrap();
            let says = directory.path().join("says");
            mkfifo(&says, Mode::S_IRWXU).unwrap();
            program.path("/usr/bin/env").arguments(SERVES).variable("SAYS", &says);
            // For writing as well, so that nobody waits for the other.
            Self(File::options().read(true).write(true).open(says).unwrap(), directory)
        }

        pub(crate) fn hear(mut self) -> String {
            let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let heard = poll(&mut polled, PollTimeout::from(60_000_u16)).unwrap();
            assert_eq!(heard, 1, "nobody was stopped");
            let mut said = [0; 80];
            let count = self.0.read(&mut said).unwrap();
            drop(self.1);
            String::from_utf8(said[..count].to_vec()).unwrap()
        }
    }

    #[test]
    fn only_the_first_process_of_a_container_is_warned() {
        assert!(first_process(1).unwrap().contains("outlives all generations"));
        assert_eq!(first_process(std::process::id()), None);
    }

    #[test]
    fn a_stop_in_the_instant_before_an_upgrade_is_not_forgotten() {
        let ecdysis = before("printf OK >&4; exec 4>&-; exec sleep 1000");
        let course = ecdysis.course().unwrap();
        course.requests.ask(STOP);
        // Past the look at the phase, and at what was asked.
        let report = make(&course, Vec::new());
        assert_eq!(report.outcome.unwrap_err().kind(), &UpgradeErrorKind::Stopped);
        // And before both.
        let report = run(&course, Vec::new());
        assert_eq!(report.outcome.unwrap_err().kind(), &UpgradeErrorKind::Stopping);
        assert_eq!(ecdysis.phase(), Phase::Stopping);
    }

    #[test]
    fn a_stop_between_the_verdict_and_the_report_is_passed_on() {
        let (ecdysis, says) = before_one_that_says();
        let course = ecdysis.course().unwrap();
        let requests = Arc::clone(&course.requests);
        let ask: Observer = Arc::new(move |stage| {
            if matches!(stage, Stage::Decided(_)) {
                assert!(requests.ask(STOP));
            }
        });
        let course = Course { observers: vec![ask], ..course };
        run(&course, vec![]).outcome.unwrap();
        assert_eq!(ecdysis.phase(), Phase::Draining);
        assert_eq!(says.hear(), "stopped\n");
        assert!(!course.requests.ask(STOP), "what comes now is not passed on any more");
    }

    #[test]
    fn nothing_begins_before_a_stop_shows_in_the_phase() {
        let mut ecdysis = before("exit 1");
        let requests = Arc::clone(ecdysis.requests.as_ref().unwrap());
        let (tell, told) = mpsc::channel();
        ecdysis.on_phase(move |phase| {
            // In a hook this does not wait.
            tell.send((phase, requests.enter_to_stop().is_none())).unwrap();
        });
        ecdysis.quit();
        assert_eq!(told.recv().unwrap(), (Phase::Stopping, true));
    }

    #[test]
    fn a_hook_can_stop_what_calls_it_and_cannot_upgrade_it() {
        // A failed upgrade: the stop is made here.
        let (ecdysis, told) = hooked(before("exit 3"));
        let kind = ecdysis.upgrade().unwrap_err().kind().clone();
        assert!(matches!(kind, UpgradeErrorKind::Exited(_)), "{kind:?}");
        assert_eq!(told.recv().unwrap(), UpgradeErrorKind::InHook);
        assert_eq!(ecdysis.phase(), Phase::Stopping);
        // One that has completed: it is made there.
        let (ecdysis, says) = before_one_that_says();
        let (ecdysis, told) = hooked(ecdysis);
        ecdysis.upgrade().unwrap();
        assert_eq!(told.recv().unwrap(), UpgradeErrorKind::InHook);
        assert_eq!((ecdysis.phase(), &*says.hear()), (Phase::Draining, "stopped\n"));
    }

    /// One whose hook asks for everything.
    fn hooked(mut ecdysis: Ecdysis) -> (Arc<Ecdysis>, mpsc::Receiver<UpgradeErrorKind>) {
        let (tell, told) = mpsc::channel();
        let itself: Arc<std::sync::OnceLock<std::sync::Weak<Ecdysis>>> = Arc::default();
        let hook_itself = Arc::clone(&itself);
        ecdysis.on_upgrade(move |_| {
            let ecdysis = hook_itself.get().unwrap().upgrade().unwrap();
            ecdysis.quit();
            tell.send(ecdysis.upgrade().unwrap_err().kind().clone()).unwrap();
        });
        let ecdysis = Arc::new(ecdysis);
        itself.set(Arc::downgrade(&ecdysis)).unwrap();
        (ecdysis, told)
    }

    #[test]
    fn whoever_waits_for_an_upgrade_is_answered_when_a_stop_comes() {
        let ecdysis = before("exec sleep 1000");
        thread::scope(|scope| {
            let (begin, begun) = mpsc::channel();
            let begin = std::sync::Mutex::new(begin);
            let course = ecdysis.course().unwrap();
            let observer: Observer = Arc::new(move |stage| {
                if matches!(stage, Stage::Begun) {
                    begin.lock().unwrap().send(()).unwrap();
                }
            });
            let course = Course { observers: vec![observer], ..course };
            let one = scope.spawn(move || run(&course, Vec::new()));
            begun.recv().unwrap();
            let other = scope.spawn(|| ecdysis.upgrade());
            ecdysis.quit();
            let stopped = one.join().unwrap().outcome.unwrap_err();
            assert_eq!(stopped.kind(), &UpgradeErrorKind::Stopped);
            let stopping = other.join().unwrap().unwrap_err();
            assert_eq!(stopping.kind(), &UpgradeErrorKind::Stopping);
            assert_eq!(ecdysis.phase(), Phase::Stopping);
        });
    }
}
