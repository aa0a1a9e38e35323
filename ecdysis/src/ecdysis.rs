//! What a process is in the chain of generations, whatever runs its streams:
//! the sockets it inherited, the phase it is in, and its predecessor. Alone, it
//! is the face for programs without an async runtime.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ancestors;
use crate::counters::{Counters, Counts};
use crate::course::{Course, Observer, Signals};
use crate::drain::{Connections, Drained};
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::hook;
use crate::manifest::Ancestor;
use crate::phase::{Phase, Watch};
use crate::pidfile::PidFile;
use crate::predecessor::{self, Inheritance, Predecessor, Tell};
use crate::program::Program;
use crate::protocol::Then;
use crate::registry::Registry;
use crate::report::UpgradeReport;
use crate::requests::Requests;
use crate::spare::Spares;
use crate::state::StateMaker;
use crate::sys::child::Kin;
use crate::sys::signals;
use crate::takeover::{Join, Settled, commit};
use crate::upgrade;

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
    tell: Tell,
    pub(crate) is_child: bool,
    ancestors: Vec<Ancestor>,
    /// Signals that are ignored until this process is settled.
    ignored: Vec<i32>,
    pub(crate) program: Program,
    pub(crate) ready_deadline: Duration,
    pub(crate) probation: Duration,
    pub(crate) most_draining: usize,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) state: Option<StateMaker>,
    spares: Arc<Spares>,
    /// `None` if nothing can be done here.
    pub(crate) requests: Option<Arc<Requests>>,
    pub(crate) signals: Signals,
    /// Whose children our successors become.
    pub(crate) kin: Kin,
    pub(crate) observers: Vec<Observer>,
    settled: Arc<Settled>,
    /// It has been said that this process is ready.
    is_ready: bool,
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
        #[cfg(feature = "failpoints")]
        crate::points::configure()?;
        // First of all: its descriptors are ours before anything is opened.
        let inherited = predecessor::find(lookup)?;
        let mut this = Self::first(lookup);
        this.requests = Some(Arc::new(Requests::new()?));
        if let Some(inheritance) = inherited {
            let Inheritance { predecessor, generation, sockets, ancestors, ignored } = inheritance;
            signals::mark(&ignored);
            this.ignored = ignored;
            this.registry = Registry::inheriting(sockets);
            // Where nobody serves before us, nobody can be disturbed by our
            // serving; here somebody does.
            this.watch = Watch::new(Phase::Starting);
            this.generation = generation;
            this.ancestors = ancestors;
            this.tell = predecessor.tell();
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
            tell: Tell::default(),
            is_child: false,
            ancestors: Vec::new(),
            ignored: Vec::new(),
            program,
            ready_deadline: READY_DEADLINE,
            probation: PROBATION,
            most_draining: MOST_DRAINING,
            pid_file: None,
            state: None,
            spares: Arc::default(),
            requests: None,
            signals: Signals::default(),
            kin: Kin::default(),
            observers: Vec::new(),
            settled: Arc::default(),
            is_ready: false,
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

    /// The generations before this one, the oldest first, as the predecessor knew
    /// them.
    #[cfg(feature = "systemd_notify")]
    pub(crate) fn ancestors(&self) -> &[Ancestor] {
        &self.ancestors
    }

    /// Says that this process is ready to serve. In a successor, it returns when
    /// the predecessor has stopped accepting, or has vanished: from then on this
    /// process accepts, and no other. Inherited sockets that nobody asks for
    /// stay with the predecessor, which serves what is in their queues; for a tenth
    /// of a second at least they can be asked for yet. To say it again changes
    /// nothing.
    ///
    /// # Errors
    /// When the PID file cannot be written, or no thread can be started; and
    /// what [`Self::new`] has met. The predecessor serves on; the right thing is
    /// to end.
    pub fn ready(&mut self) -> io::Result<()> {
        if self.is_ready {
            return Ok(());
        }
        let course = self.course()?;
        // What the predecessor was asked while it could not do it.
        let settled = move |then| match then {
            Then::Serve => {}
            Then::Upgrade => drop(upgrade::run(&course, std::env::vars_os().collect())),
            Then::Stop | Then::PartialStop => upgrade::stop(&course, false),
        };
        // Whoever calls this accepts next.
        self.start(|| true, settled)?;
        self.is_ready = true;
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
    /// `Err` it serves on as if nothing had happened, unless the kind says that it
    /// stops or has been succeeded.
    ///
    /// # Errors
    /// Why there was no upgrade.
    pub fn upgrade(&self) -> Result<(), UpgradeError> {
        self.upgrade_reported().outcome
    }

    /// The same, with the whole story.
    pub fn upgrade_reported(&self) -> UpgradeReport {
        if hook::is_called() {
            let error = UpgradeErrorKind::InHook.into();
            return UpgradeReport::not_started(self.generation, error);
        }
        // Until the predecessor has let go, there would be three generations,
        // of which two believe that they are to serve.
        if self.is_child {
            self.settled.wait();
        }
        let upgraded = self.course().and_then(|course| {
            // On a thread of its own, as that refuses SIGPIPE for good.
            thread::scope(|scope| {
                let run = || upgrade::run(&course, std::env::vars_os().collect());
                let thread = thread::Builder::new().name("ecdysis-upgrade".to_owned());
                let report = thread.spawn_scoped(scope, run)?.join();
                report.map_err(|_| io::Error::other("the upgrade's thread panicked"))
            })
        });
        upgraded.unwrap_or_else(|error| UpgradeReport::not_started(self.generation, error.into()))
    }

    /// Stops: loops over [`Self::incoming`] serve what is in the queues and end,
    /// nothing is passed on any more. (Other listeners of the application stay
    /// open until it drops them.) If an upgrade is under way, its successor is
    /// ended, or, if it serves already, told to stop.
    ///
    /// It returns when the stop has begun: here, or, if it came too late for that,
    /// in the successor, which is told by the stop signal of this process (SIGTERM,
    /// where none is named) if it is past hearing words. In a hook it returns at
    /// once, and what the hook belongs to stops this process when it is over.
    pub fn quit(&self) {
        self.leave(false);
    }

    /// The same; a predecessor that can still hear it is told whether this process
    /// may go on for long with what does not stop.
    pub(crate) fn leave(&self, partial: bool) {
        match self.course() {
            Ok(course) => upgrade::stop(&course, partial),
            // Nothing could ever begin here.
            Err(_) => self.watch.set(Phase::Stopping),
        }
        // Who waits to upgrade this process waits in vain now.
        self.settled.set();
    }

    /// Waits until every connection that was entered ([`Self::connections`]) has
    /// finished, for `most`; what is left then is cut. To be called when nothing
    /// is accepted any more.
    #[must_use]
    pub fn drain(&self, most: Duration) -> Drained {
        self.connections.drain_blocking(most)
    }

    /// Asks the upgrade that is under way; false if it has succeeded.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn ask(&self, what: crate::protocol::Seen) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.ask(what))
    }

    /// Whether a stop was asked for that is for this process to make.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn is_stop_asked(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.is_stop_asked())
    }

    /// Whether a stop that is asked of this process, which has been succeeded, may
    /// be the one that its successor has had. Once.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn takes_echo(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.take_echo())
    }

    /// Whether an upgrade that somebody waits for may not have been passed on.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn has_lost_an_upgrade(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.has_lost())
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
            kin: self.kin,
            state: self.state.clone(),
            pid_file: self.pid_file.clone(),
            spares: Arc::clone(&self.spares),
            counters: self.counters.clone(),
            requests,
            tell: self.tell.clone(),
            observers: self.observers.clone(),
        })
    }

    /// Says that this process has initialised. Where there is a predecessor,
    /// the accept gate opens when that has stopped accepting, or is gone.
    /// The predecessor is not told before `runs` returns, which waits until whatever is
    /// to serve runs at all; false if it never will. `settled` is called, once, when
    /// this process may be upgraded in turn. One that was stopped before says nothing,
    /// and never may.
    pub(crate) fn start(
        &self,
        runs: impl FnOnce() -> bool + Send + 'static,
        settled: impl FnOnce(Then) + Send + 'static,
    ) -> io::Result<()> {
        self.sound()?;
        // It must not be waited for: the predecessor serves, and sees it end.
        if matches!(self.phase(), Phase::Draining | Phase::Stopping) {
            return Ok(());
        }
        if self.is_child {
            point!(APPLICATION_IS_READY?);
        }
        // What can fail comes before anybody else is concerned.
        let pid_file = self.pid_file.as_ref();
        let pid_file = pid_file.map(|file| file.prepare(std::process::id())).transpose()?;
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.spares.fill();
        let Some(predecessor) = predecessor else {
            if self.is_child {
                // It was tried before, and the predecessor has seen that fail.
                let message = "the predecessor has been let go of, and serves on";
                return Err(io::Error::new(io::ErrorKind::NotConnected, message));
            }
            self.registry.close_unclaimed();
            self.settled.set();
            commit(pid_file);
            settled(Then::Serve);
            return Ok(());
        };
        let (registry, watch) = (self.registry.clone(), self.watch.clone());
        let ignored = self.ignored.clone();
        let join = Join::new(registry.clone(), watch.clone(), pid_file, predecessor, ignored);
        let (ancestors, most) = (self.ancestors.clone(), self.most_draining);
        let done = Arc::clone(&self.settled);
        thread::Builder::new().name("ecdysis-join".to_owned()).spawn(move || {
            let take_over = || if runs() { join.run() } else { None };
            let then = catch_unwind(AssertUnwindSafe(take_over)).unwrap_or_default();
            // Whatever keeps it from taking over, a panic of ours included: the
            // predecessor serves, and sees this process end.
            if then.is_none() && watch.advance(Phase::Starting, Phase::Draining) {
                registry.clear(None);
            }
            point!(SETTLED_IS_ANSWERED);
            done.set();
            if let Some(then) = then {
                ancestors::bound(&ancestors, most);
                settled(then);
            }
        })?;
        Ok(())
    }
}

