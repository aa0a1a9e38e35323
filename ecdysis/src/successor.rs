//! The process after us, seen from here. Read it beside `predecessor.rs`: the
//! two are the protocol.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read, write};

use crate::environ::{Binding, Handoff, passes_on};
use crate::error::{UpgradeError, UpgradeErrorKind};
use crate::manifest::{Ancestor, Manifest, Passed, encode};
use crate::program::{Program, c_string};
use crate::protocol::{Listener, Seen, Word};
use crate::registry::Listed;
use crate::socket::SocketKey;
use crate::sys::child::Child;
use crate::sys::{fd, spawn};

/// Where the pipes and the first socket are in the successor.
const MANIFEST_AT: i32 = spawn::FIRST;
const READY_AT: i32 = spawn::FIRST + 1;
const SOCKETS_FROM: i32 = spawn::FIRST + 2;

/// How much one that has ended can have left unheard (pipe(7)), unless it has
/// enlarged the pipe.
const PIPE_HOLDS: usize = 64 * 1024;

/// What the successor is to be.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Program,
    /// Our environment; what is ours alone is left out.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) sockets: &'a [Arc<Listed>],
    /// What the application leaves to it.
    pub(crate) state: Option<OwnedFd>,
    pub(crate) generation: u64,
    /// The generations before it that still live.
    pub(crate) ancestors: Vec<Ancestor>,
    /// Signals that must not kill it before it has its handlers.
    pub(crate) ignored: &'a [i32],
}

/// The process after us. Dropped, it is killed and reaped, unless it was let go.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    words: Words,
    ready: OwnedFd,
    listener: Listener,
    /// Whether it may still say something that we want to know.
    listening: bool,
}

/// What we tell it: the manifest, then words.
#[derive(Debug)]
struct Words {
    /// `None` once it has closed its end, as the published crate does when it
    /// has read the list.
    pipe: Option<OwnedFd>,
    unsent: Vec<u8>,
}

