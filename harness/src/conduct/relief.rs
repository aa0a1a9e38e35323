//! An upgrade between two runs, when there is no client: what a fresh process holds
//! that has never had one can be compared with what each other such process held.

use std::thread;
use std::time::Duration;

use super::start::LOG_LINES;
use crate::clock::{Clock, Stamp};
use crate::event::Resources;
use crate::observe::procfs;
use crate::scenario::Plan;
use crate::scenario::plan::By;
use crate::subject::{Subject, native};

/// Between two looks. What is waited for takes a time of probation.
const LOOK: Duration = Duration::from_millis(2);

/// How long a fresh process is given to let go of what only the handoff needed.
const SETTLED: Duration = Duration::from_millis(200);

/// How a server has passed on between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relief {
    /// A fresh process serves, and no other is left.
    Done {
        /// It.
        pid: u32,
        /// What it holds.
        resources: Resources,
        /// Processes that were there before it was asked to, and had no client; more
        /// than one had stayed behind.
        stayed: usize,
    },
    /// None does; the server cannot go on.
    Failed {
        /// What happened, and what the server said.
        why: String,
    },
}

impl Relief {
    /// The process that serves now.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Done { pid, .. } => Some(*pid),
            Self::Failed { .. } => None,
        }
    }

    /// Waits until only the serving process is left, and has it pass on.
    pub(super) fn of(
        plan: &Plan,
        subject: &mut Subject,
        clock: Clock,
        serving: Option<u32>,
    ) -> Self {
        let failed = |subject: &Subject, why: &str| Self::Failed {
            why: format!("{why}; the server said last: {}", subject.log_tail(LOG_LINES)),
        };
        let By::Signal(signal) = &plan.target.trigger.by else {
            return failed(subject, "only a signal can ask for an upgrade between two runs");
        };
        let drained = clock.now().after(plan.target.drain_timeout);
        until(subject, clock, drained, |subject| subject.alive() <= 1);
        let stayed = subject.alive();
        let Some(old) = serving.filter(|pid| !subject.is_gone(*pid)) else {
            return failed(subject, "the process that served has ended");
        };
        if let Err(error) = subject.signal(old, native(*signal)) {
            return failed(subject, &format!("it cannot be asked to pass on: {error}"));
        }
        let limit = plan.target.ready_timeout + plan.target.drain_timeout;
        let passed =
            until(subject, clock, clock.now().after(limit), |subject| subject.is_gone(old));
        let youngest = subject.processes().iter().filter(|process| process.gone.is_none());
        let youngest = youngest.max_by_key(|process| process.seen).map(|process| process.pid);
        let Some(pid) = youngest.filter(|_| passed) else {
            return failed(subject, &format!("process {old} has not passed on within {limit:?}"));
        };
        match settled(pid, clock) {
            Some(resources) => Self::Done { pid, resources, stayed },
            None => failed(subject, "the fresh process has ended"),
        }
    }
}

/// What a process holds once it holds no less from one look to the next for a while:
/// its predecessor is gone just now.
fn settled(pid: u32, clock: Clock) -> Option<Resources> {
    let until = clock.now().after(SETTLED);
    let mut least = procfs::resources(pid).ok()?;
    while clock.now() < until {
        thread::sleep(LOOK);
        let now = procfs::resources(pid).ok()?;
        if now.fds.len() <= least.fds.len() {
            least = now;
        }
    }
    Some(least)
}

fn until(
    subject: &mut Subject,
    clock: Clock,
    until: Stamp,
    done: impl Fn(&Subject) -> bool,
) -> bool {
    loop {
        subject.refresh();
        if done(subject) {
            return true;
        }
        if clock.now() >= until {
            return false;
        }
        thread::sleep(LOOK);
    }
}
