//! A manager like systemd, as far as a service tells it something: a socket of our own
//! that believes what systemd believes with its default `NotifyAccess=main`, nobody but
//! the main process.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, setsockopt, sockopt::PassCred,
};
use tempfile::TempDir;

use crate::service::{PATIENCE, Service, Start};

/// What the kernel says of a process (proc_pid_status(5)).
fn field_of_status(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap().trim().to_owned()
}

/// Where messages come in.
pub(crate) struct Manager {
    pub(crate) socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    pub(crate) name: OsString,
    /// Who may say something. 0: not known yet.
    pub(crate) main: Cell<u32>,
    /// Who might before.
    pub(crate) before: Cell<u32>,
    /// How often more time was asked for, by the main process.
    pub(crate) extended: Cell<usize>,
    _directory: TempDir,
}

/// A message, and which process sent it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) pid: u32,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Message {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.keys().map(String::as_str).collect()
    }

    pub(crate) fn status(&self) -> &str {
        &self.fields["STATUS"]
    }
}

impl Manager {
    /// One whose socket has a path.
    pub(crate) fn at_a_path() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        Self::new(UnixDatagram::bind(&path).unwrap(), path.into(), directory)
    }

    /// One whose socket has an abstract name.
    pub(crate) fn abstract_name() -> Self {
        // A directory's name is nobody else's, so the socket's is not either.
        let directory = TempDir::new().unwrap();
        let name = directory.path().to_str().unwrap();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::new(socket, format!("@{name}").into(), directory)
    }

    fn new(socket: UnixDatagram, name: OsString, _directory: TempDir) -> Self {
        setsockopt(&socket, PassCred, &true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            name,
            main: Cell::new(0),
            before: Cell::new(0),
            extended: Cell::new(0),
            _directory,
        }
    }

    /// Starts a service that tells this manager; its first message has come.
    pub(crate) fn serve(&self, start: Start) -> Service {
        let service = start.with("NOTIFY_SOCKET", &self.name).serve();
        let pid = service.first_pid();
        self.main.set(pid);
        self.serves(pid, 0);
        service
    }

    /// The next message, which must have come from the main process.
    pub(crate) fn next(&self) -> Message {
        self.receive(MsgFlags::empty()).unwrap()
    }

    /// The next message, if it has come already.
    pub(crate) fn next_now(&self) -> Option<Message> {
        match self.receive(MsgFlags::MSG_DONTWAIT) {
            Ok(message) => Some(message),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&self, flags: MsgFlags) -> io::Result<Message> {
        let (mut text, mut control) = ([0; 8192], nix::cmsg_space!(libc::ucred));
        let mut buffers = [IoSliceMut::new(&mut text)];
        let socket = self.socket.as_raw_fd();
        let received = recvmsg::<UnixAddr>(socket, &mut buffers, Some(&mut control), flags)?;
        let credentials = received.cmsgs().unwrap().find_map(|message| {
            if let ControlMessageOwned::ScmCredentials(who) = message { Some(who) } else { None }
        });
        let (pid, length) = (credentials.unwrap().pid().unsigned_abs(), received.bytes);
        let text = std::str::from_utf8(&text[..length]).unwrap();
        let fields = text.lines().map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        let message = Message { pid, fields: fields.collect() };
        if message.names() == ["WATCHDOG"] && pid == self.before.get() {
            // The one that has just been succeeded may still feed the watchdog
            // once. As systemd does, we do not listen to it.
            return self.receive(flags);
        }
        assert_eq!(message.pid, self.main.get(), "only the main process is heard: {message:?}");
        if let Some(span) = message.fields.get("EXTEND_TIMEOUT_USEC") {
            assert_eq!((&**span, message.names().len()), ("10000000", 1));
            self.extended.set(self.extended.get() + 1);
            return self.receive(flags);
        }
        if let Some(main) = message.fields.get("MAINPID") {
            let before = self.main.replace(main.parse().unwrap());
            if before != self.main.get() {
                self.before.set(before);
                // We are to the service what systemd would be: a process that is
                // not its child yet is a stranger to it for ever (E61).
                let parent = field_of_status(self.main.get(), "PPid");
                assert_eq!(parent, std::process::id().to_string());
            }
        }
        Ok(message)
    }

    /// The process with this pid says that it is the main one.
    pub(crate) fn serves(&self, pid: u32, generation: u64) {
        let message = self.next();
        assert_eq!(message.names(), ["MAINPID", "READY", "STATUS"]);
        assert_eq!((message.pid, self.main.get()), (pid, pid));
        assert_eq!(message.status(), format!("generation {generation} serves"));
    }

    pub(crate) fn reloads(&self) -> Duration {
        let message = self.next();
        assert_eq!(message.names(), ["MONOTONIC_USEC", "RELOADING", "STATUS"]);
        assert_eq!((&*message.fields["RELOADING"], message.status()), ("1", "upgrading"));
        Duration::from_micros(message.fields["MONOTONIC_USEC"].parse().unwrap())
    }

    /// The reload is over; the status.
    pub(crate) fn has_reloaded(&self) -> String {
        let message = self.next();
        assert_eq!(message.names(), ["READY", "STATUS"]);
        message.status().to_owned()
    }

    pub(crate) fn has_handed_off(&self) {
        assert_eq!(self.has_reloaded(), "new connections go to the new generation");
    }

    /// The main process names another.
    pub(crate) fn is_succeeded_by(&self, pid: u32) {
        let message = self.next();
        assert_eq!(message.names(), ["MAINPID"]);
        assert_eq!(message.fields["MAINPID"], pid.to_string());
    }

    pub(crate) fn stops(&self) {
        let message = self.next();
        assert_eq!(message.names(), ["STATUS", "STOPPING"]);
        assert_eq!(message.status(), "stopping");
    }
}
