//! Telling systemd what this process does (sd_notify(3)).
//!
//! A message is a datagram of `KEY=value` lines. Nobody answers, and nothing here
//! waits for long: a manager that is gone or does not read costs an error that the
//! caller may log, and never the service.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
#[cfg(feature = "systemd_sockets")]
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "systemd_sockets")]
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};

/// The fields of a message. To say two things at once, concatenate them.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// Bytes of a message. A longer one is dropped whole by systemd
/// (`NOTIFY_BUFFER_MAX` in its sources, the size of `PIPE_BUF`).
const MESSAGE_MOST: usize = 4096;
/// Bytes of a status, so that it cannot cost the message it travels in.
const STATUS_MOST: usize = 1024;
/// Where systemd ends a field (the first two), or refuses the message.
const SEPARATORS: [char; 3] = ['\n', '\r', '\0'];

/// How long a message waits that must not get lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the manager. Clones share one socket.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Not connected: the address is looked up for each message, so that the
    /// socket of a manager that was restarted is found again.
    socket: Socket,
    manager: SockAddr,
}

impl Notifier {
    /// Takes the value of `NOTIFY_SOCKET`, and makes sure that somebody is
    /// there now. Who goes away later costs an error in [`Notifier::send`].
    pub(crate) fn connect(socket: Option<&OsStr>) -> Result<Self, SystemdNotifierError> {
        let value = socket.ok_or(SystemdNotifierError::NotifySocketUnset)?;
        let manager = address(value).map_err(SystemdNotifierError::SocketConnectError)?;
        let unbound = || unbound().map_err(SystemdNotifierError::SocketCreateError);
        unbound()?.connect(&manager).map_err(SystemdNotifierError::SocketConnectError)?;
        Ok(Self(Arc::new(Inner { socket: unbound()?, manager })))
    }

    /// Sends one message, without waiting.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED` if nobody is there, `EAGAIN` if the queue is
    /// full, `InvalidInput` (and nothing is sent) if a field has a line break
    /// or the message is too long for systemd.
    pub(crate) fn send<K: AsRef<str>, V: AsRef<str>>(&self, fields: &[(K, V)]) -> io::Result<()> {
        self.send_with_flags(fields, libc::MSG_DONTWAIT)
    }

    /// The same; while the queue is full, waits, for a second at most.
    pub(crate) fn send_patiently<K: AsRef<str>, V: AsRef<str>>(
        &self,
        fields: &[(K, V)],
    ) -> io::Result<()> {
        self.send_with_flags(fields, 0)
    }

    fn send_with_flags<K: AsRef<str>, V: AsRef<str>>(
        &self,
        fields: &[(K, V)],
        flags: i32,
    ) -> io::Result<()> {
        let message = message(fields)?;
        let flags = flags | libc::MSG_NOSIGNAL;
        self.0.socket.send_to_with_flags(message.as_bytes(), &self.0.manager, flags)?;
        Ok(())
    }

    /// The same, and a descriptor with it.
    #[cfg(feature = "systemd_sockets")]
    pub(crate) fn send_with(&self, fields: &Fields, fd: BorrowedFd<'_>) -> io::Result<()> {
        let message = message(fields)?;
        let socket = unbound()?;
        socket.connect(&self.0.manager)?;
        let fds = [fd.as_raw_fd()];
        sendmsg::<()>(
            socket.as_raw_fd(),
            &[io::IoSlice::new(message.as_bytes())],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        Ok(())
    }
}

/// Waits only where it is not told that it must not.
fn unbound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Where `NOTIFY_SOCKET` leads: to a path, or to an abstract name after `@`.
fn address(value: &OsStr) -> io::Result<SockAddr> {
    match value.as_bytes() {
        [b'/', ..] => SockAddr::unix(value),
        // The kernel knows an abstract name by the NUL in front.
        [b'@', name @ ..] if !name.is_empty() => {
            SockAddr::unix(OsString::from_vec([b"\0", name].concat()))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("it is {value:?}; it may be an absolute path, or \"@\" and an abstract name"),
        )),
    }
}

