//! Unix sockets that have a path: binding it, recovering a stale one, and
//! removing it only while it is still ours.
//!
//! A socket file outlives its socket: nobody removes it when the process that
//! bound it is killed, and the next `bind` fails with `EADDRINUSE`. To remove
//! it blindly would steal the path from a process that lives. So we ask first,
//! and by a means that the other process does not notice (see [`is_stale`]).

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchownat};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use crate::error::at_path;
use crate::sys::mode::change_mode;

/// How many bytes a path or an abstract name may have (unix(7): `sun_path` has
/// 108, one of them for the null byte).
const LONGEST: usize = 107;

/// How often, and how far apart, we try to be alone with a directory. Who holds
/// its lock as we do holds it for microseconds; who does not is not waited for.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// How a unix socket is bound.
///
/// ```
/// let options = ecdysis::UnixOptions::new().mode(0o660).owner(None, Some(33)).backlog(1024);
/// ```
#[derive(Clone, Debug)]
pub struct UnixOptions {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    backlog: i32,
}

impl UnixOptions {
    /// The mode that the umask gives, the owner that the process has, and a
    /// backlog of 4096.
    #[must_use]
    pub fn new() -> Self {
        Self { mode: None, uid: None, gid: None, backlog: 4096 }
    }

    /// The permission bits of the socket file, whatever the umask. To connect
    /// or to send, a process needs the permission to write (unix(7)). At no
    /// moment do the bits allow more than these. Where `/proc` is missing, this
    /// takes Linux 6.6.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// The user and the group that own the socket file; `None` leaves one as
    /// it is. To give a file to another user takes `CAP_CHOWN`.
    ///
    /// Nobody can connect to a listener before its owner is set. A datagram
    /// socket has no such moment: without [`UnixOptions::mode`], the group of
    /// this process may send to it for an instant, if the umask allows that.
    #[must_use]
    pub fn owner(self, uid: Option<u32>, gid: Option<u32>) -> Self {
        Self { uid, gid, ..self }
    }

    /// How many connections may wait to be accepted. The kernel cuts it to
    /// `net.core.somaxconn`. A datagram socket has none.
    #[must_use]
    pub fn backlog(self, backlog: i32) -> Self {
        Self { backlog, ..self }
    }
}

impl Default for UnixOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The kinds of unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Seqpacket,
    Datagram,
}

/// What tells the socket file we made from one that replaced it.
///
/// A file system may give the number of a removed file to the next one (ext4
/// does so at once), but not while the socket that was bound to it is open in
/// any process: that keeps the inode, removed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Inode {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Binds a socket to `path`, sets mode and owner, and then has it listen,
/// unless it is for datagrams. It is close-on-exec and blocks.
///
/// A stale socket file is replaced.
///
/// # Errors
/// `AddrInUse` if a process has a socket there, or if a file is there that is
/// no socket; `InvalidInput` if the path is empty, too long or has a null byte,
/// or if the mode has other than permission bits; else what the system call
/// said. Nothing is left behind.
pub(crate) fn bind(kind: Kind, path: &Path, options: &UnixOptions) -> io::Result<(OwnedFd, Inode)> {
    let address = address(path)?;
    let fd = create(kind, options)?;
    match socket::bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            remove_stale(path)?;
            socket::bind(fd.as_raw_fd(), &address)
        }
        bound => bound,
    }
    .map_err(|errno| at_path("bind a unix socket to", path, errno.into()))?;
    let inode = inode_of(path)?;
    if let Err(error) = publish(kind, &fd, path, options) {
        // The first error is the one that says what is wrong.
        let _ = unlink_if(path, inode);
        return Err(error);
    }
    Ok((fd, inode))
}

/// Binds a socket to a name in the abstract namespace, which has no file: it
/// is free again as soon as the socket is closed everywhere.
///
/// # Errors
/// `AddrInUse` if a process has it; `InvalidInput` if it is empty or too long,
/// or if the options have a mode or an owner, which it cannot have: everybody
/// in the network namespace may connect.
pub(crate) fn bind_abstract(kind: Kind, name: &[u8], options: &UnixOptions) -> io::Result<OwnedFd> {
    let shown = name.escape_ascii();
    if name.is_empty() || name.len() > LONGEST {
        return Err(invalid(format!(
            "abstract name \"{shown}\" has {} bytes: 1 to {LONGEST} are accepted",
            name.len()
        )));
    }
    if options.mode.is_some() || options.uid.is_some() || options.gid.is_some() {
        return Err(invalid(format!(
            "abstract name \"{shown}\" is no file: it has neither mode nor owner"
        )));
    }
    let fd = create(kind, options)?;
    socket::bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name)?).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("cannot bind abstract name \"{shown}\": {error}"))
    })?;
    listen(kind, &fd, options)?;
    Ok(fd)
}

