//! Where a process begins.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot};

use super::control::ControlSocket;
use super::process::TokioEcdysis;
use super::trigger::{Triggers, Wish};
use super::upgrader::{TokioEcdysisUpgradeResult, Upgrader};
use crate::control::Command;
use crate::ecdysis::Ecdysis;
use crate::listed::Manner;
use crate::phase::Phase;
use crate::program::Program;
use crate::report::UpgradeReport;
#[cfg(feature = "systemd_notify")]
use crate::sys::child::Kin;
use crate::unix_path::UnixOptions;

/// A process that has begun and is not ready yet. Runs in both: the first
/// generation, and a successor.
pub struct TokioEcdysisBuilder {
    inner: TokioEcdysis,
    triggers: Triggers,
    control_users: Vec<u32>,
    #[cfg(feature = "systemd_notify")]
    systemd: Option<crate::systemd::notify::SystemdNotifier>,
    #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
    store: Option<Arc<crate::systemd::store::Store>>,
}

impl TokioEcdysisBuilder {
    /// Begins: takes over what the predecessor passed on, if there is one, and
    /// has `upgrade` start an upgrade of this process from now on (it is kept
    /// until [`Self::ready`]). To be called once in a process; in a second call
    /// there is no predecessor any more.
    ///
    /// Waits for the predecessor's manifest, which is there at once.
    ///
    /// # Errors
    /// Those of [`Ecdysis::try_new`], and of installing a signal handler. The
    /// predecessor serves on; the right thing is to end. Must be called in a
    /// Tokio runtime with I/O enabled.
    pub fn new(upgrade: SignalKind) -> io::Result<Self> {
        let (asks, calls) = mpsc::unbounded_channel();
        // The handler before anything else: the signal is ignored until then.
        let mut triggers = Triggers::new(calls);
        triggers.on_signal(Wish::Upgrade, upgrade)?;
        let inner = TokioEcdysis {
            ecdysis: Ecdysis::try_new()?,
            asks,
            #[cfg(feature = "systemd_notify")]
            company: Arc::default(),
            #[cfg(feature = "systemd_sockets")]
            systemd_sockets: None,
            #[cfg(feature = "systemd_sockets")]
            systemd_sockets_read: false,
        };
        Ok(Self {
            inner,
            triggers,
            control_users: Vec::new(),
            #[cfg(feature = "systemd_notify")]
            systemd: None,
            #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
            store: None,
        })
    }

    /// Has a signal stop the whole service; a second one, while this process
    /// drains its connections ([`TokioEcdysis::drain`]), ends the drain. One that is
    /// sent to all of the service's processes in the middle of a handoff, by systemd
    /// or a terminal, counts once: another that comes to one of them within two
    /// seconds is the same.
    ///
    /// # Errors
    /// Those of installing a signal handler.
    pub fn stop_on_signal(&mut self, signal: SignalKind) -> io::Result<()> {
        self.triggers.on_signal(Wish::Stop, signal)
    }

    /// Has a signal stop the service on those sockets that stop on it
    /// ([`StopOnShutdown::Yes`](super::StopOnShutdown::Yes)).
    ///
    /// # Errors
    /// Those of installing a signal handler.
    pub fn partial_stop_on_signal(&mut self, signal: SignalKind) -> io::Result<()> {
        self.triggers.on_signal(Wish::PartialStop, signal)
    }

    /// Has a connection to a unix socket with this path start an upgrade. It
    /// stays open until the outcome is certain, and is then told what that is, in
    /// a line of JSON ([`control::Answer`](crate::control::Answer)). A client
    /// that sends a command ([`control`](crate::control)) gets that instead.
    ///
    /// Root and the user of this process may ask, and those who were named
    /// before ([`Self::allow_control`]).
    ///
    /// # Errors
    /// Those of [`Ecdysis::listen_unix`].
    pub fn upgrade_on_socket<P: AsRef<Path> + fmt::Debug>(&mut self, path: P) -> io::Result<()> {
        self.on_socket(Some(Command::Upgrade), path.as_ref(), &UnixOptions::default())
    }

    /// Has a connection to a unix socket with this path stop the service. It
    /// stays open until this process ends. As with [`Self::upgrade_on_socket`].
    ///
    /// # Errors
    /// As there.
    pub fn stop_on_socket<P: AsRef<Path> + fmt::Debug>(&mut self, path: P) -> io::Result<()> {
        self.on_socket(Some(Command::Stop), path.as_ref(), &UnixOptions::default())
    }

