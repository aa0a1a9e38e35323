//! How long an upgrade takes, seen from outside, and alike for all.
//!
//! A client connects over loopback as fast as one connection at a time allows, and
//! reads which process answers. A process that was there when the upgrade was asked
//! for is old, any other new. The old *stopped accepting* when the last connection
//! that it answered was dispatched.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::clock::{milliseconds, now};
use crate::figures::{Figures, median};
use crate::peer::{Paths, Peer, Role};
use crate::service::Service;
use crate::telling;

/// Of each server in each round; their median is the round's.
const UPGRADES: usize = 3;

/// The old one must not have answered for so long to be taken for silent.
const SILENCE: Duration = Duration::from_millis(250);
/// Watched at least for so long: some wait half a second before they stop.
const WATCHED: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(
    peer: &Peer,
    paths: &Paths,
    scratch: &Path,
    figures: &mut Figures,
) -> io::Result<()> {
    if peer.role == Role::Floor {
        return Ok(());
    }
    let service = Service::start(peer, paths, scratch, &telling::options(peer))?;
    figures.note("latency.start", peer.id, milliseconds(service.started_in));
    let (mut answered, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..UPGRADES {
        let upgrade = upgrade(&service)?;
        answered.push(milliseconds(upgrade.answered));
        stopped.push(milliseconds(upgrade.stopped));
    }
    figures.note("latency.answered", peer.id, median(&answered));
    figures.note("latency.stopped", peer.id, median(&stopped));
    let told = telling::upgrade(&service)?;
    if let Some(told) = told.filter(|told| told.succeeded == Some(true)) {
        figures.note("latency.told", peer.id, milliseconds(told.after));
    }
    Ok(())
}

/// What an upgrade took, from the trigger on.
struct Upgrade {
    answered: Duration,
    stopped: Duration,
}

fn upgrade(service: &Service<'_>) -> io::Result<Upgrade> {
    // What a process does once, at its first connection, is no part of it.
    for _ in 0..100 {
        service.ask()?;
    }
    telling::await_master(service)?;
    let old = service.pids();
    let serving = service.ask()?;
    let triggered = now();
    let pulled = service.upgrade(serving)?;
    let (mut answered, mut stopped) = (None, Duration::ZERO);
    loop {
        let dispatched = triggered.elapsed();
        match service.ask() {
            Ok(pid) if old.contains(&pid) => stopped = dispatched,
            Ok(_) => {
                answered.get_or_insert_with(|| triggered.elapsed());
            }
            // Harm is counted elsewhere, and some are measured for doing it.
            Err(_) => thread::yield_now(),
        }
        let elapsed = triggered.elapsed();
        if elapsed > WATCHED && elapsed - stopped > SILENCE && answered.is_some() {
            break;
        }
        if elapsed > PATIENCE {
            let said = service.said();
            return Err(io::Error::other(format!("the new one never took over; it said: {said}")));
        }
    }
    drop(pulled);
    service.await_end_of(&old);
    Ok(Upgrade { answered: answered.unwrap_or_default(), stopped })
}
