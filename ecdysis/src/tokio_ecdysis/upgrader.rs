//! The one loop: requests come in, at most one upgrade goes on, and in the end
//! the process leaves, in one way.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::process::TokioEcdysis;
use super::trigger::{Asked, Asker, ExitMode, ExitReason, Triggers, Wish};
use crate::control::{Answer, DrainingProcess, Status};
use crate::course::Course;
use crate::drain::Connections;
#[cfg(feature = "systemd_notify")]
use crate::ecdysis::Ecdysis;
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::phase::{Listening, Phase};
use crate::protocol::{Seen, Then};
use crate::report::UpgradeReport;
use crate::upgrade;

/// How this process left, and why; or what kept it from ever leaving.
pub type TokioEcdysisUpgradeResult = Result<(ExitMode, ExitReason), String>;

/// How long it may take a process that stops to hear that its predecessor lets go of it:
/// longer than one that does not stop waits for sockets to be emptied that it does not
/// want.
#[cfg(feature = "systemd_notify")]
const PARTING: Duration = Duration::from_secs(5);

/// For how long a stop that reaches one generation in the course of a handoff may
/// reach it once more: a supervisor that signals the whole cgroup, or a terminal,
/// tells both, and the predecessor, as far as it knows, has to pass on what it was
/// told. It does so within its last words, which are a matter of milliseconds.
const ECHO: Duration = Duration::from_secs(2);

/// What the loop waits for.
enum Event {
    Asked(Asked),
    Settled(Then),
    Ended(UpgradeReport),
    /// Somebody else, with the face without a runtime, has upgraded or stopped
    /// this process.
    Left(Wish),
}

/// An upgrade that was asked for, and everybody who waits for it.
struct Upgrade {
    reason: ExitReason,
    askers: Vec<Asker>,
}

/// An upgrade that goes on.
struct Running {
    ended: oneshot::Receiver<UpgradeReport>,
    upgrade: Upgrade,
    /// A stop that was asked for meanwhile.
    stop: Option<(Wish, ExitReason)>,
    stoppers: Vec<Asker>,
}

/// The loop's state.
pub(super) struct Upgrader {
    process: Arc<TokioEcdysis>,
    triggers: Triggers,
    phase: Listening,
    /// Becomes ready when this process may be upgraded; `None` from then on.
    settling: Option<oneshot::Receiver<Then>>,
    /// When the predecessor let go, if there was one.
    settled: Option<Instant>,
    running: Option<Running>,
    /// An upgrade that was asked for and cannot begin yet: all that were asked
    /// for meanwhile are one, which begins after the last of them.
    owed: Option<Upgrade>,
    #[cfg(feature = "systemd_notify")]
    systemd: Option<super::systemd::Manager>,
    #[cfg(feature = "systemd_notify")]
    feeder: Option<super::systemd::Feeder>,
}

impl Upgrader {
    pub(super) fn new(
        process: Arc<TokioEcdysis>,
        triggers: Triggers,
        settling: oneshot::Receiver<Then>,
        #[cfg(feature = "systemd_notify")] systemd: Option<super::systemd::Manager>,
    ) -> Self {
        let phase = process.ecdysis.watch.listen();
        Self {
            process,
            triggers,
            phase,
            settling: Some(settling),
            settled: None,
            running: None,
            owed: None,
            #[cfg(feature = "systemd_notify")]
            systemd,
            #[cfg(feature = "systemd_notify")]
            feeder: None,
        }
    }

