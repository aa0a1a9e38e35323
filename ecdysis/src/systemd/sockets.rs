//! Sockets that systemd has bound (sd_listen_fds(3)).
//!
//! A name may stand for several sockets (a `.socket` unit with two
//! `ListenStream=` lines), so a socket is asked for by its name and by what it
//! is. A descriptor leaves the list only when it is handed out or closed, and
//! has one owner all the time.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use crate::sys::fd::adopt;

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";

/// Where the descriptors begin (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// What a descriptor is called that nobody has named.
const UNNAMED: &str = "unknown";

/// The sockets that systemd passed and nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct SystemdSockets(Mutex<Vec<Passed>>);

#[derive(Debug)]
struct Passed {
    name: String,
    fd: OwnedFd,
}

/// What the environment says of them.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    count: i32,
    /// `None`: nobody has named any of them.
    names: Option<Vec<String>>,
}

/// What a socket is, and where. The unix names may be abstract: then they
/// begin with a NUL byte, as the kernel has it. One that is asked for may begin
/// with `@` instead, as in a `.socket` unit, where no path is relative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A TCP listener (or one of MPTCP, which is used as such).
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
    /// A unix stream listener.
    Unix(Option<PathBuf>),
    /// A unix seqpacket listener.
    UnixSeqpacket(Option<PathBuf>),
    /// A unix datagram socket.
    UnixDatagram(Option<PathBuf>),
    /// Anything else, described for people.
    Other(String),
}

impl SystemdSockets {
    /// Takes over what systemd passed to this process, whose pid is `own_pid`.
    /// It can be done once in the life of a process, and must be done before
    /// the process opens anything where those descriptors are said to be.
    ///
    /// # Errors
    /// A variable is missing (but for `LISTEN_FDNAMES`) or says something that
    /// is not so, or the sockets were meant for another process, whose
    /// environment we have: then no descriptor is touched.
    pub(crate) fn read(
        lookup: impl Fn(&str) -> Option<OsString>,
        own_pid: u32,
    ) -> Result<Self, SystemdSocketsReadError> {
        Self::take_over(announced(lookup, own_pid)?, FIRST)
    }

    fn take_over(announced: Announced, first: i32) -> Result<Self, SystemdSocketsReadError> {
        let Announced { count, names } = announced;
        let mut names = names.map(Vec::into_iter);
        let mut passed = Vec::new();
        for number in first..first.saturating_add(count) {
            let name = names.as_mut().and_then(Iterator::next);
            let fd = adopt(number).map_err(|source| {
                SystemdSocketsReadError::EnvironmentVariableError(format!(
                    "{COUNT} is {count}, but descriptor {number} cannot be taken over: {source}"
                ))
            })?;
            passed.push(Passed { name: name.unwrap_or_else(|| UNNAMED.to_owned()), fd });
        }
        Ok(Self(Mutex::new(passed)))
    }

    /// Hands out the first socket that has this name and is what is asked for.
    /// It is blocking or not as systemd made it.
    ///
    /// # Errors
    /// There is none of that name, or none of them is it; those stay, and can
    /// be asked for again.
    pub(crate) fn take(&self, name: &str, asked: &Bound) -> Result<OwnedFd, SystemdSocketError> {
        let mut passed = self.lock();
        let mut others = Vec::new();
        for at in 0..passed.len() {
            if passed[at].name == name {
                let bound = describe(&passed[at].fd)?;
                if bound.answers(asked) {
                    return Ok(passed.remove(at).fd);
                }
                others.push(bound.to_string());
            }
        }
        if others.is_empty() {
            return Err(SystemdSocketError::SocketNotFoundInParent(name.to_owned()));
        }
        let others = others.join(" and ");
        Err(SystemdSocketError::SockInfoIncorrect(format!("{name:?} is {others}, not {asked}")))
    }

