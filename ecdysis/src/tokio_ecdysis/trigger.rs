//! What asks this process to be upgraded or to stop, as one stream of requests.

use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::control::{self, ControlSocket, Reply};
use crate::control::{Answer, Command};
use crate::course::Signals;
use crate::registry::Registration;
use crate::report::UpgradeReport;

/// How a process came to leave.
#[derive(Debug)]
pub enum ExitMode {
    /// A successor serves.
    Upgrade,
    /// The whole service stops.
    FullStop,
    /// The service stops on those sockets that are to stop on it.
    PartialStop,
    /// The same, and systemd is notified: telling it that the service stops is
    /// up to the application, when it does.
    #[cfg(feature = "systemd_notify")]
    PartialStopWithSystemd(crate::systemd::notify::SystemdNotifier),
}

/// What made it leave. A call of this library's functions has the reason that a
/// signal would have had.
#[derive(Clone, Debug)]
pub enum ExitReason {
    /// This signal.
    Signal(SignalKind),
    /// A connection to this control socket.
    UnixListener(PathBuf),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// Sorted first: where a stop and an upgrade wait at once, the stop wins.
    Stop,
    PartialStop,
    Upgrade,
    Status,
}

impl From<Command> for Wish {
    fn from(command: Command) -> Self {
        match command {
            Command::Status => Self::Status,
            Command::Upgrade => Self::Upgrade,
            Command::Stop => Self::Stop,
            Command::Drain => Self::PartialStop,
        }
    }
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    /// `None`: the one that a signal would have had.
    pub(super) reason: Option<ExitReason>,
    pub(super) asker: Asker,
}

impl Asked {
    /// A request that the application makes by a call.
    pub(super) fn by_call(wish: Wish, report: Option<oneshot::Sender<UpgradeReport>>) -> Self {
        let asker = report.map_or(Asker::Nobody, Asker::Caller);
        Self { wish, reason: None, asker }
    }
}

impl From<control::Asked> for Asked {
    fn from(asked: control::Asked) -> Self {
        let control::Asked { command, path, reply } = asked;
        let reason = Some(ExitReason::UnixListener(path));
        Self { wish: command.into(), reason, asker: Asker::Client(command, reply) }
    }
}

/// Who waits for the outcome.
#[derive(Debug)]
pub(super) enum Asker {
    /// Nobody: a signal.
    Nobody,
    /// A call of the application.
    Caller(oneshot::Sender<UpgradeReport>),
    /// A client of a control socket.
    Client(Command, Reply),
}

impl Asker {
    /// Tells what became of the upgrade that was asked for.
    pub(super) fn report(self, report: &UpgradeReport) {
        match self {
            Self::Nobody => {}
            // It may have lost interest.
            Self::Caller(caller) => drop(caller.send(report.clone())),
            Self::Client(_, reply) => reply.answer(&report.into()),
        }
    }

    /// Answers a question that is not about an upgrade.
    pub(super) fn answer(self, answer: impl FnOnce(Command) -> Answer) {
        if let Self::Client(command, reply) = self {
            reply.answer(&answer(command));
        }
    }

    /// Tells that the stop that was asked for has begun; a client's connection
    /// ends when it is over, with this process.
    pub(super) fn stopping(self) {
        if let Self::Client(command, reply) = self {
            reply.answer_and_hold(&Answer::done(command));
        }
    }
}

#[derive(Debug)]
struct SignalTrigger {
    wish: Wish,
    kind: SignalKind,
    signal: Signal,
}

/// Everything that may ask.
pub(super) struct Triggers {
    signals: Vec<SignalTrigger>,
    calls: mpsc::UnboundedReceiver<Asked>,
    /// Each with what keeps it registered.
    sockets: Vec<(ControlSocket, Registration)>,
}

impl Triggers {
    pub(super) fn new(calls: mpsc::UnboundedReceiver<Asked>) -> Self {
        Self { signals: Vec::new(), calls, sockets: Vec::new() }
    }

    /// From now on this signal is a request. Several of the same kind that
    /// come before one is looked at are one, as signal(7) has it.
    pub(super) fn on_signal(&mut self, wish: Wish, kind: SignalKind) -> io::Result<()> {
        let signal = signal(kind)?;
        self.signals.push(SignalTrigger { wish, kind, signal });
        self.signals.sort_by_key(|trigger| trigger.wish);
        Ok(())
    }

    /// From now on a connection to this socket is one.
    pub(super) fn on_socket(&mut self, socket: ControlSocket, registration: Registration) {
        self.sockets.push((socket, registration));
    }

    /// The numbers of all signals that mean something here.
    pub(super) fn signals(&self) -> Signals {
        let of = |wish| {
            let triggers = self.signals.iter().filter(|trigger| trigger.wish == wish);
            triggers.map(|trigger| trigger.kind.as_raw_value()).collect()
        };
        Signals {
            upgrade: of(Wish::Upgrade),
            stop: of(Wish::Stop),
            partial_stop: of(Wish::PartialStop),
        }
    }

    /// The reason for what was asked without one: the signal that would have
    /// asked for it.
    pub(super) fn reason_for(&self, wish: Wish) -> ExitReason {
        let found = self.signals.iter().find(|trigger| trigger.wish == wish);
        ExitReason::Signal(found.map_or_else(SignalKind::terminate, |trigger| trigger.kind))
    }

    /// Closes the control sockets: another generation answers there, or nobody.
    pub(super) fn close_sockets(&mut self) {
        self.sockets.clear();
    }

    /// The next request; new clients of control sockets are only admitted if we are
    /// the one who `admits` them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, admits: bool) -> Poll<Asked> {
        for SignalTrigger { wish, kind, signal } in &mut self.signals {
            if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                let reason = Some(ExitReason::Signal(*kind));
                return Poll::Ready(Asked { wish: *wish, reason, asker: Asker::Nobody });
            }
        }
        if let Poll::Ready(Some(asked)) = self.calls.poll_recv(cx) {
            return Poll::Ready(asked);
        }
        for (socket, _) in &mut self.sockets {
            if let Poll::Ready(asked) = socket.poll(cx, admits) {
                return Poll::Ready(asked.into());
            }
        }
        Poll::Pending
    }
}
