//! Which processes the subject consists of, and how each of them ended.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;

use super::process::Process;
use crate::clock::{Clock, Stamp};
use crate::observe;

/// How long a killed process may take to be gone; more than the kernel needs to
/// take apart a large one.
const UNMAKING: Duration = Duration::from_secs(10);

/// The server under test: the process that was started, and whatever came of it.
/// Dropped, all of it is killed.
#[derive(Debug)]
pub struct Subject {
    clock: Clock,
    log: PathBuf,
    /// In the order in which they were seen.
    processes: Vec<Process>,
}

impl Subject {
    /// Starts it, in a process group of its own, with its output going to
    /// `directory/target.log`.
    ///
    /// # Errors
    /// Those of starting a program.
    pub fn start(command: &[OsString], directory: &Path, clock: Clock) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        set_child_subreaper(true)?;
        let log = directory.join("target.log");
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        let first = Process::open(child.id(), clock.now())?;
        Ok(Self { clock, log, processes: vec![first] })
    }

    /// The process that was started.
    #[must_use]
    pub fn main_pid(&self) -> u32 {
        self.processes[0].pid
    }

    /// Every process so far, in the order in which they were seen.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// How many of them live.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.processes.iter().filter(|process| process.gone.is_none()).count()
    }

    /// Whether this process has ended; one that is not the subject's has.
    #[must_use]
    pub fn is_gone(&self, pid: u32) -> bool {
        self.find(pid).is_none_or(|process| process.gone.is_some())
    }

    /// Looks for processes that are new and for processes that are gone.
    pub fn refresh(&mut self) {
        let living: Vec<u32> = self.living().map(|process| process.pid).collect();
        for parent in living {
            self.adopt(observe::children(parent));
        }
        self.adopt_orphans();
        let now = self.clock.now();
        for process in &mut self.processes {
            process.look(now);
            process.reap_late();
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `NotFound` if it is not a process of the subject, and those of
    /// pidfd_send_signal(2): it has ended.
    pub fn signal(&self, pid: u32, signal: Signal) -> io::Result<()> {
        self.find(pid).ok_or(io::ErrorKind::NotFound)?.signal(signal)
    }

    /// Looks for a new process as fast as it can, until there is one or `until`
    /// has come: to aim at a successor, it has to be seen within a fraction of
    /// what it takes to initialise.
    pub fn watch_for_child(&mut self, parent: u32, until: Stamp) -> Option<u32> {
        let before = self.processes.len();
        while self.clock.now() < until {
            self.adopt(observe::children(parent));
            // A successor may also be started as its predecessor's sibling.
            self.adopt_orphans();
            if let Some(process) = self.processes.get(before) {
                return Some(process.pid);
            }
            if self.is_gone(parent) {
                return None;
            }
            std::thread::yield_now();
        }
        None
    }

    /// Waits until this process has ended, for `at_most`; whether it has.
    pub fn wait_gone(&mut self, pid: u32, at_most: Duration) -> bool {
        let Some(process) = self.find(pid) else { return true };
        process.wait(at_most);
        self.refresh();
        self.is_gone(pid)
    }

    /// Kills whatever lives, and returns what that was.
    pub fn end(&mut self) -> Vec<u32> {
        let mut killed = BTreeSet::new();
        let give_up = self.clock.now().after(UNMAKING);
        loop {
            self.refresh();
            let Some(last) = self.living().last() else { break };
            // Together, so that none of them is left to start another.
            for process in self.living() {
                // One that has just ended cannot be killed.
                if process.signal(Signal::SIGKILL).is_ok() {
                    killed.insert(process.pid);
                }
            }
            last.wait(Duration::from_millis(100));
            if self.clock.now() > give_up {
                break;
            }
        }
        killed.into_iter().collect()
    }

    /// The last lines of what it wrote.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let from = text.lines().count().saturating_sub(lines);
        text.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    fn living(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.gone.is_none())
    }

    fn find(&self, pid: u32) -> Option<&Process> {
        // The youngest: a number may have been given out twice in a long run.
        self.processes.iter().rev().find(|process| process.pid == pid)
    }

    fn adopt(&mut self, pids: Vec<u32>) {
        for pid in pids {
            if self.is_gone(pid)
                // One that ended before it could be opened was not seen.
                && let Ok(process) = Process::open(pid, self.clock.now())
                && !self.is_known_zombie(&process)
            {
                self.processes.push(process);
            }
        }
    }

    /// A zombie is still listed by its parent; it is known, and gone.
    fn is_known_zombie(&self, process: &Process) -> bool {
        self.find(process.pid).is_some() && process.wait(Duration::ZERO)
    }

    /// Children of the harness itself that are of the subject: those that were
    /// orphaned before they were seen, or started as siblings of their parent.
    fn adopt_orphans(&mut self) {
        let group = Some(self.main_pid());
        let orphans = observe::children(std::process::id()).into_iter();
        self.adopt(orphans.filter(|pid| observe::group(*pid) == group).collect());
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Exit;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn subject(script: &str) -> (Subject, tempfile::TempDir) {
        let directory = tempfile::TempDir::new().unwrap();
        let command = ["/bin/sh", "-c", script].map(OsString::from);
        (Subject::start(&command, directory.path(), Clock::start()).unwrap(), directory)
    }

    fn until(subject: &mut Subject, mut done: impl FnMut(&Subject) -> bool) {
        let give_up = subject.clock.now().after(PATIENCE);
        while !done(subject) {
            assert!(subject.clock.now() < give_up, "{subject:?}");
            subject.refresh();
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_orphan_is_seen_and_its_status_is_known() {
        // The shell ends first, so its child becomes ours.
        let (mut subject, _dir) = subject("mkfifo fifo; (read x < fifo; exit 7) & exit 3");
        let fifo = subject.log.with_file_name("fifo");
        until(&mut subject, |subject| {
            subject.processes.len() == 2 && subject.is_gone(subject.main_pid())
        });
        assert_eq!(subject.processes[0].exit, Some(Exit::Code(3)));
        fs::write(fifo, "go\n").unwrap();
        until(&mut subject, |subject| subject.alive() == 0);
        assert_eq!(subject.processes[1].exit, Some(Exit::Code(7)));
        assert!(subject.end().is_empty());
    }

    #[test]
    fn a_child_is_watched_for_and_killed() {
        let (mut subject, _dir) = subject("sleep 1000 & wait $!; exit $?");
        let main = subject.main_pid();
        let give_up = subject.clock.now().after(PATIENCE);
        let child = subject.watch_for_child(main, give_up).unwrap();
        subject.signal(child, Signal::SIGKILL).unwrap();
        until(&mut subject, |subject| subject.alive() == 0);
        assert_eq!(subject.processes[0].exit, Some(Exit::Code(128 + 9)));
        assert_eq!(subject.find(child).unwrap().exit, Some(Exit::Reaped));
        assert!(subject.signal(child, Signal::SIGTERM).is_err());
    }

    #[test]
    fn nothing_is_left_behind() {
        let (mut subject, _dir) = subject("sleep 1000 & sleep 1000 & echo started; wait");
        until(&mut subject, |subject| subject.processes.len() == 3);
        let pids: Vec<u32> = subject.processes.iter().map(|process| process.pid).collect();
        let mut killed = subject.end();
        killed.sort_unstable();
        assert_eq!(killed.len(), 3);
        assert!(subject.log_tail(1).contains("started"));
        drop(subject);
        for pid in pids {
            assert_eq!(observe::group(pid), None, "{pid} is gone, and no zombie");
        }
    }
}
