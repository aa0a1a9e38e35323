//! A server that runs, and whatever it has started.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::client;
use crate::clock::now;
use crate::peer::{Paths, Peer, Program, Trigger};

/// A server that has to fill its memory first takes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a former process gets to be gone.
const DRAIN: Duration = Duration::from_secs(5);

/// A running server, in a process group of its own. The group is killed when this is
/// dropped, whatever has become of it.
#[derive(Debug)]
pub(crate) struct Service<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) address: SocketAddr,
    /// Where it writes.
    pub(crate) directory: PathBuf,
    /// From its start to the first answer.
    pub(crate) started_in: Duration,
    paths: &'a Paths,
    child: Child,
    /// Its process group: its own, unless it has gone into the background.
    group: u32,
}

impl<'a> Service<'a> {
    /// Starts it with `options` beside its own, `{dir}` in them replaced, and waits
    /// until it serves.
    pub(crate) fn start(
        peer: &'a Peer,
        paths: &'a Paths,
        scratch: &Path,
        options: &[String],
    ) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let directory = scratch.join(format!("{}-{}", peer.id, address.port()));
        fs::create_dir_all(directory.join("bin"))?;
        let program = link(peer, paths, &directory)?;
        let place = directory.display().to_string();
        let program = program.display().to_string();
        let command = peer.command(paths, &program, &address.to_string(), &place);
        let [program, arguments @ ..] = &command[..] else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let log = File::create(directory.join("log"))?;
        let started = now();
        let child = Command::new(program)
            .args(arguments)
            .args(options.iter().map(|option| option.replace("{dir}", &place)))
            .env("PATH", search(paths, &directory))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let group = child.id();
        let mut service =
            Self { peer, address, directory, started_in: Duration::ZERO, paths, child, group };
        while let Err(error) = service.ask() {
            let failed = service.child.try_wait()?.is_some_and(|status| !status.success());
            if failed || started.elapsed() > PATIENCE {
                let said = service.said();
                return Err(io::Error::other(format!(
                    "it does not serve ({error}), and said: {said}"
                )));
            }
            thread::sleep(Duration::from_micros(100));
        }
        service.started_in = started.elapsed();
        service.group = service.main();
        Ok(service)
    }

    /// The pid that answers a new connection.
    pub(crate) fn ask(&self) -> io::Result<u32> {
        client::ask(self.address, self.peer.speaks)
    }

    /// What it has printed so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The process that was started, or, where there is a PID file, that it names.
    pub(crate) fn main(&self) -> u32 {
        let in_file = match self.peer.trigger {
            Trigger::Script { pid_file, .. } => {
                let text = fs::read_to_string(self.directory.join(pid_file)).unwrap_or_default();
                text.trim().parse().ok()
            }
            Trigger::Serving(_) | Trigger::Main(_) | Trigger::Never => None,
        };
        in_file.unwrap_or_else(|| self.child.id())
    }

    /// By which it starts its successor.
    pub(crate) fn program(&self) -> PathBuf {
        self.directory.join("bin").join(self.peer.program.name())
    }

    /// Puts the true program back in that place.
    pub(crate) fn restore(&self) -> io::Result<()> {
        link(self.peer, self.paths, &self.directory).map(drop)
    }

    /// Every process of the group that is no zombie.
    pub(crate) fn pids(&self) -> HashSet<u32> {
        members(self.group)
    }

    /// Asks for an upgrade; `serving` is who answers now.
    pub(crate) fn upgrade(&self, serving: u32) -> io::Result<Pulled> {
        let script = match self.peer.trigger {
            Trigger::Serving(signal) => {
                send(serving, signal)?;
                None
            }
            Trigger::Main(signal) => {
                send(self.main(), signal)?;
                None
            }
            Trigger::Script { script, .. } => {
                let log = File::create(self.directory.join("trigger.log"))?;
                let mut command = Command::new(self.paths.repository.join(script));
                command.arg(self.main().to_string()).stdin(Stdio::null());
                Some(command.stdout(log.try_clone()?).stderr(log).spawn()?)
            }
            Trigger::Never => None,
        };
        Ok(Pulled(script))
    }

    /// Waits until none of `pids` is left, but for a master, who stays. It must have
    /// waited for its workers: HAProxy is deaf until then.
    pub(crate) fn await_end_of(&self, pids: &HashSet<u32>) {
        let main = self.main();
        let is_left = |pid: &u32| match self.peer.trigger {
            Trigger::Main(_) => *pid != main && stat(*pid).is_some(),
            Trigger::Serving(_) | Trigger::Script { .. } | Trigger::Never => runs(*pid),
        };
        let asked = now();
        while asked.elapsed() < DRAIN && pids.iter().any(is_left) {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal to each of its processes.
    pub(crate) fn send_to_all(&self, signal: Signal) {
        for pid in self.pids() {
            // One that has ended meanwhile needs none.
            let _ = send(pid, signal);
        }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_))) && self.pids().is_empty()
    }

    /// Nanoseconds of processor time that all of it has had so far.
    pub(crate) fn processor_time(&self) -> u64 {
        let threads = |pid: u32| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            tasks.filter_map(|task| {
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                text.split_whitespace().next()?.parse::<u64>().ok()
            })
        };
        self.pids().into_iter().flat_map(threads).sum()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        for group in [self.child.id(), self.group] {
            let pid = Pid::from_raw(i32::try_from(group).unwrap_or(i32::MAX));
            // Somebody may be starting another just now.
            while killpg(pid, Signal::SIGKILL).is_ok() && !members(group).is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
            let _ = self.child.wait();
            // Orphans are ours: this process is a subreaper.
            let all = Pid::from_raw(-pid.as_raw());
            while matches!(waitpid(all, None), Ok(_) | Err(Errno::EINTR)) {}
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A trigger that was pulled. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Pulled(Option<Child>);

impl Drop for Pulled {
    fn drop(&mut self) {
        if let Some(script) = &mut self.0 {
            let _ = script.wait();
        }
    }
}

pub(crate) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// A link to the true program, as a server's place on disk: it can be replaced.
fn link(peer: &Peer, paths: &Paths, directory: &Path) -> io::Result<PathBuf> {
    let name = peer.program.name();
    let real = paths.program(peer.program).ok_or_else(|| {
        io::Error::new(ErrorKind::NotFound, format!("{}: there is no {name}", peer.title))
    })?;
    let (place, aside) = (directory.join("bin").join(name), directory.join("bin/aside"));
    symlink(real, &aside)?;
    fs::rename(&aside, &place)?;
    Ok(place)
}

fn search(paths: &Paths, directory: &Path) -> String {
    let own = directory.join("bin");
    let all: Vec<_> =
        [&own].into_iter().chain(&paths.search).map(|path| path.display().to_string()).collect();
    all.join(":")
}

fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

fn members(group: u32) -> HashSet<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_member = |pid: &u32| {
        stat(*pid).is_some_and(|(state, of)| of == group && state != "Z" && state != "X")
    };
    pids.filter(is_member).collect()
}

/// The state and the process group.
fn stat(pid: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.to_owned();
    let group = fields.nth(1)?.parse().ok()?;
    Some((state, group))
}

/// Which program an installed server is, by its own account.
pub(crate) fn version(paths: &Paths, program: Program) -> String {
    let asked = paths.program(program).and_then(|path| Command::new(path).arg("-v").output().ok());
    let Some(output) = asked else { return "not installed".to_owned() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
