//! An echo server in the style of the published crate's documentation. It
//! greets each connection with its generation and its pid, so that the client
//! knows who answered, upgrades on SIGHUP, and stops on SIGTERM.
//!
//! Compiled twice, against this project's `ecdysis` and against the published
//! one: what differs between the two binaries is the library alone.

mod ballast;
mod echo;

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::Duration;

use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use futures::StreamExt;
use tokio::net::TcpSocket;
use tokio_util::task::TaskTracker;

use crate::ballast::resident;
use crate::echo::{echo, greeting};

/// What is not an address is one of these:
/// `gib=N`: the first generation holds so much memory; its successors do not.
/// `abort-if=FILE`: a successor that finds this file ends before it is ready.
/// `control=PATH`: upgrades also when somebody connects to this socket.
/// `deadline-ms=N`: so long may a successor take, where the library can be told.
/// `plain`: no library, only Tokio; to be told what a library costs.
/// `until-eof`: ends, and its successors with it, when stdin does.
const USAGE: &str = "usage: server ADDRESS [gib=N] [abort-if=FILE] [control=PATH] \
     [deadline-ms=N] [plain] [until-eof]";

const BACKLOG: u32 = 4096;

/// What it was told, but for the address.
struct Options {
    gib: usize,
    abort_if: PathBuf,
    control: Option<PathBuf>,
    deadline: Duration,
    plain: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    say("started", process::id())?;
    let mut address = None;
    let mut options = Options {
        gib: 0,
        abort_if: PathBuf::new(),
        control: None,
        deadline: Duration::from_secs(60),
        plain: false,
    };
    for argument in env::args().skip(1) {
        match argument.split_once('=') {
            Some(("gib", number)) => options.gib = number.parse()?,
            Some(("abort-if", file)) => options.abort_if = file.into(),
            Some(("control", path)) => options.control = Some(path.into()),
            Some(("deadline-ms", number)) => {
                options.deadline = Duration::from_millis(number.parse()?)
            }
            _ if argument == "plain" => options.plain = true,
            _ if argument == "until-eof" => end_with_stdin(),
            _ => address = Some(argument.parse()?),
        }
    }
    let address = address.ok_or(USAGE)?;
    if options.plain { serve_plainly(address).await } else { serve(address, options).await }
}

async fn serve(address: SocketAddr, options: Options) -> Result<(), Box<dyn Error>> {
    let mut builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    builder.stop_on_signal(SignalKind::terminate())?;
    if let Some(path) = &options.control {
        builder.upgrade_on_socket(path)?;
    }
    #[cfg(feature = "reports")]
    {
        builder.on_upgrade(|report| {
            let _ = say("spawned", report.started.unwrap_or_default().as_nanos());
        });
        builder.set_ready_deadline(options.deadline);
    }
    if builder.is_child() && options.abort_if.exists() {
        process::exit(1);
    }
    let ballast = if builder.is_child() { Vec::new() } else { resident(options.gib << 30)? };
    let mut stream =
        builder.build_listen_tcp(StopOnShutdown::Yes, address, |socket, address| {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(BACKLOG).map_err(io::Error::other)?)?;
            Ok(socket.into())
        })?;
    let connections = TaskTracker::new();
    let accepting = tokio::spawn({
        let (connections, greeting) = (connections.clone(), greeting());
        async move {
            while let Some(Ok(socket)) = stream.next().await {
                connections.spawn(echo(socket, greeting));
            }
        }
    });

    let (_ecdysis, shutdown) = builder.ready()?;
    let _reason = shutdown.await;
    say("stopped", process::id())?;
    accepting.await?;
    connections.close();
    connections.wait().await;
    drop(black_box(ballast));
    Ok(())
}

/// The same, without a library. The loop is in a task of its own here too: one
/// in `block_on` is not run by a worker, and slower.
async fn serve_plainly(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let (connections, greeting) = (TaskTracker::new(), greeting());
    let accepting = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            connections.spawn(echo(socket, greeting));
        }
    });
    Ok(accepting.await?)
}

/// One write: the successor has the same stdout.
fn say(what: &str, number: impl std::fmt::Display) -> io::Result<()> {
    io::stdout().write_all(format!("{what} {number}\n").as_bytes())
}

/// Every generation holds the read end of one pipe: when whoever measures lets
/// go of the other end, or dies, no generation is left behind.
fn end_with_stdin() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(0);
    });
}
