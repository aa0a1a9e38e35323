//! One client on one connection. It collects facts and judges nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::{self as tokio_io, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use super::classify::{self, Ending, Facts, Progress};
use super::greeting::{self, Template};
use super::http::Talk;
use super::ledger::Ledger;
use super::link::{Door, Link};
use super::payload::{Reply, Source};
use crate::clock::{Clock, Stamp};
use crate::event::{Connection, Fate, Harm, Sightings};
use crate::scenario::plan::{Load, Pace};

/// So much is written or read at once.
const CHUNK: usize = 16 * 1024;

/// A client that goes at a pace of its own takes so many steps in a second.
const STEPS: u64 = 50;

/// What all clients of a run share.
#[derive(Debug)]
pub(super) struct Context {
    /// The run's clock.
    pub(super) clock: Clock,
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
    /// Counts connections, so that each takes its turn among the source addresses.
    pub(super) turn: AtomicU32,
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
}

/// One population, as its clients know it.
#[derive(Debug)]
pub(super) struct Population {
    /// Index into the plan's populations.
    pub(super) index: u16,
    /// What the plan says about it.
    pub(super) load: Load,
    /// Where its clients connect to.
    pub(super) door: Door,
    /// What they say, where they do not just have it echoed.
    pub(super) talk: Option<Talk>,
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
    population: &'a Population,
    link: Option<Link>,
    /// The row of its connection.
    pub(super) row: Connection,
    progress: Progress,
    /// It has sent FIN before the reply was complete.
    half_closed: bool,
    /// The server has said that it will answer no more on this connection.
    last: bool,
    reply: Reply,
}

impl<'a> Client<'a> {
    /// A client that has not done anything yet.
    pub(super) fn new(context: &'a Context, population: &'a Population) -> Self {
        let row = Connection::new(context.ledger.connection_id(), population.index);
        Self {
            context,
            population,
            link: None,
            row,
            progress: Progress::Connecting,
            half_closed: false,
            last: false,
            reply: Reply::none(),
        }
    }

    /// Connects, and reads the greeting if there is to be one.
    pub(super) async fn open(&mut self, dispatched: Stamp) -> Result<(), Ending> {
        self.connect().await.map_err(|error| failed(&error))?;
        self.progress = Progress::Idle;
        // By HTTP, each answer says whose it is.
        let greeting = self.context.greeting.as_ref().filter(|_| self.population.talk.is_none());
        let Some(template) = greeting else {
            return Ok(());
        };
        self.progress = Progress::Greeting;
        let mut line = Vec::with_capacity(greeting::LONGEST);
        let end = loop {
            read(self.context, &mut self.link, &mut self.row, &mut line).await?;
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
        self.row.opened = Some(context.clock.now());
        let turn = context.turn.fetch_add(1, Ordering::Relaxed);
        let link = Link::open(&self.population.door, turn).await.inspect_err(|error| {
            // For want of a port or memory no SYN was sent: the kernel counted nothing.
            if error.raw_os_error().is_some_and(classify::is_limit) {
                self.row.opened = None;
            }
        })?;
        self.row.established = Some(context.clock.now());
        self.row.local = link.local();
        self.row.syn_retransmits = link.retransmits();
        self.link = Some(link);
        Ok(())
    }

    /// Sends a request of `size` bytes and reads as many. Both at once: a
    /// server that answers while it reads must not be kept from either.
    pub(super) async fn request(&mut self, id: u64, size: usize) -> Result<(), Ending> {
        self.exchange(id, size, Pace::default(), false).await
    }

    /// The same, at a pace; if it is to `half_close`, it finishes when it has sent
    /// everything, whatever of the reply is still to come.
    pub(super) async fn exchange(
        &mut self,
        id: u64,
        size: usize,
        pace: Pace,
        half_close: bool,
    ) -> Result<(), Ending> {
        if let Some(talk) = &self.population.talk {
            return self.ask(talk).await;
        }
        self.reply = Reply::to(id, size);
        self.progress = Progress::Request;
        let Some(link) = &mut self.link else {
            return Err(Ending::Error(Errno::ENOTCONN as i32));
        };
        // A request is one record, and so is its reply, where there are records.
        let records = link.records();
        let at_once = if records.is_some() { size } else { step(pace.send) };
        let (from, to) = tokio_io::split(link);
        let (clock, row) = (self.context.clock, &mut self.row);
        let mut send = Sender { clock, to, bytes_out: &mut row.bytes_out };
        let mut receive = Receiver {
            clock,
            from,
            reply: &mut self.reply,
            bytes_in: &mut row.bytes_in,
            first_byte: &mut row.first_byte,
            progress: &mut self.progress,
        };
        let half_closed = &mut self.half_closed;
        let send = async {
            send.all(Source::new(id), size, at_once, pace.send).await?;
            if half_close {
                *half_closed = true;
                send.to.shutdown().await.map_err(|error| failed(&error))?;
            }
            Ok(())
        };
        tokio::try_join!(send, receive.all(pace.receive))?;
        let came = self.link.as_ref().and_then(Link::records);
        if came == records.map(|before| before + 1) {
            Ok(())
        } else {
            Err(Ending::Mismatch(Harm::Corrupt))
        }
    }

    /// Makes a request and reads the answer.
    async fn ask(&mut self, talk: &Talk) -> Result<(), Ending> {
        self.reply = Reply::none();
        self.progress = Progress::Request;
        let mut rest = talk.request();
        while !rest.is_empty() {
            let Some(link) = &mut self.link else {
                return Err(Ending::Error(Errno::ENOTCONN as i32));
            };
            let sent = link.write(rest).await.map_err(|error| failed(&error))?;
            self.row.bytes_out += sent as u64;
            rest = rest.get(sent..).unwrap_or_default();
        }
        let mut answer = talk.answer();
        let mut bytes = Vec::with_capacity(CHUNK);
        while !answer.is_whole() {
            bytes.clear();
            match read(self.context, &mut self.link, &mut self.row, &mut bytes).await {
                Err(Ending::Eof) if answer.end() => break,
                read => read?,
            }
            self.progress = Progress::Reply;
            answer.take(&bytes).map_err(Ending::Mismatch)?;
        }
        self.last = answer.is_last();
        if let Some(served) = answer.served() {
            self.row.served = Some(served);
            self.context.sightings.note(served, self.row.opened.unwrap_or_default());
        }
        answer.harm().map_or(Ok(()), |harm| Err(Ending::Mismatch(harm)))
    }

    /// Whether the server has said that it will answer no more on this connection.
    pub(super) fn is_spent(&self) -> bool {
        self.last
    }

    /// Finishes, and waits until the server has finished too.
    pub(super) async fn finish(&mut self, progress: Progress) -> Result<(), Ending> {
        self.progress = progress;
        if let Some(link) = &mut self.link
            && let Err(error) = link.shutdown().await
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
        self.reply = Reply::none();
        self.silence().await
    }

    /// Reads where nothing is to come but the end.
    async fn silence(&mut self) -> Ending {
        let mut bytes = Vec::with_capacity(64);
        match read(self.context, &mut self.link, &mut self.row, &mut bytes).await {
            Ok(()) => Ending::Mismatch(Harm::DupBytes),
            Err(ending) => ending,
        }
    }

    /// Judges an operation of this client. Only one that `opened` the
    /// connection answers for how long that took.
    pub(super) fn judge(&mut self, ending: Ending, load: &Load, opened: bool) -> Verdict {
        let ending = match self.reply.harm() {
            Some(harm) if ending != Ending::Cancelled => Ending::Mismatch(harm),
            Some(_) | None => ending,
        };
        let reset = ending == Ending::Eof && self.link.as_ref().is_some_and(Link::was_reset);
        self.row.reset |= reset;
        let row = &self.row;
        let between = |from: Option<Stamp>, to: Option<Stamp>| Some(to? - from?);
        let facts = Facts {
            progress: self.progress,
            unix: self.population.door.is_unix(),
            half_closed: self.half_closed,
            kept: self.population.talk.is_some() && !opened,
            reset,
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
        if let Some(link) = self.link.take() {
            self.row.retransmits = link.retransmits();
        }
        self.row.closed = self.context.clock.now();
        self.context.ledger.connection(self.row);
    }
}

/// The sending half of an exchange.
struct Sender<'a> {
    clock: Clock,
    to: WriteHalf<&'a mut Link>,
    bytes_out: &'a mut u64,
}

impl Sender<'_> {
    /// Sends `size` bytes of `source`, so many `at_once`, and at most `pace` of them
    /// in a second.
    async fn all(
        &mut self,
        mut source: Source,
        size: usize,
        at_once: usize,
        pace: Option<u64>,
    ) -> Result<(), Ending> {
        let began = self.clock.now();
        let mut left = size;
        while left > 0 {
            let chunk: Vec<u8> = source.by_ref().take(at_once.min(left)).collect();
            wait_for(self.clock, began, size - left, pace).await;
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let sent = self.to.write(rest).await.map_err(|error| failed(&error))?;
                *self.bytes_out += sent as u64;
                rest = rest.get(sent..).unwrap_or_default();
            }
            left -= chunk.len();
        }
        Ok(())
    }
}

