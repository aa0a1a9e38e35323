//! One upgrade, from the request to the outcome: the state machine of
//! `protocol` driven with a real process and poll(2).
//!
//! It blocks, on a thread of its own, so that the same engine serves a
//! synchronous program and one with an async runtime, and no busy runtime can
//! delay a handoff.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::ancestors;
use crate::course::{Course, Stage};
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::listed::Tenure;
use crate::phase::Phase;
use crate::protocol::{Do, Later, Leaving, Seen, Then, Verdict, Word, after};
use crate::report::UpgradeReport;
use crate::spare::used_up;
use crate::state::{self, StateMaker};
use crate::successor::{Launch, Successor};
use crate::sys::fd;

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
        Phase::Draining | Phase::HandingOff if waited && !course.requests.has_lost() => {
            course.refuse(UpgradeErrorKind::PassedOn)
        }
        Phase::Draining | Phase::HandingOff => course.refuse(UpgradeErrorKind::Succeeded),
        Phase::Stopping | Phase::Starting => course.refuse(UpgradeErrorKind::Stopping),
    };
    drop(slot);
    if course.requests.is_stop_asked() {
        // By a hook of ours, perhaps, which could not wait for its turn.
        stop_now(course, false);
    }
    report
}

/// Stops this process. If an upgrade is under way, it makes way, or passes the
/// stop on. Returns when that is over; in a hook at once.
pub(crate) fn stop(course: &Course, partial: bool) {
    course.requests.ask(Seen::AskedStop { partial: false });
    stop_now(course, partial);
}

