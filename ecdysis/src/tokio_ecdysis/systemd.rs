//! What systemd is told of the life of a process, and when. Nothing here fails, or
//! blocks for long: a service does not end because nobody reads its messages.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Context;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::ancestors;
use crate::course::{Observer, Stage};
use crate::ecdysis::Ecdysis;
use crate::phase::Phase;
use crate::sys::child::{self, Kin};
use crate::systemd::notify::{
    Fields, Notifier, SystemdNotifier, extend_timeout, main_pid, monotonic, ready, ready_main,
    reloading, status, stopping as stops, watchdog, watchdog_interval,
};
#[cfg(feature = "systemd_sockets")]
use crate::systemd::store::Store;

/// For how much time systemd is asked at once. Each message must come before the time
/// of the one before it is over, and the last one gives as much to a process that
/// hangs at its end; it never takes from what the unit allows (sd_notify(3)).
const TIME: Duration = Duration::from_secs(10);

/// Tells it, or says in the log that it could not be told.
fn tell(notifier: &Notifier, fields: &Fields) {
    log(fields, notifier.send(fields));
}

fn log(fields: &Fields, sent: io::Result<()>) {
    if let Err(error) = sent {
        tracing::warn!(%error, ?fields, "cannot notify systemd");
    }
}

/// Who ends before whom. The end of the main process is the end of the service, so
/// that one ends last: a successor that is the main process waits for those before
/// it. If the service stops before it has become that, its predecessor stays the main
/// process, and waits for it: once systemd stops a service, it hears of no other main
/// process (`MAINPID=`).
#[derive(Debug, Default)]
pub(super) struct Company {
    /// The successor stops with this process, which waits for it.
    leads: AtomicBool,
    /// That successor, if it lives.
    follower: Mutex<Option<OwnedFd>>,
    /// The predecessor stops with this process, and waits for it.
    follows: AtomicBool,
    /// The way to systemd, if it is told what goes on.
    notifier: OnceLock<Notifier>,
}

impl Company {
    fn lead(&self, successor: u32) {
        self.leads.store(true, Ordering::Relaxed);
        // `None` is one that has ended already.
        *self.lock() = child::open(successor).ok().flatten();
    }

    /// Waits until the others have ended whose end this process has to see.
    pub(super) async fn others_end(&self, ecdysis: &Ecdysis) {
        let older = match (ecdysis.phase(), ecdysis.ancestors()) {
            _ if ecdysis.kin == Kin::Child => &[],
            (Phase::Stopping, [older @ .., _predecessor]) if self.follows() => older,
            (Phase::Stopping, all) => all,
            (Phase::Starting | Phase::Serving | Phase::HandingOff | Phase::Draining, _) => &[],
        };
        let follower = self.lock().take();
        for pidfd in ancestors::ends(older).into_iter().chain(follower) {
            if let Err(error) = child::end(pidfd).await {
                tracing::warn!(%error, "cannot wait for the end of another generation");
            }
        }
    }

    /// There is a systemd to be told.
    pub(super) fn tell(&self, notifier: &Notifier) {
        let _ = self.notifier.set(notifier.clone());
    }

    /// Asks systemd not to lose patience (`TimeoutStopSec=`), over and over for as
    /// long as this is polled, if it is this process whose end it waits for: a drain
    /// has a deadline of its own.
    pub(super) async fn ask_for_time(&self, ecdysis: &Ecdysis) -> Infallible {
        let stops = ecdysis.phase() == Phase::Stopping && !self.follows();
        let leads = self.leads.load(Ordering::Relaxed);
        let Some(notifier) = self.notifier.get().filter(|_| stops || leads) else {
            return future::pending().await;
        };
        let mut interval = interval(TIME / 2);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            tell(notifier, &extend_timeout(TIME));
        }
    }

    fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What systemd is to a process: somebody who is told, and who may keep its sockets.
#[derive(Debug)]
pub(super) struct Manager {
    notifier: Notifier,
    company: Arc<Company>,
    #[cfg(feature = "systemd_sockets")]
    store: Option<Arc<Store>>,
}

impl Manager {
    pub(super) fn new(
        notifier: Notifier,
        company: Arc<Company>,
        #[cfg(feature = "systemd_sockets")] store: Option<Arc<Store>>,
    ) -> Self {
        Self {
            notifier,
            company,
            #[cfg(feature = "systemd_sockets")]
            store,
        }
    }

    /// This process serves, and is the main one.
    pub(super) fn serves(&self, ecdysis: &Ecdysis) -> Option<Feeder> {
        serving(&self.notifier, ecdysis.generation());
        #[cfg(feature = "systemd_sockets")]
        if let Some(store) = &self.store {
            store.begin(&ecdysis.registry);
        }
        Feeder::new(&self.notifier, ecdysis.is_child())
    }

    /// It stops before it has become the main one.
    pub(super) fn follows(&self) {
        self.company.follows.store(true, Ordering::Relaxed);
    }

    /// It has been succeeded, or is the first of two that stop.
    pub(super) fn is_succeeded(&self) {
        #[cfg(feature = "systemd_sockets")]
        if let Some(store) = &self.store {
            let leads = self.company.leads.load(Ordering::Relaxed);
            if leads { store.clear() } else { store.end() }
        }
    }

    /// It stops on some of its sockets; what it says is the application's affair.
    pub(super) fn stops_partly(self) -> SystemdNotifier {
        self.forget_sockets();
        SystemdNotifier::over(self.notifier)
    }

    /// The service stops.
    pub(super) fn stops(&self) {
        if !self.company.follows() {
            stopping(&self.notifier);
            self.forget_sockets();
        }
    }

