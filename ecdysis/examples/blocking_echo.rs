//! An echo server without a runtime: threads that block, and a control socket
//! that asks for upgrades.
//!
//! ```text
//! $ cargo run --no-default-features --example blocking_echo -- 127.0.0.1:7000 /tmp/echo.control &
//! generation 0 listens on 127.0.0.1:7000
//! $ echo upgrade | nc -NU /tmp/echo.control
//! upgrade to generation 1 (pid 4242) completed, handed off after 4.1ms
//! $ echo stop | nc -NU /tmp/echo.control
//! stopping
//! ```
//!
//! The standard library cannot handle signals. A program that does (with
//! signal-hook, say) calls `upgrade` from the thread that waits for them, and
//! names the signal with `program_mut().ignoring`, so that one that comes too
//! early does not kill the successor.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is run by hand, and watched")]

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ecdysis::{Ecdysis, Incoming};

/// How long a client of the control socket may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long connections may take to finish when this process has to leave.
const DRAIN: Duration = Duration::from_secs(30);

fn main() -> io::Result<()> {
    // First of all: it takes over what the predecessor passed on, if there is one.
    let ecdysis = Ecdysis::try_new()?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let usage =
        || io::Error::new(io::ErrorKind::InvalidInput, "usage: ADDRESS:PORT CONTROL-SOCKET");
    let [address, control] = &arguments[..] else { return Err(usage()) };
    let address = address.to_str().and_then(|address| address.parse().ok()).ok_or_else(usage)?;
    run(ecdysis, address, Path::new(control))
}

/// The life of one process.
pub(crate) fn run(mut ecdysis: Ecdysis, address: SocketAddr, control: &Path) -> io::Result<()> {
    // Everything that can fail comes before `ready`: until then the predecessor,
    // if there is one, serves, and goes on if we fail.
    let listener = ecdysis.listen_tcp(address)?;
    let control = ecdysis.listen_unix(control)?;
    let generation = ecdysis.generation();
    println!("generation {generation} listens on {}", listener.local_addr()?);
    let (connections, clients) = (ecdysis.incoming(listener)?, ecdysis.incoming(control)?);
    // Returns when the predecessor has stopped accepting.
    ecdysis.ready()?;
    println!("generation {generation} serves");

    let ecdysis = &ecdysis;
    thread::scope(|scope| {
        scope.spawn(move || {
            for client in clients.flatten() {
                // Each on a thread of its own: one that says nothing is in
                // nobody's way, and a stop can come while an upgrade goes on.
                scope.spawn(move || obey(ecdysis, &client));
            }
        });
        let served = serve(ecdysis, connections);
        if served.is_err() {
            // The control socket's thread would wait for clients for ever.
            ecdysis.quit();
        }
        served
    })?;
    println!("generation {generation} leaves: {}", ecdysis.drain(DRAIN));
    Ok(())
}

/// Serves every connection, until this process has to leave; the connections
/// may take longer.
fn serve(ecdysis: &Ecdysis, connections: Incoming<TcpListener>) -> io::Result<()> {
    let generation = ecdysis.generation();
    // The loop waits while this process may not accept, and outlasts errors that
    // pass; one that it hands out is of a listener that is broken.
    for connection in connections {
        let (connection, counted) = (connection?, ecdysis.connections().enter());
        thread::spawn(move || {
            // A connection that fails is its client's loss only.
            let _ = echo(&connection, generation);
            drop(counted);
        });
    }
    Ok(())
}

/// Does what one client of the control socket asks for, and answers.
fn obey(ecdysis: &Ecdysis, client: &UnixStream) {
    if let Err(error) = try_to_obey(ecdysis, client) {
        eprintln!("cannot talk to a client of the control socket: {error}");
    }
}

fn try_to_obey(ecdysis: &Ecdysis, mut client: &UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client).take(80).read_line(&mut line)?;
    match line.trim_end() {
        // Returns when the outcome is certain, and says what it is.
        "upgrade" => writeln!(client, "{}", ecdysis.upgrade_reported()),
        "stop" => {
            ecdysis.quit();
            writeln!(client, "stopping")
        }
        other => writeln!(client, "no such command: {other:?}; there are upgrade and stop"),
    }
}

/// Greets, and sends back what comes until the client has finished.
fn echo(mut connection: &TcpStream, generation: u64) -> io::Result<()> {
    writeln!(connection, "generation {generation} pid {}", std::process::id())?;
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..count])?;
    }
}
