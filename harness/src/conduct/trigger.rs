//! How an upgrade is asked for: by a signal, a command, or a line over a socket.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// So much of what a trigger said is kept: its end, where the reason is.
const SAID: usize = 2000;

/// The longest answer over a socket.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// A trigger that was pulled. One that is dropped while it goes on is ended.
#[derive(Debug)]
pub(super) enum Trigger {
    /// It is done, and this came of it.
    Done(Result<(), String>),
    /// A command that runs.
    Command { program: String, child: Child, log: PathBuf },
    /// Somebody who waits for an answer.
    Socket(Receiver<Result<(), String>>),
}

impl Trigger {
    /// Runs a command in a process group of its own; what it says goes to a file
    /// in `directory`.
    pub(super) fn run(command: &[OsString], directory: &Path) -> Self {
        let Some((program, arguments)) = command.split_first() else {
            return Self::Done(Err("the command is empty".to_owned()));
        };
        let (name, log) = (program.to_string_lossy().into_owned(), directory.join("trigger.log"));
        let started = File::create(&log).and_then(|output| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .process_group(0)
                .spawn()
        });
        match started {
            Ok(child) => Self::Command { program: name, child, log },
            Err(error) => Self::Done(Err(format!("cannot run {name}: {error}"))),
        }
    }

    /// Sends a line to the unix socket at `path` and awaits an answer for `at_most`.
    pub(super) fn send(path: PathBuf, line: String, at_most: Duration) -> Self {
        let name = path.display().to_string();
        let (answered, answer) = channel();
        let asked = thread::Builder::new().name("trigger".to_owned()).spawn(move || {
            let answer = ask(&path, &line, at_most).map_err(|why| format!("{name}: {why}"));
            // Who has given up waiting does not want to know.
            drop(answered.send(answer));
        });
        match asked {
            Ok(_) => Self::Socket(answer),
            Err(error) => Self::Done(Err(format!("cannot start a thread: {error}"))),
        }
    }

    /// What came of it; `None` while it goes on.
    pub(super) fn outcome(&mut self) -> Option<Result<(), String>> {
        let done = match self {
            Self::Done(done) => return Some(done.clone()),
            Self::Command { program, child, log } => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(format!("{program}: {status}{}", said(log))),
                Err(error) => Err(format!("cannot wait for {program}: {error}")),
            },
            Self::Socket(answer) => match answer.try_recv() {
                Ok(answer) => answer,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Err("whoever asked has panicked".to_owned()),
            },
        };
        *self = Self::Done(done.clone());
        Some(done)
    }

    /// Whether its end says anything of the upgrade. That of a signal does not.
    pub(super) fn answers(&self) -> bool {
        match self {
            Self::Done(_) => false,
            Self::Command { .. } | Self::Socket(_) => true,
        }
    }

    /// The process group of what it has started and may leave behind.
    pub(super) fn group(&self) -> Option<u32> {
        match self {
            Self::Command { child, .. } => Some(child.id()),
            Self::Done(_) | Self::Socket(_) => None,
        }
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        // What a command has left behind on its way out is part of the server.
        if let Self::Command { child, .. } = self
            && matches!(child.try_wait(), Ok(None))
        {
            // With whatever it has started: a script that hangs does so in a child.
            if let Ok(group) = i32::try_from(child.id()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
    }
}

/// The end of what a command said.
fn said(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let tail = text.get(text.len().saturating_sub(SAID)..).unwrap_or_default();
    match String::from_utf8_lossy(tail).trim() {
        "" => ", and said nothing".to_owned(),
        text => format!(", and said: {text}"),
    }
}

fn ask(path: &Path, line: &str, at_most: Duration) -> Result<(), String> {
    let answer = exchange(path, line, at_most).map_err(|error| {
        let late = error.kind() == io::ErrorKind::WouldBlock;
        if late { format!("no answer within {at_most:?}") } else { error.to_string() }
    })?;
    let json: Option<Value> = serde_json::from_str(&answer).ok();
    match json.as_ref().and_then(|json| json.get("ok")) {
        Some(Value::Bool(false)) => {
            // Its own words, if it has any.
            let words = json.as_ref().and_then(|json| json.get("error")?.as_str());
            Err(format!("answered {}", words.unwrap_or_else(|| answer.trim())))
        }
        Some(_) | None => Ok(()),
    }
}

/// Sends a line, and returns the line that comes back: empty, if none does.
fn exchange(path: &Path, line: &str, at_most: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(at_most))?;
    stream.set_write_timeout(Some(at_most))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_until(b'\n', &mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::observe::procfs;

    fn outcome(trigger: &mut Trigger) -> Result<(), String> {
        loop {
            if let Some(outcome) = trigger.outcome() {
                return outcome;
            }
            thread::yield_now();
        }
    }

    fn run(directory: &Path, script: &str) -> Trigger {
        Trigger::run(&["/bin/sh", "-c", script].map(OsString::from), directory)
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let of = |script| outcome(&mut run(directory.path(), script));
        assert_eq!(of("exit 0"), Ok(()));
        assert_eq!(
            of("echo one; echo two >&2; exit 3"),
            Err("/bin/sh: exit status: 3, and said: one\ntwo".to_owned())
        );
        assert!(of("kill -9 $$").unwrap_err().contains("signal: 9"));
        let absent = Trigger::run(&["/no/such".into()], directory.path());
        assert!(outcome(&mut { absent }).unwrap_err().contains("/no/such"));
        // It is asked again after the end.
        let mut trigger = run(directory.path(), "exit 1");
        assert_eq!(outcome(&mut trigger), outcome(&mut trigger));
    }

    #[test]
    fn a_command_that_is_given_up_leaves_nobody_behind() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 100 & echo $! >{0}.new; mv {0}.new {0}; wait", pid.display());
        let trigger = run(directory.path(), &script);
        let child = loop {
            if let Ok(text) = fs::read_to_string(&pid) {
                break text.trim().parse().unwrap();
            }
            thread::yield_now();
        };
        assert!(procfs::kin(child).is_some());
        drop(trigger);
        // An orphan is reaped by whoever inherits it.
        while procfs::kin(child).is_some_and(|kin| kin.parent != 1) && !is_zombie(child) {
            thread::yield_now();
        }
    }

    fn is_zombie(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    }

    #[test]
    fn an_answer_over_a_socket_can_be_a_refusal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            for answer in ["{\"ok\":true}\n", "", "done\n", "{\"ok\":false,\"error\":\"busy\"}\n"] {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert_eq!(line, "go\n");
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            // The fifth is accepted and not answered.
            let _held = listener.accept().unwrap();
            thread::sleep(Duration::from_millis(300));
        });
        let send = |at_most| {
            let trigger = Trigger::send(path.clone(), "go".to_owned(), at_most);
            outcome(&mut { trigger })
        };
        for _ in 0..3 {
            assert_eq!(send(Duration::from_secs(20)), Ok(()));
        }
        assert!(send(Duration::from_secs(20)).unwrap_err().contains("busy"));
        assert!(send(Duration::from_millis(50)).unwrap_err().contains("no answer"));
        server.join().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(send(Duration::from_secs(20)).unwrap_err().contains("control"));
    }
}
