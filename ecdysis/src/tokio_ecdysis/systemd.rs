//! What systemd is told of the life of a process, and when. Nothing here blocks
//! or fails: a service does not end because nobody reads its messages.

use std::env;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::systemd::notify::{
    Fields, Notifier, main_pid, monotonic, ready, ready_main, reloading, status, stopping as stops,
    watchdog, watchdog_interval,
};
use crate::upgrade::{Observer, Stage};

/// Tells it, or says in the log that it could not be told.
fn tell(notifier: &Notifier, fields: &Fields) {
    if let Err(error) = notifier.send(fields) {
        tracing::warn!(%error, ?fields, "cannot notify systemd");
    }
}

/// Feeds systemd's watchdog (`WatchdogSec=`) for as long as the loop that polls
/// it is alive, and this process is the main one.
#[derive(Debug)]
pub(super) struct Feeder {
    notifier: Notifier,
    interval: Interval,
}

impl Feeder {
    /// `None` if there is no watchdog. The variables are those of the first
    /// generation; what they say of its pid holds for its successors.
    pub(super) fn new(notifier: &Notifier, is_child: bool) -> Option<Self> {
        let pid = env::var_os("WATCHDOG_PID");
        let first = pid.as_deref().and_then(OsStr::to_str).and_then(|pid| pid.parse().ok());
        let accepted = [first.filter(|_| is_child).unwrap_or_else(std::process::id)];
        let usec: Option<OsString> = env::var_os("WATCHDOG_USEC");
        // Half of it, as sd_watchdog_enabled(3) recommends.
        let span = watchdog_interval(usec.as_deref(), pid.as_deref(), &accepted)? / 2;
        let mut interval = interval(span.max(std::time::Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { notifier: notifier.clone(), interval })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        while self.interval.poll_tick(cx).is_ready() {
            tell(&self.notifier, &watchdog());
        }
    }
}

/// This process serves, and is the main one.
pub(super) fn serving(notifier: &Notifier, generation: u64) {
    let text = format!("generation {generation} serves");
    tell(notifier, &[ready_main(std::process::id()), status(&text)].concat());
}

/// The service stops.
pub(super) fn stopping(notifier: &Notifier) {
    tell(notifier, &[stops(), status("stopping")].concat());
}

/// What is told in the course of an upgrade. All of it is said by the old
/// process: until it says who is the main process now, systemd believes no
/// other (`NotifyAccess=main`). *Ready* ends the reload, so it is said when new
/// connections go to the new generation; the main process changes only at the
/// end of the probation, because the end of the main process is the end of the
/// service, and before the new one hears of it, so that it is heard from then on.
pub(super) fn observer(notifier: Notifier) -> Observer {
    let named = AtomicBool::new(false);
    Arc::new(move |stage| {
        let fields = match stage {
            Stage::Begun => match monotonic() {
                Ok(now) => [reloading(now), status("upgrading")].concat(),
                Err(error) => {
                    tracing::warn!(%error, "cannot read the monotonic clock");
                    return;
                }
            },
            Stage::HandedOff => {
                [ready(), status("new connections go to the new generation")].concat()
            }
            Stage::Settling { successor } => {
                named.store(true, Ordering::Relaxed);
                main_pid(successor)
            }
            Stage::Decided(report) if report.outcome.is_ok() => return,
            // Refused before it began: no reload was begun either, and who has been
            // succeeded or stops is not the one to say *ready*.
            Stage::Decided(report) if report.attempt == 0 => return,
            // The successor was named, and has ended as it was. Heard only where
            // systemd listens to others than the main process as well.
            Stage::Decided(report) if named.swap(false, Ordering::Relaxed) => {
                [ready_main(std::process::id()), status(&report.to_string())].concat()
            }
            Stage::Decided(report) => [ready(), status(&report.to_string())].concat(),
        };
        tell(&notifier, &fields);
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::error::{UpgradeError, UpgradeErrorKind};
    use crate::report::UpgradeReport;

    fn report(attempt: u64, kind: UpgradeErrorKind) -> UpgradeReport {
        UpgradeReport { attempt, ..UpgradeReport::not_started(0, UpgradeError::new(kind)) }
    }

    /// What a manager hears of these stages.
    fn told(stages: &[Stage<'_>]) -> Vec<String> {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let observer = observer(Notifier::connect(Some(path.as_os_str())).unwrap());
        stages.iter().for_each(|stage| observer(*stage));
        let mut told = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match manager.recv(&mut buffer) {
                Ok(count) => told.push(String::from_utf8(buffer[..count].to_vec()).unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return told;
                }
            }
        }
    }

    #[test]
    fn a_refused_upgrade_is_none_that_systemd_has_to_know_of() {
        for kind in [UpgradeErrorKind::Succeeded, UpgradeErrorKind::Stopping] {
            assert_eq!(told(&[Stage::Decided(&report(0, kind))]), [""; 0]);
        }
    }

    #[test]
    fn who_has_named_a_successor_that_is_gone_takes_the_service_back() {
        let failed = report(1, UpgradeErrorKind::ReadyPipeClosed);
        let own = format!("MAINPID={}", std::process::id());
        let [named, taken_back] =
            &told(&[Stage::Settling { successor: 7 }, Stage::Decided(&failed)])[..]
        else {
            panic!("two messages")
        };
        assert_eq!(named, "MAINPID=7");
        assert!(taken_back.contains("READY=1") && taken_back.contains(&own), "{taken_back}");
        let [never_named] = &told(&[Stage::Decided(&failed)])[..] else { panic!("one message") };
        assert!(never_named.contains("READY=1") && !never_named.contains("MAINPID"));
    }
}
