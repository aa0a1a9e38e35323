//! What systemd keeps for a service in case it crashes: its sockets, with their
//! queues (`FileDescriptorStoreMax=`, systemd.service(5); `FDSTORE=1`, sd_notify(3)).
//!
//! The name that a socket has there says what it is to the service, so that the
//! process that systemd starts after a crash finds it as a successor would. Only
//! the main process is heard, so each generation says, when it has become that,
//! what there is to keep now; systemd knows a socket again that it has already.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::notify::{Fields, Notifier};
use super::sockets::SystemdSockets;
use crate::listed::Listed;
use crate::manifest::Passed;
use crate::registry::Registry;
use crate::socket::SocketKey;
use crate::unix_path::inode_of_bound;

/// What all names of ours begin with.
const OURS: &str = "ecdysis";
/// Characters of a name; a longer one is refused (`fdname_is_valid` in systemd's
/// sources).
const NAME_MOST: usize = 255;

/// What systemd keeps, as far as this process knows.
#[derive(Debug)]
pub(crate) struct Store {
    notifier: Notifier,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// How many there are of each name.
    names: BTreeMap<String, usize>,
    /// This process is the main one, and serves.
    heard: bool,
}

impl Store {
    /// Watches what is registered; says nothing before [`Self::begin`].
    pub(crate) fn new(notifier: Notifier, registry: &Registry) -> Arc<Self> {
        let mut names = BTreeMap::new();
        // What was passed on to us is what the predecessor had told systemd of.
        for listed in registry.inherited() {
            if let Some(name) = name_if_kept(&listed) {
                *names.entry(name).or_default() += 1;
            }
        }
        let store = Arc::new(Self { notifier, kept: Mutex::new(Kept { names, heard: false }) });
        let watching = Arc::clone(&store);
        registry.watch(move |key, active| watching.changed(key, active));
        store
    }

    /// This process is the main one: from now on systemd keeps what is registered
    /// here, and nothing else of ours.
    pub(crate) fn begin(&self, registry: &Registry) {
        registry.look(|active| {
            let mut kept = self.lock();
            kept.heard = true;
            let gone = kept.names.keys().filter_map(|name| key_of(name));
            let mut keys: Vec<_> = gone.collect();
            for listed in active {
                if !keys.contains(&listed.key) {
                    keys.push(listed.key.clone());
                }
            }
            for key in &keys {
                // All of them: where a predecessor has told of some, it is not known
                // of which, and systemd knows one again that it has.
                self.keep(&mut kept, key, active, 0);
            }
        });
    }

    /// The service stops: nobody is to find what it leaves. Sockets are emptied
    /// then, and no more let anybody in.
    pub(crate) fn clear(&self) {
        let mut kept = self.lock();
        if std::mem::take(&mut kept.heard) {
            for name in std::mem::take(&mut kept.names).keys() {
                self.tell(&remove(name), None);
            }
        }
    }

    /// Another process is the main one.
    pub(crate) fn end(&self) {
        self.lock().heard = false;
    }

    fn changed(&self, key: &SocketKey, active: &[Arc<Listed>]) {
        let mut kept = self.lock();
        if kept.heard {
            let known = name_of(key).and_then(|name| kept.names.get(&name).copied());
            self.keep(&mut kept, key, active, known.unwrap_or(0));
        }
    }

    /// Has systemd keep those of the sockets that have this key; it has the first
    /// of them, so many.
    fn keep(&self, kept: &mut Kept, key: &SocketKey, active: &[Arc<Listed>], mut first: usize) {
        let Some(name) = name_of(key) else { return };
        let sockets = active.iter().filter(|listed| listed.key == *key && !listed.lent());
        let sockets: Vec<_> = sockets.collect();
        if kept.names.remove(&name).is_some_and(|before| before > sockets.len()) {
            // A name stands for all of a group: which of them is gone cannot be said.
            self.tell(&remove(&name), None);
            first = 0;
        }
        for socket in sockets.iter().skip(first) {
            self.tell(&add(&name), Some(socket));
        }
        if !sockets.is_empty() {
            kept.names.insert(name, sockets.len());
        }
    }

