//! Whether a stop serves those who are there: clients whose requests it has begun to
//! read, and clients who wait in the accept queue.
//!
//! The queue is filled while the server is frozen; it is asked to stop, and thawed, a
//! master before its workers, so that they wake with the order before them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::connect;
use crate::clock::now;
use crate::figures::Figures;
use crate::peer::{Paths, Peer, Speaks};
use crate::service::{Service, send};

pub(crate) const QUEUED: usize = 300;
pub(crate) const IN_FLIGHT: usize = 16;

/// What a master gets to pass on the order.
const PASSED_ON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

const PAYLOAD: usize = 64;
const PAGE: usize = 16384;

pub(crate) fn run(
    peer: &Peer,
    paths: &Paths,
    scratch: &Path,
    figures: &mut Figures,
) -> io::Result<()> {
    let mut service = Service::start(peer, paths, scratch, &[])?;
    let [first, rest] = halves(peer.speaks);
    let mut in_flight = Vec::with_capacity(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        let mut client = connect(service.address)?;
        client.write_all(&first)?;
        if peer.speaks == Speaks::Echo {
            // The greeting says that it was accepted, the echo that it was read.
            read_until(&mut client, first.len(), true)?;
        }
        in_flight.push(client);
    }
    // By HTTP nobody answers half a request; one more that is answered was read later.
    service.ask()?;
    thread::sleep(LATER);

    service.send_to_all(Signal::SIGSTOP);
    let mut queued = Vec::with_capacity(QUEUED);
    for _ in 0..QUEUED {
        let mut client = connect(service.address)?;
        client.write_all(&[first.as_slice(), &rest].concat())?;
        queued.push(client);
    }
    let main = service.main();
    send(main, peer.stop)?;
    send(main, Signal::SIGCONT)?;
    thread::sleep(PASSED_ON);
    service.send_to_all(Signal::SIGCONT);
    thread::sleep(LATER);

    let lost =
        |clients: Vec<io::Result<()>>| clients.iter().filter(|client| client.is_err()).count();
    let in_flight = in_flight.into_iter().map(|mut client| {
        client.write_all(&rest)?;
        finish(&mut client, peer.speaks, rest.len(), false)
    });
    let in_flight = lost(in_flight.collect());
    let queued = queued
        .into_iter()
        .map(|mut client| finish(&mut client, peer.speaks, first.len() + rest.len(), true));
    let queued = lost(queued.collect());
    let asked = now();
    while !service.is_over() {
        if asked.elapsed() > PATIENCE {
            figures.troubles.push(format!("{}: it did not stop within {PATIENCE:?}", peer.title));
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    for (measure, lost) in [("stop.flight", in_flight), ("stop.queue", queued)] {
        figures.note(measure, peer.id, lost as f64);
    }
    Ok(())
}

/// A request in two.
fn halves(speaks: Speaks) -> [Vec<u8>; 2] {
    match speaks {
        Speaks::Echo => [vec![7; PAYLOAD / 2], vec![8; PAYLOAD / 2]],
        Speaks::Http => {
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let (first, rest) = request.split_at(20);
            [first.to_vec(), rest.to_vec()]
        }
    }
}

/// Reads what is still to come.
fn finish(client: &mut TcpStream, speaks: Speaks, echoes: usize, greeted: bool) -> io::Result<()> {
    match speaks {
        Speaks::Echo => {
            read_until(client, echoes, greeted)?;
            client.shutdown(Shutdown::Write)
        }
        Speaks::Http => {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer)?;
            let whole = answer.starts_with(b"HTTP/1.1 200") && answer.len() > PAGE;
            if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        }
    }
}

/// Reads a greeting, if there is one to come, and so many bytes after it.
fn read_until(client: &mut TcpStream, bytes: usize, greeted: bool) -> io::Result<()> {
    let mut byte = [0];
    while greeted && byte != *b"\n" {
        client.read_exact(&mut byte)?;
    }
    client.read_exact(&mut vec![0; bytes])
}