    /// Runs until this process has to leave.
    pub(super) async fn run(mut self) -> TokioEcdysisUpgradeResult {
        let (wish, reason) = loop {
            let leave = match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Asked(asked) => self.asked(asked),
                Event::Settled(then) => self.settled(then),
                Event::Ended(report) => self.ended(&report),
                Event::Left(wish) => Some((wish, self.triggers.reason_for(wish))),
            };
            if let Some(leave) = leave {
                break leave;
            }
        };
        Ok((self.leave(wish).await, reason))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        #[cfg(feature = "systemd_notify")]
        if let Some(feeder) = &mut self.feeder {
            feeder.poll(cx);
        }
        if let Some(running) = &mut self.running
            && let Poll::Ready(ended) = Pin::new(&mut running.ended).poll(cx)
        {
            // The thread sends before it ends, unless it panicked; the guards
            // have then ended the successor, and this process serves on.
            let report = ended.unwrap_or_else(|_| {
                let error = io::Error::other("the upgrade's thread ended without a report");
                UpgradeReport::not_started(self.process.generation(), error.into())
            });
            return Poll::Ready(Event::Ended(report));
        }
        let phase = self.phase.poll_with(cx, |phase, _| phase);
        if self.running.is_none() && matches!(phase, Phase::Draining | Phase::Stopping) {
            // One that was stopped before it served drains as well.
            let stopped = phase == Phase::Stopping || self.process.ecdysis.is_stop_asked();
            return Poll::Ready(Event::Left(if stopped { Wish::Stop } else { Wish::Upgrade }));
        }
        // After that: one that leaves is not settled any more.
        if let Some(settling) = &mut self.settling
            && let Poll::Ready(then) = Pin::new(settling).poll(cx)
        {
            return Poll::Ready(Event::Settled(then.unwrap_or(Then::Serve)));
        }
        // One generation admits clients: the one that serves.
        self.triggers.poll(cx, phase == Phase::Serving).map(Event::Asked)
    }

    fn asked(&mut self, asked: Asked) -> Option<(Wish, ExitReason)> {
        let Asked { wish, reason, asker } = asked;
        let reason = reason.unwrap_or_else(|| self.triggers.reason_for(wish));
        match wish {
            Wish::Upgrade => {
                self.upgrade(Upgrade { reason, askers: vec![asker] });
                None
            }
            Wish::Status => {
                asker.answer(|command| {
                    let mut answer = Answer::done(command);
                    answer.status = Some(self.status());
                    answer
                });
                None
            }
            Wish::Stop | Wish::PartialStop => self.stop(wish, reason, asker),
        }
    }

    /// An upgrade is asked for. One that cannot begin now is kept.
    fn upgrade(&mut self, upgrade: Upgrade) {
        if self.running.is_none() && self.settling.is_none() {
            self.start(upgrade);
            return;
        }
        match &mut self.owed {
            Some(owed) => owed.askers.extend(upgrade.askers),
            owed @ None => *owed = Some(upgrade),
        }
        match &self.running {
            // If it has succeeded, that is known in a moment.
            Some(_) => drop(self.process.ecdysis.ask(Seen::AskedUpgrade)),
            None => tracing::info!("upgrade kept until the predecessor has let go"),
        }
    }

    fn start(&mut self, upgrade: Upgrade) {
        let report = match self.process.ecdysis.course().map(Arc::new) {
            Ok(course) => match begin(&course) {
                Ok(ended) => {
                    let stoppers = Vec::new();
                    self.running = Some(Running { ended, upgrade, stop: None, stoppers });
                    return;
                }
                Err(error) => course.cannot_begin(error),
            },
            Err(error) => {
                tracing::error!(%error, "cannot begin an upgrade");
                UpgradeReport::not_started(self.process.generation(), error.into())
            }
        };
        tell(&report, upgrade.askers);
    }

    fn stop(&mut self, wish: Wish, reason: ExitReason, asker: Asker) -> Option<(Wish, ExitReason)> {
        match &mut self.running {
            None => {
                asker.stopping();
                Some((wish, reason))
            }
            Some(running) => {
                let partial = wish == Wish::PartialStop;
                if self.process.ecdysis.ask(Seen::AskedStop { partial }) {
                    // A full stop is not made partial by what comes after it.
                    if !matches!(running.stop, Some((Wish::Stop, _))) {
                        running.stop = Some((wish, reason));
                    }
                } else if !self.process.ecdysis.takes_echo() {
                    // It has just been succeeded, and only its drain is left.
                    self.process.connections().hurry();
                }
                running.stoppers.push(asker);
                None
            }
        }
    }

    fn settled(&mut self, then: Then) -> Option<(Wish, ExitReason)> {
        self.settling = None;
        self.settled = self.process.is_child().then(Instant::now);
        tracing::info!(generation = self.process.generation(), "settled");
        #[cfg(feature = "systemd_notify")]
        if let Some(systemd) = &self.systemd {
            if then == Then::Stop {
                systemd.follows();
            } else {
                self.feeder = systemd.serves(&self.process.ecdysis);
            }
        }
        let wish = match then {
            Then::Stop => Wish::Stop,
            Then::PartialStop => Wish::PartialStop,
            Then::Upgrade => {
                let reason = self.triggers.reason_for(Wish::Upgrade);
                self.upgrade_owed(Some(Upgrade { reason, askers: Vec::new() }));
                return None;
            }
            Then::Serve => {
                self.upgrade_owed(None);
                return None;
            }
        };
        Some((wish, self.triggers.reason_for(wish)))
    }

    /// Begins the upgrade that was kept, or `also`.
    fn upgrade_owed(&mut self, also: Option<Upgrade>) {
        if let Some(upgrade) = self.owed.take().or(also) {
            self.start(upgrade);
        }
    }

    fn ended(&mut self, report: &UpgradeReport) -> Option<(Wish, ExitReason)> {
        let Running { upgrade: Upgrade { reason, askers }, stop, stoppers, .. } =
            self.running.take()?;
        let succeeded = report.outcome.is_ok();
        tell(report, askers);
        // A stop that came meanwhile was passed on, or there is nobody to be
        // stopped but us.
        stoppers.into_iter().for_each(Asker::stopping);
        if succeeded {
            let kind = if self.process.ecdysis.has_lost_an_upgrade() {
                UpgradeErrorKind::Succeeded
            } else {
                UpgradeErrorKind::PassedOn
            };
            let outcome = Err(UpgradeError::new(kind));
            let report = UpgradeReport { outcome, ..report.clone() };
            tell(&report, self.owed.take().into_iter().flat_map(|owed| owed.askers));
            return Some((Wish::Upgrade, reason));
        }
        if stop.is_none() {
            self.upgrade_owed(None);
        }
        stop
    }

    async fn leave(mut self, wish: Wish) -> ExitMode {
        let ecdysis = &self.process.ecdysis;
        if wish != Wish::Upgrade && ecdysis.phase() != Phase::Stopping {
            ecdysis.leave(wish == Wish::PartialStop);
        }
        let stopping = UpgradeError::new(UpgradeErrorKind::Stopping);
        let refused = UpgradeReport::not_started(ecdysis.generation(), stopping);
        tell(&refused, self.owed.take().into_iter().flat_map(|owed| owed.askers));
        self.triggers.close_sockets();
        let refusal = match wish {
            Wish::Upgrade | Wish::Status => UpgradeErrorKind::Succeeded,
            Wish::Stop | Wish::PartialStop => UpgradeErrorKind::Stopping,
        };
        let echo = self.expects_echo(wish).then(|| Instant::now() + ECHO);
        let hearing = Hearing {
            triggers: self.triggers,
            connections: ecdysis.connections().clone(),
            refused: UpgradeReport::not_started(ecdysis.generation(), refusal.into()),
            echo,
            // Whoever is succeeded is not the one that systemd watches.
            #[cfg(feature = "systemd_notify")]
            feeder: self.feeder.filter(|_| wish != Wish::Upgrade),
        };
        tokio::spawn(hearing.run());
        #[cfg(feature = "systemd_notify")]
        if let Some(systemd) = self.systemd.take() {
            return leave_systemd(systemd, ecdysis, self.settling.take(), wish).await;
        }
        match wish {
            Wish::Upgrade | Wish::Status => ExitMode::Upgrade,
            Wish::PartialStop => ExitMode::PartialStop,
            Wish::Stop => ExitMode::FullStop,
        }
    }

    /// Whether the next stop may be the one that has reached the service already,
    /// here or in the other process of a handoff.
    fn expects_echo(&self, wish: Wish) -> bool {
        match wish {
            Wish::Upgrade | Wish::Status => self.process.ecdysis.takes_echo(),
            Wish::Stop | Wish::PartialStop if !self.process.is_child() => false,
            Wish::Stop | Wish::PartialStop => {
                self.settled.is_none_or(|settled| settled.elapsed() < ECHO)
            }
        }
    }

    fn status(&self) -> Status {
        let ecdysis = &self.process.ecdysis;
        let draining = ecdysis.draining().into_iter();
        Status {
            pid: std::process::id(),
            generation: ecdysis.generation(),
            phase: ecdysis.phase().to_string(),
            connections: u64::try_from(ecdysis.connections().in_flight()).unwrap_or(u64::MAX),
            draining: draining
                .map(|(generation, pid)| DrainingProcess { generation, pid })
                .collect(),
            counters: serde_json::to_value(ecdysis.counts()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Tells systemd that this process leaves, as far as that concerns it.
#[cfg(feature = "systemd_notify")]
async fn leave_systemd(
    systemd: super::systemd::Manager,
    ecdysis: &Ecdysis,
    settling: Option<oneshot::Receiver<Then>>,
    wish: Wish,
) -> ExitMode {
    let phase = ecdysis.phase();
    match wish {
        Wish::Upgrade | Wish::Status => {
            systemd.is_succeeded();
            ExitMode::Upgrade
        }
        Wish::PartialStop => {
            has_the_service(ecdysis, settling).await;
            ExitMode::PartialStopWithSystemd(systemd.stops_partly())
        }
        Wish::Stop => {
            if !has_the_service(ecdysis, settling).await {
                systemd.follows();
            }
            // One that never served only ends: the service does not.
            if phase == Phase::Stopping {
                systemd.stops();
            }
            ExitMode::FullStop
        }
    }
}

/// Whether the predecessor has let go of the service before it knew that this process
/// stops. On probation we are not the main process yet, and systemd hears no other; that
/// we stop makes the predecessor let go at once, with the word that it knows. It may also
/// have done so just before, without that: then we are the main process.
#[cfg(feature = "systemd_notify")]
async fn has_the_service(ecdysis: &Ecdysis, settling: Option<oneshot::Receiver<Then>>) -> bool {
    let Some(settling) = settling else { return true };
    if ecdysis.phase() != Phase::Stopping {
        return false;
    }
    tokio::select! {
        then = settling => then.is_ok_and(|then| then != Then::Stop),
        () = ecdysis.connections().hurried() => false,
        () = tokio::time::sleep(PARTING) => false,
    }
}

/// Begins an upgrade, on a thread of its own.
fn begin(course: &Arc<Course>) -> io::Result<oneshot::Receiver<UpgradeReport>> {
    let (end, ended) = oneshot::channel();
    let course = Arc::clone(course);
    let run = move || {
        // Nobody may be there to hear it, when the runtime is shut down.
        drop(end.send(upgrade::run(&course, std::env::vars_os().collect())));
    };
    thread::Builder::new().name("ecdysis-upgrade".to_owned()).spawn(run)?;
    Ok(ended)
}

fn tell(report: &UpgradeReport, askers: impl IntoIterator<Item = Asker>) {
    for asker in askers {
        asker.report(report);
    }
}

/// What a process does with requests that come while it leaves: a second stop
/// ends the drain. The handlers stay installed for the life of the process, so
/// without this nobody could hurry it but with SIGKILL. One that stops is still
/// watched by systemd, for as long as it lives: what was not to stop with the
/// rest is served on.
struct Hearing {
    triggers: Triggers,
    connections: Connections,
    /// What whoever asks for an upgrade is told.
    refused: UpgradeReport,
    /// Until when one stop more is no second one, but the first once more.
    echo: Option<Instant>,
    #[cfg(feature = "systemd_notify")]
    feeder: Option<super::systemd::Feeder>,
}

impl Hearing {
    async fn run(mut self) {
        loop {
            let Asked { wish, asker, .. } = poll_fn(|cx| self.poll(cx)).await;
            match wish {
                Wish::Stop | Wish::PartialStop if self.takes_echo() => {
                    tracing::info!(
                        "this stop has reached another generation as well: it counts once"
                    );
                }
                Wish::Stop | Wish::PartialStop => self.connections.hurry(),
                Wish::Upgrade | Wish::Status => asker.report(&self.refused),
            }
        }
    }

    fn takes_echo(&mut self) -> bool {
        self.echo.take().is_some_and(|until| Instant::now() < until)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Asked> {
        #[cfg(feature = "systemd_notify")]
        if let Some(feeder) = &mut self.feeder {
            feeder.poll(cx);
        }
        self.triggers.poll(cx, false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::signal::unix::SignalKind;

    use super::super::builder::TokioEcdysisBuilder;
    use super::*;
    use crate::upgrade::Says;

    #[tokio::test]
    async fn a_stop_before_the_report_of_an_upgrade_is_delivered_is_passed_on() {
        let mut builder = TokioEcdysisBuilder::new(SignalKind::user_defined2()).unwrap();
        builder.stop_on_signal(SignalKind::user_defined1()).unwrap();
        builder.set_probation(Duration::ZERO);
        let says = Says::of(builder.program_mut());
        let asks = builder.asks.clone();
        let requests = Arc::clone(builder.ecdysis.requests.as_ref().unwrap());
        let taken = Arc::new(AtomicBool::new(false));
        let hook_taken = Arc::clone(&taken);
        builder.on_upgrade(move |_| {
            drop(asks.send(Asked::by_call(Wish::Stop, None)));
            // Until the loop has taken it, while it still waits for the upgrade.
            let mut polled = [PollFd::new(requests.wake(), PollFlags::POLLIN)];
            let ready = poll(&mut polled, PollTimeout::from(60_000_u16)).unwrap();
            hook_taken.store(ready == 1, Ordering::SeqCst);
        });
        let (process, leave) = builder.ready().unwrap();
        let (report, left) = tokio::join!(process.upgrade(), leave);
        report.outcome.unwrap();
        assert!(taken.load(Ordering::SeqCst));
        assert!(matches!(left, Ok((ExitMode::Upgrade, _))), "{left:?}");
        assert_eq!(says.hear(), "stopped\n");
    }

    /// He was sent away when the successor had stood its test.
    #[tokio::test]
    async fn a_client_who_was_admitted_is_heard_during_the_handoff() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let mut builder = TokioEcdysisBuilder::new(SignalKind::user_defined2()).unwrap();
        builder.stop_on_signal(SignalKind::user_defined1()).unwrap();
        builder.stop_on_socket(&path).unwrap();
        builder.set_probation(Duration::from_mins(1));
        let says = Says::of(builder.program_mut());
        let (tell, handing_off) = oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        builder.on_phase(move |phase| {
            if phase == Phase::HandingOff {
                tell.lock().unwrap().take().unwrap().send(()).unwrap();
            }
        });
        let (process, leave) = builder.ready().unwrap();
        let upgrade = async {
            let mut stopping = UnixStream::connect(&path).await.unwrap();
            stopping.write_all(b"{").await.unwrap();
            // Who comes after him is answered, so he was admitted.
            let mut asking = UnixStream::connect(&path).await.unwrap();
            asking.write_all(b"{\"command\":\"status\"}\n").await.unwrap();
            assert_ne!(asking.read(&mut [0; 80]).await.unwrap(), 0);
            let go_on = async {
                handing_off.await.unwrap();
                stopping.write_all(b"\"command\":\"stop\"}\n").await.unwrap();
            };
            tokio::join!(process.upgrade(), go_on).0
        };
        let (report, left) = tokio::join!(upgrade, leave);
        report.outcome.unwrap();
        assert!(matches!(left, Ok((ExitMode::Upgrade, _))), "{left:?}");
        assert_eq!(says.hear(), "stopped\n");
    }

    /// It said ready, and that its successor served.
    #[tokio::test]
    async fn one_that_is_stopped_before_it_is_ready_stops() {
        for phase in [Phase::Starting, Phase::Serving] {
            let builder = TokioEcdysisBuilder::new(SignalKind::user_defined2()).unwrap();
            // As it is in a successor, and in one that is none.
            builder.ecdysis.watch.set(phase);
            builder.std_ecdysis().quit();
            let (_process, leave) = builder.ready().unwrap();
            let left = leave.await;
            assert!(matches!(left, Ok((ExitMode::FullStop, _))), "{left:?}");
        }
    }

    #[tokio::test]
    async fn a_full_stop_stays_one_whatever_is_asked_after_it() {
        let mut builder = TokioEcdysisBuilder::new(SignalKind::user_defined2()).unwrap();
        builder.program_mut().path("/bin/sh").arguments(["-c", "exec sleep 1000"]);
        let asks = builder.asks.clone();
        let (begin, begun) = oneshot::channel();
        let begin = std::sync::Mutex::new(Some(begin));
        builder.set_state(1, Duration::from_mins(1), move || {
            begin.lock().unwrap().take().unwrap().send(()).unwrap();
            Ok(Vec::new())
        });
        let (process, leave) = builder.ready().unwrap();
        let stop = async {
            begun.await.unwrap();
            for wish in [Wish::Stop, Wish::PartialStop] {
                asks.send(Asked::by_call(wish, None)).unwrap();
            }
        };
        let (report, left, ()) = tokio::join!(process.upgrade(), leave, stop);
        assert_eq!(report.outcome.unwrap_err().kind(), &UpgradeErrorKind::Stopped);
        assert!(matches!(left, Ok((ExitMode::FullStop, _))), "{left:?}");
    }
}