fn message<K: AsRef<str>, V: AsRef<str>>(fields: &[(K, V)]) -> io::Result<String> {
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let mut lines = Vec::new();
    for (key, value) in fields {
        let line = format!("{}={}", key.as_ref(), value.as_ref());
        if line.contains(SEPARATORS) {
            let key = key.as_ref();
            return invalid(format!("field {key:?} has a line break; it must be one line"));
        }
        lines.push(line);
    }
    let message = lines.join("\n");
    let length = message.len();
    if length > MESSAGE_MOST {
        return invalid(format!("message has {length} bytes; systemd takes {MESSAGE_MOST}"));
    }
    Ok(message)
}

/// The process serves, or a reload is over.
pub(crate) fn ready() -> Fields {
    vec![("READY", "1".to_owned())]
}

/// The same, and `pid` is the main process from now on.
pub(crate) fn ready_main(pid: u32) -> Fields {
    [ready(), main_pid(pid)].concat()
}

/// `pid` is the main process from now on.
pub(crate) fn main_pid(pid: u32) -> Fields {
    vec![("MAINPID", pid.to_string())]
}

/// A reload begins. `monotonic` is the time of `CLOCK_MONOTONIC` ([`monotonic`]),
/// by which systemd tells this reload from an earlier one.
pub(crate) fn reloading(monotonic: Duration) -> Fields {
    vec![("RELOADING", "1".to_owned()), ("MONOTONIC_USEC", microseconds(monotonic))]
}

/// The service stops, all of it.
pub(crate) fn stopping() -> Fields {
    vec![("STOPPING", "1".to_owned())]
}

/// What `systemctl status` shows. It is text for people, so it is made to fit:
/// line breaks become spaces, and what is too long is cut.
pub(crate) fn status(text: &str) -> Fields {
    let mut line = text.replace(SEPARATORS, " ");
    if line.len() > STATUS_MOST {
        line.truncate(line.floor_char_boundary(STATUS_MOST));
        line.push('…');
    }
    vec![("STATUS", line)]
}

/// The start or stop that is under way may take so much longer from now.
pub(crate) fn extend_timeout(extension: Duration) -> Fields {
    vec![("EXTEND_TIMEOUT_USEC", microseconds(extension))]
}

/// The process is alive.
pub(crate) fn watchdog() -> Fields {
    vec![("WATCHDOG", "1".to_owned())]
}

fn microseconds(span: Duration) -> String {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).to_string()
}

/// The time of `CLOCK_MONOTONIC`.
pub(crate) fn monotonic() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// Within what time systemd wants to hear [`watchdog`], from the values of
/// `WATCHDOG_USEC` and `WATCHDOG_PID` (sd_watchdog_enabled(3)); say it twice as
/// often. `None`: systemd does not wait for it, or not from us.
///
/// `WATCHDOG_PID` names the process that systemd started, and a successor
/// inherits it as it is: systemd's timer is the unit's, and is fed by whoever
/// is its main process. So `accepted` lists the pids of all generations as far
/// as they are known, the first one's at least.
pub(crate) fn watchdog_interval(
    usec: Option<&OsStr>,
    pid: Option<&OsStr>,
    accepted: &[u32],
) -> Option<Duration> {
    if let Some(pid) = pid
        && !accepted.contains(&pid.to_str()?.parse().ok()?)
    {
        return None;
    }
    match usec?.to_str()?.parse().ok()? {
        // No time at all is none, and the greatest is systemd's infinity.
        0 | u64::MAX => None,
        usec => Some(Duration::from_micros(usec)),
    }
}

/// Tells systemd what this process does.
#[derive(Debug)]
pub struct SystemdNotifier {
    core: Notifier,
}