    /// Hands out all whose name means something to the caller.
    #[cfg(feature = "systemd_notify")]
    pub(crate) fn take_all<T>(&self, means: impl Fn(&str) -> Option<T>) -> Vec<(T, OwnedFd)> {
        let mut passed = self.lock();
        let mut taken = Vec::new();
        for Passed { name, fd } in std::mem::take(&mut *passed) {
            match means(&name) {
                Some(meaning) => taken.push((meaning, fd)),
                None => passed.push(Passed { name, fd }),
            }
        }
        taken
    }

    /// Closes what nobody has asked for. systemd keeps such a socket open until
    /// its unit is stopped, so whoever connects still waits for an answer that
    /// nobody gives; that is why it is a warning.
    pub(crate) fn close_rest(&self) {
        for Passed { name, fd } in std::mem::take(&mut *self.lock()) {
            let bound = describe(&fd).unwrap_or_else(|error| Bound::Other(error.to_string()));
            tracing::warn!(name, %bound, "closing a socket of systemd that nobody asked for");
        }
    }

    /// As if systemd had passed these.
    #[cfg(all(test, feature = "systemd_notify"))]
    pub(crate) fn as_passed<'a>(sockets: impl Iterator<Item = (&'a str, OwnedFd)>) -> Self {
        let passed = sockets.map(|(name, fd)| Passed { name: name.to_owned(), fd });
        Self(Mutex::new(passed.collect()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Passed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announced(
    lookup: impl Fn(&str) -> Option<OsString>,
    own_pid: u32,
) -> Result<Announced, SystemdSocketsReadError> {
    let wrong = SystemdSocketsReadError::EnvironmentVariableError;
    let variable = |name: &str, accepted: &str| {
        let value = lookup(name)
            .ok_or_else(|| wrong(format!("{name} is not set; it must be {accepted}")))?;
        // A value that is no text becomes one that is no number either.
        Ok((value.to_str().unwrap_or_default().to_owned(), value))
    };
    let accepted = "the pid of the process that systemd started";
    let (text, value) = variable(PID, accepted)?;
    let pid: u32 =
        text.parse().map_err(|_| wrong(format!("{PID} is {value:?}; it must be {accepted}")))?;
    if pid != own_pid {
        return Err(SystemdSocketsReadError::DoesNotMatchListenPid);
    }
    let accepted = "the number of descriptors";
    let (text, value) = variable(COUNT, accepted)?;
    let count = text.parse::<i32>().ok().filter(|count| (0..=i32::MAX - FIRST).contains(count));
    let count =
        count.ok_or_else(|| wrong(format!("{COUNT} is {value:?}; it must be {accepted}")))?;
    // Without a descriptor there is no name, and an empty text is one name.
    let Some(value) = lookup(NAMES).filter(|_| count > 0) else {
        return Ok(Announced { count, names: None });
    };
    let names: Option<Vec<_>> =
        value.to_str().map(|text| text.split(':').map(str::to_owned).collect());
    match names {
        Some(names) if i32::try_from(names.len()) == Ok(count) => {
            Ok(Announced { count, names: Some(names) })
        }
        Some(_) | None => Err(wrong(format!(
            "{NAMES} is {value:?}; it must be {count} names (as {COUNT} says), separated by \":\""
        ))),
    }
}

/// Asks the kernel what a descriptor is.
pub(crate) fn describe(fd: impl AsFd) -> io::Result<Bound> {
    let fd = fd.as_fd();
    let socket = SockRef::from(&fd);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Ok(Bound::Other("something that is no socket".to_owned()));
        }
        Err(error) => return Err(error),
    };
    let (domain, protocol, listens) = (socket.domain()?, socket.protocol()?, socket.is_listener()?);
    let address = socket.local_addr()?;
    Ok(match (domain, kind, listens, address.as_socket()) {
        (Domain::UNIX, Type::STREAM, true, _) => Bound::Unix(unix_name(&address)),
        (Domain::UNIX, Type::SEQPACKET, true, _) => Bound::UnixSeqpacket(unix_name(&address)),
        (Domain::UNIX, Type::DGRAM, _, _) => Bound::UnixDatagram(unix_name(&address)),
        (_, Type::STREAM, true, Some(address))
            if [Some(Protocol::TCP), Some(Protocol::MPTCP)].contains(&protocol) =>
        {
            Bound::Tcp(address)
        }
        (_, Type::DGRAM, _, Some(address)) if protocol == Some(Protocol::UDP) => {
            Bound::Udp(address)
        }
        _ => {
            let what = if listens { "listener" } else { "socket that does not listen" };
            Bound::Other(format!("{domain:?} {kind:?} {what}"))
        }
    })
}

fn unix_name(address: &SockAddr) -> Option<PathBuf> {
    let path = || address.as_pathname().map(Path::to_owned);
    let name = || {
        let name = address.as_abstract_namespace()?;
        Some(PathBuf::from(OsString::from_vec([b"\0", name].concat())))
    };
    path().or_else(name)
}

impl Bound {
    /// Whether this socket is the one that is asked for.
    fn answers(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Tcp(found), Self::Tcp(asked)) | (Self::Udp(found), Self::Udp(asked)) => {
                same_address(found, asked)
            }
            (Self::Unix(found), Self::Unix(asked))
            | (Self::UnixSeqpacket(found), Self::UnixSeqpacket(asked))
            | (Self::UnixDatagram(found), Self::UnixDatagram(asked)) => {
                same_name(found.as_deref(), asked.as_deref())
            }
            _ => false,
        }
    }
}

