//! An echo service on Tokio that has every kind of control socket, and a second
//! listener that outlives a partial stop. Variables of its environment say what
//! else it does.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use ecdysis::tokio_ecdysis::{
    DrainOptions, SignalKind, StopOnShutdown, StoppableStream, TokioEcdysisBuilder,
};
use ecdysis::{Connections, UnixOptions, UpgradeError};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_stream::wrappers::TcpListenerStream;

use super::span;
use crate::service::PATIENCE;

/// The life of one process.
pub(super) async fn run(directory: &Path) -> io::Result<()> {
    let mut builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    builder.stop_on_signal(SignalKind::terminate())?;
    builder.partial_stop_on_signal(SignalKind::user_defined1())?;
    configure(&mut builder, directory)?;
    let generation = builder.generation();
    let pid = std::process::id();
    builder.on_phase(move |phase| say(&format!("generation {generation} is {phase}")));
    builder.on_upgrade(|report| {
        say(&report.to_string());
        say(&format!("outcome {:?}", report.outcome.as_ref().map_err(UpgradeError::kind)));
    });

    let greeting = Arc::from(format!("generation {generation} pid {pid}\n").as_str());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let stream = builder.listen_tcp(StopOnShutdown::Yes, any)?;
    say(&format!("generation {generation} listens on {}", stream.local_addr()?));
    let lasting = builder.listen_tcp(StopOnShutdown::No, ([127, 0, 0, 2], 0).into())?;
    say(&format!("generation {generation} has its lasting listener on {}", lasting.local_addr()?));
    for stream in [stream, lasting] {
        tokio::spawn(serve(stream, Arc::clone(&greeting), builder.connections().clone()));
    }

    let (ecdysis, leave) = builder.ready()?;
    say(&format!("generation {generation} serves pid={pid}"));
    let (mode, reason) = leave.await.map_err(io::Error::other)?;
    say(&format!("generation {generation} leaves: {mode:?} by {reason:?}"));
    let drained = ecdysis.drain(&DrainOptions::default()).await;
    say(&format!("generation {generation} is done: {drained}"));
    Ok(())
}

fn configure(builder: &mut TokioEcdysisBuilder, directory: &Path) -> io::Result<()> {
    let of = |name: &str| std::env::var_os(name);
    builder.control_socket(directory.join("control"), &UnixOptions::new().mode(0o600))?;
    builder.upgrade_on_socket(directory.join("upgrade"))?;
    builder.stop_on_socket(directory.join("stop"))?;
    builder.partial_stop_on_socket(directory.join("drain"))?;
    if let Some(probation) = span("PROBATION") {
        builder.set_probation(probation);
    }
    if let Some(deadline) = span("READY_DEADLINE") {
        builder.set_ready_deadline(deadline);
    }
    if of("DEAF").is_some() {
        occupy_every_worker();
    }
    if of("STATE").is_some() {
        builder.set_state(1, PATIENCE, || Ok(b"state".to_vec()));
    }
    if let Some(path) = of("PID_FILE") {
        builder.set_pid_file(path);
    }
    if let Some(path) = of("PROGRAM") {
        // Its own default is what it was started as.
        builder.program_mut().path(path).without_variable("PROGRAM");
    }
    if let Some(value) = of("CROSSES") {
        builder.program_mut().variable("CROSSED", value).without_variable("CROSSES");
    }
    if let Some(directory) = of("DIRECTORY") {
        builder.program_mut().directory(directory);
    }
    if let Some(directory) = of("GOES_TO") {
        std::env::set_current_dir(directory)?;
    }
    if of("TWICE").is_some() {
        let second = ecdysis::Ecdysis::try_new()?;
        say(&format!("a second constructor: is_child={}", second.is_child()));
    }
    #[cfg(feature = "systemd_notify")]
    if let Err(error) = builder.enable_systemd_notifications() {
        say(&format!("systemd is not told: {error}"));
    }
    Ok(())
}

/// Leaves the runtime no thread that runs what is spawned, for good.
fn occupy_every_worker() {
    let workers = Handle::current().metrics().num_workers();
    let (occupy, occupied) = mpsc::channel();
    for _ in 0..workers {
        let occupy = occupy.clone();
        tokio::spawn(async move {
            occupy.send(()).unwrap();
            loop {
                thread::park();
            }
        });
    }
    assert_eq!(occupied.iter().take(workers).count(), workers);
}

/// Tells the test, in one piece: several processes write.
fn say(line: &str) {
    // Without a test to read it there is nobody to tell.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

async fn serve(
    mut stream: StoppableStream<TcpListenerStream>,
    greeting: Arc<str>,
    connections: Connections,
) {
    while let Some(Ok(stream)) = stream.next().await {
        let (greeting, connection) = (Arc::clone(&greeting), connections.enter());
        tokio::spawn(async move {
            tokio::select! {
                _ = echo(stream, &greeting) => {}
                () = connection.cut() => {}
            }
        });
    }
}

async fn echo(mut stream: TcpStream, greeting: &str) -> io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..count]).await?;
    }
}
