//! A server under test: the example `every_socket`, started in a directory and a
//! process group of its own, of which nothing outlives the test.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

/// Nothing here takes this long; it only keeps a broken test from hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Executes the program with its arguments.
pub(crate) const EXEC: &str = "exec \"$0\" \"$@\"";

/// A directory that holds a program and its arguments, and the processes that
/// were started from it.
pub(crate) struct Server {
    directory: TempDir,
    /// Whom its processes belong to, if not to who runs the test.
    pub(crate) user: Option<u32>,
    first: Option<Child>,
    lines: Receiver<String>,
    log: Vec<String>,
    /// How far the log has been read for each text.
    read: HashMap<String, usize>,
    /// Who serves, as far as the test knows.
    pub(crate) pid: u32,
    pub(crate) generation: u64,
}

impl Server {
    /// A directory, in which nothing runs yet.
    pub(crate) fn new() -> Self {
        Self::of("every_socket")
    }

    /// The same, for another example.
    pub(crate) fn of(example: &str) -> Self {
        let directory = TempDir::new().unwrap();
        symlink(program(example), directory.path().join("real")).unwrap();
        symlink("real", directory.path().join("server")).unwrap();
        let (_, lines) = mpsc::channel();
        let (log, read) = (Vec::new(), HashMap::new());
        Self { directory, user: None, first: None, lines, log, read, pid: 0, generation: 0 }
    }

    /// One whose processes belong to this user, who may be kept from where the
    /// program is; it takes root to make one.
    pub(crate) fn of_user(uid: u32) -> Self {
        let mut server = Self::new();
        let real = server.path("real");
        fs::remove_file(&real).unwrap();
        // By another process, as in `write_script`.
        let copied = Command::new("cp").arg(program("every_socket")).arg(&real).status().unwrap();
        assert!(copied.success());
        chown(server.directory.path(), Some(uid), None).unwrap();
        server.user = Some(uid);
        server
    }

    /// A server that has taken these steps, and is ready.
    pub(crate) fn with<S: AsRef<OsStr>>(steps: &[S]) -> Self {
        let mut server = Self::new();
        server.steps(steps);
        server.start();
        server
    }

