//! A program without an async runtime that leaves its successor more than
//! sockets: a number that goes on (its state), an open file (a descriptor with a
//! name), and last words (a chain of datagram sockets).
//!
//! ```text
//! cargo run -p ecdysis --example bequest -- 127.0.0.1:7000 /tmp/journal
//! nc 127.0.0.1 7000     # in another terminal
//! pkill -HUP bequest    # upgrades; with -TERM: stops
//! ```
//!
//! Each client is told who serves it and which visitor it is, counted from the
//! first generation on, and then gets back what it sends. The journal is opened
//! by the first generation only. With `troubled` as a third argument, making the
//! state fails once, takes too long once, and panics once, before it works.

#![expect(clippy::print_stdout, reason = "that is how this program says what it does")]
#![expect(clippy::panic, reason = "it is asked to")]

use std::fs::File;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ecdysis::{Ecdysis, Phase};
use nix::sys::signal::{SigSet, Signal};

/// The version of the state. Another build may have another.
const VERSION: u32 = 1;

/// How long making the state may take.
const MOST: Duration = Duration::from_secs(1);

/// How many visitors there were.
#[derive(Default)]
struct Visits {
    all: AtomicU64,
    /// As many of them as the successor knows of from the state.
    told: AtomicU64,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || io::Error::other("usage: bequest ADDRESS:PORT JOURNAL [troubled]");
    let [address, path, rest @ ..] = &arguments[..] else { return Err(usage()) };
    let address: SocketAddr = address.parse().map_err(|_| usage())?;
    let troubled = rest.iter().any(|word| word == "troubled");

    // Before there is a second thread: whichever thread there is, the signals
    // wait for the one that waits for them.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGHUP);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;

    let mut ecdysis = Ecdysis::try_new()?;
    ecdysis.set_probation(Duration::ZERO);
    ecdysis.program_mut().ignoring(Signal::SIGHUP as i32).ignoring(Signal::SIGTERM as i32);
    ecdysis.on_upgrade(|report| println!("{report}"));
    let (generation, pid) = (ecdysis.generation(), std::process::id());

    // What the predecessor has left; what we leave.
    let listener = ecdysis.listen_tcp(address)?;
    println!("bound at {}", listener.local_addr()?);
    let journal = match ecdysis.inherited_fd("journal")? {
        Some(journal) => File::from(journal),
        None => File::options().append(true).create(true).open(path)?,
    };
    ecdysis.pass_fd("journal", &journal)?;
    let (predecessor, successor) = ecdysis.unix_datagram_pair("last words".to_owned());
    let successor = successor?;
    let visits = Arc::new(Visits::default());
    if let Some(state) = ecdysis.inherited_state()? {
        println!("inherits {} bytes of version {}", state.bytes().len(), state.version());
        let bytes = state.into_bytes().try_into().map_err(|_| io::ErrorKind::InvalidData)?;
        visits.all.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
    }
    let (made, attempts) = (Arc::clone(&visits), AtomicU64::new(0));
    ecdysis.set_state(VERSION, MOST, move || {
        if troubled {
            trouble(attempts.fetch_add(1, Ordering::SeqCst))?;
        }
        let all = made.all.load(Ordering::SeqCst);
        made.told.store(all, Ordering::SeqCst);
        Ok(all.to_le_bytes().to_vec())
    });

    // From here on nothing fails: the predecessor, if there is one, may go.
    let incoming = ecdysis.incoming(listener)?;
    ecdysis.ready()?;
    println!("ready generation={generation} pid={pid}");
    note(&journal, generation, "serves")?;
    let ecdysis = Arc::new(ecdysis);
    let process = Arc::clone(&ecdysis);
    thread::spawn(move || hear(&process, signals));
    if let Some(predecessor) = predecessor {
        let visits = Arc::clone(&visits);
        thread::spawn(move || listen(&predecessor, &visits));
    }

    for client in incoming {
        let (client, connection) = (client?, ecdysis.connections().enter());
        let visit = visits.all.fetch_add(1, Ordering::SeqCst) + 1;
        let greeting = format!("generation {generation} pid {pid} visit {visit}\n");
        thread::spawn(move || {
            // A client that breaks off does so for itself alone.
            let _ = talk(&client, &greeting);
            drop((client, connection));
        });
    }

    // We have been succeeded, or stopped.
    let drained = ecdysis.drain(Duration::from_secs(30));
    println!("ends generation={generation} {drained}");
    if ecdysis.phase() == Phase::Draining {
        let since = visits.all.load(Ordering::SeqCst) - visits.told.load(Ordering::SeqCst);
        successor.send(&since.to_le_bytes())?;
    }
    note(&journal, generation, "ends")
}

/// Notes in one piece what happens: others write to the same file.
fn note(mut journal: &File, generation: u64, what: &str) -> io::Result<()> {
    journal.write_all(format!("generation {generation} {what}\n").as_bytes())
}

/// Does what the signals ask for. A second stop, or one after an upgrade, ends
/// the drain.
fn hear(ecdysis: &Ecdysis, signals: SigSet) {
    while let Ok(signal) = signals.wait() {
        if signal == Signal::SIGHUP {
            ecdysis.upgrade_reported();
        } else if matches!(ecdysis.phase(), Phase::Draining | Phase::Stopping) {
            ecdysis.connections().hurry();
        } else {
            ecdysis.quit();
        }
    }
}

/// Counts the visits that the predecessor had after it had made the state.
fn listen(predecessor: &std::os::unix::net::UnixDatagram, visits: &Visits) {
    let mut since = [0; 8];
    if matches!(predecessor.recv(&mut since), Ok(8)) {
        let since = u64::from_le_bytes(since);
        let all = visits.all.fetch_add(since, Ordering::SeqCst) + since;
        println!("the predecessor had {since} more, {all} in all");
    }
}

fn talk(mut client: &TcpStream, greeting: &str) -> io::Result<()> {
    client.write_all(greeting.as_bytes())?;
    io::copy(&mut { client }, &mut client)?;
    client.shutdown(Shutdown::Write)
}

/// What goes wrong in this attempt.
fn trouble(attempt: u64) -> io::Result<()> {
    match attempt {
        0 => Err(io::Error::other("no state today")),
        1 => {
            thread::sleep(MOST * 1000);
            Ok(())
        }
        2 => panic!("no state, ever"),
        _ => Ok(()),
    }
}
