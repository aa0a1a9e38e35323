//! Clients, who count what they come to.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::report::now;
use crate::unit::PATIENCE;

/// A connection that was greeted.
#[derive(Debug)]
pub(crate) struct Greeted {
    stream: BufReader<TcpStream>,
    pub(crate) generation: u64,
    pub(crate) pid: u32,
}

/// Connects. Whoever is in a queue has come as far as this.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects, and reads who greets.
pub(crate) fn greet(address: SocketAddr) -> io::Result<Greeted> {
    greeted(connect(address)?)
}

/// Reads who greets.
pub(crate) fn greeted(stream: TcpStream) -> io::Result<Greeted> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["generation", generation, "pid", pid] = words[..] else {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("greeted with {line:?}")));
    };
    let invalid = |_| io::Error::from(ErrorKind::InvalidData);
    let (generation, pid) = (generation.parse().map_err(invalid)?, pid.parse().map_err(invalid)?);
    Ok(Greeted { stream, generation, pid })
}

impl Greeted {
    /// Has something echoed.
    pub(crate) fn echo(&mut self) -> io::Result<()> {
        let (text, mut back) = ([b'x'; 64], [0; 64]);
        self.stream.get_mut().write_all(&text)?;
        self.stream.read_exact(&mut back)?;
        if back == text { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// Finishes, and has the server finish.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)?;
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// What became of the connections of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By the process that greeted.
    pub(crate) served: BTreeMap<u32, u64>,
    /// Those that were refused or broken, and how.
    pub(crate) harm: Vec<String>,
    /// The longest that one had to wait for its greeting.
    pub(crate) longest: Duration,
}

impl Tally {
    pub(crate) fn served(&self) -> u64 {
        self.served.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (served, processes, harm) = (self.served(), self.served.len(), self.harm.len());
        let longest = self.longest.as_secs_f64() * 1000.0;
        write!(f, "{served} connections to {processes} processes, {harm} harmed, ")?;
        write!(f, "the longest wait {longest:.0} ms")
    }
}

/// Clients that come again and again: some for one echo, some for a while.
pub(crate) struct Load {
    threads: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    /// Begins: three of either kind.
    pub(crate) fn begin(address: SocketAddr) -> Self {
        let (over, tally) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Tally>>::default());
        let client = |echoes: u32| {
            let (over, tally) = (Arc::clone(&over), Arc::clone(&tally));
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let began = now();
                    let outcome = converse(address, echoes, &tally, began);
                    if let Err(error) = outcome {
                        lock(&tally).harm.push(error.to_string());
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        };
        let threads = [1, 1, 1, 50, 50, 50].map(client).into();
        Self { threads, over, tally }
    }

    /// What has been counted so far.
    pub(crate) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Has everybody finish the connection under way.
    pub(crate) fn end(self) -> Tally {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            if thread.join().is_err() {
                lock(&self.tally).harm.push("a client has panicked".to_owned());
            }
        }
        lock(&self.tally).clone()
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(
    address: SocketAddr,
    echoes: u32,
    tally: &Mutex<Tally>,
    began: std::time::Instant,
) -> io::Result<()> {
    let mut client = greet(address)?;
    let waited = began.elapsed();
    for left in (0..echoes).rev() {
        client.echo()?;
        if left > 0 {
            thread::sleep(Duration::from_millis(20));
        }
    }
    let pid = client.pid;
    client.finish()?;
    let mut tally = lock(tally);
    *tally.served.entry(pid).or_default() += 1;
    tally.longest = tally.longest.max(waited);
    Ok(())
}