/// The receiving half of an exchange.
struct Receiver<'a> {
    clock: Clock,
    from: ReadHalf<&'a mut Link>,
    reply: &'a mut Reply,
    bytes_in: &'a mut u64,
    first_byte: &'a mut Option<Stamp>,
    progress: &'a mut Progress,
}

impl Receiver<'_> {
    /// Reads the whole reply, at most `pace` bytes of it in a second.
    async fn all(&mut self, pace: Option<u64>) -> Result<(), Ending> {
        let began = self.clock.now();
        let (mut read, mut buffer) = (0, vec![0; step(pace).min(self.reply.left())]);
        while self.reply.left() > 0 {
            wait_for(self.clock, began, read, pace).await;
            let got = self.from.read(&mut buffer).await.map_err(|error| failed(&error))?;
            if got == 0 {
                return Err(Ending::Eof);
            }
            *self.progress = Progress::Reply;
            *self.bytes_in += got as u64;
            self.first_byte.get_or_insert_with(|| self.clock.now());
            self.reply.take(buffer.get(..got).unwrap_or_default());
            read += got;
        }
        Ok(())
    }
}

/// How much is sent or read at once.
fn step(pace: Option<u64>) -> usize {
    let in_a_step = pace.map_or(CHUNK as u64, |pace| pace / STEPS);
    usize::try_from(in_a_step).unwrap_or(CHUNK).clamp(1, CHUNK)
}

/// Waits until a client that began at `began` may have moved more than `moved` bytes.
async fn wait_for(clock: Clock, began: Stamp, moved: usize, pace: Option<u64>) {
    if let Some(pace) = pace {
        let due = Duration::from_secs_f64(moved as f64 / pace as f64);
        sleep_until(clock.instant(began.after(due)).into()).await;
    }
}

/// Reads at least one byte. Nothing is lost if it is not waited for.
async fn read(
    context: &Context,
    link: &mut Option<Link>,
    row: &mut Connection,
    into: &mut Vec<u8>,
) -> Result<(), Ending> {
    let Some(link) = link else {
        return Err(Ending::Error(Errno::ENOTCONN as i32));
    };
    let read = link.read_buf(into).await.map_err(|error| failed(&error))?;
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