    /// Its sockets are nobody's any more.
    fn forget_sockets(&self) {
        #[cfg(feature = "systemd_sockets")]
        if let Some(store) = &self.store {
            store.clear();
        }
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
    fn new(notifier: &Notifier, is_child: bool) -> Option<Self> {
        let pid = env::var_os("WATCHDOG_PID");
        let first = pid.as_deref().and_then(OsStr::to_str).and_then(|pid| pid.parse().ok());
        let accepted = [first.filter(|_| is_child).unwrap_or_else(std::process::id)];
        let usec: Option<OsString> = env::var_os("WATCHDOG_USEC");
        // Half of it, as sd_watchdog_enabled(3) recommends.
        let span = watchdog_interval(usec.as_deref(), pid.as_deref(), &accepted)? / 2;
        let mut interval = interval(span.max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { notifier: notifier.clone(), interval })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        while self.interval.poll_tick(cx).is_ready() {
            tell(&self.notifier, &watchdog());
        }
    }
}

fn serving(notifier: &Notifier, generation: u64) {
    let text = format!("generation {generation} serves");
    tell(notifier, &[ready_main(std::process::id()), status(&text)].concat());
}

fn stopping(notifier: &Notifier) {
    tell(notifier, &[stops(), status("stopping")].concat());
}

/// What is told in the course of an upgrade. All of it is said by the old
/// process: until it says who is the main process now, systemd believes no
/// other (`NotifyAccess=main`). *Ready* ends the reload, so it is said when new
/// connections go to the new generation; the main process changes only at the
/// end of the probation, because the end of the main process is the end of the
/// service, and before the new one hears of it, so that it is heard from then on. If
/// the service stops by then, it does not change any more ([`Company`]).
pub(super) fn observer(notifier: Notifier, company: Arc<Company>) -> Observer {
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
            Stage::Settling { successor, stops: true } => {
                company.lead(successor);
                [stops(), status("stopping")].concat()
            }
            Stage::Settling { successor, stops: false } => {
                named.store(true, Ordering::Relaxed);
                let fields = main_pid(successor);
                // Were this lost, the service would end when we do. Nobody waits for
                // us now: the successor serves.
                return log(&fields, notifier.send_patiently(&fields));
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
    use std::os::unix::net::UnixDatagram;
    use std::time::Instant;

    use tokio::time::timeout;

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
        let notifier = Notifier::connect(Some(path.as_os_str())).unwrap();
        let observer = observer(notifier, Arc::default());
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
            &told(&[Stage::Settling { successor: 7, stops: false }, Stage::Decided(&failed)])[..]
        else {
            panic!("two messages")
        };
        assert_eq!(named, "MAINPID=7");
        assert!(taken_back.contains("READY=1") && taken_back.contains(&own), "{taken_back}");
        let [never_named] = &told(&[Stage::Decided(&failed)])[..] else { panic!("one message") };
        assert!(never_named.contains("READY=1") && !never_named.contains("MAINPID"));
    }

    /// A service whose drain took longer than `TimeoutStopSec=` was killed.
    #[tokio::test(start_paused = true)]
    async fn a_drain_asks_for_more_time_before_what_it_asked_for_is_over() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let company = Company::default();
        company.tell(&Notifier::connect(Some(path.as_os_str())).unwrap());
        let ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let asked = |within: Duration| {
            let (company, ecdysis, manager) = (&company, &ecdysis, &manager);
            async move {
                timeout(within, company.ask_for_time(ecdysis)).await.unwrap_err();
                let mut buffer = [0; 64];
                std::iter::from_fn(|| {
                    let count = manager.recv(&mut buffer).ok()?;
                    assert_eq!(&buffer[..count], b"EXTEND_TIMEOUT_USEC=10000000");
                    Some(())
                })
                .count()
            }
        };
        // One that was succeeded has all the time it wants.
        ecdysis.watch.set(Phase::Draining);
        assert_eq!(asked(Duration::from_secs(60)).await, 0);
        ecdysis.watch.set(Phase::Stopping);
        assert_eq!(asked(Duration::from_millis(1)).await, 1, "at once");
        let often = asked(Duration::from_secs(31)).await;
        assert!((5..=10).contains(&often), "{often} times in half a minute, ten seconds each");
        // Its predecessor is the one that systemd waits for, and the other way round.
        company.follows.store(true, Ordering::Relaxed);
        assert_eq!(asked(Duration::from_secs(60)).await, 0);
        ecdysis.watch.set(Phase::Draining);
        company.leads.store(true, Ordering::Relaxed);
        assert_eq!(asked(Duration::from_millis(1)).await, 1);
    }

    /// It was lost when systemd was busy, and the service ended with the old process.
    #[test]
    fn who_is_the_main_process_is_told_to_a_manager_that_is_slow_to_read() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::connect(Some(path.as_os_str())).unwrap();
        while notifier.send(&[("STATUS", "busy")]).is_ok() {}
        let observer = observer(notifier, Arc::default());
        #[expect(clippy::disallowed_methods, reason = "time is what this is about")]
        let began = Instant::now();
        observer(Stage::Settling { successor: 7, stops: false });
        assert!(began.elapsed() >= Duration::from_millis(900), "one that never reads");
        std::thread::scope(|scope| {
            scope.spawn(|| observer(Stage::Settling { successor: 8, stops: false }));
            let mut buffer = [0; 64];
            loop {
                let count = manager.recv(&mut buffer).unwrap();
                match std::str::from_utf8(&buffer[..count]).unwrap() {
                    "STATUS=busy" => {}
                    message => return assert_eq!(message, "MAINPID=8"),
                }
            }
        });
    }
}
