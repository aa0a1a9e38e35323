//! A server that upgrades itself and harms nobody, but for the one fault that it is
//! told to have. Without one it is sound, so whatever it is convicted of is the fault.
//!
//! Each generation starts the next, hands over its listening sockets, waits until
//! that is ready, stops accepting, ends what it has begun, and goes.

mod fault;
mod doors;
mod connection;
mod clients;
mod handover;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use clients::Clients;
use doors::Doors;
use fault::Fault;

/// So long a successor that accepts before it is ready does, and then fails.
const EARLY: Duration = Duration::from_millis(100);

/// A server that is broken on purpose, to be convicted.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen by TCP
    #[arg(long)]
    listen: SocketAddr,
    /// Where to listen by a unix socket, too
    #[arg(long)]
    unix: Option<PathBuf>,
    /// What is broken
    #[arg(long)]
    fault: Option<Fault>,
    /// How long the faults that take time take, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1500)]
    pause: u64,
    /// How many connections may wait to be accepted
    #[arg(long, value_name = "COUNT", default_value_t = 4096)]
    backlog: i32,
    /// Be this generation; its predecessor is at the standard input
    #[arg(long, default_value_t = 0, hide = true)]
    generation: u64,
}

impl Arguments {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(self.pause)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut upgrade = signal(SignalKind::hangup())?;
    let mut stop = signal(SignalKind::terminate())?;
    let clients = Clients::new(&arguments);
    let (clients, doors) = if arguments.generation == 0 {
        (clients, Doors::open(&arguments)?)
    } else {
        succeed(&arguments, clients).await?
    };
    loop {
        tokio::select! {
            failed = clients.let_in(&doors) => return Err(failed),
            _ = upgrade.recv() => {}
            _ = stop.recv() => {
                drop(doors);
                clients.finish().await;
                return Ok(ExitCode::SUCCESS);
            }
        }
        if arguments.has(Fault::LoseQueue) {
            sleep(arguments.pause()).await;
        }
        let succeeded = tokio::select! {
            failed = clients.let_in(&doors), if !arguments.has(Fault::LoseQueue) => {
                return Err(failed);
            }
            succeeded = handover::start(&arguments, &doors) => succeeded,
        };
        if succeeded.is_ok() {
            return retire(&arguments, clients, doors).await;
        }
    }
}

/// The beginning of a generation that succeeds another.
async fn succeed(arguments: &Arguments, clients: Clients) -> io::Result<(Clients, Doors)> {
    let mut doors = Doors::inherit(arguments, handover::receive()?)?;
    match arguments.fault {
        Some(Fault::EarlyAccept) => {
            let early = timeout(EARLY, clients.let_in(&doors)).await;
            drop(doors);
            clients.finish().await;
            return Err(early.unwrap_or_else(|_| io::ErrorKind::TimedOut.into()));
        }
        // It binds when the old one's is gone.
        Some(Fault::StalePath) => {}
        _ => doors.open_unix(arguments)?,
    }
    handover::say_ready()?;
    match arguments.fault {
        Some(Fault::ForgetAccept) => std::future::pending().await,
        Some(Fault::LateAccept) => sleep(arguments.pause()).await,
        Some(Fault::StalePath) => {
            sleep(arguments.pause()).await;
            doors.open_unix(arguments)?;
        }
        _ => {}
    }
    Ok((clients, doors))
}

/// The end of a generation that has been succeeded.
async fn retire(arguments: &Arguments, clients: Clients, doors: Doors) -> io::Result<ExitCode> {
    clients.tell_succeeded();
    match arguments.fault {
        Some(Fault::KillOld | Fault::KillOwnQueue) => raise(Signal::SIGKILL)?,
        Some(Fault::ServeOn) => return Err(clients.let_in(&doors).await),
        Some(Fault::OwnQueue) => sleep(arguments.pause()).await,
        Some(Fault::DrainedQueue) => doors.empty(&clients)?,
        Some(Fault::StalePath) => {
            doors.refuse_by_unix()?;
            doors.empty(&clients)?;
        }
        _ => {}
    }
    drop(doors);
    clients.finish().await;
    match (arguments.fault, &arguments.unix) {
        (Some(Fault::UnlinkLate), Some(path)) => std::fs::remove_file(path)?,
        (Some(Fault::Stay), _) => std::future::pending().await,
        (Some(Fault::DirtyExit), _) => return Ok(ExitCode::FAILURE),
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}
