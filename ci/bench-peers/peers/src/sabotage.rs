//! Upgrades that cannot succeed: what they do to clients, what whoever asked is told,
//! and whether the next upgrade works.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::clock::{milliseconds, now};
use crate::figures::{Figures, Sabotage};
use crate::peer::{CONTROL, OURS, Paths, Peer, Teller, Trigger};
use crate::service::{Service, send};
use crate::telling::{self, Told};

/// Clients that come and go, as fast as they are served.
const CLIENTS: usize = 4;

/// How long an upgrade is watched if nobody tells what comes of it.
const WATCHED: Duration = Duration::from_secs(1);

/// How long the next upgrade may take.
const PATIENCE: Duration = Duration::from_secs(6);

/// What ours, who can be told, is told to wait for a successor: the default is a
/// minute. The published crate waits for five seconds.
const DEADLINE_MS: u64 = 2000;

const HANGING: &str = "#!/bin/sh\nexec sleep 60\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no program in its place.
    Missing,
    /// The program that is there starts, and never gets ready.
    Hangs,
}

impl Fault {
    pub(crate) const ALL: [Self; 2] = [Self::Missing, Self::Hangs];

    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Hangs => "hangs",
        }
    }
}

/// Whether an upgrade of this server executes a program. HAProxy's master executes
/// itself: what hangs in its place is no successor, but the end of the master.
pub(crate) fn applies(peer: &Peer, fault: Fault) -> bool {
    match peer.id {
        OURS | "published" | "shellflip" | "shellflip-reuseport" | "nginx-upgrade" => true,
        "haproxy" => fault == Fault::Missing,
        _ => false,
    }
}

pub(crate) fn run(
    peer: &Peer,
    fault: Fault,
    paths: &Paths,
    scratch: &Path,
    round: usize,
    figures: &mut Figures,
) -> io::Result<()> {
    let mut options = telling::options(peer);
    if peer.id == OURS {
        options.push(format!("deadline-ms={DEADLINE_MS}"));
    }
    let service = Service::start(peer, paths, scratch, &options)?;
    for _ in 0..100 {
        service.ask()?;
    }
    let (over, answered, harmed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let sabotage = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let count = if service.ask().is_ok() { &answered } else { &harmed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let done = sabotage(&service, fault);
        over.store(true, Ordering::Relaxed);
        done
    });
    let (told, serves, upgrades) = sabotage?;
    figures.sabotages.push(Sabotage {
        round,
        peer: peer.id.to_owned(),
        fault: fault.id().to_owned(),
        connections: answered.load(Ordering::Relaxed) + harmed.load(Ordering::Relaxed),
        harmed: harmed.load(Ordering::Relaxed),
        told_failure: told.as_ref().is_some_and(|told| told.succeeded == Some(false)),
        told_ms: told.as_ref().map(|told| milliseconds(told.after)),
        told: told.map(|told| told.words),
        serves,
        upgrades,
    });
    Ok(())
}

/// What whoever asked was told, whether the old one served on, and whether the next
/// upgrade worked.
fn sabotage(service: &Service<'_>, fault: Fault) -> io::Result<(Option<Told>, bool, bool)> {
    telling::await_master(service)?;
    let old = service.pids();
    let serving = service.ask()?;
    spoil(service, fault)?;
    let told = match service.peer.teller {
        Teller::Line { socket: CONTROL, .. } | Teller::Frame => telling::upgrade(service)?,
        Teller::Line { .. } | Teller::Status | Teller::Nobody => {
            let pulled = service.upgrade(serving)?;
            thread::sleep(WATCHED);
            drop(pulled);
            None
        }
    };
    service.restore()?;
    for pid in service.pids().into_iter().filter(|pid| hangs(*pid)) {
        // As an operator would, who has seen it.
        let _ = send(pid, Signal::SIGKILL);
    }
    thread::sleep(WATCHED / 4);
    let serves = service.ask().is_ok_and(|pid| old.contains(&pid));
    let upgrades = serves && next(service).unwrap_or(false);
    Ok((told, serves, upgrades))
}

fn spoil(service: &Service<'_>, fault: Fault) -> io::Result<()> {
    let program = service.program();
    match fault {
        Fault::Missing => fs::remove_file(program),
        Fault::Hangs => {
            let aside = program.with_extension("hangs");
            fs::write(&aside, HANGING)?;
            fs::set_permissions(&aside, Permissions::from_mode(0o755))?;
            fs::rename(aside, program)
        }
    }
}

fn hangs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

/// Upgrades once more, and says whether a new process answers.
fn next(service: &Service<'_>) -> io::Result<bool> {
    let old = service.pids();
    let asked = now();
    let pulled = service.upgrade(service.ask()?)?;
    let mut upgraded = false;
    while !upgraded && asked.elapsed() < PATIENCE {
        upgraded = service.ask().is_ok_and(|pid| !old.contains(&pid));
        thread::sleep(Duration::from_millis(1));
    }
    // A script that waits for what does not come ends by itself.
    drop(pulled);
    Ok(upgraded && !matches!(service.peer.trigger, Trigger::Never))
}