fn stop_now(course: &Course, partial: bool) {
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
            let said = [Later::Partly, Later::Stopping];
            course.tell.say(if partial { &said } else { &said[1..] });
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
    // A panic of ours must not leave the accept gate shut, or a successor behind.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let started = start(course, environment)?;
        // Whatever comes now, what it has left behind is cleaned up by its number.
        report.successor = Some(started.pid());
        report.started = Some(now() - asked);
        point!(PROGRAM_HAS_STARTED?);
        let leaving = Leaving::new(after(asked, course.ready_deadline), course.probation);
        let successor = successor.insert(started);
        Drive { course, leaving, asked, report: &mut report, status: None, settled: false }
            .finish(successor)
    }));
    report.outcome =
        outcome.unwrap_or_else(|_| Err(io::Error::other("the upgrade panicked").into()));
    report.decided = now() - asked;
    point!(OUTCOME_IS_CERTAIN);
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
            point!(DRAIN_BEGINS);
        }
        (_, failed) => {
            // Killed and reaped, if that has not been done; and what that sets
            // free is held back again before a connection can take it.
            point!(SERVICE_IS_TAKEN_BACK);
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
    point!(UPGRADE_BEGINS?);
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
                seen.extend(self.look(successor, most)?);
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

    /// What is seen of the successor, within `most`. If we cannot look any more at one
    /// that serves, its probation is over: it has connections, and ending it would
    /// cost them.
    fn look(&self, successor: &mut Successor, most: Duration) -> io::Result<Vec<Seen>> {
        let wake = self.course.requests.wake();
        if self.report.handed_off.is_none() {
            point!(READINESS_IS_AWAITED?);
            return successor.wait(most, wake);
        }
        Ok(probation(successor, most, wake).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot watch the successor, which serves; letting it go");
            vec![Seen::Deadline]
        }))
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
                point!(READINESS_IS_HEARD?);
                self.course.watch.set(Phase::HandingOff);
                self.report.handed_off = Some(now() - self.asked);
                self.course.observe(Stage::HandedOff);
            }
            Do::AcceptAgain => {
                point!(ACCEPTING_BEGINS_AGAIN);
                self.course.registry.take_back();
                self.course.watch.set(Phase::Serving);
            }
            Do::SayGo => {
                point!(ACCEPTING_HAS_STOPPED?);
                successor.say(Word::Go)?;
                point!(GO_IS_SAID);
            }
            Do::SaySettled(then) => {
                self.settling(successor);
                if let Err(error) = say_settled(successor, then) {
                    tracing::error!(%error, "cannot tell the successor, which serves, more");
                }
                point!(SETTLED_HAS_BEEN_SAID);
            }
            Do::Mark { place, wanted } => {
                self.course.registry.mark(place, wanted);
                self.course.watch.wake();
            }
            Do::Kill => {
                point!(SUCCESSOR_IS_ENDED?);
                self.status = Some(successor.end()?);
            }
            Do::Finish(verdict) => return Ok(Some(verdict)),
        }
        Ok(None)
    }

    fn conclude(&mut self, verdict: Verdict, successor: &Successor) -> Result<(), UpgradeError> {
        let status = self.status.unwrap_or_default();
        Err(UpgradeError::new(match verdict {
            Verdict::Completed => {
                self.settling(successor);
                if self.leaving.stops_first() {
                    self.course.requests.expect_echo();
                }
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
            let (successor, stops) = (successor.pid(), self.leaving.stops());
            self.course.observe(Stage::Settling { successor, stops });
        }
    }
}

fn probation(
    successor: &mut Successor,
    most: Duration,
    wake: BorrowedFd<'_>,
) -> io::Result<Vec<Seen>> {
    point!(PROBATION_IS_WATCHED?);
    successor.wait(most, wake)
}

fn say_settled(successor: &mut Successor, then: Then) -> io::Result<()> {
    point!(SETTLED_IS_SAID?);
    successor.say(Word::Settled(then))
}

#[cfg(all(test, feature = "tokio_ecdysis"))]
pub(crate) use tests::Says;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::net::TcpStream;
    use std::os::fd::AsFd;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::stat::Mode;
    use nix::sys::wait::waitpid;
    use nix::unistd::{Pid, mkfifo};
    use tempfile::TempDir;

    use super::*;
    use crate::course::Observer;
    use crate::ecdysis::Ecdysis;
    use crate::program::Program;

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
    fn what_is_too_large_for_exec_is_execs_own_error() {
        let mut ecdysis = before("exit 1");
        // The longest string that the kernel takes has a byte less (execve(2)).
        ecdysis.program_mut().variable("BIG", "x".repeat(128 * 1024));
        let error = ecdysis.upgrade().unwrap_err();
        assert!(matches!(error.kind(), UpgradeErrorKind::Start { .. }), "{error}");
        assert_eq!(error.io().unwrap().raw_os_error(), Some(libc::E2BIG));
        assert_eq!(ecdysis.phase(), Phase::Serving);
    }

    /// Longer than a pipe holds, by far.
    fn before_many_sockets(script: &str) -> Ecdysis {
        let ecdysis = before(script);
        let null = File::open("/dev/null").unwrap();
        for number in 0..500 {
            ecdysis.pass_fd(format!("{number:0400}"), &null).unwrap();
        }
        ecdysis
    }

    #[test]
    fn a_manifest_that_nobody_reads_keeps_nobody() {
        let mut ecdysis = before_many_sockets("exec sleep 1000");
        ecdysis.set_ready_deadline(Duration::from_millis(100));
        let error = ecdysis.upgrade().unwrap_err();
        assert_eq!(error.kind(), &UpgradeErrorKind::Deadline(Duration::from_millis(100)));
        assert_eq!(ecdysis.phase(), Phase::Serving);
    }

    #[test]
    fn five_hundred_descriptors_cross_with_a_manifest_that_is_longer_than_a_pipe() {
        // The pipes, the five hundred, and no other; and the manifest to its end.
        let script = "[ -e /proc/self/fd/504 ] || exit 3
                      [ ! -e /proc/self/fd/505 ] || exit 4
                      [ $(head -c 200000 <&3 | wc -c) = 200000 ] || exit 5
                      printf OK >&4; exec 3<&- 4>&-; exec sleep 1000";
        let ecdysis = before_many_sockets(script);
        let report = ecdysis.upgrade_reported();
        report.outcome.unwrap();
        let successor = Pid::from_raw(report.successor.unwrap().cast_signed());
        kill(successor, Signal::SIGTERM).unwrap();
        waitpid(successor, None).unwrap();
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

    /// The queue was reset: it was taken for one that the successor has.
    #[test]
    fn a_listener_that_is_made_during_an_upgrade_is_served_to_its_end() {
        let (ecdysis, says) = before_one_that_says();
        let ecdysis = Arc::new(ecdysis);
        let maker = Arc::clone(&ecdysis);
        let (tell, told) = mpsc::channel();
        let make: Observer = Arc::new(move |stage| {
            if matches!(stage, Stage::HandedOff) {
                let listener = maker.listen_tcp(([127, 0, 0, 1], 0).into()).unwrap();
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                tell.send((maker.incoming(listener).unwrap(), client)).unwrap();
            }
        });
        let course = Course { observers: vec![make], ..ecdysis.course().unwrap() };
        let report = run(&course, vec![]);
        report.outcome.unwrap();
        let (incoming, mut client) = told.recv().unwrap();
        assert_eq!(incoming.map(Result::unwrap).count(), 1);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let successor = Pid::from_raw(report.successor.unwrap().cast_signed());
        kill(successor, Signal::SIGTERM).unwrap();
        assert_eq!(says.hear(), "stopped\n");
    }

    /// Every upgrade panicked.
    #[test]
    fn a_deadline_beyond_all_clocks_never_comes() {
        let (mut ecdysis, says) = before_one_that_says();
        ecdysis.set_ready_deadline(Duration::MAX);
        ecdysis.set_probation(Duration::MAX);
        let (tell, told) = mpsc::channel();
        ecdysis.on_phase(move |phase| tell.send(phase).unwrap());
        let report = thread::scope(|scope| {
            let upgrade = scope.spawn(|| ecdysis.upgrade_reported());
            assert_eq!(told.recv(), Ok(Phase::HandingOff));
            ecdysis.quit();
            upgrade.join().unwrap()
        });
        report.outcome.unwrap();
        assert_eq!(says.hear(), "stopped\n");
    }

    /// Everybody was told that he had been passed on.
    #[test]
    fn who_asks_for_an_upgrade_too_late_for_words_is_told_what_becomes_of_it() {
        for signals in [vec![], vec![libc::SIGUSR1]] {
            let (mut ecdysis, says) = before_one_that_says();
            ecdysis.signals.upgrade = signals.clone();
            let (decide, decided) = mpsc::channel();
            let requests = Arc::clone(ecdysis.requests.as_ref().unwrap());
            ecdysis.on_upgrade(move |report| {
                if report.outcome.is_ok() {
                    decide.send(()).unwrap();
                    // Until somebody waits.
                    let mut polled = [PollFd::new(requests.wake(), PollFlags::POLLIN)];
                    poll(&mut polled, PollTimeout::from(60_000_u16)).unwrap();
                }
            });
            let (report, late) = thread::scope(|scope| {
                let first = scope.spawn(|| ecdysis.upgrade_reported());
                decided.recv().unwrap();
                let late = ecdysis.upgrade().unwrap_err();
                (first.join().unwrap(), late)
            });
            report.outcome.unwrap();
            let successor = Pid::from_raw(report.successor.unwrap().cast_signed());
            if signals.is_empty() {
                assert_eq!(late.kind(), &UpgradeErrorKind::Succeeded);
                kill(successor, Signal::SIGTERM).unwrap();
            } else {
                assert_eq!(late.kind(), &UpgradeErrorKind::PassedOn);
            }
            assert_eq!(says.hear(), "stopped\n");
            waitpid(successor, None).unwrap();
        }
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