    /// A path in the server's own directory.
    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.directory.path().join(name.as_ref())
    }

    /// The same, as a step of this kind.
    pub(crate) fn step(&self, kind: &str, name: impl AsRef<OsStr>) -> std::ffi::OsString {
        [OsStr::new(kind), OsStr::new(":"), self.path(name).as_os_str()].into_iter().collect()
    }

    /// Which steps the next process to be started takes. Unless they say
    /// otherwise, it is not kept waiting for the end of a probation.
    pub(crate) fn steps<S: AsRef<OsStr>>(&self, steps: &[S]) {
        let lines = steps.iter().map(|step| step.as_ref().as_bytes());
        let text: Vec<u8> = [b"probation:0".as_slice()].into_iter().chain(lines).fold(
            Vec::new(),
            |mut text, line| {
                text.extend(line);
                text.push(b'\n');
                text
            },
        );
        fs::write(self.path("steps"), text).unwrap();
    }

    /// The argument that stands for the steps.
    pub(crate) fn arguments(&self) -> String {
        format!("@{}", self.path("steps").display())
    }

    /// Starts generation 0, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.launch(EXEC, &[&self.arguments()]);
        self.has_started();
    }

    /// Waits until generation 0 is ready.
    pub(crate) fn has_started(&mut self) {
        let ready = self.log_until("ready generation=0 ");
        (self.generation, self.pid) = (0, field(&ready, "pid").parse().unwrap());
    }

    /// Waits until generation 0 is ready, or has given up. Whether it is ready.
    pub(crate) fn tries_to_start(&mut self) -> bool {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log.push(line);
            if self.log.last().is_some_and(|line| line.starts_with("ready generation=0 ")) {
                self.has_started();
                return true;
            }
        }
        false
    }

    /// Starts a process by a shell script, which gets the command as `$0 $@`, and
    /// does not wait.
    pub(crate) fn launch(&mut self, script: &str, arguments: &[&str]) {
        self.end();
        let mut command = Command::new("/bin/sh");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let mut first = command
            .args(["-c", script])
            .arg(self.path("server"))
            .args(arguments)
            // A panic that is meant to be takes its time with one.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        forward(first.stdout.take().unwrap(), send.clone());
        forward(first.stderr.take().unwrap(), send);
        (self.first, self.lines) = (Some(first), lines);
        self.log.clear();
        self.read.clear();
    }

    /// Has successors be started by this shell script, in which `$server` is the
    /// program and `$@` its arguments.
    pub(crate) fn interpose(&self, script: &str) {
        self.write_script("server", script);
    }

    /// Puts such a script at this path.
    pub(crate) fn write_script(&self, name: &str, script: &str) {
        let text = format!("#!/bin/sh\nserver={}\n{script}\n", self.path("real").display());
        // Another process writes it: a file that is open for writing here might
        // be inherited, for an instant, by whatever another test starts, and
        // could then not be executed.
        let write = "cat >\"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"";
        let mut writer = Command::new("/bin/sh")
            .args(["-c", write, "sh"])
            .arg(self.path(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    /// Makes a FIFO, and the step that waits for it.
    pub(crate) fn gate(&self, name: &str) -> std::ffi::OsString {
        mkfifo(&self.path(name), Mode::S_IRWXU).unwrap();
        self.step("wait", name)
    }

    /// Lets a process go on that waits for this FIFO, or will.
    pub(crate) fn open_gate(&self, name: &str) {
        fs::write(self.path(name), "g").unwrap();
    }

    /// Waits for a line with this text in it; the next time for the next such
    /// line. Lines with other texts in between are not passed over: several
    /// processes write the log, and their order is not certain.
    pub(crate) fn log_until(&mut self, text: &str) -> String {
        let from = self.read.get(text).copied().unwrap_or_default();
        let mut at = from;
        loop {
            if at == self.log.len() {
                let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                    panic!("no {text:?} after line {from} of:\n{}", self.log.join("\n"));
                };
                self.log.push(line);
            }
            at += 1;
            if self.log[at - 1].contains(text) {
                self.read.insert(text.to_owned(), at);
                return self.log[at - 1].clone();
            }
        }
    }

    /// Waits until no process writes to the log any more; all of it.
    pub(crate) fn log_to_the_end(&mut self) -> Vec<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.log.clone(),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("somebody is left:\n{}", self.log.join("\n"))
                }
            }
        }
    }

    /// Where the socket is bound that this step has made.
    pub(crate) fn address_of(&mut self, step: &str) -> SocketAddr {
        let line = self.log_until(&format!("bound {step:?} at "));
        let address = line.rsplit(' ').next().unwrap();
        address.parse().unwrap_or_else(|_| panic!("{line}"))
    }

    /// Asks for an upgrade.
    pub(crate) fn ask_to_upgrade(&self) {
        signal(self.pid, Signal::SIGHUP);
    }

    /// Waits for what is reported of an upgrade that was asked for.
    pub(crate) fn outcome(&mut self) -> String {
        self.log_until(&format!("upgrade to generation {} ", self.generation + 1))
    }

    /// Asks for an upgrade that must fail; why it did.
    pub(crate) fn fail(&mut self) -> String {
        self.ask_to_upgrade();
        let report = self.outcome();
        assert!(report.contains(" failed "), "{report}");
        report
    }

    /// Upgrades. When it returns, the next generation serves, and no other.
    pub(crate) fn upgrade(&mut self) {
        self.ask_to_upgrade();
        self.completes();
    }

    /// Waits until an upgrade that was asked for has completed.
    pub(crate) fn completes(&mut self) {
        let report = self.outcome();
        self.has_completed(&report);
    }

    /// An upgrade that must have completed by this report.
    pub(crate) fn has_completed(&mut self, report: &str) {
        assert!(report.contains(" completed"), "{report}:\n{}", self.log.join("\n"));
        self.generation += 1;
        let ready = self.log_until(&format!("ready generation={} ", self.generation));
        self.pid = field(&ready, "pid").parse().unwrap();
    }

    /// Asks the service to stop.
    pub(crate) fn ask_to_stop(&self) {
        signal(self.pid, Signal::SIGTERM);
    }

    /// Stops the service, and waits until no process of it is left.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        self.ask_to_stop();
        self.log_to_the_end()
    }

    /// How the first process has ended.
    pub(crate) fn first_status(&mut self) -> ExitStatus {
        self.first.as_mut().unwrap().wait().unwrap()
    }

    /// Kills every process, as a crash of the machine's memory would.
    pub(crate) fn end(&mut self) {
        let Some(mut first) = self.first.take() else { return };
        // Everything that ever came of this server is in its process group.
        let _ = killpg(Pid::from_raw(first.id().cast_signed()), Signal::SIGKILL);
        let _ = first.wait();
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn forward(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if to.send(line.unwrap()).is_err() {
                break;
            }
        }
    });
}

/// An example, which `cargo test` has built beside this test.
pub(crate) fn program(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples").join(example);
    let build = format!("cargo build -p ecdysis --example {example}");
    assert!(program.exists(), "{} is not there: {build}", program.display());
    program
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// The value of `name=value` in a line of the log.
pub(crate) fn field(line: &str, name: &str) -> String {
    let (_, rest) = line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{line}"));
    rest.split_whitespace().next().unwrap().to_owned()
}