/// The inode of what is at `path`: of a link itself, not of what it leads to.
///
/// # Errors
/// What lstat(2) said.
pub(crate) fn inode_of(path: &Path) -> io::Result<Inode> {
    let metadata = fs::symlink_metadata(path).map_err(|error| at_path("look at", path, error))?;
    Ok(Inode::of(&metadata))
}

/// The inode of the socket file at `path`, if that is what `socket` was bound to,
/// as far as its own address tells; for a socket of which nobody has said it.
pub(crate) fn inode_of_bound(socket: impl AsFd, path: &Path) -> Option<Inode> {
    let address = SockRef::from(&socket).local_addr().ok()?;
    let metadata = fs::symlink_metadata(path).ok()?;
    let agree = address.as_pathname() == Some(path) && metadata.file_type().is_socket();
    agree.then(|| Inode::of(&metadata))
}

/// Removes the file at `path` if it is still `inode`, and leaves anything else
/// there alone. Call it while the socket is still open ([`Inode`] says why).
///
/// Between the look and the removal another process could put its own socket
/// there, and would lose it. It would first have to remove ours, which one that
/// asks as we do does not, since ours is alive.
///
/// # Errors
/// What the system call said; a file that is gone is no error.
pub(crate) fn unlink_if(path: &Path, inode: Inode) -> io::Result<()> {
    let removed = fs::symlink_metadata(path).and_then(|metadata| {
        if Inode::of(&metadata) == inode { fs::remove_file(path) } else { Ok(()) }
    });
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(at_path("remove", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn address(path: &Path) -> io::Result<UnixAddr> {
    let length = path.as_os_str().len();
    // The kernel would take an empty one for a wish to choose a name itself.
    if length == 0 || length > LONGEST {
        return Err(invalid(format!(
            "unix socket path {path:?} has {length} bytes: 1 to {LONGEST} are accepted"
        )));
    }
    UnixAddr::new(path)
        .map_err(|_| invalid(format!("there is a null byte in the unix socket path {path:?}")))
}

/// A socket that will have, at the moment it is bound, no permissions but the
/// owner's: the kernel makes the file with the mode of the socket's own inode,
/// less the umask (`unix_bind_bsd`). The umask belongs to the whole process, so
/// it is not for us to change.
fn create(kind: Kind, options: &UnixOptions) -> io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SockType::Stream,
        Kind::Seqpacket => SockType::SeqPacket,
        Kind::Datagram => SockType::Datagram,
    };
    let fd = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(mode) = options.mode {
        fchmod(&fd, permissions(mode)? & Mode::S_IRWXU)?;
    }
    Ok(fd)
}

fn permissions(mode: u32) -> io::Result<Mode> {
    let all = Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO;
    Mode::from_bits(mode)
        .filter(|mode| all.contains(*mode))
        .ok_or_else(|| invalid(format!("mode {mode:#o} of a unix socket: 0 to 0o777 are accepted")))
}

/// Lets others in. The group comes first, since the mode is meant for it; the
/// user comes last, since a file that is no longer ours is not ours to change.
fn publish(kind: Kind, fd: &OwnedFd, path: &Path, options: &UnixOptions) -> io::Result<()> {
    let own = |uid: Option<u32>, gid: Option<u32>| {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        fchownat(AT_FDCWD, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| at_path("change the owner of", path, errno.into()))
    };
    if options.gid.is_some() {
        own(None, options.gid)?;
    }
    if let Some(mode) = options.mode {
        change_mode(path, permissions(mode)?)
            .map_err(|error| at_path("change the mode of", path, error))?;
    }
    if options.uid.is_some() {
        own(options.uid, None)?;
    }
    listen(kind, fd, options).map_err(|error| at_path("listen on", path, error))
}

fn listen(kind: Kind, fd: &OwnedFd, options: &UnixOptions) -> io::Result<()> {
    match kind {
        Kind::Stream | Kind::Seqpacket => SockRef::from(fd).listen(options.backlog),
        Kind::Datagram => Ok(()),
    }
}

/// Removes the socket file at `path` if no process has the socket.
///
/// Of several processes that do this at once, by this library, one at a time
/// does it. Against others a window remains between the last look and the
/// removal: a socket put there in that instant, by a program that had itself
/// removed the stale file, would lose its path.
fn remove_stale(path: &Path) -> io::Result<()> {
    let _alone = lock_directory(path);
    let in_use = |why: &str| {
        let message = format!("cannot bind a unix socket to {path:?}: {why}");
        Err(io::Error::new(io::ErrorKind::AddrInUse, message))
    };
    // As long as this is open, no other file gets the inode's number.
    let mut pin = OpenOptions::new();
    let pinned = match pin.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        pinned => pinned.map_err(|error| at_path("look at", path, error))?,
    };
    let metadata = pinned.metadata()?;
    if !metadata.file_type().is_socket() {
        return in_use("what is there is no socket, and is left alone");
    }
    match is_stale(path) {
        Ok(true) => {
            tracing::info!(?path, "removing the socket file of a process that is gone");
            unlink_if(path, Inode::of(&metadata))
        }
        Ok(false) => in_use("a running process has it"),
        Err(error) => {
            in_use(&format!("a running process may have it, it cannot be asked: {error}"))
        }
    }
}

