//! The server under test: how it is started, asked to upgrade, and stopped.

use toml::Spanned;

use super::error::{Mistake, checked, require};
use super::plan::{Addressee, Attach, By, Signal, Target, Trigger};
use super::{file, text};

/// What a control socket is told when the trigger does not say.
const USUAL_REQUEST: &str = r#"{"command":"upgrade"}"#;

/// Makes the plan of a target.
pub(super) fn target(target: file::Target) -> Result<Target, Mistake> {
    let attached = target.attach.is_some();
    let (command, attach) = match (target.command, target.attach) {
        (Some(command), None) => (server(command)?, None),
        (None, Some(attach)) => {
            let file::Attach { connect, pid } = attach.into_inner();
            (Vec::new(), Some(Attach { connect: connect.0, pid }))
        }
        (Some(command), Some(_)) => {
            let message =
                "the server either runs already or is started; take `attach` or `command` out";
            return Err(Mistake::at(command.span(), message));
        }
        (None, None) => {
            return Err(Mistake::anywhere(
                "no server is named: the key `command` is missing in [target]; write it, or attach = \
                 { connect = \"127.0.0.1:8080\" } for a server that runs already",
            ));
        }
    };
    if let Some(path) = &target.pid_file {
        checked(path, |path| text::file_path(path, !attached))?;
    }
    if let Some(greeting) = &target.greeting {
        checked(greeting, text::greeting)?;
    }
    if let Some(ledger) = &target.ledger {
        checked(ledger, text::ledger)?;
        require(
            !attached,
            &ledger.span(),
            || "a server that runs already cannot be told where to leave its ledger; take the key out",
        )?;
    }
    require(
        !target.ready_timeout.get_ref().0.is_zero(),
        &target.ready_timeout.span(),
        || "ready_timeout leaves the server no time to start; write one like \"10s\"",
    )?;
    Ok(Target {
        command,
        attach,
        pid_file: target.pid_file.map(Spanned::into_inner),
        greeting: target.greeting.map(Spanned::into_inner),
        closes_idle: target.closes_idle.into_inner(),
        trigger: trigger(target.trigger)?,
        stop_signal: target.stop.0,
        ready_timeout: target.ready_timeout.get_ref().0,
        drain_timeout: target.drain_timeout.0,
        ledger: target.ledger.map(Spanned::into_inner),
    })
}

/// The command that starts the server.
fn server(command: Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, Mistake> {
    let (span, command) = (command.span(), command.into_inner());
    for argument in &command {
        checked(argument, text::placeholders)?;
    }
    require(
        command.first().is_some_and(|program| !program.get_ref().is_empty()),
        &span,
        || "command names no program; write it first, like [\"{bin:echo-server}\", …]",
    )?;
    require(
        command.iter().any(|argument| argument.get_ref().contains("{addr}")),
        &span,
        || "command does not tell the server where to listen; write {addr} in one of its arguments",
    )?;
    Ok(command.into_iter().map(Spanned::into_inner).collect())
}

/// That it is known whom to ask for an upgrade.
pub(super) fn upgradable(file: &file::Scenario) -> Result<(), Mistake> {
    let (Some(attach), Some(_)) = (&file.target.attach, &file.upgrades) else { return Ok(()) };
    let file::Trigger { command, socket, .. } = file.target.trigger.get_ref();
    let names = |argument: &Spanned<String>| argument.get_ref().contains("{pid}");
    let needs_pid = match (command, socket) {
        (Some(command), _) => command.get_ref().iter().any(names),
        (None, Some(_)) => false,
        (None, None) => true,
    };
    let known = attach.get_ref().pid.is_some() || file.target.pid_file.is_some();
    require(known || !needs_pid, &attach.span(), || {
        "nobody knows the server's process, so it cannot be asked to upgrade; write pid_file = \
         \"/run/server.pid\" in [target], or a trigger = { command = […] } without {pid}"
    })
}

fn trigger(trigger: Spanned<file::Trigger>) -> Result<Trigger, Mistake> {
    let (span, trigger) = (trigger.span(), trigger.into_inner());
    let file::Trigger { signal, command, socket, send, to } = trigger;
    if let Some(send) = &send {
        require(socket.is_some(), &send.span(), || {
            "`send` is what a socket is told; write socket = \"{dir}/control.sock\" beside it, or \
             take the key out"
        })?;
    }
    let by = match (signal, command, socket) {
        (signal, None, None) => By::Signal(signal.map_or(Signal::SigHup, |signal| signal.0)),
        (None, Some(command), None) => By::Command(command_of_trigger(command)?),
        (None, None, Some(socket)) => {
            checked(&socket, text::socket_path)?;
            let send = send.map_or_else(|| USUAL_REQUEST.to_owned(), Spanned::into_inner);
            By::Socket { path: socket.into_inner(), send }
        }
        (_, _, _) => {
            return Err(Mistake::at(
                span,
                "a trigger is one of `signal`, `command` and `socket`; take the others out",
            ));
        }
    };
    let usual = match by {
        By::Command(_) => Addressee::Main,
        By::Signal(_) | By::Socket { .. } => Addressee::Serving,
    };
    Ok(Trigger { by, to: to.map_or(usual, |to| to.0) })
}

fn command_of_trigger(command: Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, Mistake> {
    let (span, command) = (command.span(), command.into_inner());
    for argument in &command {
        checked(argument, text::placeholders_and_pid)?;
    }
    require(
        command.first().is_some_and(|program| !program.get_ref().is_empty()),
        &span,
        || "command names no program; write it first, like [\"systemctl\", \"reload\", \"x\"]",
    )?;
    Ok(command.into_iter().map(Spanned::into_inner).collect())
}
