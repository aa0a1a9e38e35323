//! One server, one upgrade, seen by one client.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

/// Nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one upgrade took. All but the first from SIGHUP on.
#[derive(Debug)]
pub(crate) struct Round {
    /// From the server's start until a client had its first answer: no
    /// upgrade can be faster than this.
    pub(crate) first_answer: Duration,
    /// Until a client had the first answer of the new process.
    pub(crate) new_answers: Duration,
    /// Until the last connection that the old process answered was dispatched.
    pub(crate) old_stops: Duration,
    /// Until the old process said that its shutdown future had resolved.
    pub(crate) resolved: Duration,
    pub(crate) connections: usize,
    /// Connections that ended without an answer.
    pub(crate) failed: usize,
    /// Connections answered by the old process after the new one had answered.
    pub(crate) both_answered: usize,
}

/// A running server and whatever it starts. All of them end when this is
/// dropped: they hold the other end of its stdin.
struct Server {
    child: Child,
    address: SocketAddr,
    stopped: Receiver<(Instant, String)>,
}

impl Server {
    fn start(program: &str) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut child = Command::new(program)
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        Ok(Self { child, address, stopped: stamp_lines(stdout) })
    }

    /// The pid that answers a new connection.
    fn ask(&self) -> io::Result<Pid> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // Closed by a reset: tens of thousands of connections in TIME_WAIT
        // would run this client out of ports.
        setsockopt(&socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        let mut greeting = Vec::with_capacity(16);
        let mut buffer = [0; 16];
        while !greeting.ends_with(b"\n") {
            match socket.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => greeting.extend_from_slice(&buffer[..n]),
            }
        }
        let text = String::from_utf8_lossy(&greeting);
        text.trim().parse().map(Pid::from_raw).map_err(io::Error::other)
    }

    fn wait_until_it_serves(&self) -> io::Result<Pid> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask() {
                Ok(pid) => return Ok(pid),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_micros(100)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        // The successors' ends of stdout are closed when they are gone.
        while self.stopped.recv().is_ok() {}
    }
}

/// Each line of `stdout`, with the moment at which it was read.
fn stamp_lines(stdout: ChildStdout) -> Receiver<(Instant, String)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Starts `program`, upgrades it once under load, and ends it.
pub(crate) fn upgrade_once(program: &str) -> io::Result<Round> {
    let started = Instant::now();
    let server = Server::start(program)?;
    let old = server.wait_until_it_serves()?;
    let first_answer = started.elapsed();
    // What a process does once, at its first connection, is no part of it.
    for _ in 0..100 {
        server.ask()?;
    }

    let hangup = Instant::now();
    kill(old, Signal::SIGHUP)?;
    let mut watch = Watch::default();
    let resolved = loop {
        watch.note(&server, old, hangup);
        match server.stopped.try_recv() {
            Ok((at, line)) if line == format!("stopped {old}") => {
                break at.duration_since(hangup);
            }
            Ok((_, line)) => return Err(io::Error::other(format!("it said {line:?}"))),
            Err(TryRecvError::Disconnected) => return Err(io::Error::other("it vanished")),
            Err(TryRecvError::Empty) if hangup.elapsed() > PATIENCE => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(TryRecvError::Empty) => {}
        }
    };
    // The accept loop may outlive the future by a little, and so may we.
    let settled = Instant::now() + Duration::from_millis(20);
    while Instant::now() < settled {
        watch.note(&server, old, hangup);
    }
    let new_answers =
        watch.new_answers.ok_or_else(|| io::Error::other("the new never answered"))?;
    Ok(Round {
        first_answer,
        new_answers,
        old_stops: watch.old_stops,
        resolved,
        connections: watch.connections,
        failed: watch.failed,
        both_answered: watch.both_answered,
    })
}

#[derive(Default)]
struct Watch {
    new_answers: Option<Duration>,
    old_stops: Duration,
    connections: usize,
    failed: usize,
    both_answered: usize,
}

impl Watch {
    fn note(&mut self, server: &Server, old: Pid, hangup: Instant) {
        let dispatched = hangup.elapsed();
        self.connections += 1;
        match server.ask() {
            Ok(pid) if pid == old => {
                self.old_stops = dispatched;
                self.both_answered += usize::from(self.new_answers.is_some());
            }
            Ok(_) => {
                self.new_answers.get_or_insert_with(|| hangup.elapsed());
            }
            Err(_) => self.failed += 1,
        }
    }
}
