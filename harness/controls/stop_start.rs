//! Stops the old worker, then starts the new one. In between nobody listens:
//! clients are refused, and those that were being served are reset.
//!
//! It is a supervisor that starts itself again as workers, which greet and echo. The
//! workers are fine; what is broken is how one follows the other.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;

use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// A server that is broken on purpose, to be convicted.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// Be this worker, not the supervisor
    #[arg(long, hide = true)]
    worker: Option<u64>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(generation) = arguments.worker {
        return work(arguments.listen, generation).await;
    }
    let mut upgrade = signal(SignalKind::hangup())?;
    let mut stop = signal(SignalKind::terminate())?;
    let mut generation = 0;
    let mut worker = start(&arguments, generation).await?;
    loop {
        tokio::select! {
            _ = upgrade.recv() => {
                generation += 1;
                worker.kill().await?;
                worker = start(&arguments, generation).await?;
            }
            _ = stop.recv() => return worker.kill().await,
        }
    }
}

/// Starts a worker and waits until it listens.
async fn start(arguments: &Arguments, generation: u64) -> io::Result<Child> {
    let mut worker = Command::new(std::env::current_exe()?)
        .arg("--listen")
        .arg(arguments.listen.to_string())
        .arg("--worker")
        .arg(generation.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let said = worker.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::Error::other("the worker ended before it listened"));
    }
    Ok(worker)
}

async fn work(address: SocketAddr, generation: u64) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from_std(socket.into())?;
    tokio::io::stdout().write_all(b"listening\n").await?;
    let greeting = format!("generation {generation} pid {}\n", std::process::id());
    loop {
        let (connection, _) = listener.accept().await?;
        let greeting = greeting.clone();
        // A client that goes away is no concern of the others.
        tokio::spawn(async move { echo(connection, greeting.as_bytes()).await.is_ok() });
    }
}

async fn echo(mut connection: TcpStream, greeting: &[u8]) -> io::Result<()> {
    connection.write_all(greeting).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match connection.read(&mut buffer).await? {
            0 => return connection.shutdown().await,
            count => connection.write_all(&buffer[..count]).await?,
        }
    }
}
