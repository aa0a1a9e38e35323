//! Starts the parts of the load, and brings them to an end.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use super::burst::{Bursts, Volley};
use super::churn;
use super::client::{Context, Population};
use super::flow::Flow;
use super::greeting::Template;
use super::hiccup::{self, Hiccups};
use super::http::Talk;
use super::keepalive::{self, Ask, Habit, Slot};
use super::ledger::{Ledger, Rows};
use super::link::Door;
use super::pacer::{Due, End, Pacer};
use super::schedule::Schedule;
use crate::clock::{Clock, Stamp};
use crate::event::{Connection, Operation, Sightings};
use crate::scenario::plan::{Endpoint, Load, LoadKind, Plan, Speak};

/// Threads that the clients run on. The rest of the machine is the server's.
const WORKERS: usize = 2;

/// How far the first ports of two runs are apart that begin at the same time.
const PORTS_APART: u32 = 1 << 15;

/// Operations that are begun at one go.
const BATCH: usize = 64;

/// The load, while it runs. Dropping it stops the schedule and waits for nothing.
#[derive(Debug)]
pub struct Running {
    clock: Clock,
    runtime: Runtime,
    brake: Brake,
    pacer: JoinHandle<Stamp>,
    bursts: Bursts,
    hiccups: JoinHandle<Hiccups>,
    /// Closed when the last client is gone.
    alive: mpsc::Receiver<()>,
    ledger: Arc<Ledger>,
    rows: Rows,
}

/// Everything the load has to tell when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Every operation, by id.
    pub operations: Vec<Operation>,
    /// Every connection, by id.
    pub connections: Vec<Connection>,
    /// Operations wanted, per population: as many as there must be rows.
    pub intended: Vec<u64>,
    /// When the schedule's last operation had been dispatched.
    pub load_ended: Stamp,
    /// The longest time in which a thread that only sleeps was not woken.
    pub hiccup_max: Duration,
    /// The 99th percentile of the same.
    pub hiccup_p99: Duration,
}

/// Where the server is.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Its TCP address.
    pub address: SocketAddr,
    /// What stands for `{dir}` in the paths of its unix sockets.
    pub directory: &'a Path,
}

/// Stops what runs, at the latest when it is dropped.
#[derive(Debug)]
struct Brake {
    clock: Clock,
    end: End,
    hiccups: Arc<AtomicBool>,
    cancel: watch::Sender<bool>,
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.end.set(self.clock.now());
        self.hiccups.store(true, Ordering::Relaxed);
    }
}

/// Starts the load of `plan` on the server that is at `site`, from the network
/// namespace of the calling thread.
///
/// # Errors
///
/// If the greeting's template does not name the pid, or a thread cannot
/// be started.
pub fn start(
    plan: &Plan,
    site: Site<'_>,
    clock: Clock,
    sightings: Sightings,
) -> io::Result<Running> {
    let greeting = plan.target.greeting.as_deref().map(template).transpose()?;
    raise_descriptor_limit()?;
    let (ledger, rows) = Ledger::new(plan.loads.len());
    let ledger = Arc::new(ledger);
    let (cancel, cancelled) = watch::channel(false);
    let context = Arc::new(Context {
        clock,
        ledger: Arc::clone(&ledger),
        sightings,
        greeting,
        seed: plan.seed,
        cancelled,
        // Where several run at once, each begins with ports of its own.
        turn: AtomicU32::new(std::process::id().wrapping_mul(PORTS_APART)),
    });
    let populations = populations(plan, site)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("load-client")
        .enable_all()
        .build()?;
    let brake = Brake { clock, end: End::open(), hiccups: Arc::default(), cancel };

    let stop = Arc::clone(&brake.hiccups);
    let hiccups = thread::Builder::new()
        .name("load-hiccup".to_owned())
        .spawn(move || hiccup::watch(clock, &stop))?;

    let (out, due) = mpsc::unbounded_channel();
    let (token, alive) = mpsc::channel(1);
    let schedules = populations
        .iter()
        .filter(|population| !matches!(population.load.kind, LoadKind::Idle { .. }))
        .map(|population| (population.index, Schedule::new(plan.seed, &population.load)))
        .collect();
    runtime.spawn(dispatch(context, populations, due, token));
    let (began, end) = (clock.now(), brake.end.clone());
    let bursts = Bursts {
        clock,
        end: end.clone(),
        ledger: Arc::clone(&ledger),
        seed: plan.seed,
        out: out.clone(),
    };
    let pacer = Pacer { clock, began, end, ledger: Arc::clone(&ledger), out };
    let pacer =
        thread::Builder::new().name("load-pacer".to_owned()).spawn(move || pacer.run(schedules))?;
    Ok(Running { clock, runtime, brake, pacer, bursts, hiccups, alive, ledger, rows })
}