    /// Has a connection to a unix socket with this path stop the service on
    /// those sockets that stop on it. As with [`Self::stop_on_socket`].
    ///
    /// # Errors
    /// As there.
    pub fn partial_stop_on_socket<P: AsRef<Path> + fmt::Debug>(
        &mut self,
        path: P,
    ) -> io::Result<()> {
        self.on_socket(Some(Command::Drain), path.as_ref(), &UnixOptions::default())
    }

    /// Answers commands ([`control`](crate::control)) on a unix socket with this
    /// path. To connect means nothing there.
    ///
    /// # Errors
    /// Those of [`Ecdysis::listen_unix_with`].
    pub fn control_socket<P: AsRef<Path> + fmt::Debug>(
        &mut self,
        path: P,
        options: &UnixOptions,
    ) -> io::Result<()> {
        self.on_socket(None, path.as_ref(), options)
    }

    /// Lets this user, too, ask over control sockets that are made from now on.
    pub fn allow_control(&mut self, uid: u32) {
        self.control_users.push(uid);
    }

    fn on_socket(
        &mut self,
        default: Option<Command>,
        path: &Path,
        options: &UnixOptions,
    ) -> io::Result<()> {
        let (listener, registration) = self.inner.ecdysis.unix(path, options)?;
        registration.listed.decide(Manner::NonBlocking)?;
        let listener = UnixListener::from_std(listener)?;
        let users = self.control_users.clone();
        let socket = ControlSocket::new(listener, path.to_owned(), default, users);
        self.triggers.on_socket(socket, registration);
        Ok(())
    }

    /// See [`Ecdysis::set_pid_file`].
    pub fn set_pid_file<P: AsRef<Path>>(&mut self, pid_file: P) {
        self.inner.ecdysis.set_pid_file(pid_file);
    }

    /// See [`Ecdysis::set_ready_deadline`].
    pub fn set_ready_deadline(&mut self, span: Duration) {
        self.inner.ecdysis.set_ready_deadline(span);
    }

    /// See [`Ecdysis::set_probation`]. The streams end, and the future of
    /// [`Self::ready`] resolves, only after it.
    pub fn set_probation(&mut self, span: Duration) {
        self.inner.ecdysis.set_probation(span);
    }

    /// See [`Ecdysis::set_most_draining`].
    pub fn set_most_draining(&mut self, most: usize) {
        self.inner.ecdysis.set_most_draining(most);
    }

    /// See [`Ecdysis::set_state`].
    pub fn set_state(
        &mut self,
        version: u32,
        deadline: Duration,
        make: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.inner.ecdysis.set_state(version, deadline, make);
    }

    /// See [`Ecdysis::program_mut`].
    pub fn program_mut(&mut self) -> &mut Program {
        self.inner.ecdysis.program_mut()
    }

    /// See [`Ecdysis::on_phase`].
    pub fn on_phase(&mut self, hook: impl Fn(Phase) + Send + Sync + 'static) {
        self.inner.ecdysis.on_phase(hook);
    }

    /// See [`Ecdysis::on_upgrade`].
    pub fn on_upgrade(&mut self, hook: impl Fn(&UpgradeReport) + Send + Sync + 'static) {
        self.inner.ecdysis.on_upgrade(hook);
    }

    /// Tells systemd of readiness, upgrades and stops (sd_notify(3)); for a unit
    /// of `Type=notify-reload`.
    ///
    /// Successors are then started as children of our own parent, which is systemd
    /// (`CLONE_PARENT`, clone(2)): it takes a process for the main one of the unit,
    /// notices its end and lets it drain, only if it was its child before it was
    /// told.
    ///
    /// # Errors
    /// When there is nobody to tell.
    #[cfg(feature = "systemd_notify")]
    pub fn enable_systemd_notifications(
        &mut self,
    ) -> Result<(), crate::systemd::notify::SystemdNotifierError> {
        let notifier = crate::systemd::notify::SystemdNotifier::new()?;
        let company = Arc::clone(&self.inner.company);
        company.tell(notifier.core());
        let observer = super::systemd::observer(notifier.core().clone(), company);
        self.inner.ecdysis.observers.push(observer);
        self.inner.ecdysis.kin = Kin::Sibling;
        self.systemd = Some(notifier);
        Ok(())
    }

