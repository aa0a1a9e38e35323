//! What the memory of the old process costs an upgrade.
//!
//! A server that holds some GiB, in pages of 4 KiB, is upgraded beside an
//! empty one. Its successor holds nothing: it is the old process that has to
//! start a new one, and a fork copies its page tables and stops its threads.
//!
//! Seen from outside, and alike for both libraries: the time from SIGHUP until
//! the successor's main has printed a line, and the worst round trip, from
//! SIGHUP until 10 ms after that line, of clients that play ping-pong with the
//! old process over established connections. Ours also says itself how long it
//! took to start the successor, from the request until exec was done
//! (`UpgradeReport::started`).
//!
//! What else the machine does makes single figures worthless, so it takes many.
//! To fill a memory takes seconds; with ours, each filled one starts many
//! successors: all but the last end before they are ready, and the old process
//! serves on.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::gates::Gates;
use crate::pressed::{must_hold, play};
use crate::quantile::{median, milliseconds, quantile};
use crate::server::Server;

/// Processes of each kind.
const ROUNDS: usize = 5;
/// Successors of each of ours that end before they are ready.
const ABORTED: usize = 20;

/// To each processor. They keep every worker of the server busy, so that one
/// that is held up is seen, and contend for the processors all the time, so that
/// the worst echo is no matter of chance.
const CLIENTS: usize = 2;

/// Until the clients are up to speed.
const WARM_UP: Duration = Duration::from_millis(100);
/// Until what the start of a successor has held up goes on.
const AFTERMATH: Duration = Duration::from_millis(10);
/// Nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long ours may take to start the successor of a full process. Most of it is the
/// wait for a processor: the kernel likes to wake the thread that has started the
/// successor on the one where that runs already.
const SPAWN_LIMIT: Duration = Duration::from_millis(1);
/// How many times as long the worst echo of a full process may take.
const ECHO_LIMIT: f64 = 1.5;

/// One upgrade; every span but the last from SIGHUP on.
#[derive(Clone, Copy, Default)]
struct Upgrade {
    /// Until the successor's main had printed a line.
    main: Duration,
    /// Until exec was done, by the library's own account, if it gives one.
    own: Duration,
    worst_echo: Duration,
}

/// The upgrades of empty processes, and of full ones.
type Pair = [Vec<Upgrade>; 2];
type Row = (&'static str, fn(&Upgrade) -> Duration);

const OWN: Row = ("request -> exec done, by its own account", |upgrade| upgrade.own);
const MAIN: Row = ("SIGHUP -> successor's main", |upgrade| upgrade.main);
const ECHO: Row = ("worst echo meanwhile", |upgrade| upgrade.worst_echo);

pub(crate) fn run(ours: &str, published: &str, gib: u64, gates: &mut Gates) -> io::Result<()> {
    let (mut of_ours, mut of_published) = (Pair::default(), Pair::default());
    for _ in 0..ROUNDS {
        for (of, gib) in [0, gib].into_iter().enumerate() {
            of_ours[of].extend(upgrade(ours, gib, ABORTED)?);
            of_published[of].extend(upgrade(published, gib, 0)?);
        }
    }
    println!(
        "memory: {ROUNDS} processes each, interleaved; {} upgrades of ours, {ROUNDS} of 1.1.1; \
         milliseconds",
        of_ours[0].len(),
    );
    println!(
        "{:<48}{:>10}{:>8}{:>12}{:>8}",
        "",
        "empty p50",
        "p90",
        format!("{gib} GiB p50"),
        "p90"
    );
    print("ours:", OWN, &of_ours);
    print("ours:", MAIN, &of_ours);
    print("1.1.1:", MAIN, &of_published);
    print("ours:", ECHO, &of_ours);
    print("1.1.1:", ECHO, &of_published);

    let [_, full] = medians(OWN, &of_ours);
    gates.check(
        &format!("ours: with {gib} GiB the successor is started within {SPAWN_LIMIT:?}"),
        !full.is_zero() && full <= SPAWN_LIMIT,
    );
    let times = |pair| {
        let [empty, full] = medians(ECHO, pair);
        full.as_secs_f64() / empty.as_secs_f64()
    };
    let worse = times(&of_ours);
    gates.check(
        &format!(
            "ours: {gib} GiB make the worst echo {worse:.2} times as long, at most {ECHO_LIMIT}"
        ),
        worse <= ECHO_LIMIT,
    );
    let worse = times(&of_published);
    gates.check(
        &format!("1.1.1: its fork is seen: {gib} GiB make it {worse:.2} times as long, more than {ECHO_LIMIT}"),
        worse > ECHO_LIMIT,
    );
    Ok(())
}

/// Starts `program`, upgrades it while clients are busy, and ends it. The
/// first `aborted` upgrades fail, the last does not.
fn upgrade(program: &str, gib: u64, aborted: usize) -> io::Result<Vec<Upgrade>> {
    let flag = Flag::raise()?;
    let options = [format!("gib={gib}"), format!("abort-if={}", flag.0.display())];
    let mut abort = Some(flag);
    let server = Server::start(program, &options.each_ref().map(String::as_str))?;
    must_hold(server.pid().as_raw().unsigned_abs(), gib)?;
    let worst = Arc::new(AtomicU64::new(0));
    for _ in 0..CLIENTS * thread::available_parallelism()?.get() {
        let socket = TcpStream::connect(server.address)?;
        socket.set_nodelay(true)?;
        play(socket, Arc::clone(&worst))?;
    }
    thread::sleep(WARM_UP);
    await_word(&server, "started")?;

    let mut upgrades = Vec::with_capacity(aborted + 1);
    for left in (0..=aborted).rev() {
        if left == 0 {
            abort.take();
        }
        let mut upgrade = Upgrade::default();
        worst.store(0, Ordering::Relaxed);
        let hangup = Instant::now();
        server.upgrade()?;
        upgrade.main = await_word(&server, "started")?.0.duration_since(hangup);
        thread::sleep(AFTERMATH);
        upgrade.worst_echo = Duration::from_nanos(worst.load(Ordering::Relaxed));
        if upgrade.worst_echo.is_zero() {
            return Err(io::Error::other("there was no echo"));
        }
        if aborted > 0 {
            upgrade.own = Duration::from_nanos(await_word(&server, "spawned")?.1);
        }
        upgrades.push(upgrade);
    }
    await_word(&server, "stopped")?;
    Ok(upgrades)
}

/// When the server said `word`, and which number. It must say no other.
fn await_word(server: &Server, word: &str) -> io::Result<(Instant, u64)> {
    let (at, said, number) = server.hear(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
    if said == word {
        Ok((at, number))
    } else {
        Err(io::Error::other(format!("it said {said:?}, not {word:?}")))
    }
}

/// A file. It is gone when this is dropped.
struct Flag(PathBuf);

impl Flag {
    fn raise() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ecdysis-measure-{}", std::process::id()));
        File::create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn medians((_, of): Row, pair: &Pair) -> [Duration; 2] {
    pair.each_ref().map(|upgrades| median(upgrades.iter().map(of)))
}

fn print(library: &str, (name, of): Row, pair: &Pair) {
    let [[a50, a90], [b50, b90]] = pair.each_ref().map(|upgrades| {
        [50, 90].map(|percent| milliseconds(quantile(upgrades.iter().map(of), percent)))
    });
    println!("{:<48}{a50:>10.2}{a90:>8.2}{b50:>12.2}{b90:>8.2}", format!("{library:<6} {name}"));
}
