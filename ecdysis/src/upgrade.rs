//! One upgrade, from the request to the outcome: the state machine of
//! `protocol.rs` driven with a real process and poll(2).
//!
//! It blocks, on a thread of its own, so that the same engine serves a
//! synchronous program and one with an async runtime, and no busy runtime can
//! delay a handoff.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::phase::{Phase, Watch};
use crate::program::Program;
use crate::protocol::{Do, Leaving, Seen, Verdict};
use crate::registry::Registry;
use crate::report::UpgradeReport;
use crate::successor::{Launch, Successor};
use crate::sys::fd;

/// What an upgrade needs to know of the process that makes it.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) registry: Registry,
    pub(crate) watch: Watch,
    pub(crate) program: Program,
    /// Our own generation.
    pub(crate) generation: u64,
    pub(crate) ready_deadline: Duration,
    pub(crate) probation: Duration,
    /// Signals that mean something to us, and so must not kill a successor
    /// that has no handlers yet.
    pub(crate) signals: Vec<i32>,
}

/// What is asked of this process while the upgrade goes on.
#[derive(Debug)]
pub(crate) struct Requests {
    asked: Mutex<Vec<Seen>>,
    wake: EventFd,
}

impl Requests {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self { asked: Mutex::default(), wake })
    }

    /// Asks.
    pub(crate) fn ask(&self, what: Seen) {
        self.lock().push(what);
        // It can only fail when the counter is full, and then it is readable.
        let _ = self.wake.write(1);
    }

    fn take(&self) -> Vec<Seen> {
        // Emptied before the list is: a request in between wakes once more.
        let _ = self.wake.read();
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the face that drives the state machine")]
fn now() -> Instant {
    Instant::now()
}

/// Makes one upgrade. Blocks until the outcome is certain. On failure this
/// process accepts again, and nothing is left of the successor.
pub(crate) fn run(
    course: &Course,
    environment: Vec<(OsString, OsString)>,
    requests: &Requests,
) -> UpgradeReport {
    let asked = now();
    let mut report = UpgradeReport {
        generation: course.generation + 1,
        predecessor: std::process::id(),
        successor: None,
        started: None,
        handed_off: None,
        decided: Duration::ZERO,
        outcome: Ok(()),
    };
    let mut leaving = Leaving::new(asked + course.ready_deadline, course.probation);
    report.outcome = start(course, environment).and_then(|mut successor| {
        report.successor = Some(successor.pid());
        report.started = Some(now() - asked);
        let mut drive = Drive { course, leaving: &mut leaving, requests, report: &mut report };
        let outcome = drive.finish(asked, &mut successor);
        match outcome {
            Ok(()) => successor.let_go(),
            // A failing system call of ours may leave the gate shut.
            Err(_) => course.watch.advance(Phase::HandingOff, Phase::Serving),
        }
        outcome
    });
    report.decided = now() - asked;
    report
}

fn start(
    course: &Course,
    environment: Vec<(OsString, OsString)>,
) -> Result<Successor, UpgradeError> {
    fd::refuse_sigpipe()?;
    Successor::start(&Launch {
        program: &course.program,
        environment,
        sockets: course.registry.export(),
        generation: course.generation + 1,
        ignored: &course.signals,
    })
}

struct Drive<'a> {
    course: &'a Course,
    leaving: &'a mut Leaving,
    requests: &'a Requests,
    report: &'a mut UpgradeReport,
}

impl Drive<'_> {
    fn finish(&mut self, asked: Instant, successor: &mut Successor) -> Result<(), UpgradeError> {
        let mut status = None;
        loop {
            let mut seen = self.requests.take();
            if let Some(deadline) = self.leaving.deadline() {
                let most = deadline.saturating_duration_since(now());
                let most = if seen.is_empty() { most } else { Duration::ZERO };
                seen.extend(successor.wait(most, self.requests.wake.as_fd())?);
                if seen.is_empty() && now() >= deadline {
                    seen.push(Seen::Deadline);
                }
            }
            for seen in seen {
                for action in self.leaving.handle(now(), seen) {
                    match action {
                        Do::StopAccepting => {
                            self.course.watch.set(Phase::HandingOff);
                            self.report.handed_off = Some(now() - asked);
                        }
                        Do::AcceptAgain => self.course.watch.set(Phase::Serving),
                        Do::Say(word) => successor.say(word)?,
                        Do::Kill => status = Some(successor.end()?),
                        Do::Finish(verdict) => return self.conclude(verdict, status),
                    }
                }
            }
        }
    }

    fn conclude(&self, verdict: Verdict, status: Option<ExitStatus>) -> Result<(), UpgradeError> {
        let status = status.unwrap_or_default();
        Err(UpgradeError::new(match verdict {
            Verdict::Completed => return Ok(()),
            Verdict::Exited => UpgradeErrorKind::Exited(status),
            Verdict::Deadline => UpgradeErrorKind::Deadline(self.course.ready_deadline),
            Verdict::Closed => UpgradeErrorKind::ReadyPipeClosed,
            Verdict::Garbage => UpgradeErrorKind::Garbage,
            Verdict::RolledBack => UpgradeErrorKind::RolledBack(status),
            Verdict::Stopped => UpgradeErrorKind::Stopped,
        }))
    }
}
