//! The kernel's counters, read on a clock and whenever something happens.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::counters::Tables;
use super::sockdiag;
use crate::clock::Clock;
use crate::event::{Counters, Edge, KernelLedger, Resets, Sample, Samples, Scope};

/// Between two samples when nothing happens.
const PERIOD: Duration = Duration::from_millis(100);

/// Takes samples until it is finished or dropped.
#[derive(Debug)]
pub struct Sampler {
    books: Arc<Mutex<Books>>,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Books {
    clock: Clock,
    port: u16,
    before: Counters,
    newest: Counters,
    samples: Samples,
}

impl Sampler {
    /// Takes the first sample ([`Edge::Began`]), and from then on one every
    /// 100 ms, of the calling thread's network namespace. Accept queues are
    /// those of listeners at `port`.
    ///
    /// # Errors
    ///
    /// The counters could not be read, or the thread could not be started.
    pub fn start(clock: Clock, port: u16) -> io::Result<Self> {
        let from = clock.now();
        let tables = Tables::read()?;
        let to = clock.now();
        let before = tables.counters();
        let first =
            Sample { from, to, edges: vec![Edge::Began], moved: Vec::new(), queues: Vec::new() };
        let mut samples = Samples::default();
        samples.push(first, &before, &before);
        let newest = before.clone();
        let books = Arc::new(Mutex::new(Books { clock, port, before, newest, samples }));
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&books);
        let thread = thread::Builder::new().name("sampler".to_owned()).spawn(move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                take(&shared, Vec::new());
            }
        })?;
        Ok(Self { books, stop: Some(stop), thread: Some(thread) })
    }

    /// Takes a sample now, because of these. Nothing happened: nothing is read.
    pub fn edges(&self, edges: Vec<Edge>) {
        if !edges.is_empty() {
            take(&self.books, edges);
        }
    }

    /// Takes the last sample ([`Edge::Ended`]) and closes the books. If the
    /// counters cannot be read then, `after` is empty: the judge sees that.
    #[must_use]
    pub fn finish(mut self, scope: Scope) -> KernelLedger {
        self.stop();
        let whole = take(&self.books, vec![Edge::Ended]);
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        KernelLedger {
            scope,
            before: std::mem::take(&mut books.before),
            after: if whole { std::mem::take(&mut books.newest) } else { Counters::new() },
            samples: std::mem::take(&mut books.samples),
            resets: Resets::default(),
        }
    }

    fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that died has taken its last sample.
            drop(thread.join());
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether the tables could be read. The books are held meanwhile, so that the
/// samples are in the order in which they were read.
fn take(books: &Mutex<Books>, edges: Vec<Edge>) -> bool {
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    let from = books.clock.now();
    let Ok(tables) = Tables::read() else {
        books.samples.failed += 1;
        return false;
    };
    let to = books.clock.now();
    let queues = sockdiag::queues(books.port).unwrap_or_default();
    let now = tables.counters();
    let before = std::mem::take(&mut books.newest);
    books.samples.push(Sample { from, to, edges, moved: Vec::new(), queues }, &before, &now);
    books.newest = now;
    true
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_that_waits_is_seen_in_the_queue_and_in_the_counters() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let sampler = Sampler::start(Clock::start(), address.port()).unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        sampler.edges(vec![Edge::Triggered(1)]);
        let (_accepted, _) = listener.accept().unwrap();
        sampler.edges(vec![Edge::Answered(1), Edge::Gone(7)]);
        sampler.edges(Vec::new());
        let ledger = sampler.finish(Scope::Private);
        drop(waiting);
        let samples = &ledger.samples;
        let (triggered, full) = samples.at(Edge::Triggered(1)).unwrap();
        let waiting =
            |sample: &Sample| sample.queues.iter().map(|queue| queue.waiting).sum::<u64>();
        assert_eq!((full.queues.len(), waiting(full)), (1, 1));
        let (answered, empty) = samples.at(Edge::Gone(7)).unwrap();
        assert!(triggered < answered && waiting(empty) == 0);
        assert!(samples.moved(0, triggered)["Tcp.ActiveOpens"] >= 1);
        // All that moved from the first sample to the last moved between the edges.
        let whole = samples.moved(0, samples.rows.len() - 1);
        for name in ledger.after.keys() {
            assert_eq!(
                whole.get(name.as_str()).copied().unwrap_or(0),
                ledger.delta(name),
                "{name}"
            );
        }
    }

    #[test]
    fn time_alone_brings_a_sample() {
        let sampler = Sampler::start(Clock::start(), 1).unwrap();
        let taken = || sampler.books.lock().unwrap().samples.rows.len();
        while taken() < 3 {
            thread::yield_now();
        }
        let rows = sampler.finish(Scope::Host).samples.rows;
        assert!(rows[1].edges.is_empty() && rows[2].from - rows[1].to >= PERIOD / 2);
        assert!(rows.is_sorted_by_key(|sample| sample.from));
    }
}
