//! What a process is in the chain of generations, whatever runs its streams:
//! the sockets it inherited, the phase it is in, and its predecessor. Alone, it
//! is the face for programs without an async runtime.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ancestors;
use crate::counters::{Counters, Counts};
use crate::drain::{Connections, Drained};
use crate::error::UpgradeError;
use crate::manifest::Ancestor;
use crate::phase::{Phase, Watch};
use crate::pidfile::PidFile;
use crate::predecessor::{self, Inheritance, Predecessor, Tell};
use crate::program::Program;
use crate::protocol::{Later, Then};
use crate::registry::{Registry, Tenure};
use crate::report::UpgradeReport;
use crate::socket::SocketKey;
use crate::spare::Spares;
use crate::state::{self, State, StateMaker};
use crate::takeover::{Join, Settled, commit};
use crate::upgrade::{self, Course, Observer, Requests, Signals, Stage};

/// How long a successor may take until it is ready. It costs the predecessor
/// nothing to wait, so only a successor that will never be ready should meet
/// it; a minute is what tableflip's users have lived with.
const READY_DEADLINE: Duration = Duration::from_mins(1);

/// How long the predecessor keeps the sockets after it has stopped accepting.
/// A successor that crashes does so mostly on its first requests. The published
/// crate's polling gives up to half a second of this by accident, and a faster
/// handoff must not be less safe.
const PROBATION: Duration = Duration::from_millis(500);

/// How many older generations may drain at a time. Each holds its memory until
/// its last connection ends; HAProxy's default is 50, for processes that are
/// small.
const MOST_DRAINING: usize = 32;

/// This process in the chain of generations, for programs without an async
/// runtime. (With Tokio, begin with
/// [`TokioEcdysisBuilder`](crate::tokio_ecdysis::TokioEcdysisBuilder).)
///
/// A service makes one of these first of all, then its sockets, then calls
/// [`Self::ready`], and accepts. Whatever asks it to be upgraded (a signal
/// handler, a control thread) calls [`Self::upgrade`], from any thread. A loop
/// over [`Self::incoming`] waits while this process may not accept, and ends
/// when it has to leave; then the connections are finished ([`Self::drain`]),
/// and the process ends.
pub struct Ecdysis {
    pub(crate) registry: Registry,
    pub(crate) watch: Watch,
    pub(crate) counters: Counters,
    connections: Connections,
    generation: u64,
    predecessor: Mutex<Option<Predecessor>>,
    tell: Mutex<Tell>,
    is_child: bool,
    ancestors: Vec<Ancestor>,
    program: Program,
    ready_deadline: Duration,
    probation: Duration,
    most_draining: usize,
    pid_file: Option<PidFile>,
    state: Option<StateMaker>,
    spares: Arc<Spares>,
    /// `None` if nothing can be done here.
    pub(crate) requests: Option<Arc<Requests>>,
    pub(crate) signals: Signals,
    pub(crate) observers: Vec<Observer>,
    settled: Arc<Settled>,
    /// Why nothing can be done here.
    broken: Option<io::Error>,
}

