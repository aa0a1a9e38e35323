//! What the memory of the old process costs an upgrade.
//!
//! A server that holds some GiB, in pages of 4 KiB, is upgraded beside an
//! empty one. Its successor holds nothing: it is the old process that has to
//! start a new one, and fork copies its page tables and stops its threads.
//!
//! Seen from outside, and alike for both libraries: the time from SIGHUP until
//! the successor's main has printed a line, and the worst round trip of
//! clients that play ping-pong with the old process, over established
//! connections, from SIGHUP until it says that its shutdown future has
//! resolved. Ours also says itself how long it took to start the successor,
//! from the request until exec was done (`UpgradeReport::started`).

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::gates::Gates;
use crate::quantile::{median, milliseconds, spread};
use crate::server::Server;

const ROUNDS: usize = 9;

/// To each processor. They keep every worker of the server busy, so that one
/// that is held up is seen, and contend for the processors all the time, so that
/// the worst echo is no matter of chance.
const CLIENTS: usize = 2;
const PAYLOAD: usize = 64;

/// Until the clients are up to speed.
const WARM_UP: Duration = Duration::from_millis(100);
/// Nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much longer ours may take to start the successor of a full process.
const SPAWN_LIMIT: Duration = Duration::from_millis(1);
/// How many times as long the worst echo of a full process may take.
const ECHO_LIMIT: f64 = 1.5;

/// One upgrade; every span from SIGHUP on.
#[derive(Default)]
struct Round {
    /// Until the successor's main had printed a line.
    main: Duration,
    /// Until exec was done, by the library's own account, if it gives one.
    own: Duration,
    worst_echo: Duration,
    echoes: u64,
}

/// Rounds with an empty process, and with a full one.
#[derive(Default)]
struct Pair {
    empty: Vec<Round>,
    full: Vec<Round>,
}

impl Pair {
    fn medians(&self, of: impl Fn(&Round) -> Duration) -> [Duration; 2] {
        [&self.empty, &self.full].map(|rounds| median(rounds.iter().map(&of)))
    }
}

pub(crate) fn run(ours: &str, published: &str, gib: u64, gates: &mut Gates) -> io::Result<()> {
    let [mut of_ours, mut of_published] = [Pair::default(), Pair::default()];
    for n in 0..ROUNDS {
        of_ours.empty.push(upgrade_once(ours, 0)?);
        of_ours.full.push(upgrade_once(ours, gib)?);
        // Fewer will do: they pass no gate, and are as slow as they are.
        if n.is_multiple_of(2) {
            of_published.empty.push(upgrade_once(published, 0)?);
            of_published.full.push(upgrade_once(published, gib)?);
        }
    }
    println!(
        "memory: {} rounds of ours, {} of 1.1.1, interleaved; milliseconds: median (least .. most)",
        of_ours.full.len(),
        of_published.full.len()
    );
    println!("{:<48}{:>24}{:>28}", "", "empty", format!("{gib} GiB"));
    print("ours:  SIGHUP -> successor's main", &of_ours, |round| round.main);
    print("ours:  request -> exec done, by its own account", &of_ours, |round| round.own);
    print("ours:  worst echo", &of_ours, |round| round.worst_echo);
    print("1.1.1: SIGHUP -> successor's main", &of_published, |round| round.main);
    print("1.1.1: worst echo", &of_published, |round| round.worst_echo);

    let [empty, full] = of_ours.medians(|round| round.own);
    gates.check(
        &format!("ours: {gib} GiB make starting the successor at most {SPAWN_LIMIT:?} longer"),
        !empty.is_zero() && full.saturating_sub(empty) <= SPAWN_LIMIT,
    );
    let echoes_longer = |pair: &Pair| {
        let [empty, full] = pair.medians(|round| round.worst_echo);
        full.as_secs_f64() / empty.as_secs_f64()
    };
    let times = echoes_longer(&of_ours);
    gates.check(
        &format!(
            "ours: {gib} GiB make the worst echo {times:.2} times as long, at most {ECHO_LIMIT}"
        ),
        times <= ECHO_LIMIT,
    );
    let times = echoes_longer(&of_published);
    gates.check(
        &format!("1.1.1: the fork is seen: {gib} GiB make it {times:.2} times as long, more than {ECHO_LIMIT}"),
        times > ECHO_LIMIT,
    );
    Ok(())
}

