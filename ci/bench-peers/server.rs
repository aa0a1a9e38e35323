//! An echo server in the style of the published crate's documentation. It
//! greets each connection with its generation and its pid, so that the client
//! knows who answered, upgrades on SIGHUP, and stops on SIGTERM.
//!
//! Compiled twice, against this project's `ecdysis` and against the published
//! one: what differs between the two binaries is the library alone.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

/// What is not an address is one of these:
/// `gib=N`: the first generation holds so much memory; its successors do not.
/// `abort-if=FILE`: a successor that finds this file ends before it is ready.
/// `plain`: no library, only Tokio; to be told what a library costs.
/// `until-eof`: ends, and its successors with it, when stdin does.
const USAGE: &str = "usage: server ADDRESS [gib=N] [abort-if=FILE] [plain] [until-eof]";

const BACKLOG: u32 = 1024;

/// The server's memory is in pages of this size.
const PAGE: usize = 4096;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    say("started", process::id())?;
    let mut address = None;
    let (mut gib, mut abort_if, mut plain) = (0, PathBuf::new(), false);
    for argument in env::args().skip(1) {
        match argument.split_once('=') {
            Some(("gib", number)) => gib = number.parse()?,
            Some(("abort-if", file)) => abort_if = file.into(),
            _ if argument == "plain" => plain = true,
            _ if argument == "until-eof" => end_with_stdin(),
            _ => address = Some(argument.parse()?),
        }
    }
    let address = address.ok_or(USAGE)?;
    if plain { serve_plainly(address).await } else { serve(address, gib, &abort_if).await }
}

async fn serve(address: SocketAddr, gib: usize, abort_if: &Path) -> Result<(), Box<dyn Error>> {
    let mut builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    builder.stop_on_signal(SignalKind::terminate())?;
    #[cfg(feature = "reports")]
    builder.on_upgrade(|report| {
        let _ = say("spawned", report.started.unwrap_or_default().as_nanos());
    });
    if builder.is_child() && abort_if.exists() {
        process::exit(1);
    }
    let ballast = if builder.is_child() { Vec::new() } else { resident(gib << 30)? };
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

async fn echo(mut socket: TcpStream, greeting: &'static str) -> io::Result<()> {
    socket.write_all(greeting.as_bytes()).await?;
    let (mut reader, mut writer) = socket.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(())
}

/// The published crate does not count generations: whoever starts us does.
fn greeting() -> &'static str {
    let generation = env::var("GENERATION").unwrap_or_else(|_| "0".to_owned());
    format!("generation {generation} pid {}\n", process::id()).leak()
}

/// `bytes` of memory, every page of it in use, none of them huge: as much work
/// for a fork as they can be.
fn resident(bytes: usize) -> nix::Result<Vec<u8>> {
    nix::sys::prctl::set_thp_disable(true)?;
    let mut memory = vec![0; bytes];
    // Half of it each: a fresh page costs the kernel more than us.
    let (one, other) = memory.split_at_mut(bytes / 2);
    let touch = |half: &mut [u8]| half.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    thread::scope(|scope| {
        scope.spawn(|| touch(one));
        touch(other);
    });
    Ok(memory)
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
