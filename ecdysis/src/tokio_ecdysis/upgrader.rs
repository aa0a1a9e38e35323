//! The one loop: requests come in, at most one upgrade goes on, and in the end
//! the process leaves, in one way.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use tokio::sync::oneshot;

use super::trigger::{ExitMode, ExitReason, Triggers, Wish};
use crate::phase::Phase;
use crate::predecessor::Goodbye;
use crate::protocol::{Seen, Then};
use crate::report::UpgradeReport;
use crate::upgrade::{self, Course, Requests};

/// How this process left, and why; or what kept it from ever leaving.
pub type TokioEcdysisUpgradeResult = Result<(ExitMode, ExitReason), String>;

/// Told of every upgrade.
pub(super) type Hook = Arc<dyn Fn(&UpgradeReport) + Send + Sync>;

/// What the loop waits for.
enum Event {
    Asked(Wish, ExitReason),
    Settled(Then),
    Ended(UpgradeReport),
}

/// An upgrade that goes on.
struct Running {
    requests: Arc<Requests>,
    ended: oneshot::Receiver<UpgradeReport>,
    reason: ExitReason,
    /// A stop that was asked for meanwhile.
    stop: Option<(Wish, ExitReason)>,
    /// An upgrade that was asked for meanwhile.
    again: Option<ExitReason>,
}

/// The loop's state.
pub(super) struct Upgrader {
    pub(super) triggers: Triggers,
    pub(super) course: Course,
    pub(super) hook: Option<Hook>,
    /// Becomes ready when this process may be upgraded; `None` from then on.
    pub(super) settling: Option<oneshot::Receiver<Then>>,
    goodbye: Goodbye,
    /// An upgrade that was asked for before.
    owed: Option<ExitReason>,
    running: Option<Running>,
}

impl Upgrader {
    pub(super) fn new(
        triggers: Triggers,
        course: Course,
        hook: Option<Hook>,
        settling: oneshot::Receiver<Then>,
        goodbye: Goodbye,
    ) -> Self {
        let settling = Some(settling);
        Self { triggers, course, hook, settling, goodbye, owed: None, running: None }
    }

    /// Runs until this process has to leave.
    pub(super) async fn run(mut self) -> TokioEcdysisUpgradeResult {
        loop {
            let leave = match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Asked(Wish::Upgrade, reason) => {
                    self.upgrade(reason);
                    None
                }
                Event::Asked(wish, reason) => self.stop(wish, reason),
                Event::Settled(then) => self.settled(then),
                Event::Ended(report) => self.ended(&report),
            };
            if let Some((mode, reason)) = leave {
                self.leave(&mode);
                return Ok((mode, reason));
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(running) = &mut self.running
            && let Poll::Ready(ended) = Future::poll(std::pin::Pin::new(&mut running.ended), cx)
        {
            // The thread sends before it ends, unless it panicked; the guards
            // have then ended the successor, and this process serves on.
            let report = ended.unwrap_or_else(|_| {
                let error = io::Error::other("the upgrade's thread ended without a report");
                UpgradeReport::not_started(self.course.generation, error)
            });
            return Poll::Ready(Event::Ended(report));
        }
        if let Some(settling) = &mut self.settling
            && let Poll::Ready(then) = Future::poll(std::pin::Pin::new(settling), cx)
        {
            return Poll::Ready(Event::Settled(then.unwrap_or(Then::Serve)));
        }
        self.triggers.poll(cx).map(|(wish, reason)| Event::Asked(wish, reason))
    }

    /// An upgrade is asked for. One that cannot begin now is kept; several
    /// that are kept are one, begun after the last of them was asked for.
    fn upgrade(&mut self, reason: ExitReason) {
        if let Some(running) = &mut self.running {
            running.requests.ask(Seen::AskedUpgrade);
            running.again = Some(reason);
        } else if self.settling.is_some() {
            tracing::info!("upgrade kept until the predecessor has let go");
            self.owed = Some(reason);
        } else if let Err(error) = self.start(reason) {
            self.tell(&UpgradeReport::not_started(self.course.generation, error));
        }
    }

    fn start(&mut self, reason: ExitReason) -> io::Result<()> {
        let requests = Arc::new(Requests::new()?);
        let (end, ended) = oneshot::channel();
        let (course, shared) = (self.course.clone(), Arc::clone(&requests));
        thread::Builder::new().name("ecdysis-upgrade".to_owned()).spawn(move || {
            // Nobody may be there to hear it, when the runtime is shut down.
            drop(end.send(upgrade::run(&course, std::env::vars_os().collect(), &shared)));
        })?;
        self.running = Some(Running { requests, ended, reason, stop: None, again: None });
        Ok(())
    }

    fn stop(&mut self, wish: Wish, reason: ExitReason) -> Option<(ExitMode, ExitReason)> {
        match &mut self.running {
            None => Some((mode(wish), reason)),
            Some(running) => {
                running.requests.ask(Seen::AskedStop { partial: wish == Wish::PartialStop });
                running.stop = Some((wish, reason));
                None
            }
        }
    }

    fn settled(&mut self, then: Then) -> Option<(ExitMode, ExitReason)> {
        self.settling = None;
        tracing::info!(generation = self.course.generation, "settled");
        let owed = self.owed.take();
        match then {
            Then::Stop => {
                return Some((ExitMode::FullStop, self.triggers.reason_to(Wish::Stop)));
            }
            Then::PartialStop => {
                return Some((ExitMode::PartialStop, self.triggers.reason_to(Wish::PartialStop)));
            }
            Then::Upgrade => self.upgrade(self.triggers.reason_to(Wish::Upgrade)),
            Then::Serve => {
                if let Some(reason) = owed {
                    self.upgrade(reason);
                }
            }
        }
        None
    }

    fn ended(&mut self, report: &UpgradeReport) -> Option<(ExitMode, ExitReason)> {
        self.tell(report);
        let running = self.running.take()?;
        if report.outcome.is_ok() {
            // A stop that came meanwhile has been passed on to the successor.
            return Some((ExitMode::Upgrade, running.reason));
        }
        if let Some((wish, reason)) = running.stop {
            return Some((mode(wish), reason));
        }
        if let Some(reason) = running.again {
            self.upgrade(reason);
        }
        None
    }

    fn leave(&self, mode: &ExitMode) {
        let phase = match mode {
            ExitMode::Upgrade => Phase::Draining,
            ExitMode::FullStop | ExitMode::PartialStop => {
                self.goodbye.say();
                Phase::Stopping
            }
        };
        self.course.watch.set(phase);
        self.course.registry.clear();
    }

    fn tell(&self, report: &UpgradeReport) {
        match &report.outcome {
            Ok(()) => tracing::info!("{report}"),
            Err(_) => tracing::error!("{report}"),
        }
        if let Some(hook) = &self.hook {
            hook(report);
        }
    }
}

impl fmt::Debug for Upgrader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrader").field("course", &self.course).finish_non_exhaustive()
    }
}

fn mode(wish: Wish) -> ExitMode {
    match wish {
        Wish::Stop => ExitMode::FullStop,
        Wish::PartialStop => ExitMode::PartialStop,
        Wish::Upgrade => ExitMode::Upgrade,
    }
}
