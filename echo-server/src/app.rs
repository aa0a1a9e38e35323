//! The life of one process: bind, say ready, serve, and leave when a successor
//! serves or a stop is asked for. This is the part to copy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ecdysis::tokio_ecdysis::{
    DrainOptions, ExitMode, SignalKind, StopOnShutdown, TokioEcdysis, TokioEcdysisBuilder,
};
use ecdysis::{SystemdNotifierError, UnixOptions};
use tokio::task::JoinSet;

use crate::cli::Config;
use crate::echo::{Service, bytes, datagrams, packets};
use crate::ledger::{Ledger, Published};
use crate::server::serve;

/// Every socket is let go of when this process has to leave.
const STOP: StopOnShutdown = StopOnShutdown::Yes;

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
    let service = Service { greeting: config.greeting.then(|| greeting(generation)), ledger };
    let mut accepting = JoinSet::new();
    if config.from_systemd.is_some() {
        builder.read_systemd_sockets().map_err(io::Error::other)?;
    }
    let listen = serve_all(&builder, &config, &service, &mut accepting).await?;

    let (ecdysis, leave) = builder.ready()?;
    tracing::info!(generation, pid = std::process::id(), %listen, "ready");
    let (mode, reason) = leave.await.map_err(io::Error::other)?;
    if let ExitMode::Upgrade = mode {
        tracing::info!(generation, "the next generation serves");
    } else {
        tracing::info!(generation, ?reason, "stopping");
    }

    // A stream ends when it has yielded its last; what was accepted is still
    // served, until the deadline, or a second stop.
    accepting.join_all().await;
    let drained = ecdysis.drain(&DrainOptions::default().deadline(config.drain_deadline)).await;
    if drained.is_clean() {
        tracing::info!(generation, "drained");
    } else {
        tracing::warn!(generation, left = drained.cut, "connections cut");
    }
    published.map_or(Ok(()), |published| published.close())
}

/// Serves every socket that the configuration asks for, and says where the first
/// listens. Which are new and which the predecessor's, only the library needs to know.
async fn serve_all(
    process: &TokioEcdysis,
    config: &Config,
    service: &Service,
    accepting: &mut JoinSet<()>,
) -> io::Result<SocketAddr> {
    let connections = || process.connections().clone();
    let stream = if let Some(name) = config.from_systemd.clone() {
        let stream = process.systemd_listen_tcp(STOP, name, config.listen).await;
        stream.map_err(io::Error::other)?
    } else {
        process.listen_tcp(STOP, config.listen)?
    };
    let listen = stream.local_addr()?;
    accepting.spawn(serve(stream, bytes, service.clone(), connections()));
    if let Some(path) = &config.unix {
        let stream = process.listen_unix(STOP, path)?;
        accepting.spawn(serve(stream, bytes, service.clone(), connections()));
    }
    if let Some(path) = &config.seqpacket {
        let stream = process.listen_unix_seqpacket(STOP, path)?;
        accepting.spawn(serve(stream, packets, service.clone(), connections()));
    }
    if let Some(address) = config.udp {
        let (sink, stream) = process.build_framed_udp(STOP, address, |socket, address| {
            socket.bind(&address.into())?;
            Ok(socket.into())
        })?;
        accepting.spawn(datagrams(sink, stream, service.clone()));
    }
    Ok(listen)
}

fn greeting(generation: u64) -> Arc<[u8]> {
    format!("generation {generation} pid {}\n", std::process::id()).into_bytes().into()
}
