//! The clients: one that looks closely, and many that come again and again.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use socket2::{Domain, Socket, Type};

use crate::server::PATIENCE;

/// A connection that can be finished.
pub(crate) trait Connection: Read + Write + Send + Sized + 'static {
    fn finish_sending(&self) -> io::Result<()>;
    fn limit_patience(&self) -> io::Result<()>;
}

macro_rules! connection {
    ($($stream:ty),*) => {$(
        impl Connection for $stream {
            fn finish_sending(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }

            fn limit_patience(&self) -> io::Result<()> {
                self.set_read_timeout(Some(PATIENCE))
            }
        }
    )*};
}

connection!(TcpStream, UnixStream);

/// A client that was greeted.
#[derive(Debug)]
pub(crate) struct Greeted<C> {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    stream: BufReader<C>,
}

/// Reads who serves.
pub(crate) fn greet<C: Connection>(connection: C) -> io::Result<Greeted<C>> {
    connection.limit_patience()?;
    let mut stream = BufReader::new(connection);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let (generation, pid) =
        read_greeting(&line).ok_or_else(|| io::Error::other(format!("greeted with {line:?}")))?;
    Ok(Greeted { generation, pid, stream })
}

/// The generation and the pid in a greeting.
pub(crate) fn read_greeting(line: &str) -> Option<(u64, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["generation", generation, "pid", pid, ..] = words[..] else { return None };
    Some((generation.parse().ok()?, pid.parse().ok()?))
}

impl<C: Connection> Greeted<C> {
    /// Has a text come back.
    pub(crate) fn echo(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())?;
        let mut back = vec![0; text.len()];
        self.stream.read_exact(&mut back)?;
        if back == text.as_bytes() { Ok(()) } else { Err(io::Error::other("an echo has changed")) }
    }

    /// Says goodbye, and waits until the server has done so.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.stream.get_ref().finish_sending()?;
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        if rest.is_empty() { Ok(()) } else { Err(io::Error::other("more came back than was sent")) }
    }
}

/// A short visit: greeted, and echoed. By whom.
fn call<C: Connection>(connection: C) -> io::Result<u64> {
    let mut greeted = greet(connection)?;
    greeted.echo("ping\n")?;
    Ok(greeted.generation)
}

/// A whole visit: greeted, echoed, and closed in order. Who has served it.
pub(crate) fn visit<C: Connection>(connection: C) -> io::Result<(u64, u32)> {
    let mut greeted = greet(connection)?;
    greeted.echo("ping\n")?;
    let by = (greeted.generation, greeted.pid);
    greeted.finish()?;
    Ok(by)
}

/// Connects to a name in the abstract namespace.
pub(crate) fn connect_abstract(name: &[u8]) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)
}

/// Connects a socket for packets. It reads and writes like one for streams.
pub(crate) fn connect_seqpacket(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

/// Connects from an address of its own, of which there are enough in 127/8, though but
/// one with IPv6, and leaves nothing behind when it is closed (it resets what the client
/// has done with): so the ports of many clients do not run out, and no other test runs
/// out of connections that linger.
pub(crate) fn connect_from(client: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    if to.is_ipv4() {
        let [high, low] = client.to_be_bytes();
        let from = SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0));
        socket.bind(&from.into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// What became of the visits of many clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many, by the generation that has served them.
    pub(crate) served: BTreeMap<u64, u64>,
    /// Refused at the door.
    pub(crate) refused: u64,
    /// Everything else, which nobody should ever see.
    pub(crate) harmed: Vec<String>,
    pub(crate) slowest_connect: Duration,
}

impl Tally {
    fn visits(&self) -> u64 {
        self.served.values().sum::<u64>() + self.refused
    }
}

/// Clients that come again as soon as they have been served.
pub(crate) struct Load {
    tally: Arc<(Mutex<Tally>, Condvar)>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients, that connect like this; each is given its number.
    pub(crate) fn start<C: Connection>(
        clients: u16,
        connect: impl Fn(u16) -> io::Result<C> + Send + Sync + 'static,
    ) -> Self {
        let (tally, connect) = (Arc::<(Mutex<Tally>, Condvar)>::default(), Arc::new(connect));
        let over = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let (tally, connect, over) =
                (Arc::clone(&tally), Arc::clone(&connect), Arc::clone(&over));
            thread::spawn(move || {
                // One that is refused does not come back.
                while !over.load(Ordering::Relaxed) && come(&tally, || connect(number)) {}
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { tally, over, clients }
    }

    /// The same, over TCP.
    pub(crate) fn tcp(clients: u16, address: SocketAddr) -> Self {
        Self::start(clients, move |client| connect_from(client, address))
    }

    /// Waits until so many more visits are over.
    pub(crate) fn wait_for(&self, more: u64) {
        let (tally, changed) = &*self.tally;
        let tally = tally.lock().unwrap();
        let enough = tally.visits() + more;
        let waits = |tally: &mut Tally| tally.visits() < enough && tally.harmed.is_empty();
        let (tally, waited) = changed.wait_timeout_while(tally, PATIENCE, waits).unwrap();
        assert!(!waited.timed_out(), "{tally:?}");
    }

    /// Lets the clients finish.
    pub(crate) fn finish(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        self.until_refused()
    }

    /// Waits until every client has been refused.
    pub(crate) fn until_refused(mut self) -> Tally {
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        std::mem::take(&mut self.tally.0.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// One visit of one client. Whether it may come again.
fn come<C: Connection>(
    shared: &(Mutex<Tally>, Condvar),
    connect: impl Fn() -> io::Result<C>,
) -> bool {
    let before = now();
    let connected = connect();
    let took = now() - before;
    let result = match connected {
        Ok(connection) => Ok(call(connection).map_err(|error| format!("after connect: {error}"))),
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
        {
            Err(())
        }
        Err(error) => Ok(Err(format!("connect: {error}"))),
    };
    let (tally, changed) = shared;
    let mut tally = tally.lock().unwrap();
    let again = result == Err(()) || matches!(result, Ok(Err(_)));
    match result {
        Ok(Ok(generation)) => {
            *tally.served.entry(generation).or_default() += 1;
            tally.slowest_connect = tally.slowest_connect.max(took);
        }
        Ok(Err(harm)) => tally.harmed.push(harm),
        Err(()) => tally.refused += 1,
    }
    changed.notify_all();
    !again
}

#[expect(clippy::disallowed_methods, reason = "to measure, one must look at a clock")]
fn now() -> Instant {
    Instant::now()
}
