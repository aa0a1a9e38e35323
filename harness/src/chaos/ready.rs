//! What befalls a successor when it has just begun to serve: it dies, or stands still.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::device::{Attempt, Device, Hit, Scene};
use crate::scenario::fault::Blow;

/// How long a killed process may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How long each wait for an answer is, between looks at whether it is of use still.
const LOOK: Duration = Duration::from_millis(1);

/// A blow to the successor at its first answer.
#[derive(Clone, Copy, Debug)]
pub struct AfterReady {
    /// What befalls it.
    pub blow: Blow,
    /// How long it stands still.
    pub span: Duration,
}

impl Device for AfterReady {
    /// Whatever comes of it, nothing is left frozen.
    fn inject(&mut self, scene: &mut Scene<'_>) -> Attempt {
        let missed = |pid, evidence: &str| Attempt::Missed { pid, evidence: evidence.to_owned() };
        let Some(pid) = scene.subject.watch_for_child(scene.old, scene.give_up) else {
            return missed(None, "no successor was started");
        };
        let answered = |scene: &Scene<'_>| scene.sightings.first_by(pid).is_some();
        while !answered(scene) {
            scene.sightings.wait_until(LOOK, |board| board.first_by(pid).is_some());
            scene.subject.refresh();
            let late = (scene.over)() || scene.clock.now() >= scene.give_up;
            if late && !answered(scene) || scene.subject.is_gone(pid) {
                return missed(Some(pid), "it never answered a client");
            }
        }
        let signal = match self.blow {
            Blow::Kill => Signal::SIGKILL,
            Blow::Freeze => Signal::SIGSTOP,
        };
        let injected = scene.clock.now();
        if scene.subject.signal(pid, signal).is_err() {
            return missed(Some(pid), "it had ended by itself");
        }
        let (victim, evidence) = match self.blow {
            Blow::Kill if !scene.subject.wait_gone(pid, AFTERMATH) => {
                return missed(Some(pid), "SIGKILL was not obeyed");
            }
            Blow::Kill => (
                Some(pid),
                format!("pid {pid} killed by SIGKILL when it had answered its first client"),
            ),
            Blow::Freeze => {
                // This is the fault, not a wait for something.
                thread::sleep(self.span);
                let thawed = scene.subject.signal(pid, Signal::SIGCONT);
                let end = if thawed.is_ok() { "then thawed" } else { "and ended meanwhile" };
                let span = self.span;
                (None, format!("pid {pid} frozen for {span:?} at its first answer, {end}"))
            }
        };
        Attempt::Delivered(Hit { pid: Some(pid), victim, injected, evidence })
    }
}
