//! How long after SIGHUP the old process stops accepting.
//!
//! Everything is seen from outside, and alike for both: a client connects over
//! loopback as fast as one connection at a time allows, reads which pid
//! answers, and goes on until the old process says that its shutdown future
//! has resolved. The old process *stops accepting* when the last connection
//! that it answered was dispatched. The shutdown future says something else:
//! ours resolves after a probation, half a second in which the old process
//! accepts nothing and keeps the sockets, in case the new one dies.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::gates::Gates;
use crate::quantile::{median, milliseconds, quantile};
use crate::server::Server;

const ROUNDS: usize = 20;

/// Beyond this median, our library is too slow.
const LIMIT: Duration = Duration::from_millis(10);

/// Nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one upgrade took. All but the first from SIGHUP on.
struct Round {
    /// From the server's start until a client had its first answer: no
    /// upgrade can be faster than this.
    first_answer: Duration,
    /// Until a client had the first answer of the new process.
    new_answers: Duration,
    /// Until the last connection that the old process answered was dispatched.
    old_stops: Duration,
    /// Until the old process said that its shutdown future had resolved.
    resolved: Duration,
    connections: usize,
    /// Connections that ended without an answer.
    failed: usize,
    /// Connections answered by the old process after the new one had answered.
    both_answered: usize,
}

type Row = (&'static str, fn(&Round) -> Duration);

const ROWS: [Row; 4] = [
    ("start -> first answer", |round| round.first_answer),
    ("SIGHUP -> first answer by the new", |round| round.new_answers),
    ("SIGHUP -> old stops accepting", |round| round.old_stops),
    ("SIGHUP -> old's shutdown future resolves", |round| round.resolved),
];

/// Puts both through the same upgrades, in turn.
pub(crate) fn run(ours: &str, published: &str, gates: &mut Gates) -> io::Result<()> {
    let mut rounds = [Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)];
    for n in 0..ROUNDS {
        // Whoever goes second finds the caches warm: they take turns.
        for turn in [n % 2, (n + 1) % 2] {
            rounds[turn].push(upgrade_once([ours, published][turn])?);
        }
    }
    let [of_ours, of_published] = rounds;
    print(&of_ours, &of_published);
    gates.check(
        &format!("ours: the median of \"SIGHUP -> old stops accepting\" is at most {LIMIT:?}"),
        median(of_ours.iter().map(|round| round.old_stops)) <= LIMIT,
    );
    gates.check("ours: no connection failed", of_ours.iter().all(|round| round.failed == 0));
    Ok(())
}

/// Starts `program`, upgrades it once under load, and ends it.
fn upgrade_once(program: &str) -> io::Result<Round> {
    let started = Instant::now();
    let server = Server::start(program, &[])?;
    let first_answer = started.elapsed();
    let old = server.pid();
    // What a process does once, at its first connection, is no part of it.
    for _ in 0..100 {
        server.ask()?;
    }

    let hangup = Instant::now();
    server.upgrade()?;
    let mut watch = Watch::default();
    let resolved = loop {
        watch.note(&server, old, hangup);
        match server.hear(Duration::ZERO)? {
            Some((at, word, _)) if word == "stopped" => break at.duration_since(hangup),
            Some(_) => {}
            None if hangup.elapsed() > PATIENCE => return Err(ErrorKind::TimedOut.into()),
            None => {}
        }
    };
    // The accept loop may outlive the future by a little, and so may we.
    let settled = Instant::now() + Duration::from_millis(20);
    while Instant::now() < settled {
        watch.note(&server, old, hangup);
    }
    let new_answers =
        watch.new_answers.ok_or_else(|| io::Error::other("the new never answered"))?;
    Ok(Round {
        first_answer,
        new_answers,
        old_stops: watch.old_stops,
        resolved,
        connections: watch.connections,
        failed: watch.failed,
        both_answered: watch.both_answered,
    })
}

#[derive(Default)]
struct Watch {
    new_answers: Option<Duration>,
    old_stops: Duration,
    connections: usize,
    failed: usize,
    both_answered: usize,
}

impl Watch {
    fn note(&mut self, server: &Server, old: Pid, hangup: Instant) {
        let dispatched = hangup.elapsed();
        self.connections += 1;
        match server.ask() {
            Ok(pid) if pid == old => {
                self.old_stops = dispatched;
                self.both_answered += usize::from(self.new_answers.is_some());
            }
            Ok(_) => {
                self.new_answers.get_or_insert_with(|| hangup.elapsed());
            }
            Err(_) => self.failed += 1,
        }
    }
}

fn print(ours: &[Round], published: &[Round]) {
    println!("upgrade: {ROUNDS} rounds each, interleaved; milliseconds");
    println!(
        "{:<42}{:>10}{:>8}{:>12}{:>8}{:>13}",
        "", "ours p50", "p90", "1.1.1 p50", "p90", "1.1.1/ours"
    );
    for (name, of) in ROWS {
        let [[a50, a90], [b50, b90]] = [ours, published].map(|rounds| {
            [50, 90].map(|percent| milliseconds(quantile(rounds.iter().map(of), percent)))
        });
        let ratio = b50 / a50;
        println!("{name:<42}{a50:>10.2}{a90:>8.2}{b50:>12.2}{b90:>8.2}{ratio:>13.2}");
    }
    for (name, rounds) in [("ours", ours), ("1.1.1", published)] {
        let failed: usize = rounds.iter().map(|round| round.failed).sum();
        let connections: usize = rounds.iter().map(|round| round.connections).sum();
        let late: usize = rounds.iter().map(|round| round.both_answered).sum();
        println!(
            "{name}: {connections} connections, {failed} failed, \
             {late} answered by the old after the new had answered one"
        );
    }
}
