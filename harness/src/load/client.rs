//! One client on one connection. It collects facts and judges nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::classify::{self, Ending, Facts, Progress};
use super::greeting::{self, Template};
use super::ledger::Ledger;
use super::payload;
use crate::clock::{Clock, Stamp};
use crate::event::{Connection, Fate, Harm, Sightings};
use crate::scenario::plan::Load;

/// Clients come from 127.0.1.1 to 127.0.1.64: ports are free per pair of
/// addresses, and one address alone would run out of them.
const SOURCES: u8 = 64;

/// What all clients of a run share.
#[derive(Debug)]
pub(super) struct Context {
    /// The run's clock.
    pub(super) clock: Clock,
    /// The server.
    pub(super) target: SocketAddr,
    /// Where rows go.
    pub(super) ledger: Arc<Ledger>,
    /// Where it is noted who answered.
    pub(super) sightings: Sightings,
    /// What the server says first, if anything.
    pub(super) greeting: Option<Template>,
    /// Everything random is drawn from this.
    pub(super) seed: u64,
    /// Becomes true when the run is given up.
    pub(super) cancelled: watch::Receiver<bool>,
    /// The source of the next connection.
    pub(super) source: AtomicU8,
}

impl Context {
    /// Returns when the run is given up.
    pub(super) async fn given_up(&self) {
        if self.cancelled.clone().wait_for(|cancelled| *cancelled).await.is_err() {
            // Whoever could give up is gone without having done so.
            std::future::pending::<()>().await;
        }
    }

    /// Runs a step until it ends, the deadline passes, or the run is given up.
    pub(super) async fn bound<F>(&self, deadline: Stamp, step: F) -> Ending
    where
        F: Future<Output = Result<(), Ending>>,
    {
        let deadline = self.clock.instant(deadline).into();
        tokio::select! {
            biased;
            () = self.given_up() => Ending::Cancelled,
            result = timeout_at(deadline, step) => match result {
                Ok(Ok(())) => Ending::Complete,
                Ok(Err(ending)) => ending,
                Err(_) => Ending::Deadline,
            },
        }
    }

    fn next_source(&self) -> SocketAddr {
        let number = self.source.fetch_add(1, Ordering::Relaxed) % SOURCES;
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, number + 1)), 0)
    }
}

/// One population, as its clients know it.
#[derive(Debug)]
pub(super) struct Population {
    /// Index into the plan's populations.
    pub(super) index: u16,
    /// What the plan says about it.
    pub(super) load: Load,
}

/// How an operation came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Its fate.
    pub(super) fate: Fate,
    /// The error number behind it.
    pub(super) errno: Option<i32>,
}

/// A client. Its facts stay with it when a step is cut short.
#[derive(Debug)]
pub(super) struct Client<'a> {
    context: &'a Context,
    stream: Option<TcpStream>,
    /// The row of its connection.
    pub(super) row: Connection,
    progress: Progress,
    expected: Vec<u8>,
    reply: Vec<u8>,
}

impl<'a> Client<'a> {
    /// A client that has not done anything yet.
    pub(super) fn new(context: &'a Context, population: u16) -> Self {
        let row = Connection {
            id: context.ledger.connection_id(),
            population,
            local: None,
            opened: None,
            established: None,
            first_byte: None,
            closed: Stamp::default(),
            served: None,
            bytes_out: 0,
            bytes_in: 0,
            reset: false,
            syn_retransmits: None,
            retransmits: None,
        };
        let (expected, reply) = (Vec::new(), Vec::new());
        Self { context, stream: None, row, progress: Progress::Connecting, expected, reply }
    }

    /// Connects, and reads the greeting if there is to be one.
    pub(super) async fn open(&mut self, dispatched: Stamp) -> Result<(), Ending> {
        self.connect().await.map_err(|error| failed(&error))?;
        self.progress = Progress::Idle;
        let Some(template) = &self.context.greeting else {
            return Ok(());
        };
        self.progress = Progress::Greeting;
        let mut line = Vec::with_capacity(greeting::LONGEST);
        let end = loop {
            read(self.context, &mut self.stream, &mut self.row, &mut line).await?;
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if line.len() >= greeting::LONGEST {
                return Err(Ending::Mismatch(Harm::Corrupt));
            }
        };
        let served = line.get(..end).and_then(|line| template.parse(line));
        let served = served.ok_or(Ending::Mismatch(Harm::Corrupt))?;
        self.row.served = Some(served);
        self.context.sightings.note(served, dispatched);
        if line.len() > end + 1 {
            return Err(Ending::Mismatch(Harm::DupBytes));
        }
        self.progress = Progress::Idle;
        Ok(())
    }

