//! Runs in processes of their own: a process can enter one network and never
//! leave it, so each run needs another.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal as Number, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::exit::Exit;

/// Ourselves, even if the file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";

/// What is set for us is passed on by arguments, so nothing is said twice.
const OUR_VARIABLES: &str = "HARNESS_";

/// Starts children, one after another, and passes on to them who wants to
/// interrupt us: they end in order, and leave a report.
#[derive(Debug)]
pub(super) struct Children {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) took: Duration,
    /// Somebody wanted us to end, too.
    pub(super) interrupted: bool,
}

impl Children {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Runs `harness ARGUMENTS` to its end; what it says goes into `log`, or
    /// where ours goes.
    pub(super) fn run(&mut self, arguments: &[OsString], log: Option<&Path>) -> io::Result<Ended> {
        let clock = Clock::start();
        let mut command = Command::new(OURSELVES);
        command.args(arguments).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with(OUR_VARIABLES) {
                command.env_remove(name);
            }
        }
        if let Some(log) = log {
            let log = File::create(log)?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        let (interrupt, terminate) = (&mut self.interrupt, &mut self.terminate);
        let (status, interrupted) = self.runtime.block_on(async {
            let child = command.spawn()?;
            wait(child, interrupt, terminate).await
        })?;
        let took = clock.now() - crate::clock::Stamp::default();
        Ok(Ended { exit: exit(status, interrupted), took, interrupted })
    }
}

async fn wait(
    mut child: Child,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> io::Result<(ExitStatus, bool)> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let mut interrupted = false;
    loop {
        let number = tokio::select! {
            status = child.wait() => return Ok((status?, interrupted)),
            _ = interrupt.recv() => Number::SIGINT,
            _ = terminate.recv() => Number::SIGTERM,
        };
        interrupted = true;
        if let Some(pid) = pid {
            // It may have ended just now, and the terminal may have told it already.
            let _ = kill(pid, number);
        }
    }
}

/// A run that was interrupted before it had begun dies of the signal; of any
/// other, none should.
fn exit(status: ExitStatus, interrupted: bool) -> Exit {
    let signal = status.signal().filter(|_| interrupted).and_then(|signal| signal.try_into().ok());
    match (status.code(), signal) {
        (Some(code), _) => Exit::from_code(code),
        (None, Some(signal)) => Exit::Interrupted(signal),
        (None, None) => Exit::Internal,
    }
}
