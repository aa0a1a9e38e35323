//! Puts two servers through the same upgrade, in turn, and says how long after
//! SIGHUP the old process stopped accepting.
//!
//! Everything is seen from outside, and alike for both: a client connects over
//! loopback as fast as one connection at a time allows, reads which pid
//! answers, and goes on until the old process says that its shutdown future
//! has resolved. The old process *stops accepting* when the last connection
//! that it answered was dispatched. The shutdown future says something else:
//! ours resolves after a probation, half a second in which the old process
//! accepts nothing and keeps the sockets, in case the new one dies.

mod round;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use crate::round::{Round, upgrade_once};
use crate::table::median;

/// Beyond this median, our library is too slow and the process exits with 1.
const LIMIT: Duration = Duration::from_millis(10);

const USAGE: &str = "usage: measure ROUNDS OURS PUBLISHED [--report-only]";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the gate held.
fn run(args: &[String]) -> Result<bool, Box<dyn std::error::Error>> {
    let (rounds, ours, published, report_only) = match args {
        [rounds, ours, published] => (rounds, ours, published, false),
        [rounds, ours, published, flag] if flag == "--report-only" => {
            (rounds, ours, published, true)
        }
        _ => return Err(USAGE.into()),
    };
    let rounds: usize = rounds.parse()?;
    if rounds == 0 {
        return Err("a median of no rounds says nothing".into());
    }

    let mut of_ours = Vec::with_capacity(rounds);
    let mut of_published = Vec::with_capacity(rounds);
    for n in 0..rounds {
        // Whoever goes second finds the caches warm: they take turns.
        if n % 2 == 0 {
            of_ours.push(upgrade_once(ours)?);
            of_published.push(upgrade_once(published)?);
        } else {
            of_published.push(upgrade_once(published)?);
            of_ours.push(upgrade_once(ours)?);
        }
    }
    print!("{}", table::render(&of_ours, &of_published));

    let holds = gate(
        &format!("the median of \"SIGHUP -> old stops accepting\" is at most {LIMIT:?}"),
        median(of_ours.iter().map(|round| round.old_stops)) <= LIMIT,
    ) & gate("no connection failed", of_ours.iter().all(|round| round.failed == 0));
    Ok(holds || report_only)
}

fn gate(claim: &str, holds: bool) -> bool {
    println!("gate: ours: {claim}: {}", if holds { "holds" } else { "DOES NOT HOLD" });
    holds
}
