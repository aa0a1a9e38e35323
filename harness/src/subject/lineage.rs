//! The subject as a family: every process that descends from the one that
//! was started.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::process::Process;
use crate::clock::{Clock, Stamp};
use crate::observe::procfs::{self, Kin};

/// How much of the end of the log is looked at for its last lines.
const TAIL_BYTES: u64 = 64 * 1024;

/// Between two looks for a new process. The kernel adds its timer slack of
/// about 50 µs.
const LOOK: Duration = Duration::from_micros(20);

/// What SIGKILL gets to take effect before a process is given up.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The server under test: the process that was started, and all that came of it.
///
/// Dropping it kills what is left, unless it was there before.
#[derive(Debug)]
pub struct Subject {
    clock: Clock,
    log: PathBuf,
    /// It was started by us, and ends with us.
    ours: bool,
    /// The main process, where one is known.
    main: Option<u32>,
    /// Where a main process leaves its pid.
    pid_file: Option<PathBuf>,
    processes: Vec<Process>,
    /// Process groups of commands that may leave a process of the subject behind.
    claimed: HashSet<u32>,
}

impl Subject {
    /// Starts `command` in a process group of its own, its output appended to
    /// `target.log` in `directory`. From now on this process inherits orphans
    /// (a child subreaper), so that a server whose parent has ended is still
    /// ours to see and to reap.
    ///
    /// # Errors
    ///
    /// The command is empty or cannot be run, or the log cannot be written.
    pub fn start(command: &[OsString], directory: &Path, clock: Clock) -> io::Result<Self> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the command is empty"));
        };
        prctl::set_child_subreaper(true)?;
        let log = directory.join("target.log");
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        let main = child.id();
        match Process::open(main, clock.now()) {
            Ok(process) => {
                let (pid_file, claimed) = (None, HashSet::new());
                let (main, processes) = (Some(main), vec![process]);
                Ok(Self { clock, log, ours: true, main, pid_file, processes, claimed })
            }
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Observes a server that was there before: the process `main`, if it is given,
    /// and what comes of it. It is sent nothing but what [`Self::signal`] is told to
    /// send, and it outlives us.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn attach(main: Option<u32>, clock: Clock) -> io::Result<Self> {
        let open = |pid| Process::open(pid, clock.now());
        let processes: Vec<_> = main.map(open).transpose()?.into_iter().collect();
        if processes.iter().any(|process| process.wait(Duration::ZERO)) {
            return Err(Errno::ESRCH.into());
        }
        let (log, pid_file, claimed) = (PathBuf::new(), None, HashSet::new());
        Ok(Self { clock, log, ours: false, main, pid_file, processes, claimed })
    }

    /// From now on, the process that the file at `path` names is the main process.
    pub fn follow(&mut self, path: PathBuf) {
        self.pid_file = Some(path);
    }

    /// The main process: the one that was started or attached to, or that the PID
    /// file named when it was last looked at.
    #[must_use]
    pub fn main_pid(&self) -> Option<u32> {
        self.main
    }

    /// Whether nothing is known of its processes.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.processes.is_empty()
    }

    /// Whether none of its processes is left. Of a server that was there before this
    /// cannot be known: it may have passed on to one that nobody has named.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ours && self.alive() == 0
    }

    /// Every process that was ever seen, in the order in which it was.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// How many processes were alive at the last look.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.processes.iter().filter(|process| process.is_alive()).count()
    }

    /// Whether `pid` was gone at the last look. A process that was never seen is.
    #[must_use]
    pub fn is_gone(&self, pid: u32) -> bool {
        self.find(pid).is_none_or(|process| !process.is_alive())
    }

    /// The last lines that the subject printed.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = read_tail(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Looks for new processes, and notes which are gone. One that came and
    /// went between two looks is missed.
    pub fn refresh(&mut self) {
        self.discover();
        self.notice();
        if self.alive() == 0 {
            // The last may have started its successor between the two looks.
            self.discover();
        }
        self.find_main();
    }

    /// Forgets the processes that are gone, so that one that lives on for long does
    /// not carry them all along.
    pub fn forget_gone(&mut self) {
        // What comes of it later is known by the group that the first has founded.
        if let Some(first) = self.processes.first().filter(|_| self.claimed.is_empty()) {
            self.claimed.insert(first.pid);
        }
        self.processes.retain(|process| process.is_alive() || !process.is_settled());
    }

    /// Takes every orphan of this process group, but for its leader, for one of the
    /// subject: what a command has started and not waited for.
    pub fn claim(&mut self, group: u32) {
        self.claimed.insert(group);
    }

    /// Sends `signal` to a process that was seen and is not gone.
    ///
    /// # Errors
    ///
    /// `ESRCH`: it is gone, or was never seen.
    pub fn signal(&self, pid: u32, signal: Signal) -> io::Result<()> {
        self.find(pid).ok_or(Errno::ESRCH)?.send(signal)
    }

    /// Kills a process at once.
    ///
    /// # Errors
    ///
    /// As [`Self::signal`].
    pub fn kill(&self, pid: u32) -> io::Result<()> {
        self.signal(pid, Signal::SIGKILL)
    }

    /// Freezes a process.
    ///
    /// # Errors
    ///
    /// As [`Self::signal`].
    pub fn stop(&self, pid: u32) -> io::Result<()> {
        self.signal(pid, Signal::SIGSTOP)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    ///
    /// As [`Self::signal`].
    pub fn cont(&self, pid: u32) -> io::Result<()> {
        self.signal(pid, Signal::SIGCONT)
    }

    /// Looks as often as is sensible until there is a new process: a child of
    /// `parent`, or an orphan of the subject. `None`: there was none by `until`.
    pub fn watch_for_child(&mut self, parent: u32, until: Stamp) -> Option<u32> {
        loop {
            if let Some(pid) = self.adopt_children(parent).or_else(|| self.adopt_orphans()) {
                return Some(pid);
            }
            if self.clock.now() >= until {
                return None;
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until `pid` is gone, or for `at_most`. Whether it is gone.
    pub fn wait_gone(&mut self, pid: u32, at_most: Duration) -> bool {
        let until = self.clock.now().after(at_most);
        loop {
            let Some(process) = self.find(pid) else { return true };
            process.wait(until - self.clock.now());
            self.notice();
            if self.is_gone(pid) || self.clock.now() >= until {
                return self.is_gone(pid);
            }
        }
    }

    /// Kills and reaps everything that is alive, if it was started by us. Returns
    /// whom it had to kill.
    pub fn end(&mut self) -> Vec<u32> {
        if !self.ours {
            return Vec::new();
        }
        let until = self.clock.now().after(KILL_TIMEOUT);
        let mut killed = Vec::new();
        let mut settled = false;
        loop {
            // A process that is being killed may have had a child meanwhile, so
            // all is over only if there is nobody new after the last is gone.
            let found = self.discover();
            if settled && !found || self.clock.now() >= until {
                return killed;
            }
            self.notice();
            for process in self.processes.iter().filter(|process| process.is_alive()) {
                if process.send(Signal::SIGKILL).is_ok() && !killed.contains(&process.pid) {
                    killed.push(process.pid);
                }
            }
            settled = self.processes.iter().all(Process::is_settled);
            if !settled {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Looks whom the PID file names. A process that we have started comes of us,
    /// so one that does not is not taken for one, whatever the file says.
    fn find_main(&mut self) {
        let Some(pid) = self.pid_file.as_deref().and_then(read_pid) else { return };
        let is_kin =
            || !self.ours || procfs::kin(pid).is_some_and(|kin| kin.parent == process::id());
        let known = self.find(pid).is_some_and(Process::is_alive);
        if known || self.is_new(pid) && is_kin() && self.adopt(pid) {
            self.main = Some(pid);
        }
    }

    /// The newest process with this pid.
    fn find(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().rev().find(|process| process.pid == pid)
    }

    fn notice(&mut self) {
        for process in &mut self.processes {
            process.notice(self.clock.now());
        }
    }

    /// Adopts every process that is reached from those we know. Whether there
    /// was any.
    fn discover(&mut self) -> bool {
        let before = self.processes.len();
        self.adopt_orphans();
        // The newly adopted are appended, and so are looked at in turn.
        let mut index = 0;
        while let Some(process) = self.processes.get(index) {
            index += 1;
            if process.is_alive() {
                self.adopt_children(process.pid);
            }
        }
        self.processes.len() > before
    }

    /// Adopts the children of `parent`. Returns the first that was new.
    fn adopt_children(&mut self, parent: u32) -> Option<u32> {
        let mut first = None;
        for pid in procfs::children(parent) {
            if self.is_new(pid) && self.adopt(pid) {
                first = first.or(Some(pid));
            }
        }
        first
    }

    /// Adopts those of our own children that must be orphans of the subject:
    /// they are in its process group or session, or in one that a process of
    /// the subject founded, or in a group that was claimed. Other children of ours
    /// are none of its business.
    fn adopt_orphans(&mut self) -> Option<u32> {
        let mut first = None;
        // Those of a server that is not ours are inherited by somebody else.
        let inherited = if self.ours { procfs::children(process::id()) } else { Vec::new() };
        for pid in inherited {
            let is_ours = |kin: Kin| {
                let left_behind = self.claimed.contains(&kin.group) && kin.group != pid;
                self.has(kin.group) || self.has(kin.session) || left_behind
            };
            if self.is_new(pid) && procfs::kin(pid).is_some_and(is_ours) && self.adopt(pid) {
                first = first.or(Some(pid));
            }
        }
        first
    }

    fn has(&self, pid: u32) -> bool {
        self.find(pid).is_some()
    }

    /// A pid that is settled may have been given out again.
    fn is_new(&self, pid: u32) -> bool {
        self.find(pid).is_none_or(Process::is_settled)
    }

    fn adopt(&mut self, pid: u32) -> bool {
        let opened = Process::open(pid, self.clock.now());
        opened.map(|process| self.processes.push(process)).is_ok()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.end();
    }
}

/// The pid in a PID file. One that is written just now may have none.
#[must_use]
pub fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn read_tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
