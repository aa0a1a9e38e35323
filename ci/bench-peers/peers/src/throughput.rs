//! What a server does that is not upgraded: answers on kept connections, connections
//! that carry one answer, and the processor time of each.
//!
//! Servers that do the same work run at once, and one client goes from one to the
//! next, 20 ms each, so that whatever else the machine does meets them alike; those
//! that wait cost nothing. Echo servers are set beside the same server on a plain
//! Tokio listener; web servers, which have other work, beside one another only.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clock::now;
use crate::figures::{Figures, median};
use crate::peer::{Paths, Peer, Speaks, Trigger};
use crate::service::Service;

const SLICES: usize = 50;
const SLICE: Duration = Duration::from_millis(20);
const CLIENTS: usize = 16;
const PAYLOAD: usize = 64;

/// The same server on Tokio's own listener; as a peer of its own in the figures.
pub(crate) const PLAIN: &str = "plain";

const ECHO: [&str; 4] = ["ours", PLAIN, "published", "shellflip"];
const HTTP: [&str; 2] = ["nginx-reload", "haproxy"];

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const GET_ONE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

pub(crate) fn run(
    peers: &[Peer],
    paths: &Paths,
    scratch: &Path,
    figures: &mut Figures,
) -> io::Result<()> {
    let ours = peers.iter().find(|peer| peer.id == "ours").copied();
    let plain = ours.map(|ours| Peer {
        id: PLAIN,
        title: "plain Tokio listener",
        arguments: &["plain"],
        trigger: Trigger::Never,
        ..ours
    });
    let all: Vec<Peer> = peers.iter().copied().chain(plain).collect();
    let of =
        |ids: &[&str]| ids.iter().filter_map(|id| all.iter().find(|peer| peer.id == *id)).collect();
    let (echo, http): (Vec<&Peer>, Vec<&Peer>) = (of(&ECHO), of(&HTTP));
    for group in [echo, http] {
        measure(&group, paths, scratch, figures)?;
    }
    Ok(())
}

fn measure(
    group: &[&Peer],
    paths: &Paths,
    scratch: &Path,
    figures: &mut Figures,
) -> io::Result<()> {
    let services = group.iter().map(|peer| Service::start(peer, paths, scratch, &[]));
    let services = services.collect::<io::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (kind, once) in [("kept", false), ("accepted", true)] {
        let before: Vec<_> = services.iter().map(Service::processor_time).collect();
        let counts = runtime.block_on(count(&services, once))?;
        for ((turn, service), before) in services.iter().enumerate().zip(before) {
            let id = service.peer.id;
            let slices: Vec<f64> = counts.iter().map(|slice| slice[turn]).collect();
            figures.note(&format!("rate.{kind}"), id, median(&slices) / SLICE.as_secs_f64());
            let spent = service.processor_time().saturating_sub(before);
            let microseconds = Duration::from_nanos(spent).as_secs_f64() * 1e6;
            figures.note(&format!("cost.{kind}"), id, microseconds / slices.iter().sum::<f64>());
            let plain = services.iter().position(|service| service.peer.id == PLAIN);
            if let Some(plain) = plain.filter(|plain| *plain != turn) {
                let ratios: Vec<f64> =
                    counts.iter().map(|slice| slice[turn] / slice[plain]).collect();
                figures.note(&format!("ratio.{kind}"), id, median(&ratios));
            }
        }
    }
    Ok(())
}

/// How many answers there were in each slice, of each server.
async fn count(services: &[Service<'_>], once: bool) -> io::Result<Vec<Vec<f64>>> {
    let mut counts = vec![vec![0.0; services.len()]; SLICES];
    let mut kept: Vec<Vec<TcpStream>> = services.iter().map(|_| Vec::new()).collect();
    for (service, kept) in services.iter().zip(&mut kept) {
        for _ in 0..if once { 0 } else { CLIENTS } {
            kept.push(open(service).await?);
        }
    }
    for (number, slice) in counts.iter_mut().enumerate() {
        // Each as often first as last.
        for turn in (0..services.len()).map(|n| (number + n) % services.len()) {
            let (service, until) = (&services[turn], now() + SLICE);
            let (address, speaks) = (service.address, service.peer.speaks);
            let mut clients = JoinSet::new();
            if once {
                for _ in 0..CLIENTS {
                    clients.spawn(async move {
                        let mut count = 0.0;
                        while now() < until {
                            let mut socket = connect(address).await?;
                            one(&mut socket, speaks).await?;
                            count += 1.0;
                        }
                        io::Result::Ok((None, count))
                    });
                }
            }
            for mut socket in kept[turn].drain(..) {
                clients.spawn(async move {
                    let mut count = 0.0;
                    while now() < until {
                        match again(&mut socket, speaks).await {
                            Ok(()) => count += 1.0,
                            // A web server may end a connection after so many requests.
                            Err(error) if may_end(&error, speaks) => {
                                socket = connect(address).await?;
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    io::Result::Ok((Some(socket), count))
                });
            }
            for client in clients.join_all().await {
                let (socket, count) = client?;
                kept[turn].extend(socket);
                slice[turn] += count;
            }
        }
    }
    Ok(counts)
}

/// A connection that has been accepted.
async fn open(service: &Service<'_>) -> io::Result<TcpStream> {
    let mut socket = connect(service.address).await?;
    match service.peer.speaks {
        Speaks::Echo => line(&mut socket).await?,
        Speaks::Http => again(&mut socket, Speaks::Http).await?,
    }
    Ok(socket)
}

/// Closed by a reset: connections in TIME_WAIT would run this client out of ports.
async fn connect(address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.set_zero_linger()?;
    Ok(socket)
}

fn may_end(error: &io::Error, speaks: Speaks) -> bool {
    let ends =
        [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    speaks == Speaks::Http && ends.contains(&error.kind())
}

/// The only exchange of a connection.
async fn one(socket: &mut TcpStream, speaks: Speaks) -> io::Result<()> {
    match speaks {
        Speaks::Echo => line(socket).await,
        Speaks::Http => {
            socket.write_all(GET_ONE).await?;
            page(socket).await
        }
    }
}

/// An exchange of a kept connection.
async fn again(socket: &mut TcpStream, speaks: Speaks) -> io::Result<()> {
    match speaks {
        Speaks::Echo => {
            let mut bytes = [7; PAYLOAD];
            socket.write_all(&bytes).await?;
            socket.read_exact(&mut bytes).await.map(drop)
        }
        Speaks::Http => {
            socket.write_all(GET).await?;
            page(socket).await
        }
    }
}

async fn line(socket: &mut TcpStream) -> io::Result<()> {
    let (mut buffer, mut last) = ([0; 64], 0);
    while last != b'\n' {
        match socket.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => last = buffer[n - 1],
        }
    }
    Ok(())
}

/// Reads an answer to the end of the page that both web servers have.
async fn page(socket: &mut TcpStream) -> io::Result<()> {
    const PAGE: usize = 16384;
    let mut text = vec![0; 2 * PAGE];
    let mut length = 0;
    loop {
        length += match socket.read(&mut text[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => n,
        };
        let head = text[..length].windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| length >= head + 4 + PAGE) {
            return Ok(());
        }
    }
}
