//! SIGKILL of a successor between its exec and its readiness.
//!
//! From outside nobody can see the moment of readiness, so a kill aimed into
//! the initialisation might come too late, and would then be another fault. So
//! the successor is first frozen (SIGSTOP). If the old generation then answers
//! a connection that was begun after that, it has not handed off; the successor
//! was not ready, cannot become so, and is killed. If nobody answers, it was too
//! late: the successor is thawed, the upgrade goes on, and the fault is still owed.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::device::{Attempt, Device, Hit, Scene};
use crate::clock::{Clock, Stamp};
use crate::event::Exit;
use crate::subject::Subject;

/// How long after the freeze a connection must have begun to count as proof:
/// far longer than the kernel takes to stop the last thread.
const AFTER_FREEZE: Duration = Duration::from_millis(1);

/// How long to wait for that proof. Until then, if it was too late, clients
/// wait for the frozen successor, and it is our doing; under a load that is
/// worth its name an answer takes a few milliseconds.
const PROOF: Duration = Duration::from_millis(25);

/// How long a killed process may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(2);

/// One try to kill one successor.
#[derive(Clone, Copy, Debug)]
pub struct KillBeforeReady {
    /// From the sight of the successor to the freeze.
    pub delay: Duration,
}

impl Device for KillBeforeReady {
    /// Whatever comes of it, nothing is left frozen.
    fn inject(&mut self, scene: &mut Scene<'_>) -> Attempt {
        let Scene { subject, sightings, clock, old, give_up, .. } = scene;
        let (clock, old) = (*clock, *old);
        let Some(pid) = subject.watch_for_child(old, *give_up) else {
            return missed(None, "no successor was started");
        };
        let seen = clock.now();
        spin_until(clock, seen.after(self.delay));
        if sightings.first_by(pid).is_some() {
            return missed(Some(pid), "late: it had answered a client");
        }
        if subject.signal(pid, Signal::SIGSTOP).is_err() || subject.is_gone(pid) {
            return missed(Some(pid), "it had ended by itself");
        }
        let frozen = clock.now();
        let proof = sightings
            .wait_until(PROOF, |board| board.newest_by(old) > Some(frozen.after(AFTER_FREEZE)));
        if !proof || sightings.first_by(pid).is_some() {
            // A process that is gone needs no thawing.
            let _ = subject.signal(pid, Signal::SIGCONT);
            return missed(Some(pid), "late: the old generation had stopped accepting");
        }
        let injected = clock.now();
        let killed = subject.signal(pid, Signal::SIGKILL);
        let gone = subject.wait_gone(pid, AFTERMATH);
        if killed.is_err() || !gone {
            let _ = subject.signal(pid, Signal::SIGCONT);
            return missed(Some(pid), "SIGKILL was not obeyed");
        }
        let evidence = self.evidence(subject, (old, pid), frozen, injected);
        Attempt::Delivered(Hit { pid: Some(pid), victim: Some(pid), injected, evidence })
    }
}

impl KillBeforeReady {
    fn evidence(
        &self,
        subject: &Subject,
        (old, pid): (u32, u32),
        frozen: Stamp,
        injected: Stamp,
    ) -> String {
        let process = subject.processes().iter().find(|process| process.pid == pid);
        let ended = match process.and_then(|process| process.exit) {
            Some(Exit::Signal(signal)) => format!("ended by signal {signal}"),
            Some(Exit::Code(code)) => format!("ended with status {code}"),
            Some(Exit::Reaped) | None => "gone, reaped by its parent".to_owned(),
        };
        format!(
            "pid {pid} frozen {:?} after it was seen, pid {old} answered a connection begun after \
             that, SIGKILL {:?} later: {ended}",
            self.delay,
            injected - frozen,
        )
    }
}

fn missed(pid: Option<u32>, evidence: &str) -> Attempt {
    Attempt::Missed { pid, evidence: evidence.to_owned() }
}

/// A sleep would be late by more than the time that is aimed at.
fn spin_until(clock: Clock, until: Stamp) {
    while clock.now() < until {
        std::hint::spin_loop();
    }
}