// Hooks and the maker of the state may be anything; but a panic of theirs ends where
// they are called, and what a lock guards is whole whenever anybody may panic.
impl UnwindSafe for Ecdysis {}
impl RefUnwindSafe for Ecdysis {}

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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::sync::mpsc;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::sys::signal::{SigSet, Signal};
    use nix::unistd::pipe2;

    use super::*;
    use crate::environ::Handoff;
    use crate::manifest::{Manifest, Passed, encode};
    use crate::protocol::{READY_OURS, Word};
    use crate::socket::SocketKey;

    /// The predecessor of a process under test, which is its own successor.
    struct Before {
        words: File,
        ready: File,
    }

    impl Before {
        fn says(&mut self, words: &[Word]) {
            let bytes: Vec<u8> = words.iter().map(|word| word.byte()).collect();
            self.words.write_all(&bytes).unwrap();
        }

        fn hears_ready(&mut self) {
            let mut heard = READY_OURS.to_vec();
            self.ready.read_exact(&mut heard).unwrap();
            assert_eq!(heard, READY_OURS);
        }

        /// What it hears until its successor has nothing more to say.
        fn hears(mut self) -> Vec<u8> {
            let mut heard = Vec::new();
            self.ready.read_to_end(&mut heard).unwrap();
            heard
        }
    }

    /// Has this number in a successor; nobody else has had it, for one that was
    /// taken over is not taken over again.
    fn passed_on(descriptor: OwnedFd) -> i32 {
        static FROM: AtomicI32 = AtomicI32::new(500);
        let from = FROM.fetch_add(1, Ordering::SeqCst);
        fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(from)).unwrap()
    }

    fn successor(sockets: Vec<Passed>) -> (Ecdysis, Before) {
        let (its_words, words) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (ready, its_ready) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut before = Before { words: words.into(), ready: ready.into() };
        let manifest = Manifest { generation: 1, sockets, ancestors: vec![], ignored: vec![] };
        before.words.write_all(&encode(&manifest)).unwrap();
        let (manifest, ready) = (passed_on(its_words), passed_on(its_ready));
        let variables = Handoff { manifest, ready, binding: None }.variables();
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        (Ecdysis::from_environment(lookup).unwrap(), before)
    }

    /// If it were, a predecessor that has just said *go* would not serve again.
    #[test]
    fn the_stop_of_one_that_has_not_heard_go_is_none_of_the_service() {
        let (mut ecdysis, mut before) = successor(vec![]);
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        ecdysis.set_pid_file(&pid_file);
        ecdysis.start(|| true, |_| panic!("it is never settled")).unwrap();
        before.hears_ready();
        ecdysis.quit();
        assert_eq!(ecdysis.phase(), Phase::Draining);
        // As it was under way; the process may take its time to end.
        before.says(&[Word::Go, Word::Settled(Then::Serve)]);
        assert_eq!(before.hears(), b"D");
        assert_eq!(ecdysis.phase(), Phase::Draining);
        assert!(!pid_file.exists());
    }

    #[test]
    fn the_stop_of_one_that_serves_is_one_of_the_service() {
        let (ecdysis, mut before) = successor(vec![]);
        ecdysis.start(|| true, |_| {}).unwrap();
        before.says(&[Word::Go]);
        ecdysis.watch.wait_until(|phase| phase == Phase::Serving);
        ecdysis.quit();
        assert_eq!(ecdysis.phase(), Phase::Stopping);
        before.says(&[Word::Settled(Then::Serve)]);
        assert_eq!(before.hears(), [READY_OURS, &b"S"[..]].concat());
    }

    #[test]
    fn one_that_is_stopped_before_it_is_ready_never_says_so() {
        let (mut ecdysis, before) = successor(vec![]);
        ecdysis.quit();
        ecdysis.start(|| true, |_| panic!("it is never settled")).unwrap();
        ecdysis.ready().unwrap();
        let stopping = ecdysis.upgrade().unwrap_err();
        assert_eq!(stopping.kind(), &UpgradeErrorKind::Stopping);
        drop(ecdysis);
        assert_eq!(before.hears(), b"");
    }

    #[test]
    fn being_ready_once_more_changes_nothing() {
        let (mut ecdysis, mut before) = successor(vec![]);
        before.says(&[Word::Go]);
        ecdysis.ready().unwrap();
        ecdysis.ready().unwrap();
        assert!(!ecdysis.settled.is_set(), "the predecessor still has the sockets");
        before.says(&[Word::Settled(Then::Stop)]);
        ecdysis.watch.wait_until(|phase| phase == Phase::Stopping);
        assert_eq!(before.hears(), READY_OURS);
    }

    #[test]
    fn one_that_could_not_be_ready_does_not_take_itself_for_the_first() {
        let (mut ecdysis, before) = successor(vec![]);
        // As when no thread could be started.
        ecdysis.predecessor.lock().unwrap().take();
        assert_eq!(ecdysis.ready().unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert!(!ecdysis.settled.is_set());
        assert_eq!(before.hears(), b"");
    }

    /// One that inherits a socket from a predecessor that has no probation.
    fn hurried_successor() -> (Ecdysis, Before, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = passed_on(socket.try_clone().unwrap().into());
        let key = SocketKey::tcp(socket.local_addr().unwrap());
        let (ecdysis, mut before) = successor(vec![Passed::new(number, key)]);
        before.says(&[Word::Go, Word::Settled(Then::Serve)]);
        (ecdysis, before, socket)
    }

    /// What is claimed in the instant in which `ecdysis` begins to serve, however
    /// busy the machine is.
    fn claimed_at_once(mut ecdysis: Ecdysis, address: SocketAddr) -> Option<TcpListener> {
        let (claim, claimed) = mpsc::channel();
        let registry = ecdysis.registry.clone();
        ecdysis.on_phase(move |phase| {
            if phase == Phase::Serving {
                let claimed = registry.claim(&SocketKey::tcp(address)).unwrap();
                claim.send(claimed.map(|(fd, _)| fd.into())).unwrap();
            }
        });
        ecdysis.ready().unwrap();
        claimed.recv().unwrap()
    }

    #[test]
    fn what_is_asked_for_right_after_being_ready_is_passed_on_all_the_same() {
        let (ecdysis, before, socket) = hurried_successor();
        claimed_at_once(ecdysis, socket.local_addr().unwrap()).unwrap();
        assert_eq!(before.hears(), [READY_OURS, &b"N\0\0W\0\0"[..]].concat());
    }

    /// Its queue was reset: it was taken for one that the predecessor empties.
    #[test]
    fn what_is_asked_for_late_is_had_from_a_predecessor_that_is_gone_as_well() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let number = passed_on(socket.into());
        let key = SocketKey::tcp(address);
        let (ecdysis, before) = successor(vec![Passed::new(number, key)]);
        drop(before);
        let claimed = claimed_at_once(ecdysis, address).unwrap();
        let (_connection, from) = claimed.accept().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
    }

    #[test]
    fn what_is_not_asked_for_is_kept_for_a_while() {
        let (mut ecdysis, before, _socket) = hurried_successor();
        #[expect(clippy::disallowed_methods, reason = "time is what this is about")]
        let began = std::time::Instant::now();
        ecdysis.ready().unwrap();
        ecdysis.settled.wait();
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        assert_eq!(before.hears(), [READY_OURS, &b"N\0\0"[..]].concat());
    }

    #[test]
    fn an_upgrade_leaves_the_signals_of_its_caller_alone() {
        let mut ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        ecdysis.program_mut().path("/nonexistent/program");
        ecdysis.upgrade().unwrap_err();
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGPIPE));
    }
}
