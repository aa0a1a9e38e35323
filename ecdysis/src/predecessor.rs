//! The process before us, seen from here. Read it beside `successor.rs`: the
//! two are the protocol.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use crate::environ::{Binding, Handoff};
use crate::manifest::{Ancestor, Decoded, Dialect, Malformed, Manifest, Passed, decode};
use crate::protocol::{Heard, Later, READY, READY_OURS, Word};
use crate::sys::{child, fd};
use crate::unix_path::inode_of_bound;

/// What came to us from the process before us.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) predecessor: Predecessor,
    pub(crate) generation: u64,
    pub(crate) sockets: Vec<(Passed, OwnedFd)>,
    pub(crate) ancestors: Vec<Ancestor>,
    /// Signals that are ignored for our start only.
    pub(crate) ignored: Vec<i32>,
}

/// The process before us.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// Manifest, then words.
    words: OwnedFd,
    ready: Arc<OwnedFd>,
    /// Tells its death even if somebody else still holds its end of the pipe.
    /// `None`: it is neither our parent nor a child of our parent's, and the pipe
    /// must do.
    alive: Option<OwnedFd>,
    dialect: Dialect,
    unheard: Vec<u8>,
}

/// Looks for a predecessor in the environment, and reads what it passes on.
/// Waits until the manifest is there. `Ok(None)`: there is no predecessor.
///
/// # Errors
/// `InvalidInput` for a variable that cannot be meant, `InvalidData` for a
/// manifest that cannot be read, `UnexpectedEof` if the predecessor went away
/// before it had written it. Nobody has lost anything then: the predecessor,
/// if it lives, serves on.
pub(crate) fn find(lookup: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Inheritance>> {
    let handoff = Handoff::read(lookup)
        .map_err(|message| io::Error::new(ErrorKind::InvalidInput, message))?;
    let Some(handoff) = handoff else { return Ok(None) };
    if !is_for_us(&handoff) {
        // A helper of a successor, or a second library in one process.
        tracing::info!("the environment speaks of a handoff to another process; ignored");
        return Ok(None);
    }
    point!(PREDECESSOR_IS_FOUND?);
    let (words, ready) = match (fd::adopt(handoff.manifest), fd::adopt(handoff.ready)) {
        (Ok(words), Ok(ready)) => (words, ready),
        (Err(error), _) | (_, Err(error)) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            tracing::info!("this process has taken over its predecessor's sockets before; ignored");
            return Ok(None);
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let alive = match handoff.binding {
        Some(binding) => child::watch_starter(binding.predecessor)?,
        None => child::watch_starter(nix::unistd::getppid().as_raw().unsigned_abs())?,
    };
    let mut predecessor = Predecessor {
        words,
        ready: Arc::new(ready),
        alive,
        dialect: Dialect::Published,
        unheard: Vec::new(),
    };
    point!(MANIFEST_IS_READ?);
    let Manifest { generation, sockets: passed, ancestors, ignored } =
        predecessor.read_manifest()?;
    point!(DESCRIPTORS_ARE_ADOPTED?);
    let mut sockets = Vec::with_capacity(passed.len());
    for mut passed in passed {
        let socket = fd::adopt(passed.number).map_err(|error| {
            let Passed { number, key, .. } = &passed;
            let message = format!("manifest: descriptor {number} ({key:?}): {error}");
            io::Error::new(ErrorKind::InvalidData, message)
        })?;
        // The published crate does not say which file is a socket's.
        if let (Dialect::Published, Some(path)) = (predecessor.dialect, passed.key.path()) {
            passed.inode = inode_of_bound(&socket, path);
        }
        sockets.push((passed, socket));
    }
    point!(EVERYTHING_IS_ADOPTED?);
    Ok(Some(Inheritance { predecessor, generation, sockets, ancestors, ignored }))
}

#[cfg(test)]
impl Predecessor {
    /// One that is known by these pipes.
    pub(crate) fn at(words: OwnedFd, ready: OwnedFd) -> Self {
        let dialect = Dialect::Ours;
        Self { words, ready: Arc::new(ready), alive: None, dialect, unheard: Vec::new() }
    }
}

/// A way to tell the process before us more, for as long as it listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tell(Weak<OwnedFd>);

impl Tell {
    /// Tells it, if it still keeps the sockets. One that cannot be told is gone, or
    /// has let go of them: false.
    pub(crate) fn say(&self, later: &[Later]) -> bool {
        let Some(ready) = self.0.upgrade() else { return false };
        let bytes: Vec<u8> = later.iter().flat_map(|later| later.bytes()).collect();
        // A thread of its own, because it must refuse SIGPIPE for good.
        let tell = move || {
            fd::refuse_sigpipe()?;
            write_all(&ready, &bytes)
        };
        let told = thread::Builder::new().name("ecdysis-tell".to_owned()).spawn(tell);
        match told.map(thread::JoinHandle::join) {
            Ok(Ok(Ok(()))) => return true,
            Err(error) => tracing::warn!(%error, "cannot tell the predecessor"),
            Ok(Ok(Err(error))) => tracing::debug!(%error, "the predecessor is gone"),
            Ok(Err(_)) => {}
        }
        false
    }
}

fn write_all(pipe: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Whether we hold the pipes that the variables speak of. One that does not
/// bind them (the published crate) must at least name two pipes.
fn is_for_us(handoff: &Handoff) -> bool {
    let manifest = fd::inspect_pipe(handoff.manifest, fd::End::Read);
    let ready = fd::inspect_pipe(handoff.ready, fd::End::Write);
    match (manifest, ready, handoff.binding) {
        (Ok(manifest), Ok(ready), Some(binding)) => {
            binding == Binding { manifest, ready, ..binding }
        }
        (Ok(_), Ok(_), None) => true,
        (Err(_), _, _) | (_, Err(_), _) => false,
    }
}

impl Predecessor {
    /// Whose protocol it speaks.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Tells it that we are ready, and what we will not want of what it passed
    /// on. That it is gone is no error: it will be heard ([`Heard::Gone`]), and
    /// we carry on without it.
    ///
    /// The caller's thread must refuse SIGPIPE ([`fd::refuse_sigpipe`]).
    pub(crate) fn say_ready(&self, unwanted: &[u16]) -> io::Result<()> {
        point!(READY_IS_SAID?);
        let bytes = match self.dialect {
            Dialect::Ours => {
                let unwanted = unwanted.iter().map(|&place| Later::Wants { place, wanted: false });
                // In one piece with the readiness, so that it is known when the
                // sockets change hands.
                READY_OURS.iter().copied().chain(unwanted.flat_map(Later::bytes)).collect()
            }
            Dialect::Published => READY.to_vec(),
        };
        match write_all(&self.ready, &bytes) {
            Err(error) if error.raw_os_error() != Some(Errno::EPIPE as i32) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A way to tell it more; the published crate has no ear for it.
    pub(crate) fn tell(&self) -> Tell {
        match self.dialect {
            Dialect::Ours => Tell(Arc::downgrade(&self.ready)),
            Dialect::Published => Tell::default(),
        }
    }

    /// Waits until it says something, or is gone.
    pub(crate) fn hear(&mut self) -> io::Result<Heard> {
        point!(WORD_IS_AWAITED?);
        loop {
            while !self.unheard.is_empty() {
                if let Some(word) = Word::from_byte(self.unheard.remove(0)) {
                    return Ok(Heard::Word(word));
                }
            }
            if !self.read_more()? {
                return Ok(Heard::Gone);
            }
        }
    }

    /// Lets it go: it has said its last word. Waits, for `most` at the longest,
    /// until it has emptied what we do not want of its sockets, or has ended.
    pub(crate) fn part(self, most: Duration) -> io::Result<()> {
        // It goes when this is closed.
        let Self { words, ready, alive, .. } = self;
        drop(ready);
        let mut polled = vec![PollFd::new(words.as_fd(), PollFlags::empty())];
        polled.extend(alive.as_ref().map(|alive| PollFd::new(alive.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        loop {
            match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => {}
                waited => return Ok(waited.map(drop)?),
            }
        }
    }

    fn read_manifest(&mut self) -> io::Result<Manifest> {
        let invalid = |Malformed(why): Malformed| {
            io::Error::new(ErrorKind::InvalidData, format!("manifest: {why}"))
        };
        loop {
            let ended = !self.read_more()?;
            if ended && self.unheard.is_empty() {
                let message = "the predecessor went away before it had passed anything on";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
            }
            if let Decoded::Whole(manifest, dialect, used) =
                decode(&self.unheard, ended).map_err(invalid)?
            {
                self.unheard.drain(..used);
                self.dialect = dialect;
                return Ok(manifest);
            }
        }
    }

    /// Waits for more bytes. False: there will be none.
    fn read_more(&mut self) -> io::Result<bool> {
        let mut timeout = PollTimeout::NONE;
        loop {
            let mut polled = vec![PollFd::new(self.words.as_fd(), PollFlags::POLLIN)];
            polled.extend(
                self.alive.as_ref().map(|alive| PollFd::new(alive.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut polled, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if polled[0].any() == Some(true) {
                break;
            }
            if timeout == PollTimeout::ZERO {
                return Ok(false);
            }
            // It has died; what it wrote just before may have come between the
            // kernel's look at the pipe and its look at the process.
            timeout = PollTimeout::ZERO;
        }
        // As much as the pipe holds: a long manifest is looked at after each read.
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match read(&self.words, &mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.unheard.extend(&buffer[..count]);
                    return Ok(true);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::os::unix::net::UnixListener;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::unistd::pipe2;

    use super::*;
    use crate::manifest::encode;
    use crate::socket::SocketKey;
    use crate::unix_path::inode_of;

    /// At a number that no other test has: one is adopted once.
    fn at(number: i32, fd: impl AsFd) {
        assert_eq!(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(number)), Ok(number));
    }

    /// Their files were left behind at the end.
    #[test]
    fn sockets_of_the_published_crate_have_the_files_they_are_bound_to() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["bound", "removed", "another", "elsewhere"];
        let paths = paths.map(|name| directory.path().join(name));
        let bind = |path| UnixListener::bind(path).unwrap();
        let sockets = paths.each_ref().map(bind);
        fs::remove_file(&paths[1]).unwrap();
        fs::remove_file(&paths[2]).unwrap();
        fs::write(&paths[2], "").unwrap();
        let mut passed = Vec::new();
        for ((number, socket), path) in (992..).zip(&sockets).zip(&paths) {
            at(number, socket);
            passed.push(Passed::new(number, SocketKey::Unix { path: Some(path.clone()) }));
        }
        // It was asked for by another path than it has.
        passed[3].key = SocketKey::Unix { path: Some(paths[0].clone()) };
        let bytes = encode(&Manifest { sockets: passed, ..Manifest::default() });
        let list = bytes.windows(8).position(|window| window == b"ecdysis\0").unwrap();
        let ((words, its_end), (_ready, its_ready)) =
            (pipe2(OFlag::O_CLOEXEC).unwrap(), pipe2(OFlag::O_CLOEXEC).unwrap());
        write_all(&its_end, &bytes[..list]).unwrap();
        drop(its_end);
        at(990, words);
        at(991, its_ready);
        let variables = HashMap::from([
            ("ECDYSIS_RUST_UPGRADE", "yes"),
            ("ECDYSIS_RUST_PIPE_FDS", "990"),
            ("ECDYSIS_RUST_PIPE_READY", "991"),
        ]);
        let found = find(|name| variables.get(name).map(OsString::from)).unwrap().unwrap();
        let inodes: Vec<_> = found.sockets.iter().map(|(passed, _)| passed.inode).collect();
        assert_eq!(inodes, [Some(inode_of(&paths[0]).unwrap()), None, None, None]);
    }

    #[test]
    fn who_tells_a_predecessor_knows_whether_it_can_hear() {
        let (its, ours) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let ours = Arc::new(ours);
        let tell = Tell(Arc::downgrade(&ours));
        assert!(tell.say(&[Later::Stopping]));
        drop(its);
        assert!(!tell.say(&[Later::Stopping]));
        drop(ours);
        assert!(!tell.say(&[Later::Stopping]));
        assert!(!Tell::default().say(&[Later::Stopping]));
    }
}