    /// A socket that cannot be kept costs nobody anything before a crash.
    fn tell(&self, fields: &Fields, socket: Option<&Listed>) {
        let told = match socket {
            Some(socket) => self.notifier.send_with(fields, socket.as_fd()),
            None => self.notifier.send(fields),
        };
        if let Err(error) = told {
            tracing::warn!(%error, ?fields, "cannot have systemd keep a socket, or let it go");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the application find what systemd has kept, as if a predecessor had passed
/// it on.
pub(crate) fn restore(sockets: &SystemdSockets, registry: &Registry) {
    let kept = sockets.take_all(key_of);
    if !kept.is_empty() {
        tracing::info!(count = kept.len(), "taking over the sockets of a process that has crashed");
    }
    registry.restore(kept.into_iter().map(|(key, fd)| (passed(key, &fd), fd)));
}

fn passed(key: SocketKey, fd: &OwnedFd) -> Passed {
    let inode = key.path().and_then(|path| inode_of_bound(fd, path));
    // Who has made it so is not known; one that blocks in its calls needs it to.
    let nonblocking = true;
    Passed { inode, nonblocking, ..Passed::new(0, key) }
}

/// A socket that is to be kept. It is watched for nothing: an error of one
/// datagram (`EPOLLERR`) would have systemd close it.
fn add(name: &str) -> Fields {
    let field = |key, value: &str| (key, value.to_owned());
    vec![field("FDSTORE", "1"), field("FDNAME", name), field("FDPOLL", "0")]
}

fn remove(name: &str) -> Fields {
    vec![("FDSTOREREMOVE", "1".to_owned()), ("FDNAME", name.to_owned())]
}

fn name_if_kept(listed: &Listed) -> Option<String> {
    if listed.lent() { None } else { name_of(&listed.key) }
}

/// What a socket is called there: its kind, and what it is bound to. `None`: it is
/// nothing that clients wait at, or the name would be too long.
fn name_of(key: &SocketKey) -> Option<String> {
    let (kind, bound) = match key {
        SocketKey::Tcp { address } => ("tcp", address.to_string().into_bytes()),
        SocketKey::Udp { address } => ("udp", address.to_string().into_bytes()),
        SocketKey::Unix { path } => ("unix", bytes(path.as_deref()?)),
        SocketKey::UnixSeqpacket { path } => ("unix-seqpacket", bytes(path.as_deref()?)),
        SocketKey::UnixDatagram { path } => ("unix-datagram", bytes(path.as_deref()?)),
        SocketKey::UnixAbstract { name } => ("abstract", name.clone()),
        SocketKey::UnixSeqpacketAbstract { name } => ("abstract-seqpacket", name.clone()),
        SocketKey::UnixDatagramPair { .. }
        | SocketKey::Named { .. }
        | SocketKey::State
        | SocketKey::Foreign(_) => return None,
    };
    let name = format!("{OURS}.{kind}.{}", escape(&bound));
    (name.len() <= NAME_MOST).then_some(name)
}

/// The socket that has this name, if it is one of ours.
fn key_of(name: &str) -> Option<SocketKey> {
    let (kind, bound) = name.strip_prefix(OURS)?.strip_prefix('.')?.split_once('.')?;
    let bound = unescape(bound)?;
    let address = || std::str::from_utf8(&bound).ok()?.parse().ok();
    let path = || Some(PathBuf::from(OsString::from_vec(bound.clone())));
    Some(match kind {
        "tcp" => SocketKey::tcp(address()?),
        "udp" => SocketKey::udp(address()?),
        "unix" => SocketKey::Unix { path: path() },
        "unix-seqpacket" => SocketKey::UnixSeqpacket { path: path() },
        "unix-datagram" => SocketKey::UnixDatagram { path: path() },
        "abstract" => SocketKey::UnixAbstract { name: bound },
        "abstract-seqpacket" => SocketKey::UnixSeqpacketAbstract { name: bound },
        _ => return None,
    })
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Neither a colon nor anything that is not printable may be in a name.
fn escape(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b":%".contains(&byte);
    let one = |&byte: &u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    bytes.iter().map(one).collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::{self, IoSliceMut};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// What systemd does with these messages.
    struct Manager {
        socket: UnixDatagram,
        directory: TempDir,
        kept: Vec<String>,
    }

    impl Manager {
        fn new() -> Self {
            let directory = TempDir::new().unwrap();
            let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, directory, kept: Vec::new() }
        }

        fn notifier(&self) -> Notifier {
            Notifier::connect(Some(self.directory.path().join("notify").as_os_str())).unwrap()
        }

        /// The names of what it keeps, when it has read all that was said.
        fn keeps(&mut self) -> Vec<String> {
            while let Some((fields, descriptors)) = self.next() {
                let lines: Vec<_> =
                    fields.lines().filter_map(|line| line.split_once('=')).collect();
                let value = |key| lines.iter().find(|line| line.0 == key).map(|line| line.1);
                let name = value("FDNAME").unwrap();
                match (value("FDSTORE"), value("FDSTOREREMOVE")) {
                    (Some("1"), None) => {
                        assert_eq!((descriptors, value("FDPOLL")), (1, Some("0")));
                        self.kept.push(name.to_owned());
                    }
                    (None, Some("1")) => self.kept.retain(|kept| kept != name),
                    _ => panic!("{fields}"),
                }
            }
            self.kept.sort();
            self.kept.clone()
        }

        /// A message, and how many descriptors came with it.
        fn next(&self) -> Option<(String, usize)> {
            let (mut text, mut control) = ([0; 4096], nix::cmsg_space!([i32; 4]));
            let mut buffers = [IoSliceMut::new(&mut text)];
            let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
            let received = recvmsg::<()>(socket, &mut buffers, Some(&mut control), flags);
            let received = match received.map_err(io::Error::from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                received => received.unwrap(),
            };
            let mut count = 0;
            for message in received.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(numbers) = message {
                    count += numbers.len();
                    numbers.into_iter().for_each(|number| nix::unistd::close(number).unwrap());
                }
            }
            let length = received.bytes;
            Some((String::from_utf8(text[..length].to_vec()).unwrap(), count))
        }
    }

    fn tcp(port: u16) -> SocketKey {
        SocketKey::tcp(([127, 0, 0, 1], port).into())
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn what_is_registered_is_kept_and_nothing_else() {
        let (mut manager, registry) = (Manager::new(), Registry::default());
        let store = Store::new(manager.notifier(), &registry);
        let enter = |key, lent| registry.enter(key, listener(), None, lent).unwrap();
        let one = enter(tcp(1), false);
        let _lent = enter(tcp(2), true);
        let _passed_by_name = enter(SocketKey::Named { name: "x".to_owned() }, false);
        assert_eq!(manager.keeps(), [""; 0], "nobody would hear it yet");
        store.begin(&registry);
        assert_eq!(manager.keeps(), ["ecdysis.tcp.127.0.0.1%3A1"]);
        let _late = enter(tcp(3), false);
        let both = ["ecdysis.tcp.127.0.0.1%3A1", "ecdysis.tcp.127.0.0.1%3A3"];
        assert_eq!(manager.keeps(), both);
        drop(one);
        assert_eq!(manager.keeps(), both[1..]);
        store.clear();
        assert_eq!(manager.keeps(), [""; 0]);
        let _after_a_stop = enter(tcp(4), false);
        assert_eq!(manager.keeps(), [""; 0]);
    }

    #[test]
    fn of_a_group_what_is_left_is_kept() {
        let (mut manager, registry) = (Manager::new(), Registry::default());
        let store = Store::new(manager.notifier(), &registry);
        store.begin(&registry);
        let group = [(); 3].map(|()| registry.enter(tcp(1), listener(), None, false).unwrap());
        let name = || "ecdysis.tcp.127.0.0.1%3A1".to_owned();
        assert_eq!(manager.keeps(), [name(), name(), name()]);
        let [one, _others @ ..] = group;
        drop(one);
        assert_eq!(manager.keeps(), [name(), name()]);
    }

    #[test]
    fn what_a_successor_does_not_want_is_let_go_and_who_is_succeeded_says_nothing() {
        let mut manager = Manager::new();
        let inherited = [tcp(1), tcp(2)].map(|key| (Passed::new(9, key), listener().into()));
        let registry = Registry::inheriting(inherited.into());
        let store = Store::new(manager.notifier(), &registry);
        manager.kept = [tcp(1), tcp(2)].map(|key| name_of(&key).unwrap()).into();
        let (_fd, claimed) = registry.claim(&tcp(1)).unwrap().unwrap();
        registry.disclaim(|_| true);
        registry.close_unclaimed();
        store.begin(&registry);
        manager.keeps();
        manager.kept.dedup();
        assert_eq!(manager.kept, ["ecdysis.tcp.127.0.0.1%3A1"]);
        store.end();
        drop(claimed);
        assert!(manager.next().is_none());
        store.clear();
        assert!(manager.next().is_none());
    }

    #[test]
    fn the_process_after_a_crash_finds_what_was_kept_queue_and_file_included() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a:b%.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = listener();
        let address = tcp.local_addr().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        let keys = [SocketKey::tcp(address), SocketKey::Unix { path: Some(path.clone()) }];
        let names = keys.clone().map(|key| name_of(&key).unwrap());
        let own = [("other", listener().into())];
        let kept = [(&*names[0], tcp.into()), (&*names[1], unix.into())];
        let passed = SystemdSockets::as_passed(kept.into_iter().chain(own));

        let registry = Registry::default();
        restore(&passed, &registry);
        assert_eq!(passed.take_all(|name| Some(name.to_owned())).len(), 1, "the application's");
        let (fd, registration) = registry.claim(&keys[0]).unwrap().unwrap();
        let (_, peer) = TcpListener::from(fd).accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        drop(registration);
        drop(registry.claim(&keys[1]).unwrap().unwrap());
        assert!(!path.exists(), "it was ours to remove");
    }

    #[test]
    fn a_name_that_systemd_would_refuse_is_not_offered() {
        let path =
            |letter: &str, count| SocketKey::Unix { path: Some(letter.repeat(count).into()) };
        assert!(name_of(&path("x", 107)).is_some());
        assert!(name_of(&path("ä", 53)).is_none());
        for name in
            ["echo", "ecdysis", "ecdysis.tcp", "ecdysis.tcp.x", "ecdysis.vsock.1", "unknown"]
        {
            assert_eq!(key_of(name), None, "{name}");
        }
    }

    fn key() -> impl Strategy<Value = SocketKey> {
        let bytes = || prop::collection::vec(1..=u8::MAX, 1..70);
        let path = || bytes().prop_map(|bytes| Some(PathBuf::from(OsStr::from_bytes(&bytes))));
        let address = any::<SocketAddr>();
        prop_oneof![
            address.clone().prop_map(SocketKey::tcp),
            address.prop_map(SocketKey::udp),
            path().prop_map(|path| SocketKey::Unix { path }),
            path().prop_map(|path| SocketKey::UnixSeqpacket { path }),
            path().prop_map(|path| SocketKey::UnixDatagram { path }),
            bytes().prop_map(|name| SocketKey::UnixAbstract { name }),
            bytes().prop_map(|name| SocketKey::UnixSeqpacketAbstract { name }),
        ]
    }

    proptest! {
        #[test]
        fn a_name_says_what_the_socket_is(key in key()) {
            let name = name_of(&key).unwrap();
            prop_assert!(name.chars().all(|letter| letter.is_ascii_graphic() && letter != ':'));
            prop_assert_eq!(key_of(&name), Some(key));
        }

        #[test]
        fn any_name_is_one_of_ours_or_not(name in "(ecdysis\\.[a-z-]{0,9}\\.)?\\PC{0,20}") {
            if let Some(key) = key_of(&name) {
                prop_assert!(name_of(&key).is_some());
            }
        }
    }
}
