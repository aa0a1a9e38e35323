//! A server under test: started from a directory of its own, on a port of its
//! own, in a process group of its own, of which nothing outlives the test.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

/// Nothing here takes this long; it only keeps a broken test from hanging.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    first: Child,
    directory: TempDir,
    lines: Receiver<String>,
    log: Vec<String>,
    /// How far the log has been read for each text.
    read: HashMap<String, usize>,
    pub(crate) address: SocketAddr,
}

/// Who greeted a connection.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) generation: u64,
    pub(crate) pid: u32,
}

impl Server {
    /// Starts a server, on a port that the kernel chooses.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, "exec \"$0\" \"$@\"", &[])
    }

    /// The same, by a shell script, which gets the command as `$0 $@`.
    pub(crate) fn start_with(
        arguments: &[&str],
        script: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let program = directory.path().join("server");
        let real = directory.path().join("real");
        symlink(env!("CARGO_BIN_EXE_echo-server"), &real).unwrap();
        symlink(&real, &program).unwrap();
        let mut first = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(&program)
            .args(["--listen", "127.0.0.1:0", "--greeting"])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let errors = BufReader::new(first.stderr.take().unwrap());
        thread::spawn(move || {
            for line in errors.lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let address = SocketAddr::from(([0; 4], 0));
        let (log, read) = (Vec::new(), HashMap::new());
        let mut server = Self { first, directory, lines, log, read, address };
        let ready = server.log_until("ready generation=0");
        server.address = field(&ready, "listen").parse().unwrap();
        server
    }

    /// The file that an upgrade will start.
    pub(crate) fn program(&self) -> PathBuf {
        self.directory.path().join("server")
    }

    /// A path in the server's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a shell script in the place of the program; `$real` is the program.
    pub(crate) fn replace_with(&self, script: &str) {
        let text = format!("#!/bin/sh\nreal={}\n{script}\n", self.path("real").display());
        self.replace_program(&text, 0o755);
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

    /// Puts any file in the place of the program. Another process writes it: a
    /// file that is open for writing here might be inherited, for an instant,
    /// by whatever another test starts, and could then not be executed.
    pub(crate) fn replace_program(&self, content: &str, mode: u32) {
        let script = "cat >\"$1.new\" && chmod \"$2\" \"$1.new\" && mv \"$1.new\" \"$1\"";
        let mut writer = Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .arg(self.program())
            .arg(format!("{mode:o}"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    /// Puts the program back in its place; `real` stays, for a generation that
    /// a script has started by that name.
    pub(crate) fn restore(&self) {
        symlink(self.path("real"), self.path("link")).unwrap();
        fs::rename(self.path("link"), self.program()).unwrap();
    }

    /// The pid of the first generation.
    pub(crate) fn first_pid(&self) -> u32 {
        self.first.id()
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

    /// Connects, and reads who greets.
    pub(crate) fn greet(&self) -> Greeted {
        self.try_greet().expect("somebody serves")
    }

    /// The same; `None` if nobody serves any more.
    pub(crate) fn try_greet(&self) -> Option<Greeted> {
        Greeted::by(TcpStream::connect(self.address).ok()?)
    }

    /// Upgrades `pid` and waits until the next generation greets.
    pub(crate) fn upgrade(&mut self, pid: u32, to: u64) -> Greeted {
        signal(pid, Signal::SIGHUP);
        self.log_until(&format!("ready generation={to} "));
        loop {
            // Between `ready` and `go` the old one may still answer.
            let greeted = self.greet();
            if greeted.generation == to {
                return greeted;
            }
        }
    }

    /// Waits for the end of the first generation.
    pub(crate) fn first_exit_code(&mut self) -> Option<i32> {
        self.first.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Everything that ever came of this server is in its process group.
        let _ = killpg(Pid::from_raw(self.first.id().cast_signed()), Signal::SIGKILL);
        let _ = self.first.wait();
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
    }
}

impl Greeted {
    /// Reads who greets; `None` if nobody does.
    pub(crate) fn by(stream: TcpStream) -> Option<Self> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["generation", generation, "pid", pid] = words[..] else { return None };
        Some(Self { generation: generation.parse().ok()?, pid: pid.parse().ok()?, stream })
    }

    /// Whether the connection still echoes.
    pub(crate) fn echoes(&mut self, text: &str) -> bool {
        let mut back = vec![0; text.len()];
        self.stream.get_mut().write_all(text.as_bytes()).is_ok()
            && self.stream.read_exact(&mut back).is_ok()
            && back == text.as_bytes()
    }
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

/// What a process has open, by number.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<u32, PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    // One that is closed between the two looks is not open.
    entries.filter_map(|entry| Some((number(&entry), fs::read_link(entry.path()).ok()?))).collect()
}

/// Whether `what`, as [`descriptors`] has it, is a listening TCP socket.
pub(crate) fn is_listener(pid: u32, what: &Path) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let inode = inode(what);
    table.lines().map(str::split_whitespace).map(Iterator::collect::<Vec<_>>).any(|columns| {
        inode.is_some() && columns.get(3) == Some(&"0A") && columns.get(9).copied() == inode
    })
}

/// Whether it is a TCP connection.
pub(crate) fn is_connection(pid: u32, what: &Path) -> bool {
    // The path of a socket need not be text.
    let unix = fs::read(format!("/proc/{pid}/net/unix")).unwrap();
    let unix = String::from_utf8_lossy(&unix);
    inode(what).is_some_and(|inode| {
        !is_listener(pid, what) && !unix.split_whitespace().any(|column| column == inode)
    })
}

fn inode(what: &Path) -> Option<&str> {
    what.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')
}

/// Whether there is such a process, a zombie included.
pub(crate) fn exists(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}