impl Running {
    /// Operations that have ended so far, and how many of them were harmed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.ledger.counts()
    }

    /// Has operations of `load` begun at a moment that is to come, beside those of its
    /// schedule.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub fn burst(&self, load: &Load, volley: Volley) -> io::Result<()> {
        self.bursts.announce(load, volley)
    }

    /// Stops the schedule and lets everything that it has wanted end by itself.
    ///
    /// # Panics
    ///
    /// If it is called by a task of an asynchronous runtime: it waits.
    #[must_use]
    pub fn finish(self) -> Gathered {
        self.gather()
    }

    /// Stops the schedule and marks what has not ended as cancelled.
    ///
    /// # Panics
    ///
    /// If it is called by a task of an asynchronous runtime: it waits.
    #[must_use]
    pub fn abort(self) -> Gathered {
        self.brake.end.set(self.clock.now());
        self.brake.cancel.send_replace(true);
        self.gather()
    }

    fn gather(mut self) -> Gathered {
        self.brake.end.set(self.clock.now());
        // A thread that died has lost what it knew; the books will not balance.
        drop(self.bursts);
        let load_ended = self.pacer.join().unwrap_or_else(|_| self.clock.now());
        self.runtime.block_on(async { while self.alive.recv().await.is_some() {} });
        self.brake.hiccups.store(true, Ordering::Relaxed);
        let hiccups = self.hiccups.join().unwrap_or(Hiccups::UNKNOWN);
        let (operations, connections) = self.rows.take();
        Gathered {
            operations,
            connections,
            intended: self.ledger.intended(),
            load_ended,
            hiccup_max: hiccups.max,
            hiccup_p99: hiccups.p99,
        }
    }
}

/// Gives every operation a client. The token is held by everyone who may still
/// enter a row.
async fn dispatch(
    context: Arc<Context>,
    populations: Vec<Arc<Population>>,
    mut due: mpsc::UnboundedReceiver<Due>,
    token: mpsc::Sender<()>,
) {
    let mut slots: Vec<VecDeque<mpsc::UnboundedSender<Ask>>> =
        populations.iter().map(|population| open_slots(&context, population, &token)).collect();
    let mut batch = Vec::with_capacity(BATCH);
    while due.recv_many(&mut batch, BATCH).await > 0 {
        for due in batch.drain(..) {
            let place = usize::from(due.population);
            let (Some(population), Some(slots)) = (populations.get(place), slots.get_mut(place))
            else {
                continue;
            };
            if slots.is_empty() {
                let (context, population) = (Arc::clone(&context), Arc::clone(population));
                let token = token.clone();
                tokio::spawn(async move {
                    churn::run(&context, &population, due).await;
                    drop(token);
                });
            } else if let Some(slot) = slots.front() {
                let dispatched = context.clock.now();
                // A slot is gone only if it died, and then the missing row tells.
                let _ = slot.send(Ask { due, dispatched });
                slots.rotate_left(1);
            }
        }
    }
}

/// Starts the slots of a population that keeps its connections, or its flows.
fn open_slots(
    context: &Arc<Context>,
    population: &Arc<Population>,
    token: &mpsc::Sender<()>,
) -> VecDeque<mpsc::UnboundedSender<Ask>> {
    let open = |habit| {
        let (sender, queue) = mpsc::unbounded_channel();
        let slot = Slot::new(Arc::clone(context), Arc::clone(population), queue, habit);
        let token = token.clone();
        tokio::spawn(async move {
            slot.run().await;
            drop(token);
        });
        sender
    };
    let begin = |_| {
        let (sender, queue) = mpsc::unbounded_channel();
        let flow = Flow::new(Arc::clone(context), Arc::clone(population));
        let token = token.clone();
        tokio::spawn(async move {
            flow.run(queue).await;
            drop(token);
        });
        sender
    };
    match population.load.kind {
        LoadKind::Udp { flows } => (0..flows).map(begin).collect(),
        LoadKind::Churn
        | LoadKind::Stream { .. }
        | LoadKind::KeepAlive { .. }
        | LoadKind::Idle { .. } => habits(context, population).into_iter().map(open).collect(),
    }
}

/// How the slots of a population keep their connections; none, if it keeps none.
fn habits(context: &Context, population: &Population) -> Vec<Habit> {
    let (load, now) = (&population.load, context.clock.now());
    match load.kind {
        LoadKind::Churn | LoadKind::Stream { .. } | LoadKind::Udp { .. } => Vec::new(),
        LoadKind::KeepAlive { connections, lifetime } => {
            let mut chance = keepalive::chance(context, population);
            (0..connections).map(|_| Habit::renewing(now, lifetime, &mut chance)).collect()
        }
        LoadKind::Idle { connections } => Schedule::new(context.seed, load)
            .take(connections)
            .map(|wanted| Habit::holding(now, wanted.offset, wanted.payload))
            .collect(),
    }
}

fn populations(plan: &Plan, site: Site<'_>) -> io::Result<Vec<Arc<Population>>> {
    let number = |(index, load): (usize, &Load)| {
        let index = u16::try_from(index).map_err(io::Error::other)?;
        let directory = site.directory.to_string_lossy();
        let place = |path: &str| PathBuf::from(path.replace("{dir}", &directory));
        let door = match &load.to {
            Endpoint::Tcp | Endpoint::Udp => Door::Net(site.address),
            Endpoint::Unix(path) => Door::Unix(place(path)),
            Endpoint::Seqpacket(path) => Door::Seqpacket(place(path)),
        };
        let talk = match &load.speak {
            Speak::Echo => None,
            Speak::Http(http) => {
                let greeting = plan.target.greeting.as_deref();
                Some(Talk::new(http, greeting).ok_or_else(|| unreadable(greeting))?)
            }
        };
        Ok(Arc::new(Population { index, load: load.clone(), door, talk }))
    };
    plan.loads.iter().enumerate().map(number).collect()
}

fn template(text: &str) -> io::Result<Template> {
    Template::new(text).ok_or_else(|| unreadable(Some(text)))
}

fn unreadable(greeting: Option<&str>) -> io::Error {
    let greeting = greeting.unwrap_or_default();
    let what = format!(
        "the greeting {greeting:?} must name {{pid}} once, and {{generation}} at most once; by \
         HTTP it is a header"
    );
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Every client needs a descriptor, and the usual limit is for one program
/// that does one thing.
fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}