/// Whether no process has a socket that is bound to the file at `path`, or the
/// file is gone.
///
/// The kernel is asked by connecting a *datagram* socket. It looks for the
/// socket that is bound to the file, which fails with `ECONNREFUSED` if there is
/// none, and only then compares the kinds (`unix_find_bsd`). So a live listener
/// gives `EPROTOTYPE`, also if its queue is full or it does not listen yet, and
/// never has a connection from us: to a control socket that would be a command.
/// A live datagram socket does not notice that another has it as its peer.
fn is_stale(path: &Path) -> io::Result<bool> {
    let probe = create(Kind::Datagram, &UnixOptions::new())?;
    match socket::connect(probe.as_raw_fd(), &address(path)?) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(true),
        // EPERM: a datagram socket that listens to another peer only.
        Ok(()) | Err(Errno::EPROTOTYPE | Errno::EPERM) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Keeps other processes that recover a stale path in the same directory from
/// doing so at the same time, until it is dropped. `None` if the directory
/// cannot be locked or someone else holds the lock and holds it.
fn lock_directory(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or_else(|| Path::new("."))).ok()?;
    for _ in 0..TRIES {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::sync::Barrier;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::unistd::{getegid, geteuid};
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::sys::spawn::no_copy_is_left;

    const KINDS: [Kind; 3] = [Kind::Stream, Kind::Seqpacket, Kind::Datagram];

    fn place() -> (TempDir, PathBuf) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("socket");
        (directory, path)
    }

    fn simply(kind: Kind, path: &Path) -> io::Result<(OwnedFd, Inode)> {
        bind(kind, path, &UnixOptions::new())
    }

    fn leave_stale(kind: Kind, path: &Path) {
        drop(simply(kind, path).unwrap());
        no_copy_is_left();
    }

    fn assert_in_use(kind: Kind, path: &Path, why: &str) {
        let error = simply(kind, path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let message = error.to_string();
        assert!(message.contains(&format!("{path:?}")) && message.contains(why), "{message}");
    }

    fn reaches(path: &Path) -> bool {
        UnixStream::connect(path).is_ok() || {
            UnixDatagram::unbound().unwrap().connect(path).is_ok()
        }
    }

    #[test]
    fn each_kind_is_bound_listens_and_is_close_on_exec() {
        for kind in KINDS {
            let (_directory, path) = place();
            let (fd, inode) = simply(kind, &path).unwrap();
            assert_eq!(inode, inode_of(&path).unwrap());
            let socket = SockRef::from(&fd);
            assert_eq!(socket.is_listener().unwrap(), kind != Kind::Datagram);
            let kind = match kind {
                Kind::Stream => socket2::Type::STREAM,
                Kind::Seqpacket => socket2::Type::SEQPACKET,
                Kind::Datagram => socket2::Type::DGRAM,
            };
            assert_eq!(socket.r#type().unwrap(), kind);
            let flags = fcntl(&fd, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn a_stale_path_is_bound_anew_whatever_kind_it_had() {
        for before in KINDS {
            for kind in KINDS {
                let (_directory, path) = place();
                leave_stale(before, &path);
                let (_fd, inode) = simply(kind, &path).unwrap();
                assert_eq!(inode, inode_of(&path).unwrap());
                assert!(kind == Kind::Seqpacket || reaches(&path));
            }
        }
    }

    #[test]
    fn a_live_path_is_in_use_whatever_kind_it_has() {
        for before in KINDS {
            for kind in KINDS {
                let (_directory, path) = place();
                let (_fd, inode) = simply(before, &path).unwrap();
                assert_in_use(kind, &path, "a running process has it");
                assert_eq!(inode_of(&path).unwrap(), inode);
            }
        }
    }

    #[test]
    fn a_live_listener_gets_no_connection_from_the_question() {
        let (_directory, path) = place();
        let (fd, _) = simply(Kind::Stream, &path).unwrap();
        assert_in_use(Kind::Stream, &path, "a running process has it");
        let listener = UnixListener::from(fd);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_live_listener_with_a_full_queue_is_in_use_and_not_waited_for() {
        let (_directory, path) = place();
        let (_fd, _) = bind(Kind::Stream, &path, &UnixOptions::new().backlog(0)).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let another = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let another = another.unwrap();
        another.set_nonblocking(true).unwrap();
        let full = another.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_in_use(Kind::Stream, &path, "a running process has it");
    }

    #[test]
    fn a_socket_that_does_not_listen_yet_is_not_stolen() {
        let (_directory, path) = place();
        let fd = create(Kind::Stream, &UnixOptions::new()).unwrap();
        socket::bind(fd.as_raw_fd(), &address(&path).unwrap()).unwrap();
        let refused = UnixStream::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_in_use(Kind::Stream, &path, "a running process has it");
    }

    #[test]
    fn a_datagram_socket_that_listens_to_another_only_is_not_stolen() {
        let (directory, path) = place();
        let peer = UnixDatagram::bind(directory.path().join("peer")).unwrap();
        let (fd, _) = simply(Kind::Datagram, &path).unwrap();
        let socket = UnixDatagram::from(fd);
        socket.connect_addr(&peer.local_addr().unwrap()).unwrap();
        assert_in_use(Kind::Datagram, &path, "a running process has it");
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let (directory, path) = place();
        fs::write(&path, "precious").unwrap();
        assert_in_use(Kind::Stream, &path, "no socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_in_use(Kind::Stream, directory.path(), "no socket");
        // A link to a stale socket is not the socket.
        let (stale, link) = (directory.path().join("stale"), directory.path().join("link"));
        leave_stale(Kind::Stream, &stale);
        symlink(&stale, &link).unwrap();
        assert_in_use(Kind::Stream, &link, "no socket");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && stale.exists());
    }

    #[test]
    fn of_many_that_recover_a_stale_path_one_gets_it_and_keeps_it() {
        for _ in 0..50 {
            let (_directory, path) = place();
            leave_stale(Kind::Stream, &path);
            let barrier = Barrier::new(4);
            let results: Vec<_> = thread::scope(|scope| {
                let one = || {
                    barrier.wait();
                    simply(Kind::Stream, &path)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1);
            for error in lost {
                assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
            assert!(reaches(&path));
        }
    }

    #[test]
    fn a_lock_that_is_never_released_does_not_keep_the_service_down() {
        let (directory, path) = place();
        leave_stale(Kind::Stream, &path);
        let lock = File::open(directory.path()).unwrap();
        lock.lock().unwrap();
        assert!(lock_directory(&path).is_none());
        simply(Kind::Stream, &path).unwrap();
    }

    #[test]
    fn only_the_very_inode_is_removed() {
        let (directory, path) = place();
        let (_ours, inode) = simply(Kind::Stream, &path).unwrap();
        fs::rename(&path, directory.path().join("ours")).unwrap();
        let (_theirs, other) = simply(Kind::Stream, &path).unwrap();
        unlink_if(&path, inode).unwrap();
        assert_eq!(inode_of(&path).unwrap(), other);
        unlink_if(&path, other).unwrap();
        assert!(!path.exists());
        unlink_if(&path, other).unwrap();
    }

    #[test]
    fn the_number_of_the_inode_is_ours_while_the_socket_is_open() {
        let (_directory, path) = place();
        let (_ours, inode) = simply(Kind::Stream, &path).unwrap();
        fs::remove_file(&path).unwrap();
        let (_theirs, other) = simply(Kind::Stream, &path).unwrap();
        assert_ne!(inode, other);
    }

    #[test]
    fn what_cannot_be_removed_is_named() {
        let (_directory, path) = place();
        fs::write(&path, "").unwrap();
        let error = unlink_if(&path.join("below"), inode_of(&path).unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(error.to_string().contains("below"), "{error}");
    }

    #[test]
    fn the_mode_is_the_one_asked_for_whatever_the_umask() {
        for mode in [0o666, 0o660, 0o600, 0o777, 0o200] {
            let (_directory, path) = place();
            let (_fd, _) = bind(Kind::Stream, &path, &UnixOptions::new().mode(mode)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn at_the_moment_of_the_bind_only_the_owner_is_let_in() {
        let (_directory, path) = place();
        let fd = create(Kind::Datagram, &UnixOptions::new().mode(0o666)).unwrap();
        socket::bind(fd.as_raw_fd(), &address(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn a_mode_of_more_than_permissions_is_refused_and_leaves_nothing() {
        let (_directory, path) = place();
        let error = bind(Kind::Stream, &path, &UnixOptions::new().mode(0o1777)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("0o1777"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn the_owner_is_the_one_asked_for_or_nothing_is_left() {
        let (_directory, path) = place();
        let (uid, gid) = if geteuid().is_root() { (4711, 4712) } else { (0, getegid().as_raw()) };
        let options = UnixOptions::new().mode(0o640).owner(Some(uid), Some(gid));
        match bind(Kind::Stream, &path, &options) {
            Ok(_) => {
                let metadata = fs::metadata(&path).unwrap();
                assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
                assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
            }
            Err(error) => {
                assert!(!geteuid().is_root() && error.to_string().contains("owner"), "{error}");
                assert!(!path.exists());
            }
        }
    }

    #[test]
    fn the_backlog_is_the_one_asked_for() {
        let (_directory, path) = place();
        let (_fd, _) = bind(Kind::Stream, &path, &UnixOptions::new().backlog(2)).unwrap();
        let mut waiting = Vec::new();
        // One more than the backlog, as the kernel counts.
        for _ in 0..4 {
            let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
            let client = client.unwrap();
            client.set_nonblocking(true).unwrap();
            let connected = client.connect(&socket2::SockAddr::unix(&path).unwrap());
            waiting.push((client, connected.is_ok()));
        }
        let connected: Vec<_> = waiting.iter().map(|(_, connected)| *connected).collect();
        assert_eq!(connected, [true, true, true, false]);
    }

    #[test]
    fn a_path_that_is_not_utf8_works() {
        let directory = tempdir().unwrap();
        let path = directory.path().join(OsString::from_vec(vec![b'a', 0xff, 0xfe]));
        leave_stale(Kind::Stream, &path);
        let (_fd, inode) = simply(Kind::Stream, &path).unwrap();
        assert!(reaches(&path));
        unlink_if(&path, inode).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_path_of_107_bytes_works_and_a_longer_one_is_named_with_the_limit() {
        let directory = tempdir().unwrap();
        let room = LONGEST - directory.path().as_os_str().len() - 1;
        let longest = directory.path().join("a".repeat(room));
        let (_fd, _) = simply(Kind::Stream, &longest).unwrap();
        assert!(reaches(&longest));
        let longer = directory.path().join("a".repeat(room + 1));
        let error = simply(Kind::Stream, &longer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let message = error.to_string();
        assert!(message.contains(&format!("{longer:?}")) && message.contains("107"), "{message}");
    }

    #[test]
    fn a_path_that_is_no_path_is_refused() {
        for path in ["", "a\0b", "\0abstract"] {
            let error = simply(Kind::Stream, Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}: {error}");
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_path() {
        let (_directory, path) = place();
        let error = simply(Kind::Stream, &path.join("below")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("socket/below"), "{error}");
    }

    #[test]
    fn an_abstract_name_is_in_use_while_its_socket_is_open() {
        for kind in KINDS {
            let name = format!("ecdysis test \u{0} {} {kind:?}", std::process::id());
            let bound = bind_abstract(kind, name.as_bytes(), &UnixOptions::new()).unwrap();
            assert_eq!(SockRef::from(&bound).is_listener().unwrap(), kind != Kind::Datagram);
            let again = bind_abstract(kind, name.as_bytes(), &UnixOptions::new()).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
            assert!(again.to_string().contains("ecdysis test \\x00"), "{again}");
            drop(bound);
            no_copy_is_left();
            bind_abstract(kind, name.as_bytes(), &UnixOptions::new()).unwrap();
        }
    }

    #[test]
    fn an_abstract_name_that_cannot_be_is_refused() {
        let options = UnixOptions::new();
        let named = options.clone().mode(0o600);
        let owned = options.clone().owner(None, Some(0));
        for (name, options) in [
            (vec![], options.clone()),
            (vec![b'a'; 108], options),
            (b"ecdysis".to_vec(), named),
            (b"ecdysis".to_vec(), owned),
        ] {
            let error = bind_abstract(Kind::Stream, &name, &options).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
}
