//! The life of one process: bind, say ready, serve, and leave when a successor
//! serves or a stop is asked for. This is the part to copy.

use std::io;
use std::sync::Arc;

use ecdysis::tokio_ecdysis::{
    DrainOptions, ExitMode, SignalKind, StopOnShutdown, TokioEcdysisBuilder,
};
use ecdysis::{SystemdNotifierError, UnixOptions};

use crate::cli::Config;
use crate::ledger::{Ledger, Published};
use crate::server::serve;

/// Runs this process to its end.
///
/// # Errors
/// What keeps it from starting. Once it serves, nothing does.
pub(crate) async fn run(config: Config) -> io::Result<()> {
    // First of all, so that no signal finds us without a handler.
    let mut builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    builder.stop_on_signal(SignalKind::terminate())?;
    builder.stop_on_signal(SignalKind::interrupt())?;
    match builder.enable_systemd_notifications() {
        Ok(()) | Err(SystemdNotifierError::NotifySocketUnset) => {}
        // No reason not to serve.
        Err(error) => tracing::warn!(%error, "systemd hears nothing of us"),
    }
    builder.enable_systemd_fd_store().map_err(io::Error::other)?;
    builder.set_ready_deadline(config.ready_deadline);
    builder.set_probation(config.probation);
    if let Some(path) = &config.pid_file {
        builder.set_pid_file(path);
    }
    if let Some(control) = &config.control {
        builder.control_socket(control, &UnixOptions::new().mode(0o600))?;
    }

    // Everything that can fail comes before `ready`: until then the
    // predecessor, if there is one, serves, and goes on if we fail.
    let generation = builder.generation();
    let ledger = Arc::new(Ledger::new(generation));
    let published = config
        .ledger
        .as_deref()
        .map(|directory| Published::new(Arc::clone(&ledger), directory))
        .transpose()?;
    let (stop, listen) = (StopOnShutdown::Yes, config.listen);
    let stream = if let Some(name) = config.from_systemd {
        builder.read_systemd_sockets().map_err(io::Error::other)?;
        builder.systemd_listen_tcp(stop, name, listen).await.map_err(io::Error::other)?
    } else {
        builder.listen_tcp(stop, listen)?
    };
    let listen = stream.local_addr()?;
    let greeting = config.greeting.then(|| greeting(generation));
    let accepting = tokio::spawn(serve(stream, greeting, ledger, builder.connections().clone()));

    let (ecdysis, leave) = builder.ready()?;
    tracing::info!(generation, pid = std::process::id(), %listen, "ready");
    let (mode, reason) = leave.await.map_err(io::Error::other)?;
    if let ExitMode::Upgrade = mode {
        tracing::info!(generation, "the next generation serves");
    } else {
        tracing::info!(generation, ?reason, "stopping");
    }

    // The stream ends when it has yielded its last; what was accepted is still
    // served, until the deadline, or a second stop.
    accepting.await.map_err(io::Error::other)?;
    let drained = ecdysis.drain(&DrainOptions::default().deadline(config.drain_deadline)).await;
    if drained.is_clean() {
        tracing::info!(generation, "drained");
    } else {
        tracing::warn!(generation, left = drained.cut, "connections cut");
    }
    published.map_or(Ok(()), |published| published.close())
}

fn greeting(generation: u64) -> Arc<[u8]> {
    format!("generation {generation} pid {}\n", std::process::id()).into_bytes().into()
}
