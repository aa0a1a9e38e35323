//! A server to be measured, and whatever it starts.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

/// Nothing here takes a tenth of it, except to fill a memory.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_AT_START: Duration = Duration::from_secs(60);

/// A running server. It ends, and its successors with it, when this is
/// dropped: they hold the other end of its stdin.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    said: Receiver<(Instant, String)>,
}

impl Server {
    /// Starts `program`, and waits until it serves.
    pub(crate) fn start(program: &str, options: &[&str]) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut child = Command::new(program)
            .arg(address.to_string())
            .arg("until-eof")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        let server = Self { child, address, said: stamp_lines(stdout) };
        let deadline = Instant::now() + PATIENCE_AT_START;
        loop {
            match server.ask() {
                Ok(_) => return Ok(server),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
    }

    pub(crate) fn upgrade(&self) -> io::Result<()> {
        Ok(kill(self.pid(), Signal::SIGHUP)?)
    }

    /// The pid that answers a new connection.
    pub(crate) fn ask(&self) -> io::Result<Pid> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // Closed by a reset: tens of thousands of connections in TIME_WAIT
        // would run this client out of ports.
        setsockopt(&socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        let mut greeting = Vec::with_capacity(64);
        let mut buffer = [0; 64];
        while !greeting.ends_with(b"\n") {
            match socket.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => greeting.extend_from_slice(&buffer[..n]),
            }
        }
        let text = String::from_utf8_lossy(&greeting);
        let pid = text.split_whitespace().next_back().unwrap_or_default();
        pid.parse().map(Pid::from_raw).map_err(io::Error::other)
    }

    /// What a server has said and nobody has heard yet, if anything: the word,
    /// the number, and when it was read. Waits for `at_most`.
    pub(crate) fn hear(&self, at_most: Duration) -> io::Result<Option<(Instant, String, u64)>> {
        let (at, line) = match self.said.recv_timeout(at_most) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("it vanished")),
        };
        let (word, number) = line.split_once(' ').unwrap_or_default();
        let number = number.parse().map_err(|_| io::Error::other(format!("it said {line:?}")))?;
        Ok(Some((at, word.to_owned(), number)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        // The successors' ends of stdout are closed when they are gone.
        while self.said.recv().is_ok() {}
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