impl Ecdysis {
    /// Finds out what this process is, and takes over what its predecessor
    /// passed on, if there is one. To be called once in a process; in a second
    /// call there is no predecessor any more.
    ///
    /// If what the predecessor says cannot be meant, this is logged, and every
    /// attempt to listen, and [`Self::ready`], gives the error that
    /// [`Self::try_new`] would have given. The predecessor serves on.
    #[must_use]
    pub fn new() -> Self {
        Self::try_new().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot take over from the predecessor");
            let mut broken = Self::first(|_| None);
            broken.broken = Some(error);
            broken
        })
    }

    /// The same; waits for the predecessor's manifest, which is there at once.
    ///
    /// # Errors
    /// `InvalidInput` for a variable of the environment that cannot be meant,
    /// `InvalidData` for a manifest that cannot be read, `UnexpectedEof` if the
    /// predecessor went away before it had written it; those of eventfd(2).
    /// The right thing is to end: the predecessor, if it lives, serves on.
    pub fn try_new() -> io::Result<Self> {
        Self::from_environment(|name| std::env::var_os(name))
    }

    pub(crate) fn from_environment(
        lookup: impl Fn(&str) -> Option<OsString> + Copy,
    ) -> io::Result<Self> {
        // First of all: its descriptors are ours before anything is opened.
        let inherited = predecessor::find(lookup)?;
        let mut this = Self::first(lookup);
        this.requests = Some(Arc::new(Requests::new()?));
        if let Some(Inheritance { predecessor, generation, sockets, ancestors }) = inherited {
            this.registry = Registry::inheriting(sockets);
            // Where nobody serves before us, nobody can be disturbed by our
            // serving; here somebody does.
            this.watch = Watch::new(Phase::Starting);
            this.generation = generation;
            this.ancestors = ancestors;
            this.tell = Mutex::new(predecessor.tell());
            this.predecessor = Mutex::new(Some(predecessor));
            this.is_child = true;
        }
        Ok(this)
    }

    /// A process without a predecessor.
    fn first(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let program = Program::from_arguments(
            std::env::args_os().collect(),
            &std::env::current_dir().unwrap_or_default(),
            lookup("PATH").as_deref(),
            std::env::current_exe().unwrap_or_default(),
        );
        Self {
            registry: Registry::default(),
            watch: Watch::new(Phase::Serving),
            counters: Counters::default(),
            connections: Connections::default(),
            generation: 0,
            predecessor: Mutex::default(),
            tell: Mutex::default(),
            is_child: false,
            ancestors: Vec::new(),
            program,
            ready_deadline: READY_DEADLINE,
            probation: PROBATION,
            most_draining: MOST_DRAINING,
            pid_file: None,
            state: None,
            spares: Arc::default(),
            requests: None,
            signals: Signals::default(),
            observers: Vec::new(),
            settled: Arc::default(),
            broken: None,
        }
    }

    /// Whether a predecessor started this process.
    #[must_use]
    pub fn is_child(&self) -> bool {
        self.is_child
    }

    /// How many generations came before this one. A predecessor built on the
    /// published crate does not count; its successor is generation 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where this process stands in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.watch.phase()
    }

    /// What has happened in this process so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// The connections in flight. The application enters each one; see
    /// [`Connections`].
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The older generations that still drain, the oldest first: generation and
    /// pid.
    #[must_use]
    pub fn draining(&self) -> Vec<(u64, u32)> {
        let living = ancestors::living(&self.ancestors);
        living.iter().map(|ancestor| (ancestor.generation, ancestor.pid)).collect()
    }

    /// Has the process id in this file, with a newline, mode 0644, whenever this
    /// process serves: written by [`Self::ready`] when it takes over, by the
    /// predecessor again if it has to take the service back. It is replaced as a
    /// whole, and removed when the service stops, but not by a process that was
    /// succeeded.
    pub fn set_pid_file<P: AsRef<Path>>(&mut self, pid_file: P) {
        let path = pid_file.as_ref();
        // Where it is must not change with the working directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.pid_file = Some(PidFile::new(path));
    }

    /// How long a successor of this process may take until it is ready; one
    /// that takes longer is killed. One minute, if not set.
    pub fn set_ready_deadline(&mut self, span: Duration) {
        self.ready_deadline = span;
    }

    /// How long this process keeps its sockets, accepting nothing, when its
    /// successor has begun to serve. If that ends within this time, this
    /// process serves again and no new connection is refused. Half a second, if
    /// not set; zero: lets go at once.
    ///
    /// [`Self::upgrade`] returns only after it; the successor cannot be upgraded
    /// itself before.
    pub fn set_probation(&mut self, span: Duration) {
        self.probation = span;
    }

    /// How many older generations may drain at a time; when there are more, the
    /// oldest is told to end (by its stop signal: a second stop). 32, if not set.
    pub fn set_most_draining(&mut self, most: usize) {
        self.most_draining = most;
    }

    /// Which program the successor is, and what it is started with.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Leaves state to the successor: `make` is called when an upgrade begins,
    /// on a thread of its own, while this process serves on. If it fails, or
    /// takes longer than `deadline`, the upgrade has failed. The successor finds
    /// the bytes in [`Self::inherited_state`], with this version.
    pub fn set_state(
        &mut self,
        version: u32,
        deadline: Duration,
        make: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.state = Some(StateMaker::new(version, deadline, make));
    }

    /// The state that the predecessor has left, once. `None`: it left none.
    ///
    /// # Errors
    /// `InvalidData` if it is not what this library writes, or too large
    /// (64 MiB); those of reading a memory file.
    pub fn inherited_state(&self) -> io::Result<Option<State>> {
        match self.registry.take(&SocketKey::State).transpose()? {
            None => Ok(None),
            Some(file) => state::receive(file, state::MOST).map(Some),
        }
    }

    /// Has every upgrade of this process reported, completed or failed, or
    /// refused. `hook` is called on the upgrade's thread, which waits for it.
    pub fn on_upgrade(&mut self, hook: impl Fn(&UpgradeReport) + Send + Sync + 'static) {
        self.observers.push(Arc::new(move |stage| {
            if let Stage::Decided(report) = stage {
                hook(report);
            }
        }));
    }

    /// Has `hook` told of every change of phase. It is called by whichever
    /// thread changes it, which waits for it.
    pub fn on_phase(&mut self, hook: impl Fn(Phase) + Send + Sync + 'static) {
        self.watch.tell(Box::new(hook));
    }

    /// Says that this process is ready to serve. In a successor, it returns when
    /// the predecessor has stopped accepting, or has vanished: from then on this
    /// process accepts, and no other. Inherited sockets that nobody asks for
    /// stay with the predecessor, which serves what is in their queues.
    ///
    /// # Errors
    /// When the PID file cannot be written, or no thread can be started; and
    /// what [`Self::new`] has met. The predecessor serves on; the right thing is
    /// to end.
    pub fn ready(&mut self) -> io::Result<()> {
        let settled = Arc::clone(&self.settled);
        let course = self.course()?;
        let watch = self.watch.clone();
        self.start(move |then| {
            settled.set();
            // What the predecessor was asked while it could not do it.
            match then {
                Then::Serve => {}
                Then::Upgrade => drop(upgrade::run(&course, std::env::vars_os().collect())),
                Then::Stop | Then::PartialStop => watch.set(Phase::Stopping),
            }
        })?;
        self.watch.wait_until(|phase| phase != Phase::Starting);
        Ok(())
    }

    /// Upgrades: starts a successor, and returns when the outcome is certain;
    /// this process serves meanwhile. If another upgrade is under way, this one
    /// begins when that has failed; when that has completed, it is passed on to
    /// the generation that serves then ([`UpgradeErrorKind::PassedOn`]).
    ///
    /// [`UpgradeErrorKind::PassedOn`]: crate::UpgradeErrorKind::PassedOn
    ///
    /// After `Ok` the successor serves, loops over [`Self::incoming`] end, and
    /// what this process has still to do is to finish its connections. After
    /// `Err` it serves on as if nothing had happened.
    ///
    /// # Errors
    /// Why there was no upgrade.
    pub fn upgrade(&self) -> Result<(), UpgradeError> {
        self.upgrade_reported().outcome
    }

    /// The same, with the whole story.
    pub fn upgrade_reported(&self) -> UpgradeReport {
        // Until the predecessor has let go, there would be three generations,
        // of which two believe that they are to serve.
        if self.is_child {
            self.settled.wait();
        }
        match self.course() {
            Ok(course) => upgrade::run(&course, std::env::vars_os().collect()),
            Err(error) => UpgradeReport::not_started(self.generation, error.into()),
        }
    }

    /// Stops: loops over [`Self::incoming`] serve what is in the queues and end,
    /// nothing is passed on any more. (Other listeners of the application stay
    /// open until it drops them.) If an upgrade is under way, its successor is
    /// ended, or, if it serves already, told to stop.
    pub fn quit(&self) {
        if let Some(requests) = &self.requests {
            requests.ask_stop();
        }
        if matches!(self.phase(), Phase::Draining | Phase::Stopping) {
            return;
        }
        if self.watch.advance(Phase::Starting, Phase::Draining) {
            // The predecessor serves, and will see us end. What we share with it
            // is left as it is.
            self.registry.clear(None);
            return;
        }
        self.say_goodbye();
        self.registry.set_tenure(Tenure::Ours);
        self.registry.clear(None);
        self.watch.set(Phase::Stopping);
    }

    /// Waits until every connection that was entered ([`Self::connections`]) has
    /// finished, for `most`; what is left then is cut. To be called when nothing
    /// is accepted any more.
    #[must_use]
    pub fn drain(&self, most: Duration) -> Drained {
        self.connections.drain_blocking(most)
    }

    /// Asks the upgrade that is under way.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn ask(&self, what: crate::protocol::Seen) {
        if let Some(requests) = &self.requests {
            requests.ask(what);
        }
    }

    fn say_goodbye(&self) {
        let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tell.say(&[Later::Stopping]);
    }

    /// Why nothing can be done here, if that is so.
    pub(crate) fn sound(&self) -> io::Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// What an upgrade of this process needs to know.
    pub(crate) fn course(&self) -> io::Result<Course> {
        self.sound()?;
        let requests = self.requests.clone().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Course {
            registry: self.registry.clone(),
            watch: self.watch.clone(),
            program: self.program.clone(),
            generation: self.generation,
            ancestors: self.ancestors.clone(),
            ready_deadline: self.ready_deadline,
            probation: self.probation,
            signals: self.signals.clone(),
            state: self.state.clone(),
            pid_file: self.pid_file.clone(),
            spares: Arc::clone(&self.spares),
            counters: self.counters.clone(),
            requests,
            observers: self.observers.clone(),
        })
    }

    /// Says that this process has initialised. Where there is a predecessor,
    /// the accept gate opens when that has stopped accepting, or is gone.
    /// `settled` is called, once, when this process may be upgraded in turn.
    pub(crate) fn start(&self, settled: impl FnOnce(Then) + Send + 'static) -> io::Result<()> {
        self.sound()?;
        // What can fail comes before anybody else is concerned.
        let pid_file = self.pid_file.as_ref();
        let pid_file = pid_file.map(|file| file.prepare(std::process::id())).transpose()?;
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.spares.fill();
        let Some(predecessor) = predecessor else {
            self.registry.close_unclaimed();
            self.settled.set();
            commit(pid_file);
            settled(Then::Serve);
            return Ok(());
        };
        let (registry, watch) = (self.registry.clone(), self.watch.clone());
        let join = Join::new(registry, watch, pid_file, predecessor);
        let (ancestors, most) = (self.ancestors.clone(), self.most_draining);
        let done = Arc::clone(&self.settled);
        thread::Builder::new().name("ecdysis-join".to_owned()).spawn(move || {
            let then = join.run();
            done.set();
            ancestors::bound(&ancestors, most);
            settled(then);
        })?;
        Ok(())
    }
}

/// A process that stops has done with its PID file when it has done with this.
impl Drop for Ecdysis {
    fn drop(&mut self) {
        if self.watch.phase() == Phase::Stopping
            && let Some(pid_file) = &self.pid_file
            && let Err(error) = pid_file.remove_if_ours(std::process::id())
        {
            tracing::warn!(%error, "cannot remove the PID file");
        }
    }
}

impl Default for Ecdysis {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Ecdysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ecdysis")
            .field("generation", &self.generation)
            .field("phase", &self.watch.phase())
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}