impl Successor {
    /// Starts it. When this returns it has called exec; the manifest is under way.
    ///
    /// The caller's thread must refuse SIGPIPE ([`fd::refuse_sigpipe`]).
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self, UpgradeError> {
        let (its_words, words) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        let (ready, its_ready) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        fd::set_nonblocking(&words, true)?;
        fd::set_nonblocking(&ready, true)?;

        let handoff = Handoff {
            manifest: MANIFEST_AT,
            ready: READY_AT,
            binding: Some(Binding {
                predecessor: std::process::id(),
                manifest: fd::identity(&its_words)?,
                ready: fd::identity(&its_ready)?,
            }),
        };
        let mut descriptors = vec![its_words.as_fd(), its_ready.as_fd()];
        descriptors.extend(launch.sockets.iter().map(|listed| listed.as_fd()));
        descriptors.extend(launch.state.as_ref().map(AsFd::as_fd));
        let program = spawn::Program {
            path: c_string(&launch.program.path)?,
            arguments: launch.program.arguments.iter().map(c_string).collect::<io::Result<_>>()?,
            environment: environment(launch, &handoff)?,
            directory: launch.program.directory.as_ref().map(c_string).transpose()?,
            descriptors,
            ignored: launch.ignored.to_vec(),
        };
        // Written before there is anybody to read it, so that a successor, once
        // it has been started, can do without us: if we are killed now, it
        // still learns what it holds. (A pipe takes 64 KiB; what is beyond
        // that follows while it reads.)
        let mut words = Words { pipe: Some(words), unsent: encode(&manifest(launch)) };
        words.send()?;
        let child = spawn::spawn(&program).map_err(|error| {
            let program = launch.program.path.clone();
            let kind = UpgradeErrorKind::Start { step: error.step.to_string(), program };
            UpgradeError::with_source(kind, error.source)
        })?;
        Ok(Self { child, words, ready, listener: Listener::default(), listening: true })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Says a word. A successor that does not listen any more, or is gone, is
    /// no error: its end is seen by itself.
    pub(crate) fn say(&mut self, word: Word) -> io::Result<()> {
        self.words.unsent.push(word.byte());
        self.words.send()
    }

    /// Waits until something is seen of it, `wake` becomes readable, or `most`
    /// has passed; in the latter two cases nothing is returned.
    pub(crate) fn wait(&mut self, most: Duration, wake: BorrowedFd<'_>) -> io::Result<Vec<Seen>> {
        let readable = PollFlags::POLLIN;
        let mut polled =
            vec![PollFd::new(self.child.as_fd(), readable), PollFd::new(wake, readable)];
        let unsent = self.words.pipe.as_ref().filter(|_| !self.words.unsent.is_empty());
        polled.extend(unsent.map(|words| PollFd::new(words.as_fd(), PollFlags::POLLOUT)));
        if self.listening {
            polled.push(PollFd::new(self.ready.as_fd(), readable));
        }
        // Rounded up: a deadline that is woken for too early is woken for again.
        let timeout = u64::try_from(most.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        match poll(&mut polled, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
        let died = polled[0].any() == Some(true);
        if !died {
            self.words.send()?;
            return self.listen();
        }
        // A death counts before a readiness that was said just before: it would
        // not serve. But what a process says that was told to stop, or is
        // settled, counts, even if it has ended before we could listen.
        let mut seen = self.listen()?;
        seen.retain(|seen| !matches!(seen, Seen::Ready(_) | Seen::Garbage));
        seen.push(Seen::Died);
        Ok(seen)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        self.child.signal(signal)
    }

    /// Ends it, if it has not ended, and reaps it.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()
    }

    /// Lets it go its own way: it has succeeded us. What is returned tells it,
    /// when it is dropped, that we have emptied what it does not want.
    pub(crate) fn let_go(self) -> Option<OwnedFd> {
        self.child.let_go();
        self.words.pipe
    }

    /// What it has said since the last time; of one that talks without end, as
    /// much as its pipe holds.
    fn listen(&mut self) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        let mut heard = 0;
        while self.listening && heard < PIPE_HOLDS {
            match read(&self.ready, &mut buffer) {
                Ok(0) => {
                    self.listening = false;
                    seen.extend(self.listener.end());
                }
                Ok(count) => {
                    heard += count;
                    seen.extend(self.listener.hear(&buffer[..count]));
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(seen)
    }
}

impl Words {
    /// Writes as much as the pipe takes.
    fn send(&mut self) -> io::Result<()> {
        while let Some(pipe) = &self.pipe
            && !self.unsent.is_empty()
        {
            match write(pipe, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE) => self.pipe = None,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Which descriptor is which: the sockets, then the state.
fn manifest(launch: &Launch<'_>) -> Manifest {
    let mut numbers = SOCKETS_FROM..;
    let mut sockets: Vec<Passed> = launch
        .sockets
        .iter()
        .zip(&mut numbers)
        .map(|(listed, number)| listed.passed_as(number))
        .collect();
    sockets.extend(launch.state.iter().zip(numbers).map(|(_, number)| Passed {
        number,
        key: SocketKey::State,
        inode: None,
        lent: false,
    }));
    Manifest { generation: launch.generation, sockets, ancestors: launch.ancestors.clone() }
}

/// Our own environment, without what was meant for us alone, with what is
/// meant for the successor alone.
fn environment(launch: &Launch<'_>, handoff: &Handoff) -> io::Result<Vec<std::ffi::CString>> {
    let ours = launch.environment.iter().filter(|(name, _)| passes_on(name));
    let ours = ours.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let handoff = handoff.variables();
    let its = handoff.iter().map(|(name, value)| (OsStr::new(name), value.as_os_str()));
    ours.chain(its)
        .map(|(name, value)| {
            let mut variable = name.to_os_string();
            variable.push("=");
            variable.push(value);
            c_string(variable)
        })
        .collect()
}
