//! What a library costs a server that is not upgraded.
//!
//! Three servers run at once, the same but for where their connections come
//! from: our stream, Tokio's listener, and the published crate's stream. One
//! client goes from one to the next, 20 ms each, so that whatever else the
//! machine does meets them alike; those that wait cost nothing. Slices of 20 ms
//! that followed each other are compared, and the median of all comparisons
//! counts: their sums would be those of the moments when others took the
//! processors. Each round has fresh processes: what one owes to its place in
//! memory, it owes for one round only.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::gates::Gates;
use crate::quantile::spread;
use crate::server::Server;

const ROUNDS: usize = 10;
/// A second of each server.
const SLICES: usize = 50;
const SLICE: Duration = Duration::from_millis(20);

const CLIENTS: usize = 16;
const PAYLOAD: usize = 64;

/// Less than this share of what Tokio alone does is too little.
const LIMIT: f64 = 0.98;

/// What was counted in a slice of each: ours, plain, published.
type Counts = [f64; 3];
const NAMES: [&str; 3] = ["ours", "plain", "1.1.1"];

pub(crate) fn run(ours: &str, published: &str, gates: &mut Gates) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut echoes, mut accepts) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let servers = [
            Server::start(ours, &[])?,
            Server::start(ours, &["plain"])?,
            Server::start(published, &[])?,
        ];
        let addresses = servers.each_ref().map(|server| server.address);
        echoes.push(runtime.block_on(count_echoes(addresses))?);
        accepts.push(runtime.block_on(count_accepts(addresses))?);
    }
    println!(
        "throughput: {ROUNDS} rounds of a second each, in slices of {SLICE:?}, interleaved; \
         {CLIENTS} clients; medians (least and most of a round's)"
    );
    let [a, b, c] = NAMES;
    let [to_plain, to_published] = [b, c].map(|other| format!("{a}/{other}"));
    println!("{:<12}{a:>10}{b:>10}{c:>10}{to_plain:>24}{to_published:>24}", "");
    for (name, rounds) in [("echoes/s", &echoes), ("accepts/s", &accepts)] {
        let [a, b, c] = [0, 1, 2].map(|of| {
            spread(rounds.iter().flatten().map(|slice| slice[of]))[1] / SLICE.as_secs_f64()
        });
        let [to_plain, to_published] = [1, 2].map(|to| ratio(rounds, to));
        let [left, right] = [to_plain, to_published]
            .map(|[least, median, most]| format!("{median:.3} ({least:.3} .. {most:.3})"));
        println!("{name:<12}{a:>10.0}{b:>10.0}{c:>10.0}{left:>24}{right:>24}");
        gates.check(
            &format!("ours: {name} are at least {LIMIT} of what Tokio alone does"),
            to_plain[1] >= LIMIT,
        );
    }
    Ok(())
}

/// How ours compares: in the worst round, in all of them, and in the best.
fn ratio(rounds: &[Vec<Counts>], to: usize) -> [f64; 3] {
    let median = |slices: &mut dyn Iterator<Item = &Counts>| {
        spread(slices.map(|slice| slice[0] / slice[to]))[1]
    };
    let [least, _, most] = spread(rounds.iter().map(|round| median(&mut round.iter())));
    [least, median(&mut rounds.iter().flatten()), most]
}

/// A round of ping-pong over established connections.
async fn count_echoes(addresses: [SocketAddr; 3]) -> io::Result<Vec<Counts>> {
    let mut sockets = [const { Vec::new() }; 3];
    for (address, sockets) in addresses.iter().zip(&mut sockets) {
        for _ in 0..CLIENTS {
            sockets.push(greeted(*address).await?);
        }
    }
    let mut slices = vec![Counts::default(); SLICES];
    for (slice, turn) in turns() {
        let until = Instant::now() + SLICE;
        let mut clients = JoinSet::new();
        for mut socket in sockets[turn].drain(..) {
            clients.spawn(async move {
                let (mut count, mut bytes) = (0.0, [7; PAYLOAD]);
                while Instant::now() < until {
                    socket.write_all(&bytes).await?;
                    socket.read_exact(&mut bytes).await?;
                    count += 1.0;
                }
                io::Result::Ok((socket, count))
            });
        }
        for client in clients.join_all().await {
            let (socket, count) = client?;
            sockets[turn].push(socket);
            slices[slice][turn] += count;
        }
    }
    Ok(slices)
}

/// A round of connections that are closed as soon as they are greeted.
async fn count_accepts(addresses: [SocketAddr; 3]) -> io::Result<Vec<Counts>> {
    let mut slices = vec![Counts::default(); SLICES];
    for (slice, turn) in turns() {
        let until = Instant::now() + SLICE;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(async move {
                let mut count = 0.0;
                while Instant::now() < until {
                    greeted(addresses[turn]).await?;
                    count += 1.0;
                }
                io::Result::Ok(count)
            });
        }
        for client in clients.join_all().await {
            slices[slice][turn] += client?;
        }
    }
    Ok(slices)
}

/// Whose turn it is in which slice: each as often first as last.
fn turns() -> impl Iterator<Item = (usize, usize)> {
    let servers = NAMES.len();
    (0..SLICES).flat_map(move |slice| (0..servers).map(move |n| (slice, (slice + n) % servers)))
}

/// A connection that has been accepted. Closed by a reset: connections in
/// TIME_WAIT would run this client out of ports.
async fn greeted(address: SocketAddr) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.set_zero_linger()?;
    BufReader::new(&mut socket).read_until(b'\n', &mut Vec::with_capacity(64)).await?;
    Ok(socket)
}