/// Starts `program`, upgrades it once while clients are busy, and ends it.
fn upgrade_once(program: &str, gib: u64) -> io::Result<Round> {
    let server = Server::start(program, &[&format!("gib={gib}")])?;
    let old = server.pid();
    must_hold(old, gib)?;
    let stage = Arc::new(AtomicU8::new(WARMING_UP));
    let clients: Vec<_> = (0..CLIENTS * thread::available_parallelism()?.get())
        .map(|_| play(server.address, Arc::clone(&stage)))
        .collect::<io::Result<_>>()?;
    thread::sleep(WARM_UP);
    while server.hear(Duration::ZERO)?.is_some() {}

    let mut round = Round::default();
    stage.store(COUNTING, Ordering::Relaxed);
    let hangup = Instant::now();
    server.upgrade()?;
    loop {
        let said = server.hear(PATIENCE)?;
        let (at, word, number) = said.ok_or(ErrorKind::TimedOut)?;
        match word.as_str() {
            "started" => round.main = at.duration_since(hangup),
            "spawned" => round.own = Duration::from_nanos(number),
            "stopped" => break,
            _ => return Err(io::Error::other(format!("it said {word:?}"))),
        }
    }
    stage.store(OVER, Ordering::Relaxed);
    for client in clients {
        let (worst, echoes) =
            client.join().map_err(|_| io::Error::other("a client panicked"))??;
        round.worst_echo = round.worst_echo.max(worst);
        round.echoes += echoes;
    }
    if round.main.is_zero() || round.echoes == 0 {
        return Err(io::Error::other("there was no successor, or no echo"));
    }
    Ok(round)
}

const WARMING_UP: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// A client that has its bytes echoed as fast as it can, one exchange at a
/// time. The longest exchange while the others are counted, and their number.
fn play(
    address: SocketAddr,
    stage: Arc<AtomicU8>,
) -> io::Result<JoinHandle<io::Result<(Duration, u64)>>> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = [0];
    while greeting != *b"\n" {
        socket.read_exact(&mut greeting)?;
    }
    Ok(thread::spawn(move || {
        let (mut worst, mut count, mut bytes) = (Duration::ZERO, 0, [7; PAYLOAD]);
        loop {
            let sent = Instant::now();
            socket.write_all(&bytes)?;
            socket.read_exact(&mut bytes)?;
            match stage.load(Ordering::Relaxed) {
                WARMING_UP => {}
                COUNTING => (worst, count) = (worst.max(sent.elapsed()), count + 1),
                _ => return Ok((worst.max(sent.elapsed()), count)),
            }
        }
    }))
}

/// Fails if the process does not hold so much memory, or in huge pages, of
/// which a fork makes little: 1 GiB in small ones needs 2 MiB of page tables.
fn must_hold(pid: Pid, gib: u64) -> io::Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (resident, tables) = (kib("VmRSS:"), kib("VmPTE:"));
    if resident < gib << 20 || tables < gib << 11 {
        return Err(io::Error::other(format!(
            "{resident} KiB resident in {tables} KiB of page tables are less than {gib} GiB in small pages"
        )));
    }
    Ok(())
}

fn print(name: &str, pair: &Pair, of: impl Fn(&Round) -> Duration) {
    let [empty, full] = [&pair.empty, &pair.full].map(|rounds| {
        let [least, median, most] = spread(rounds.iter().map(|round| milliseconds(of(round))));
        format!("{median:.2} ({least:.2} .. {most:.2})")
    });
    println!("{name:<48}{empty:>24}{full:>28}");
}
