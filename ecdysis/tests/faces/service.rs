//! A service under test: started from a directory of its own, in a process group
//! of its own, of which nothing outlives the test.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
#[cfg(feature = "failpoints")]
use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader, Write, pipe};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
#[cfg(feature = "failpoints")]
use std::process::ExitStatus;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

/// Nothing here takes this long; it only keeps a broken test from hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a service is to be started.
pub(crate) struct Start {
    subject: &'static str,
    script: String,
    environment: Vec<(String, OsString)>,
    directory: TempDir,
}

/// A service that runs.
pub(crate) struct Service {
    first: Child,
    directory: TempDir,
    lines: Receiver<String>,
    log: RefCell<Log>,
    address: Cell<SocketAddr>,
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    /// How far it has been read for each text.
    read: HashMap<String, usize>,
}

impl Start {
    /// The subject with this name, which finds its directory in `FACES`.
    pub(crate) fn new(subject: &'static str) -> Self {
        let directory = TempDir::new().unwrap();
        let real = directory.path().join("real");
        symlink(std::env::current_exe().unwrap(), &real).unwrap();
        symlink(&real, directory.path().join("server")).unwrap();
        let script = "exec \"$0\" \"$@\"".to_owned();
        Self { subject, script, environment: Vec::new(), directory }
    }

    /// Sets a variable of its environment.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Has a shell script start it, which gets the command as `$0 $@`.
    pub(crate) fn by(mut self, script: &str) -> Self {
        script.clone_into(&mut self.script);
        self
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts it, and does not wait until it serves.
    pub(crate) fn start(self) -> Service {
        let Self { subject, script, environment, directory } = self;
        let (says, said) = pipe().unwrap();
        let first = Command::new("/bin/sh")
            .args(["-c", &script])
            .arg(directory.path().join("server"))
            .args(["--ignored", "--exact", "--nocapture", &format!("subjects::{subject}")])
            .env("FACES", directory.path())
            // Some of them panic on purpose; to tell where takes them a second.
            .env("RUST_BACKTRACE", "0")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .process_group(0)
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(says).lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let address = Cell::new(SocketAddr::from(([0; 4], 0)));
        Service { first, directory, lines, log: RefCell::default(), address }
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn serve(self) -> Service {
        let service = self.start();
        let listens = service.log_until("listens on ");
        service.address.set(listens.rsplit_once(' ').unwrap().1.parse().unwrap());
        service.log_until("generation 0 serves");
        service
    }
}

impl Service {
    /// The file that an upgrade will start.
    pub(crate) fn program(&self) -> PathBuf {
        self.path("server")
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.get()
    }

    /// The pid of the first generation.
    pub(crate) fn first_pid(&self) -> u32 {
        self.first.id()
    }

    /// Waits for the end of the first generation.
    pub(crate) fn first_exit_code(&mut self) -> Option<i32> {
        self.first.wait().unwrap().code()
    }

    /// Puts a shell script in the place of the program; `$real` is the program.
    /// Another process writes it: a file that is open for writing here might be
    /// inherited, for an instant, by whatever another test starts, and could
    /// then not be executed.
    pub(crate) fn replace_with(&self, script: &str) {
        self.script("server", script);
    }

    /// The same, in another place.
    pub(crate) fn script(&self, name: &str, script: &str) {
        let text = format!("#!/bin/sh\nreal={}\n{script}\n", self.path("real").display());
        write_script(&self.path(name), &text);
    }

    /// Puts a successor in the place of the program that says `started`, and
    /// goes on with `script` only when it is released.
    pub(crate) fn hold(&self, script: &str) {
        mkfifo(&self.path("gate"), Mode::S_IRWXU).unwrap();
        let waits = "echo started pid=$$ >&2; read go < \"${0%/*}/gate\"";
        self.replace_with(&format!("{waits}; {script}"));
    }

    /// Releases the successor that is held.
    pub(crate) fn release(&self) {
        fs::write(self.path("gate"), "go\n").unwrap();
    }

    /// Puts the program back in its place; `real` stays, for a generation that
    /// a script has started by that name.
    pub(crate) fn restore(&self) {
        symlink(self.path("real"), self.path("link")).unwrap();
        fs::rename(self.path("link"), self.program()).unwrap();
    }

    /// Waits for a line with this text in it; the next time for the next such
    /// line. Lines with other texts in between are not passed over: several
    /// processes write the log, and their order is not certain.
    pub(crate) fn log_until(&self, text: &str) -> String {
        let log = &mut *self.log.borrow_mut();
        let from = log.read.get(text).copied().unwrap_or_default();
        let mut at = from;
        loop {
            if at == log.lines.len() {
                let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                    panic!("no {text:?} after line {from} of:\n{}", log.lines.join("\n"));
                };
                log.lines.push(line);
            }
            at += 1;
            if log.lines[at - 1].contains(text) {
                log.read.insert(text.to_owned(), at);
                return log.lines[at - 1].clone();
            }
        }
    }

    /// Waits for the end of the first generation.
    #[cfg(feature = "failpoints")]
    pub(crate) fn first_status(&mut self) -> ExitStatus {
        self.first.wait().unwrap()
    }

    /// What has been written so far.
    #[cfg(any(feature = "systemd_notify", feature = "failpoints"))]
    pub(crate) fn log_so_far(&self) -> Vec<String> {
        let log = &mut *self.log.borrow_mut();
        log.lines.extend(self.lines.try_iter());
        log.lines.clone()
    }

    /// Waits until no process writes to the log any more; all of it.
    pub(crate) fn log_to_the_end(&self) -> Vec<String> {
        let log = &mut *self.log.borrow_mut();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => log.lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return log.lines.clone(),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("somebody is left:\n{}", log.lines.join("\n"))
                }
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Everything that ever came of this service is in its process group.
        let _ = killpg(Pid::from_raw(self.first.id().cast_signed()), Signal::SIGKILL);
        let _ = self.first.wait();
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
    }
}

fn write_script(path: &Path, text: &str) {
    let script = "cat >\"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"";
    let mut command = Command::new("/bin/sh");
    let mut writer =
        command.args(["-c", script, "sh"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// Stops a process, and waits until it has stopped.
pub(crate) fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    eventually("it stops", || has_stopped(pid).then_some(()));
}

/// Whether a process has stopped.
pub(crate) fn has_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

/// Looks until there is what is looked for, where no event tells of it.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    found(look).unwrap_or_else(|| panic!("in vain: {what}"))
}

/// Looks until there is what is expected.
#[cfg(feature = "failpoints")]
pub(crate) fn eventually_is<T: PartialEq + Debug>(
    what: &str,
    expected: &T,
    mut look: impl FnMut() -> T,
) {
    let mut last = None;
    let met = found(|| (last.insert(look()) == expected).then_some(()));
    assert!(met.is_some(), "{what}: expected {expected:?}, found {last:?}");
}

fn found<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    let pause = Duration::from_millis(1);
    let looks = std::iter::repeat_with(look).take(usize::try_from(PATIENCE.as_millis()).unwrap());
    let paused = looks.inspect(|found| {
        if found.is_none() {
            thread::sleep(pause);
        }
    });
    paused.flatten().next()
}

/// The value of `name=value` in a line of the log.
pub(crate) fn field(line: &str, name: &str) -> String {
    let (_, rest) = line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{line}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Whether there is such a process, a zombie included.
pub(crate) fn exists(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}