/// The interface of a link-local address and the flow label are known to the
/// kernel, and need not be asked for (as in sd_is_socket_sockaddr(3)).
fn same_address(found: &SocketAddr, asked: &SocketAddr) -> bool {
    let scopes = match (found, asked) {
        (SocketAddr::V6(found), SocketAddr::V6(asked)) => {
            asked.scope_id() == 0 || asked.scope_id() == found.scope_id()
        }
        _ => true,
    };
    scopes && found.ip() == asked.ip() && found.port() == asked.port()
}

fn same_name(found: Option<&Path>, asked: Option<&Path>) -> bool {
    let bytes = |name: Option<&Path>| name.map(|name| name.as_os_str().as_bytes().to_vec());
    match (bytes(found).as_deref(), bytes(asked).as_deref()) {
        (Some([0, found @ ..]), Some([0 | b'@', asked @ ..])) => found == asked,
        _ => found == asked,
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Tcp(address) => return write!(f, "a TCP listener at {address}"),
            Self::Udp(address) => return write!(f, "a UDP socket at {address}"),
            Self::Other(what) => return f.write_str(what),
            Self::Unix(name) => ("stream listener", name),
            Self::UnixSeqpacket(name) => ("seqpacket listener", name),
            Self::UnixDatagram(name) => ("datagram socket", name),
        };
        match name.as_ref().map(|name| (name, name.as_os_str().as_bytes())) {
            None => write!(f, "a unix {kind} without a name"),
            Some((_, [0, name @ ..])) => {
                write!(f, "a unix {kind} at @{}", String::from_utf8_lossy(name))
            }
            Some((path, _)) => write!(f, "a unix {kind} at {}", path.display()),
        }
    }
}

/// Why systemd's sockets cannot be read.
#[derive(Debug)]
pub enum SystemdSocketsReadError {
    /// A variable is missing, or says something that is not so.
    EnvironmentVariableError(String),
    /// `LISTEN_PID` is another process: the sockets were not passed to us.
    DoesNotMatchListenPid,
    /// They have been read before.
    DuplicateSystemdSocketsRead,
}

impl fmt::Display for SystemdSocketsReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnvironmentVariableError(what) => f.write_str(what),
            Self::DoesNotMatchListenPid => {
                write!(f, "{PID} is not the pid of this process: the sockets are another's")
            }
            Self::DuplicateSystemdSocketsRead => f.write_str("systemd's sockets were read before"),
        }
    }
}