impl SystemdNotifier {
    /// Reads `NOTIFY_SOCKET`: an absolute path, or `@` and an abstract name.
    ///
    /// # Errors
    /// If systemd does not ask for notifications, or nobody reads that socket.
    pub fn new() -> Result<Self, SystemdNotifierError> {
        Notifier::connect(std::env::var_os("NOTIFY_SOCKET").as_deref()).map(Self::over)
    }

    pub(crate) fn over(core: Notifier) -> Self {
        Self { core }
    }

    pub(crate) fn core(&self) -> &Notifier {
        &self.core
    }

    /// Sends fields of your own in one message.
    ///
    /// # Errors
    /// If nobody reads the socket, or its queue is full (`WouldBlock`): this
    /// never waits. `InvalidInput`, and nothing is sent, if a field has a line
    /// break or all have more than the 4096 bytes that systemd takes.
    pub async fn notify<'a, I, K, V>(&mut self, states: I) -> io::Result<()>
    where
        I: Iterator<Item = (K, V)>,
        K: AsRef<str> + 'a,
        V: AsRef<str> + 'a,
    {
        self.core.send(&states.collect::<Vec<_>>())
    }

    /// This process serves, and is the main process of the unit.
    ///
    /// # Errors
    /// As [`SystemdNotifier::notify`].
    pub async fn notify_ready(&mut self) -> io::Result<()> {
        self.core.send(&ready_main(std::process::id()))
    }

    /// A reload begins; [`SystemdNotifier::notify_ready`] ends it.
    ///
    /// # Errors
    /// As [`SystemdNotifier::notify`].
    pub async fn notify_reloading(&mut self) -> io::Result<()> {
        self.core.send(&reloading(monotonic()?))
    }

    /// The service stops.
    ///
    /// # Errors
    /// As [`SystemdNotifier::notify`].
    pub async fn notify_stopping(&mut self) -> io::Result<()> {
        self.core.send(&stopping())
    }

    /// The start, reload or stop that is under way may take so much longer
    /// from now.
    ///
    /// # Errors
    /// As [`SystemdNotifier::notify`].
    pub async fn notify_extend_timeouts(&mut self, extension: Duration) -> io::Result<()> {
        self.core.send(&extend_timeout(extension))
    }
}

/// Why systemd cannot be told anything.
#[derive(Debug)]
pub enum SystemdNotifierError {
    /// `NOTIFY_SOCKET` is not set: nobody wants to be told.
    NotifySocketUnset,
    /// No socket could be created.
    SocketCreateError(io::Error),
    /// Nobody is where `NOTIFY_SOCKET` leads, or it leads nowhere.
    SocketConnectError(io::Error),
}

impl fmt::Display for SystemdNotifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotifySocketUnset => f.write_str("NOTIFY_SOCKET is not set"),
            Self::SocketCreateError(source) => {
                write!(f, "cannot create a socket for notifications: {source}")
            }
            Self::SocketConnectError(source) => {
                write!(f, "cannot reach the socket that NOTIFY_SOCKET names: {source}")
            }
        }
    }
}

