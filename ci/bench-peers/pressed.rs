//! Clients that press an old process while it starts a new one, and whether it holds
//! the memory that it is to hold.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

const PAYLOAD: usize = 64;

/// Has bytes echoed over the connection as fast as that goes, one exchange at a time,
/// and keeps the longest in `worst`, until the server is gone.
pub(crate) fn play(mut socket: TcpStream, worst: Arc<AtomicU64>) -> io::Result<()> {
    let mut byte = [0];
    while byte != *b"\n" {
        socket.read_exact(&mut byte)?;
    }
    thread::spawn(move || {
        let mut bytes = [7; PAYLOAD];
        loop {
            let sent = Instant::now();
            if socket.write_all(&bytes).and_then(|()| socket.read_exact(&mut bytes)).is_err() {
                return;
            }
            let took = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
            worst.fetch_max(took, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Fails if the process does not hold so much memory, or in huge pages, of which a
/// fork makes little: 1 GiB in small ones needs 2 MiB of page tables.
pub(crate) fn must_hold(pid: u32, gib: u64) -> io::Result<()> {
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