impl Error for SystemdSocketsReadError {}

/// Why a socket cannot be had from systemd.
#[derive(Debug)]
pub enum SystemdSocketError {
    /// `read_systemd_sockets` was not called, or failed.
    SystemdSocketsNotInitialized,
    /// systemd passed no socket of this name, or all have been taken.
    SocketNotFoundInParent(String),
    /// The predecessor passed no such socket on.
    SocketNotFoundInChildRegistry(String),
    /// A system call failed.
    IoError(io::Error),
    /// There are sockets of this name, and none is what was asked for. They
    /// can be asked for again.
    SockInfoIncorrect(String),
}

impl From<io::Error> for SystemdSocketError {
    fn from(error: io::Error) -> Self {
        Self::IoError(error)
    }
}

impl fmt::Display for SystemdSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemdSocketsNotInitialized => f.write_str("systemd's sockets were not read"),
            Self::SocketNotFoundInParent(name) => {
                write!(f, "systemd passed no socket named {name:?} that is not taken yet")
            }
            Self::SocketNotFoundInChildRegistry(what) => {
                write!(f, "predecessor passed no such socket on: {what}")
            }
            Self::IoError(source) => write!(f, "cannot use a socket of systemd: {source}"),
            Self::SockInfoIncorrect(what) => write!(f, "systemd's socket {what}"),
        }
    }
}

