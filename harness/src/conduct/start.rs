//! The subject, when the run begins: started, or found where it runs.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::event::Exit;
use crate::observe::procfs;
use crate::scenario::Plan;
use crate::scenario::plan::Attach;
use crate::subject::{Binaries, Places, Subject, read_pid, resolve};

use super::error::ConductError;
use super::stage::here;

/// How many lines of the subject's log an error shows.
pub(super) const LOG_LINES: usize = 20;

/// Where the subject listens, or is to: a port that nobody has now. In a network of
/// our own nobody can take it.
pub(super) fn address(plan: &Plan) -> io::Result<SocketAddr> {
    match &plan.target.attach {
        Some(attach) => Ok(attach.connect),
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr(),
    }
}

/// The subject, once it listens.
pub(super) fn subject(
    plan: &Plan,
    directory: &Path,
    address: SocketAddr,
    binaries: &Binaries,
    clock: Clock,
) -> Result<Subject, ConductError> {
    if let Some(attach) = &plan.target.attach {
        return find(plan, attach, clock);
    }
    let places = Places { address, directory, here: &here(&plan.path), pid: None, binaries };
    let command = resolve(&plan.target.command, places);
    start(plan, &command, directory, address, clock)
}

/// A server that runs already.
fn find(plan: &Plan, attach: &Attach, clock: Clock) -> Result<Subject, ConductError> {
    let failed = |what: String| move |source| ConductError::Attach { what, source };
    let file = plan.target.pid_file.as_ref().map(PathBuf::from);
    let named = || {
        let path = file.as_deref()?;
        let nobody = || io::Error::new(io::ErrorKind::NotFound, "the PID file names no process");
        let pid = read_pid(path).ok_or_else(nobody);
        Some(pid.map_err(failed(path.display().to_string())))
    };
    let pid = attach.pid.map(Ok).or_else(named).transpose()?;
    let what = pid.map_or_else(String::new, |pid| format!("process {pid}"));
    let mut subject = Subject::attach(pid, clock).map_err(failed(what))?;
    if let Some(file) = file {
        subject.follow(file);
    }
    // No client's ledger has this connection; but nobody could tell it from others'
    // in a network that is not ours.
    TcpStream::connect_timeout(&attach.connect, plan.target.ready_timeout)
        .map_err(failed(attach.connect.to_string()))?;
    subject.refresh();
    Ok(subject)
}

fn start(
    plan: &Plan,
    command: &[OsString],
    directory: &Path,
    address: SocketAddr,
    clock: Clock,
) -> Result<Subject, ConductError> {
    let mut subject = Subject::start(command, directory, clock).map_err(|source| {
        let program = command.first().map(|program| program.to_string_lossy().into_owned());
        ConductError::Start { program: program.unwrap_or_default(), source }
    })?;
    if let Some(path) = &plan.target.pid_file {
        subject.follow(path.replace("{dir}", &directory.to_string_lossy()).into());
    }
    let give_up = clock.now().after(plan.target.ready_timeout);
    loop {
        // Seen in the kernel's table, not by connecting: that would be a
        // connection that no client's ledger has.
        let listens = procfs::is_listening(address);
        if listens.map_err(ConductError::system("read the table of sockets"))? {
            subject.refresh();
            return Ok(subject);
        }
        subject.refresh();
        let why = if has_ended(&subject, plan.target.pid_file.is_some()) {
            "it ended".to_owned()
        } else if clock.now() >= give_up {
            format!("not within {:?}", plan.target.ready_timeout)
        } else {
            let main = subject.main_pid().unwrap_or_default();
            if subject.wait_gone(main, Duration::from_millis(2)) {
                std::thread::sleep(Duration::from_millis(2));
            }
            continue;
        };
        return Err(ConductError::NotListening { address, why, log: subject.log_tail(LOG_LINES) });
    }
}

/// Whether it will never listen. One that leaves a PID file may go into the
/// background: it ends well, and is found again by its file.
fn has_ended(subject: &Subject, leaves_pid_file: bool) -> bool {
    let ended_well = subject.processes().iter().all(|process| process.exit == Some(Exit::Code(0)));
    subject.alive() == 0 && !(leaves_pid_file && ended_well)
}
