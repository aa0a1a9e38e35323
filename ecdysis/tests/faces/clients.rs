//! Clients of an echo service that greets with its generation and pid.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use crate::service::PATIENCE;

/// Who greeted a connection.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) generation: u64,
    pub(crate) pid: u32,
}

impl Greeted {
    /// Whether the connection still echoes.
    pub(crate) fn echoes(&mut self, text: &str) -> bool {
        self.echo(text.as_bytes()).is_ok()
    }

    fn echo(&mut self, text: &[u8]) -> io::Result<()> {
        let mut back = vec![0; text.len()];
        self.stream.get_mut().write_all(text)?;
        self.stream.read_exact(&mut back)?;
        if back == text { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }
}

/// Connects, and reads who greets.
pub(crate) fn greet(address: SocketAddr) -> io::Result<Greeted> {
    greeted(connect(address)?)
}

/// Connects.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads who greets.
pub(crate) fn greeted(stream: TcpStream) -> io::Result<Greeted> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["generation", generation, "pid", pid] = words[..] else {
        return Err(ErrorKind::UnexpectedEof.into());
    };
    let invalid = |_| io::Error::from(ErrorKind::InvalidData);
    let (generation, pid) = (generation.parse().map_err(invalid)?, pid.parse().map_err(invalid)?);
    Ok(Greeted { stream, generation, pid })
}

/// What became of the connections of looping clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By generation.
    pub(crate) served: BTreeMap<u64, u64>,
    /// Connections that were refused.
    pub(crate) refused: u64,
    /// Connections that were made and failed, with how.
    pub(crate) broken: Vec<ErrorKind>,
}

impl Tally {
    /// Whether nobody was refused or cut off, of the many that came.
    pub(crate) fn is_clean(&self) -> bool {
        self.refused == 0 && self.broken.is_empty() && self.served.values().sum::<u64>() > 0
    }
}

/// Clients that connect, are greeted, echo and finish, over and over.
pub(crate) struct Looping {
    threads: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    tally: Arc<(Mutex<Tally>, Condvar)>,
}

/// How many there are; as many connections can be open at a time.
pub(crate) const CLIENTS: usize = 4;

impl Looping {
    pub(crate) fn begin(address: SocketAddr) -> Self {
        let (over, tally): (Arc<AtomicBool>, Arc<(Mutex<Tally>, Condvar)>) = Default::default();
        let client = || {
            let (over, tally) = (Arc::clone(&over), Arc::clone(&tally));
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let outcome = converse(address);
                    let mut changed = tally.0.lock().unwrap();
                    match outcome {
                        Ok(generation) => *changed.served.entry(generation).or_default() += 1,
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                            changed.refused += 1;
                        }
                        Err(error) => changed.broken.push(error.kind()),
                    }
                    tally.1.notify_all();
                }
            })
        };
        let threads = (0..CLIENTS).map(|_| client()).collect();
        Self { threads, over, tally }
    }

    /// Waits until this generation has served so many more of them.
    pub(crate) fn wait_for(&self, count: u64, generation: u64) {
        let served = |tally: &Tally| tally.served.get(&generation).copied().unwrap_or_default();
        let tally = self.tally.0.lock().unwrap();
        let enough = served(&tally) + count;
        let short = |tally: &mut Tally| served(tally) < enough;
        let (tally, timeout) = self.tally.1.wait_timeout_while(tally, PATIENCE, short).unwrap();
        assert!(!timeout.timed_out(), "generation {generation} does not serve: {tally:?}");
    }

    /// Waits until everybody has finished the connection under way.
    pub(crate) fn end(self) -> Tally {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.tally.0.lock().unwrap().clone()
    }
}

/// A whole connection, to the end that the server makes when we have finished.
fn converse(address: SocketAddr) -> io::Result<u64> {
    let mut greeted = greet(address)?;
    greeted.echo(b"0123456789abcdef")?;
    greeted.stream.get_ref().shutdown(std::net::Shutdown::Write)?;
    match greeted.stream.read(&mut [0])? {
        0 => Ok(greeted.generation),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}