impl Error for SystemdSocketError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::IoError(source) => Some(source),
            Self::SystemdSocketsNotInitialized
            | Self::SocketNotFoundInParent(_)
            | Self::SocketNotFoundInChildRegistry(_)
            | Self::SockInfoIncorrect(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use socket2::Socket;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Announced, SystemdSocketsReadError> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        announced(|name| value(name).map(|(_, value)| value.into()), 7)
    }

    /// Sockets as systemd passes them, but from number `first` on: below the
    /// usual limit of 1024, above what the tests open. No test has a number of
    /// another one: a number is adopted once.
    fn passed<const N: usize>(first: i32, sockets: [(&str, OwnedFd); N]) -> SystemdSockets {
        let mut names = Vec::new();
        for (number, (name, fd)) in (first..).zip(sockets) {
            let copy = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(number)).unwrap();
            assert_eq!(copy, number, "somebody has that number");
            names.push(name.to_owned());
        }
        let count = N.try_into().unwrap();
        SystemdSockets::take_over(Announced { count, names: Some(names) }, first).unwrap()
    }

    fn tcp() -> (SocketAddr, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), listener.into())
    }

    fn accepts(listener: OwnedFd, address: SocketAddr) -> bool {
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = TcpListener::from(listener).accept().unwrap();
        peer == client.local_addr().unwrap()
    }

    #[test]
    fn names_are_those_of_the_variable_or_unknown() {
        let named = read(&[(PID, "7"), (COUNT, "2"), (NAMES, "web:web")]).unwrap();
        let names = Some(vec!["web".to_owned(), "web".to_owned()]);
        assert_eq!(named, Announced { count: 2, names });
        let unnamed = read(&[(PID, "7"), (COUNT, "2")]).unwrap();
        assert_eq!(unnamed, Announced { count: 2, names: None });
        for names in [None, Some((NAMES, ""))] {
            let variables: Vec<_> = [(PID, "7"), (COUNT, "0")].into_iter().chain(names).collect();
            assert_eq!(read(&variables).unwrap(), Announced { count: 0, names: None });
        }
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_it_may_be() {
        let most = (i32::MAX - 2).to_string();
        for (variables, name, accepted) in [
            (&[][..], PID, "pid"),
            (&[(COUNT, "1")], PID, "pid"),
            (&[(PID, "x"), (COUNT, "1")], PID, "pid"),
            (&[(PID, "7")], COUNT, "number"),
            (&[(PID, "7"), (COUNT, "-1")], COUNT, "number"),
            (&[(PID, "7"), (COUNT, "")], COUNT, "number"),
            (&[(PID, "7"), (COUNT, &most)], COUNT, "number"),
            (&[(PID, "7"), (COUNT, "2"), (NAMES, "a")], NAMES, "2 names"),
            (&[(PID, "7"), (COUNT, "2"), (NAMES, "a:b:c")], NAMES, "2 names"),
        ] {
            match read(variables) {
                Err(SystemdSocketsReadError::EnvironmentVariableError(text)) => {
                    assert!(text.starts_with(name) && text.contains(accepted), "{text}");
                }
                other => panic!("{variables:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        let sockets_of = |own_pid: u32| {
            let value = |name: &str| {
                [(PID, "8"), (COUNT, "0")]
                    .into_iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value)
            };
            SystemdSockets::read(|name| value(name).map(OsString::from), own_pid)
        };
        let error = sockets_of(7).unwrap_err();
        assert!(matches!(error, SystemdSocketsReadError::DoesNotMatchListenPid), "{error}");
        assert!(sockets_of(8).unwrap().lock().is_empty());
        // Whatever else is said to it does not concern us.
        let error = read(&[(PID, "8"), (COUNT, "nonsense")]).unwrap_err();
        assert!(matches!(error, SystemdSocketsReadError::DoesNotMatchListenPid), "{error}");
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_an_error_and_the_others_are_closed() {
        let (address, listener) = tcp();
        fcntl(&listener, FcntlArg::F_DUPFD_CLOEXEC(960)).unwrap();
        drop(listener);
        let announced = Announced { count: 2, names: None };
        let error = SystemdSockets::take_over(announced, 960).unwrap_err().to_string();
        assert!(error.contains(COUNT) && error.contains("961"), "{error}");
        crate::sys::spawn::no_copy_is_left();
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn descriptors_do_not_cross_exec_and_are_unknown_if_nobody_named_them() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = fcntl(&socket, FcntlArg::F_DUPFD(965)).unwrap();
        assert_eq!(number, 965);
        let sockets = SystemdSockets::take_over(Announced { count: 1, names: None }, 965).unwrap();
        let asked = Bound::Udp(socket.local_addr().unwrap());
        let taken = sockets.take(UNNAMED, &asked).unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&taken, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn sockets_of_one_name_are_told_apart_by_their_address() {
        let ((one, first), (two, second), (other, third)) = (tcp(), tcp(), tcp());
        let sockets = passed(970, [("web", first), ("web", second), ("stored", third)]);
        assert!(accepts(sockets.take("web", &Bound::Tcp(two)).unwrap(), two));
        assert!(accepts(sockets.take("web", &Bound::Tcp(one)).unwrap(), one));
        assert!(accepts(sockets.take("stored", &Bound::Tcp(other)).unwrap(), other));
    }

    #[test]
    fn a_wrong_address_loses_nothing_and_nothing_is_handed_out_twice() {
        let (address, listener) = tcp();
        let sockets = passed(975, [("web", listener)]);
        let wrong = SocketAddr::from(([127, 0, 0, 2], address.port()));
        for asked in [Bound::Tcp(wrong), Bound::Udp(address)] {
            match sockets.take("web", &asked) {
                Err(SystemdSocketError::SockInfoIncorrect(text)) => {
                    let there = Bound::Tcp(address).to_string();
                    assert!(text.contains(&there) && text.contains(&asked.to_string()), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        let not_found = |name: &str| match sockets.take(name, &Bound::Tcp(address)) {
            Err(SystemdSocketError::SocketNotFoundInParent(missing)) => missing == name,
            other => panic!("{other:?}"),
        };
        assert!(not_found("web2"));
        let taken = sockets.take("web", &Bound::Tcp(address)).unwrap();
        assert!(not_found("web"));
        assert!(accepts(taken, address));
    }

    #[test]
    fn what_nobody_asked_for_is_closed() {
        let ((one, first), (two, second)) = (tcp(), tcp());
        let sockets = passed(980, [("web", first), ("web", second)]);
        let taken = sockets.take("web", &Bound::Tcp(one)).unwrap();
        sockets.close_rest();
        crate::sys::spawn::no_copy_is_left();
        let refused = TcpStream::connect(two).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(accepts(taken, one));
    }

    #[test]
    fn the_kernel_says_what_a_descriptor_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (address, listener) = tcp();
        assert_eq!(describe(&listener).unwrap(), Bound::Tcp(address));
        let client = TcpStream::connect(address).unwrap();
        assert!(
            matches!(describe(&client).unwrap(), Bound::Other(text) if text.contains("AF_INET"))
        );
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(describe(&udp).unwrap(), Bound::Udp(udp.local_addr().unwrap()));

        let stream = UnixListener::bind(path("s")).unwrap();
        assert_eq!(describe(&stream).unwrap(), Bound::Unix(Some(path("s"))));
        let seqpacket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        seqpacket.bind(&SockAddr::unix(path("q")).unwrap()).unwrap();
        assert!(matches!(describe(&seqpacket).unwrap(), Bound::Other(_)), "it does not listen yet");
        seqpacket.listen(1).unwrap();
        assert_eq!(describe(&seqpacket).unwrap(), Bound::UnixSeqpacket(Some(path("q"))));
        let datagram = UnixDatagram::bind(path("d")).unwrap();
        assert_eq!(describe(&datagram).unwrap(), Bound::UnixDatagram(Some(path("d"))));
        let unbound = UnixDatagram::unbound().unwrap();
        assert_eq!(describe(&unbound).unwrap(), Bound::UnixDatagram(None));
        let (pair, _other) = UnixStream::pair().unwrap();
        assert!(matches!(describe(&pair).unwrap(), Bound::Other(text) if text.contains("AF_UNIX")));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(
            matches!(describe(&null).unwrap(), Bound::Other(text) if text.contains("no socket"))
        );
    }

    #[test]
    fn an_abstract_name_keeps_its_bytes_and_may_be_asked_for_with_an_at() {
        let name = format!("ecdysis-sockets-{}", std::process::id());
        let bytes = [name.as_bytes(), b"\xff/\0"].concat();
        let address = UnixAddr::from_abstract_name(&bytes).unwrap();
        let bound = describe(UnixListener::bind_addr(&address).unwrap()).unwrap();
        let asked = |first: &[u8], bytes: &[u8]| {
            Bound::Unix(Some(OsString::from_vec([first, bytes].concat()).into()))
        };
        assert_eq!(bound, asked(b"\0", &bytes));
        assert!(bound.answers(&asked(b"@", &bytes)));
        assert!(!bound.answers(&asked(b"@", name.as_bytes())));
        assert!(!bound.answers(&asked(b"", &bytes)));
        assert!(bound.to_string().contains(&format!("@{name}")), "{bound}");
    }

    #[test]
    fn an_address_answers_with_or_without_its_interface() {
        let tcp = |text: &str| Bound::Tcp(text.parse().unwrap());
        assert!(tcp("[fe80::1%2]:80").answers(&tcp("[fe80::1]:80")));
        assert!(tcp("[fe80::1%2]:80").answers(&tcp("[fe80::1%2]:80")));
        assert!(!tcp("[fe80::1%2]:80").answers(&tcp("[fe80::1%3]:80")));
        assert!(!tcp("[::]:80").answers(&tcp("0.0.0.0:80")));
        assert!(!tcp("0.0.0.0:80").answers(&tcp("0.0.0.0:81")));
        let unix = |path: &str| Bound::Unix(Some(path.into()));
        assert!(unix("/run/x").answers(&unix("/run//x")));
        assert!(!unix("/run/x").answers(&unix("/run/y")));
        assert!(!unix("/run/x").answers(&Bound::Unix(None)));
        assert!(!Bound::UnixSeqpacket(None).answers(&Bound::Unix(None)));
    }
}
