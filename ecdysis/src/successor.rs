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
use crate::listed::Listed;
use crate::manifest::{Ancestor, Manifest, Passed, encode, fits};
use crate::program::{Program, c_string};
use crate::protocol::{Listener, Seen, Word};
use crate::socket::SocketKey;
use crate::sys::child::{Child, Kin};
use crate::sys::{fd, signals, spawn};

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
    /// Whose child it becomes.
    pub(crate) kin: Kin,
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

/// What we tell it: the manifest, then words. Dropped, it tells that it is given up:
/// a fork of a successor that we end would take the end of the pipe for ours.
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
    ///
    /// # Errors
    /// `TooManySockets` before anything is started; those of the system calls.
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self, UpgradeError> {
        let manifest = manifest(launch);
        let (count, manifest) = (manifest.sockets.len(), encode(&manifest));
        if !fits(count, manifest.len()) {
            return Err(UpgradeErrorKind::TooManySockets(count).into());
        }
        point!(PIPES_ARE_MADE?);
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
            kin: launch.kin,
        };
        // Written before there is anybody to read it, so that a successor, once
        // it has been started, can do without us: if we are killed now, it
        // still learns what it holds. (A pipe takes 64 KiB; what is beyond
        // that follows while it reads.)
        let mut words = Words { pipe: Some(words), unsent: manifest };
        point!(MANIFEST_IS_WRITTEN?);
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
        // A death counts before a readiness that was said just before, whatever
        // followed that: it would not serve. But what a process says that was told
        // to stop, or is settled, counts, even if it has ended before we could
        // listen.
        let mut seen = self.listen()?;
        if seen.iter().any(|seen| matches!(seen, Seen::Ready(_) | Seen::Paused | Seen::Garbage)) {
            seen.clear();
        }
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

    /// Lets it go its own way: it has succeeded us. What it has still said (it cannot
    /// say more), and what tells it, when it is dropped, that we have emptied what it
    /// does not want.
    pub(crate) fn let_go(mut self) -> (Vec<Seen>, Option<OwnedFd>) {
        let said = self.listen().unwrap_or_default();
        self.child.let_go();
        (said, self.words.pipe.take())
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
                Err(Errno::EAGAIN) => {
                    seen.extend(self.listener.pause());
                    break;
                }
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

impl Drop for Words {
    fn drop(&mut self) {
        self.unsent.push(Word::GivenUp.byte());
        if let Err(error) = self.send() {
            tracing::warn!(%error, "cannot tell the successor that it is given up");
        }
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
    let state = launch.state.iter().zip(numbers);
    sockets.extend(state.map(|(_, number)| Passed::new(number, SocketKey::State)));
    // What we ignore ourselves crosses exec by itself, and for good.
    let ignored = launch.ignored.iter().copied().filter(|signal| !signals::is_ignored(*signal));
    Manifest {
        generation: launch.generation,
        sockets,
        ancestors: launch.ancestors.clone(),
        ignored: ignored.collect(),
    }
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use nix::sys::eventfd::EventFd;

    use super::*;
    use crate::manifest::Dialect;
    use crate::protocol::{Do, Later, Leaving, Verdict};

    fn start(script: &str, listed: Listed, count: usize) -> Result<Successor, UpgradeError> {
        let mut program = Program::from_arguments(vec![], Path::new("/"), None, PathBuf::new());
        program.path("/bin/sh").arguments(["-c", script]);
        let listed = Arc::new(listed);
        Successor::start(&Launch {
            program: &program,
            environment: Vec::new(),
            sockets: &vec![listed; count],
            state: None,
            generation: 1,
            ancestors: Vec::new(),
            ignored: &[],
            kin: Kin::Child,
        })
    }

    fn listed(name: &str) -> Listed {
        let null = std::fs::File::open("/dev/null").unwrap();
        let key = SocketKey::Named { name: name.to_owned() };
        Listed::new(Passed::new(0, key), null.into(), false, Arc::default())
    }

    /// What was said while the last hooks ran was lost, and the socket closed.
    #[test]
    fn what_is_said_at_the_last_moment_is_heard() {
        let script = r"printf 'OKe\001W\007\000' >&4";
        let successor = start(script, listed("x"), 1).unwrap();
        let pid = nix::unistd::Pid::from_raw(successor.pid().cast_signed());
        let mut ready = [PollFd::new(successor.ready.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE).unwrap();
        let (said, _emptied) = successor.let_go();
        nix::sys::wait::waitpid(pid, None).unwrap();
        let wants = Later::Wants { place: 7, wanted: true };
        assert_eq!(said[..2], [Seen::Ready(Dialect::Ours), Seen::Later(wants)]);
    }

    /// The places of those past 65 536 were cut off, and the sockets closed.
    #[test]
    fn what_no_manifest_can_name_is_an_error_before_anything_is_started() {
        for (count, length) in [(65_537, 1), (20_000, 1000)] {
            let error = start("", listed(&"x".repeat(length)), count).unwrap_err();
            assert_eq!(*error.kind(), UpgradeErrorKind::TooManySockets(count));
        }
    }

    #[test]
    fn the_death_of_one_that_had_just_said_ready_is_a_death() {
        let mut program = Program::from_arguments(vec![], "/".as_ref(), None, "/bin/sh".into());
        // The second speaks as one does that had no use for a socket and has now.
        for says in ["OK", "OKe\\001W\\000\\000", "no"] {
            program.path("/bin/sh").arguments(["-c", &format!("printf '{says}' >&4; exit 7")]);
            fd::refuse_sigpipe().unwrap();
            let mut successor = Successor::start(&Launch {
                program: &program,
                environment: Vec::new(),
                sockets: &[],
                state: None,
                generation: 1,
                ancestors: Vec::new(),
                ignored: &[],
                kin: Kin::Child,
            })
            .unwrap();
            let mut ended = [PollFd::new(successor.child.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut ended, PollTimeout::from(60_000_u16)), Ok(1));
            let never = EventFd::new().unwrap();
            let seen = successor.wait(Duration::ZERO, never.as_fd()).unwrap();
            #[expect(clippy::disallowed_methods, reason = "any instant will do")]
            let now = std::time::Instant::now();
            let mut leaving = Leaving::new(now, Duration::ZERO);
            let done: Vec<Do> =
                seen.into_iter().flat_map(|seen| leaving.handle(now, seen)).collect();
            assert_eq!(done, [Do::Kill, Do::Finish(Verdict::Exited)], "{says}");
            assert_eq!(successor.end().unwrap().code(), Some(7));
        }
    }
}