    async fn connect(&mut self) -> io::Result<()> {
        let context = self.context;
        let socket = match context.target {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if context.target.is_ipv4() && context.target.ip().is_loopback() {
            // The port is chosen by `connect`, when the whole pair is known.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(context.next_source())?;
        }
        socket.set_nodelay(true)?;
        self.row.opened = Some(context.clock.now());
        let stream = socket.connect(context.target).await.inspect_err(|error| {
            // For want of a port or memory no SYN was sent: the kernel counted nothing.
            if error.raw_os_error().is_some_and(classify::is_limit) {
                self.row.opened = None;
            }
        })?;
        self.row.established = Some(context.clock.now());
        self.row.local = stream.local_addr().ok();
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends a request of `size` bytes and reads as many. Both at once: a
    /// server that answers while it reads must not be kept from either.
    pub(super) async fn request(&mut self, id: u64, size: usize) -> Result<(), Ending> {
        self.expected = payload::bytes(id, size);
        self.reply = Vec::with_capacity(size);
        self.progress = Progress::Request;
        let clock = self.context.clock;
        let Some(stream) = &mut self.stream else {
            return Err(Ending::Error(Errno::ENOTCONN as i32));
        };
        let (mut from, mut to) = stream.split();
        let (row, expected, reply) = (&mut self.row, &self.expected, &mut self.reply);
        let (bytes_out, bytes_in, first_byte) =
            (&mut row.bytes_out, &mut row.bytes_in, &mut row.first_byte);
        let progress = &mut self.progress;
        let send = async {
            let mut rest = expected.as_slice();
            while !rest.is_empty() {
                let sent = to.write(rest).await.map_err(|error| failed(&error))?;
                *bytes_out += sent as u64;
                rest = rest.get(sent..).unwrap_or_default();
            }
            Ok(())
        };
        let receive = async {
            while reply.len() < expected.len() {
                let read = from.read_buf(reply).await.map_err(|error| failed(&error))?;
                if read == 0 {
                    return Err(Ending::Eof);
                }
                *progress = Progress::Reply;
                *bytes_in += read as u64;
                first_byte.get_or_insert_with(|| clock.now());
            }
            Ok(())
        };
        tokio::try_join!(send, receive)?;
        Ok(())
    }

    /// Finishes, and waits until the server has finished too.
    pub(super) async fn finish(&mut self, progress: Progress) -> Result<(), Ending> {
        self.progress = progress;
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.shutdown().await
            // The connection is gone already; the read says how.
            && error.kind() != io::ErrorKind::NotConnected
        {
            return Err(failed(&error));
        }
        let ending = self.silence().await;
        if ending == Ending::Eof { Ok(()) } else { Err(ending) }
    }

    /// Waits, with nothing outstanding, for what the server might do.
    pub(super) async fn idle(&mut self) -> Ending {
        self.progress = Progress::Idle;
        self.expected.clear();
        self.reply.clear();
        self.silence().await
    }

    /// Reads where nothing is to come but the end.
    async fn silence(&mut self) -> Ending {
        match read(self.context, &mut self.stream, &mut self.row, &mut self.reply).await {
            Ok(()) => Ending::Mismatch(Harm::DupBytes),
            Err(ending) => ending,
        }
    }

    /// Judges an operation of this client. Only one that `opened` the
    /// connection answers for how long that took.
    pub(super) fn judge(&mut self, ending: Ending, load: &Load, opened: bool) -> Verdict {
        let ending = match payload::compare(&self.expected, &self.reply) {
            Some(harm) if ending != Ending::Cancelled => Ending::Mismatch(harm),
            Some(_) | None => ending,
        };
        let row = &self.row;
        let between = |from: Option<Stamp>, to: Option<Stamp>| Some(to? - from?);
        let facts = Facts {
            progress: self.progress,
            seen: row.bytes_in,
            connect_took: between(row.opened, row.established).filter(|_| opened),
            first_byte_took: between(row.established, row.first_byte).filter(|_| opened),
            stall: load.stall,
        };
        let errno = match ending {
            Ending::Error(errno) => Some(errno),
            Ending::Complete
            | Ending::Mismatch(_)
            | Ending::Eof
            | Ending::Deadline
            | Ending::Cancelled => None,
        };
        self.row.reset |= errno.is_some_and(classify::is_reset);
        Verdict { fate: classify::fate(&facts, ending), errno }
    }

    /// Lets go of the connection and enters its row.
    pub(super) fn close(mut self) {
        drop(self.stream.take());
        self.row.closed = self.context.clock.now();
        self.context.ledger.connection(self.row);
    }
}

/// Reads at least one byte. Nothing is lost if it is not waited for.
async fn read(
    context: &Context,
    stream: &mut Option<TcpStream>,
    row: &mut Connection,
    into: &mut Vec<u8>,
) -> Result<(), Ending> {
    let Some(stream) = stream else {
        return Err(Ending::Error(Errno::ENOTCONN as i32));
    };
    let read = stream.read_buf(into).await.map_err(|error| failed(&error))?;
    if read == 0 {
        return Err(Ending::Eof);
    }
    row.bytes_in += read as u64;
    row.first_byte.get_or_insert_with(|| context.clock.now());
    Ok(())
}

/// An error without a number did not come from the kernel.
fn failed(error: &io::Error) -> Ending {
    Ending::Error(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}
