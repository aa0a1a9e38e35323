//! The echo server of `server.rs`, built on the published crate `shellflip` 2.1.3
//! in the way that its documentation shows: a restart task, a coordinator that
//! waits for connections, and, if asked for, its coordination socket.
//!
//! That crate hands over no sockets, so the application does. Each generation has
//! the listening socket as its standard input, which a successor inherits.

mod ballast;
mod echo;

use std::env;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd;
use std::path::PathBuf;

use shellflip::lifecycle::receive_from_old_process;
use shellflip::{RestartConfig, ShutdownCoordinator};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::ballast::resident;
use crate::echo::{echo, greeting};

/// `reuseport`: each generation binds a socket of its own instead.
/// `gib=N`: the first generation holds so much memory; its successors do not.
/// `control=PATH`: restarts also by the coordination socket at this path.
const USAGE: &str = "usage: shellflipped ADDRESS [reuseport] [gib=N] [control=PATH]";

const BACKLOG: u32 = 4096;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut address, mut control) = (None, None::<PathBuf>);
    let (mut gib, mut reuseport) = (0_usize, false);
    for argument in env::args().skip(1) {
        match argument.split_once('=') {
            Some(("gib", number)) => gib = number.parse()?,
            Some(("control", path)) => control = Some(path.into()),
            _ if argument == "reuseport" => reuseport = true,
            _ => address = Some(argument.parse()?),
        }
    }
    let address = address.ok_or(USAGE)?;
    let is_successor = receive_from_old_process().is_some();
    let ballast = if is_successor { Vec::new() } else { resident(gib << 30)? };
    let listener = listen(address, reuseport, is_successor)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let restart = RestartConfig {
        enabled: control.is_some(),
        coordination_socket_path: control.unwrap_or_default(),
        restart_signal: SignalKind::hangup(),
        // By default the server ends when a successor fails to start.
        exit_on_error: false,
        ..RestartConfig::default()
    }
    .try_into_restart_task()?;

    let (leave, left) = watch::channel(false);
    let accepting = tokio::spawn(accept(listener, left));
    tokio::select! {
        restarted = restart => drop(restarted.map_err(|error| error.to_string())?),
        _ = terminated.recv() => {}
    }
    leave.send_replace(true);
    // The listener is closed, whatever waits in its queue, and so is its copy.
    let connections = accepting.await?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    connections.shutdown().await;
    drop(black_box(ballast));
    Ok(())
}

fn listen(address: SocketAddr, reuseport: bool, is_successor: bool) -> io::Result<TcpListener> {
    if is_successor && !reuseport {
        let inherited = StdListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        inherited.set_nonblocking(true)?;
        return TcpListener::from_std(inherited);
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuseport)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    if !reuseport {
        nix::unistd::dup2_stdin(&listener)?;
    }
    Ok(listener)
}

/// In a task of its own, like the other servers.
async fn accept(listener: TcpListener, mut left: watch::Receiver<bool>) -> ShutdownCoordinator {
    let (connections, greeting) = (ShutdownCoordinator::new(), greeting());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let connection = connections.handle();
                tokio::spawn(async move {
                    let echoed = echo(socket, greeting).await;
                    drop(connection);
                    echoed
                });
            }
            _ = left.wait_for(|left| *left) => return connections,
        }
    }
}