    /// Has systemd keep the sockets of this service, with their queues, and so
    /// survive a crash of it: the process that is started then (`Restart=`) finds
    /// them as a successor would. To be called after
    /// [`Self::enable_systemd_notifications`] and before any socket is made. What
    /// was accepted dies with the process; who waits in a queue is served.
    ///
    /// The unit needs `FileDescriptorStoreMax=`, at least the number of sockets,
    /// control sockets included; without it, or with a systemd before 254, or
    /// without notifications, this does nothing. Sockets of a `.socket` unit are
    /// systemd's anyway. On a stop nothing is kept, since queues are emptied then.
    ///
    /// # Errors
    /// What is wrong with the variables that systemd sets (sd_listen_fds(3)).
    #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
    pub fn enable_systemd_fd_store(
        &mut self,
    ) -> Result<(), crate::systemd::sockets::SystemdSocketsReadError> {
        let most = std::env::var("FDSTORE").ok().and_then(|most| most.parse::<u32>().ok());
        if let (Some(notifier), Some(1..)) = (&self.systemd, most) {
            let notifier = notifier.core().clone();
            self.inner.restore_systemd_sockets()?;
            let registry = &self.inner.ecdysis.registry;
            self.store = Some(crate::systemd::store::Store::new(notifier, registry));
        }
        Ok(())
    }

    /// Asks systemd for more time, until this much from now: to start, to run, or
    /// to stop, whichever this process is at (`EXTEND_TIMEOUT_USEC`). Does
    /// nothing if notifications are not enabled.
    ///
    /// # Errors
    /// Those of sending a datagram.
    #[cfg(feature = "systemd_notify")]
    pub async fn extend_systemd_timeouts(&mut self, extension: Duration) -> io::Result<()> {
        match &mut self.systemd {
            Some(notifier) => notifier.notify_extend_timeouts(extension).await,
            None => Ok(()),
        }
    }

    /// See [`TokioEcdysis::read_systemd_sockets`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "systemd_sockets")]
    pub fn read_systemd_sockets(
        &mut self,
    ) -> Result<(), crate::systemd::sockets::SystemdSocketsReadError> {
        self.inner.read_systemd_sockets()
    }

    /// Says that this process is ready to serve. In a successor, its streams
    /// begin to yield connections when the predecessor has stopped accepting,
    /// or has vanished, and not before. Inherited sockets that nobody asks for
    /// stay with the predecessor, which serves what is in their queues.
    ///
    /// The predecessor is told when the runtime has run a task: one whose workers are
    /// all blocked, or have died, would accept nobody. Until then it is a successor
    /// that is slow to start, and no client notices.
    ///
    /// The future resolves when this process has to leave: a successor serves,
    /// or a stop was asked for. It must be polled for signals to have any effect.
    ///
    /// # Errors
    /// When the PID file cannot be written, or no thread can be started. The
    /// predecessor serves on; the right thing is to end.
    pub fn ready(
        self,
    ) -> io::Result<(Arc<TokioEcdysis>, impl Future<Output = TokioEcdysisUpgradeResult>)> {
        let Self { mut inner, triggers, .. } = self;
        #[cfg(feature = "systemd_notify")]
        let systemd = self.systemd.map(|notifier| {
            super::systemd::Manager::new(
                notifier.core().clone(),
                Arc::clone(&inner.company),
                #[cfg(feature = "systemd_sockets")]
                self.store,
            )
        });
        inner.ecdysis.signals = triggers.signals();
        #[cfg(feature = "systemd_sockets")]
        if let Some(sockets) = &inner.systemd_sockets {
            sockets.close_rest();
        }
        let (settle, settling) = oneshot::channel();
        let settled = move |then| {
            // Nobody hears it if the future was dropped.
            let _ = settle.send(then);
        };
        inner.ecdysis.start(runs_tasks(), settled)?;
        let process = Arc::new(inner);
        let upgrader = Upgrader::new(
            Arc::clone(&process),
            triggers,
            settling,
            #[cfg(feature = "systemd_notify")]
            systemd,
        );
        Ok((process, upgrader.run()))
    }
}

/// Waits until this runtime has run a task; false if it ends before. Not to be called
/// on one of its threads.
fn runs_tasks() -> impl FnOnce() -> bool + Send + 'static {
    let (run, runs) = std::sync::mpsc::channel();
    tokio::spawn(async move {
        // Nobody waits where there is no predecessor.
        let _ = run.send(());
    });
    move || runs.recv().is_ok()
}

impl Deref for TokioEcdysisBuilder {
    type Target = TokioEcdysis;

    fn deref(&self) -> &TokioEcdysis {
        &self.inner
    }
}

impl fmt::Debug for TokioEcdysisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioEcdysisBuilder").field("inner", &self.inner).finish_non_exhaustive()
    }
}
