//! How long the clients of the old process wait while it starts a new one, by how
//! much memory it holds: a fork copies the page tables and stops every thread.
//!
//! Clients play ping-pong over established connections and keep the processors busy.
//! What counts is the worst round trip from the trigger until the new process has
//! answered, and a little longer.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::client;
use crate::clock::{milliseconds, now};
use crate::figures::{Figures, median};
use crate::peer::{OURS, Paths, Peer};
use crate::pressed;
use crate::service::Service;
use crate::telling;

/// To each processor, so that a worker that is held up is seen.
const CLIENTS: usize = 2;
/// Of empty processes in each round; to fill one takes seconds.
const EMPTY: usize = 3;
/// Until the clients are up to speed.
const WARM_UP: Duration = Duration::from_millis(100);
/// Until what was held up goes on.
const AFTERMATH: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// Whose memory can be set, and whether they are asked by their control socket, too:
/// with it, one of them starts its successor in another way.
pub(crate) const ROWS: [(&str, &str, bool); 4] = [
    (OURS, OURS, true),
    ("published", "published", true),
    ("shellflip", "shellflip", false),
    ("shellflip-socket", "shellflip", true),
];

pub(crate) fn run(
    peers: &[Peer],
    paths: &Paths,
    scratch: &Path,
    gib: u64,
    figures: &mut Figures,
) -> io::Result<()> {
    for (row, id, by_socket) in ROWS {
        let Some(peer) = peers.iter().find(|peer| peer.id == id) else { continue };
        let mut options = if by_socket { telling::options(peer) } else { Vec::new() };
        let empty = (0..EMPTY).map(|_| worst(peer, paths, scratch, 0, &options));
        let empty = empty.collect::<io::Result<Vec<_>>>()?;
        figures.note("stall.empty", row, median(&empty));
        options.push(format!("gib={gib}"));
        figures.note("stall.full", row, worst(peer, paths, scratch, gib, &options)?);
    }
    Ok(())
}

/// The worst round trip of an upgrade, in milliseconds.
fn worst(
    peer: &Peer,
    paths: &Paths,
    scratch: &Path,
    gib: u64,
    options: &[String],
) -> io::Result<f64> {
    let service = Service::start(peer, paths, scratch, options)?;
    pressed::must_hold(service.main(), gib)?;
    let worst = Arc::new(AtomicU64::new(0));
    for _ in 0..CLIENTS * thread::available_parallelism()?.get() {
        pressed::play(client::connect(service.address)?, Arc::clone(&worst))?;
    }
    thread::sleep(WARM_UP);
    let old = service.ask()?;
    worst.store(0, Ordering::Relaxed);
    let triggered = now();
    let pulled = service.upgrade(old)?;
    while service.ask().is_ok_and(|pid| pid == old) {
        if triggered.elapsed() > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    thread::sleep(AFTERMATH);
    drop(pulled);
    let worst = worst.load(Ordering::Relaxed);
    if worst == 0 {
        return Err(io::Error::other("there was no echo"));
    }
    Ok(milliseconds(Duration::from_nanos(worst)))
}
