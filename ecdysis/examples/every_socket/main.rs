//! Every kind of socket that a generation can leave to the next, in one
//! program, to be read and to be played with.
//!
//! ```text
//! cargo run -p ecdysis --example every_socket -- tcp:127.0.0.1:7000 unix:/tmp/echo
//! nc 127.0.0.1 7000; nc -U /tmp/echo    # in another terminal
//! pkill -HUP every_socket               # upgrades; with -TERM: stops
//! ```
//!
//! Each client is told who serves it, `generation N pid P`, and then gets back
//! what it sends. Each argument is a step; they are taken in the order given:
//!
//! | step | what it does |
//! |---|---|
//! | `tcp:ADDRESS:PORT` | listens |
//! | `reuseport:ADDRESS:PORT*COUNT` | listens with so many sockets, among which the kernel spreads the clients |
//! | `unix:PATH`, `unix-mode:MODE:PATH` | listens on a unix socket, of this mode (octal) |
//! | `abstract:NAME`, `seqpacket:PATH` | the same, without a file; for packets |
//! | `udp:ADDRESS:PORT`, `unix-datagram:PATH` | answers datagrams |
//! | `hold:STEP` | one of those above, but accepts nobody until this process has to leave |
//! | `drop:STEP` | lets go of what that step has made |
//! | `ready` | is ready; if it is not said, then after the last step |
//! | `probation:MILLISECONDS` | keeps the sockets so long after an upgrade; only before `ready` |
//! | `wait:FIFO` | waits until somebody has written a byte to this FIFO |
//! | `helper:COMMAND` | starts a program, with the shell |
//! | `stray:PATH` | opens a file, and forgets close-on-exec |
//! | `abort` | crashes |
//! | `@FILE` | the steps in this file, one a line; each generation reads it anew |
//!
//! `sockets` makes them, `clients` serves them; this file is the life of one
//! generation.

#![expect(clippy::print_stdout, reason = "that is how this program says what it does")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use ecdysis::tokio_ecdysis::{DrainOptions, SignalKind, TokioEcdysisBuilder};

mod clients;
mod sockets;

#[tokio::main]
async fn main() -> io::Result<()> {
    // First of all, so that no signal finds us without a handler.
    let mut builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    builder.stop_on_signal(SignalKind::terminate())?;
    builder.on_upgrade(|report| println!("{report}"));
    let who = format!("generation={} pid={}", builder.generation(), std::process::id());
    let of_whom = who.clone();
    builder.on_phase(move |phase| println!("{phase} {of_whom}"));

    let steps = steps()?;
    let mut parts = steps.splitn(2, |step| step == "ready");
    let mut server = sockets::Server::new(&builder);
    for step in parts.next().unwrap_or_default() {
        match split(step) {
            ("probation", span) => builder.set_probation(Duration::from_millis(parse(span)?)),
            _ => server.take(&builder, step).await?,
        }
    }

    let (process, leave) = builder.ready()?;
    println!("ready {who}");
    let later = async {
        for step in parts.next().unwrap_or_default() {
            server.take(&process, step).await?;
        }
        std::future::pending().await
    };
    let (mode, reason) = tokio::select! {
        left = leave => left.map_err(io::Error::other)?,
        failed = later => return failed,
    };

    println!("leaves {who} mode={mode:?} reason={reason:?}");
    server.finish().await;
    let drained = process.drain(&DrainOptions::default()).await;
    println!("ends {who} served={} cut={}", drained.served, drained.cut);
    Ok(())
}

/// The arguments, and the lines of the files that they name. They need not be
/// UTF-8: paths are bytes.
fn steps() -> io::Result<Vec<OsString>> {
    let mut steps = Vec::new();
    for argument in std::env::args_os().skip(1) {
        let Some(file) = argument.as_bytes().strip_prefix(b"@") else {
            steps.push(argument);
            continue;
        };
        let text = fs::read(OsStr::from_bytes(file))?;
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        steps.extend(lines.map(|line| OsStr::from_bytes(line).to_owned()));
    }
    Ok(steps)
}

/// The first word of a step, and what follows its colon.
fn split(step: &OsStr) -> (&str, &OsStr) {
    let mut parts = step.as_bytes().splitn(2, |&byte| byte == b':');
    let mut part = || parts.next().unwrap_or_default();
    (std::str::from_utf8(part()).unwrap_or_default(), OsStr::from_bytes(part()))
}

fn parse<T: std::str::FromStr>(text: impl AsRef<OsStr>) -> io::Result<T> {
    let text = text.as_ref();
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong(text))
}

fn wrong(step: &OsStr) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("cannot make sense of {step:?}"))
}
