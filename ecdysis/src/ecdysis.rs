//! What a process is in the chain of generations, whatever runs its streams:
//! the sockets it inherited, the phase it is in, and its predecessor.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::phase::{Phase, Watch};
use crate::predecessor::{self, Goodbye, Predecessor};
use crate::program::Program;
use crate::protocol::{Act, Heard, Joining, Then};
use crate::registry::{Registration, Registry};
use crate::socket::SocketKey;
use crate::sys::fd;
use crate::upgrade::Course;

/// How long a successor may take until it is ready. It costs the predecessor
/// nothing to wait, so only a successor that will never be ready should meet
/// it; a minute is what tableflip's users have lived with.
const READY_DEADLINE: Duration = Duration::from_mins(1);

/// How long the predecessor keeps the sockets after it has stopped accepting.
/// A successor that crashes does so mostly on its first requests. The published
/// crate's polling gives up to half a second of this by accident, and a faster
/// handoff must not be less safe.
const PROBATION: Duration = Duration::from_millis(500);

/// What `listen_tcp` asks for; the kernel cuts it to `net.core.somaxconn`. At
/// 128, the customary number, a pause of 20 ms overflows at 6 400 connections a
/// second, and an overflow costs its client a second.
const BACKLOG: i32 = 4096;

/// This process in the chain of generations.
#[derive(Debug)]
pub(crate) struct Ecdysis {
    pub(crate) registry: Registry,
    pub(crate) watch: Watch,
    generation: u64,
    predecessor: Mutex<Option<Predecessor>>,
    is_child: bool,
    program: Program,
    ready_deadline: Duration,
    probation: Duration,
}

impl Ecdysis {
    /// Finds out what this process is, and takes over what its predecessor
    /// passed on, if there is one.
    pub(crate) fn new(lookup: impl Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let program = Program::from_arguments(
            std::env::args_os().collect(),
            &std::env::current_dir().unwrap_or_default(),
            lookup("PATH").as_deref(),
            std::env::current_exe().unwrap_or_default(),
        );
        let (predecessor, generation, sockets) = match predecessor::find(lookup)? {
            None => (None, 0, Vec::new()),
            Some(inherited) => {
                (Some(inherited.predecessor), inherited.generation, inherited.sockets)
            }
        };
        let is_child = predecessor.is_some();
        // Where nobody serves before us, nobody can be disturbed by our serving.
        let phase = if is_child { Phase::Starting } else { Phase::Serving };
        Ok(Self {
            registry: Registry::inheriting(sockets),
            watch: Watch::new(phase),
            generation,
            predecessor: Mutex::new(predecessor),
            is_child,
            program,
            ready_deadline: READY_DEADLINE,
            probation: PROBATION,
        })
    }

    pub(crate) fn is_child(&self) -> bool {
        self.is_child
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn set_ready_deadline(&mut self, span: Duration) {
        self.ready_deadline = span;
    }

    pub(crate) fn set_probation(&mut self, span: Duration) {
        self.probation = span;
    }

    pub(crate) fn set_program(&mut self, path: PathBuf) {
        self.program.path = path;
    }

    /// What an upgrade of this process needs to know.
    pub(crate) fn course(&self, signals: Vec<i32>) -> Course {
        Course {
            registry: self.registry.clone(),
            watch: self.watch.clone(),
            program: self.program.clone(),
            generation: self.generation,
            ready_deadline: self.ready_deadline,
            probation: self.probation,
            signals,
        }
    }

    /// A TCP listener on `address`: the predecessor's, if it passed one on,
    /// else the one that `build` makes of a fresh socket. It does not block.
    pub(crate) fn build_listen_tcp(
        &self,
        address: SocketAddr,
        build: impl FnOnce(Socket, SocketAddr) -> io::Result<TcpListener>,
    ) -> io::Result<(TcpListener, Registration)> {
        let key = SocketKey::Tcp(address);
        let listener = match self.registry.claim(&key) {
            Some(inherited) => TcpListener::from(inherited),
            None => {
                let domain = Domain::for_address(address);
                build(Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?, address)?
            }
        };
        // The flag is shared with every process that has the socket; one of
        // them may have cleared it.
        listener.set_nonblocking(true)?;
        let registration = self.registry.enter(key, &listener)?;
        Ok((listener, registration))
    }

    /// A listener as most servers want it.
    pub(crate) fn listen_tcp(
        &self,
        address: SocketAddr,
    ) -> io::Result<(TcpListener, Registration)> {
        self.build_listen_tcp(address, |socket, address| {
            // Without it, a restart after a crash fails while connections of
            // the crashed process are in TIME_WAIT.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(OwnedFd::from(socket).into())
        })
    }

    /// Says that this process has initialised. Where there is a predecessor,
    /// the accept gate opens when that has stopped accepting, or is gone.
    /// `settled` is called, once, when this process may be upgraded in turn; if
    /// it stops before that, it has to say goodbye.
    pub(crate) fn ready(&self, settled: impl FnOnce(Then) + Send + 'static) -> io::Result<Goodbye> {
        self.registry.close_unclaimed();
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(predecessor) = predecessor else {
            settled(Then::Serve);
            return Ok(Goodbye::default());
        };
        let goodbye = predecessor.goodbye();
        let watch = self.watch.clone();
        thread::Builder::new()
            .name("ecdysis-join".to_owned())
            .spawn(move || settled(join(predecessor, &watch)))?;
        Ok(goodbye)
    }
}

/// Takes over from `predecessor`; returns when this process is settled. No
/// error can stop it: a predecessor that cannot be heard is one that is gone,
/// and we hold its sockets.
fn join(mut predecessor: Predecessor, watch: &Watch) -> Then {
    let gone = |error: io::Error| {
        tracing::error!(%error, "cannot hear the predecessor, carrying on without it");
        Heard::Gone
    };
    let mut joining = Joining::new(predecessor.dialect());
    let mut heard = fd::refuse_sigpipe().map_or_else(gone, |()| Heard::Initialised);
    if heard == Heard::Gone {
        joining.handle(heard);
        heard = Heard::Initialised;
    }
    loop {
        for act in joining.handle(heard) {
            match act {
                Act::SayReady => {
                    if let Err(error) = predecessor.say_ready() {
                        tracing::error!(%error, "cannot tell the predecessor that we are ready");
                    }
                }
                Act::Accept => watch.advance(Phase::Starting, Phase::Serving),
                Act::Settle(then) => return then,
            }
        }
        heard = predecessor.hear().unwrap_or_else(gone);
    }
}