impl Error for SystemdNotifierError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotifySocketUnset => None,
            Self::SocketCreateError(source) | Self::SocketConnectError(source) => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::path::Path;
    use std::sync::mpsc;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use proptest::prelude::*;

    use super::*;

    /// A manager of our own, at a path that goes with the directory.
    struct Manager {
        dir: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Manager {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
            Self { dir, socket }
        }

        fn path(&self) -> std::path::PathBuf {
            self.dir.path().join("notify")
        }

        fn notifier(&self) -> Notifier {
            connect(&self.path()).unwrap()
        }

        /// Ends it, and begins another at the same path.
        fn restart(&mut self) {
            std::fs::remove_file(self.path()).unwrap();
            self.socket = UnixDatagram::bind(self.path()).unwrap();
        }
    }

    fn connect(path: &Path) -> Result<Notifier, SystemdNotifierError> {
        Notifier::connect(Some(path.as_os_str()))
    }

    /// The next message, which must have come already.
    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2 * MESSAGE_MOST];
        socket.set_nonblocking(true).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn errno(error: &io::Error) -> Option<i32> {
        error.raw_os_error()
    }

    #[test]
    fn a_path_is_reached() {
        let manager = Manager::new();
        manager.notifier().send(&[ready(), status("1 draining")].concat()).unwrap();
        assert_eq!(received(&manager.socket), "READY=1\nSTATUS=1 draining");
    }

    #[test]
    fn an_abstract_name_is_reached() {
        let name = format!("ecdysis-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let value = format!("@{name}");
        Notifier::connect(Some(OsStr::new(&value))).unwrap().send(&ready()).unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn no_socket_is_told_from_one_that_leads_nowhere() {
        let unset = Notifier::connect(None).unwrap_err();
        assert!(matches!(unset, SystemdNotifierError::NotifySocketUnset), "{unset}");
        assert!(unset.source().is_none());
        for value in ["", "@", "relative", "vsock:2:1234", "vsock-dgram:2:1234"] {
            let error = Notifier::connect(Some(OsStr::new(value))).unwrap_err();
            assert!(matches!(error, SystemdNotifierError::SocketConnectError(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("{value:?}")) && text.contains("absolute"), "{text}");
        }
        let long = format!("/{}", "x".repeat(200));
        let error = Notifier::connect(Some(OsStr::new(&long))).unwrap_err();
        assert!(matches!(error, SystemdNotifierError::SocketConnectError(_)), "{error}");
    }

    #[test]
    fn a_dead_socket_is_an_error_at_construction() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        for expected in [libc::ENOENT, libc::ECONNREFUSED] {
            match connect(&path) {
                Err(SystemdNotifierError::SocketConnectError(source)) => {
                    assert_eq!(errno(&source), Some(expected));
                }
                other => panic!("{other:?}"),
            }
            // The next time round the file is there, and nobody behind it.
            let _ = UnixDatagram::bind(&path);
        }
    }

    #[test]
    fn a_manager_that_goes_is_a_mere_error_and_one_that_comes_back_is_found() {
        let mut manager = Manager::new();
        let notifier = manager.notifier();
        notifier.send(&stopping()).unwrap();
        manager.restart();
        notifier.send(&ready()).unwrap();
        assert_eq!(received(&manager.socket), "READY=1");

        let Manager { dir, socket } = manager;
        drop(socket);
        crate::sys::spawn::no_copy_is_left();
        assert_eq!(errno(&notifier.send(&ready()).unwrap_err()), Some(libc::ECONNREFUSED));
        drop(dir);
        assert_eq!(errno(&notifier.send(&ready()).unwrap_err()), Some(libc::ENOENT));
    }

    #[test]
    fn a_full_queue_is_an_error_at_once() {
        let manager = Manager::new();
        let notifier = manager.notifier();
        let (tell, told) = mpsc::channel();
        // On a thread of its own, so that waiting fails the test and does not
        // hang it; the thread ends with the manager, at the latest.
        let sender = std::thread::spawn(move || {
            let error = (0..100_000).find_map(|_| notifier.send(&watchdog()).err());
            let _ = tell.send(error);
        });
        let error = told.recv_timeout(Duration::from_secs(30));
        drop(manager);
        sender.join().unwrap();
        assert_eq!(errno(&error.unwrap().unwrap()), Some(libc::EAGAIN));
    }

    #[test]
    fn the_socket_does_not_cross_exec() {
        let notifier = Manager::new().notifier();
        let socket = &notifier.clone().0.socket;
        let flags = FdFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn a_message_that_systemd_would_misread_is_not_sent() {
        let manager = Manager::new();
        let notifier = manager.notifier();
        for value in ["a\nMAINPID=1", "a\rMAINPID=1", "a\0"] {
            let error = notifier.send(&[("READY", "1"), ("STATUS", value)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("STATUS"), "{error}");
        }
        let error = notifier.send(&[("A\nB", "1")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let fits = "x".repeat(MESSAGE_MOST - "X_Y=".len());
        let error = notifier.send(&[("X_Y", format!("{fits}x"))]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        notifier.send(&[("X_Y", &fits)]).unwrap();
        assert_eq!(received(&manager.socket).len(), MESSAGE_MOST);
    }

    #[test]
    fn each_helper_says_what_sd_notify_documents() {
        let text = |fields: Fields| message(&fields).unwrap();
        assert_eq!(text(ready()), "READY=1");
        assert_eq!(text(ready_main(7)), "READY=1\nMAINPID=7");
        assert_eq!(text(main_pid(7)), "MAINPID=7");
        let span = Duration::new(2, 3_004);
        assert_eq!(text(reloading(span)), "RELOADING=1\nMONOTONIC_USEC=2000003");
        assert_eq!(text(stopping()), "STOPPING=1");
        assert_eq!(text(status("a\r\nb")), "STATUS=a  b");
        assert_eq!(text(extend_timeout(span)), "EXTEND_TIMEOUT_USEC=2000003");
        let most = format!("EXTEND_TIMEOUT_USEC={}", u64::MAX);
        assert_eq!(text(extend_timeout(Duration::MAX)), most);
        assert_eq!(text(watchdog()), "WATCHDOG=1");
    }

    proptest! {
        #[test]
        fn any_status_can_be_sent_beside_anything_else(text in r"(.|[\n\r\x00]){0,2000}") {
            let fields = [ready_main(u32::MAX), reloading(Duration::MAX), status(&text)].concat();
            let message = message(&fields).unwrap();
            prop_assert_eq!(message.lines().count(), fields.len());
            let cut = &fields[4].1;
            prop_assert!(cut.len() <= STATUS_MOST + '…'.len_utf8());
            prop_assert_eq!(cut.ends_with('…') && text.len() > STATUS_MOST, text.len() > STATUS_MOST);
        }
    }

    #[test]
    fn the_watchdog_waits_for_us_if_it_names_one_of_us_or_nobody() {
        let interval = |usec: Option<&'static str>, pid: Option<&'static str>| {
            watchdog_interval(usec.map(OsStr::new), pid.map(OsStr::new), &[10, 20])
        };
        let half_a_second = Some(Duration::from_millis(500));
        assert_eq!(interval(Some("500000"), None), half_a_second);
        assert_eq!(interval(Some("500000"), Some("10")), half_a_second);
        assert_eq!(interval(Some("500000"), Some("20")), half_a_second);
        assert_eq!(interval(Some("500000"), Some("30")), None);
        assert_eq!(interval(Some("500000"), Some("x")), None);
        assert_eq!(interval(None, Some("10")), None);
        for usec in ["0", "", "-1", "1s", "18446744073709551615"] {
            assert_eq!(interval(Some(usec), Some("10")), None, "{usec}");
        }
    }

    #[tokio::test]
    async fn the_public_notifier_says_what_the_published_one_does() {
        let manager = Manager::new();
        let mut notifier = SystemdNotifier::over(manager.notifier());
        notifier.notify_ready().await.unwrap();
        let ready = format!("READY=1\nMAINPID={}", std::process::id());
        assert_eq!(received(&manager.socket), ready);
        let before = monotonic().unwrap().as_micros();
        notifier.notify_reloading().await.unwrap();
        let reloading = received(&manager.socket);
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let usec: u128 = usec.parse().unwrap();
        assert!((before..=monotonic().unwrap().as_micros()).contains(&usec), "{usec}");
        notifier.notify_stopping().await.unwrap();
        assert_eq!(received(&manager.socket), "STOPPING=1");
        notifier.notify_extend_timeouts(Duration::from_secs(1)).await.unwrap();
        assert_eq!(received(&manager.socket), "EXTEND_TIMEOUT_USEC=1000000");
        notifier.notify([("A", "1"), ("B", "2")].into_iter()).await.unwrap();
        assert_eq!(received(&manager.socket), "A=1\nB=2");
        notifier.core().send(&watchdog()).unwrap();
        assert_eq!(received(&manager.socket), "WATCHDOG=1");
    }
}
