//! The sockets this process owns: those it inherited and has not claimed yet,
//! and those it uses and will pass on.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::manifest::Passed;
use crate::socket::{SocketKey, same_socket};
use crate::sys::{fd, quiesce};
use crate::unix_path::{Inode, unlink_if};

/// Whose the sockets are, as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Ours. The first: where there is no predecessor, it is so from the start.
    Ours,
    /// The predecessor's: it serves.
    Predecessor,
    /// Ours, but the predecessor may have to take them back.
    Probation,
    /// The successor's.
    Successor,
}

/// How a process waits for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In accept(2) itself.
    Blocking,
    /// In poll(2) or the like.
    NonBlocking,
}

/// A socket of ours. It is shared, not duplicated, so that passing it on needs
/// no descriptor that we may not have.
pub(crate) struct Listed {
    pub(crate) key: SocketKey,
    pub(crate) fd: OwnedFd,
    /// The file that binding it has made.
    inode: Option<Inode>,
    /// Somebody who is no generation of ours has it too, and means to keep it.
    pub(crate) lent: bool,
    /// It came from the predecessor.
    inherited: bool,
    /// How this process accepts from it, if it has decided.
    manner: AtomicU8,
    /// The successor does not want it.
    unwanted: AtomicBool,
    tenure: Arc<AtomicU8>,
    /// Keeps new connections away while it is emptied; the last socket of its
    /// group to be closed lets them go where they like again.
    steering: Mutex<Option<Arc<Steering>>>,
}

impl Listed {
    /// Whether the successor has told us that it does not want it. It is ours
    /// to the end, then.
    pub(crate) fn unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }

    /// Whether new connections are led past it already.
    pub(crate) fn is_steered_past(&self) -> bool {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Decides how this process accepts from it. The flag is shared with every
    /// process that has the socket, so one that blocks gets its way only when the
    /// predecessor accepts no more; one that does not must have it at once.
    pub(crate) fn decide(&self, manner: Manner) -> io::Result<()> {
        self.manner.store(manner as u8, Ordering::Relaxed);
        if manner == Manner::NonBlocking || tenure(&self.tenure) != Tenure::Predecessor {
            fd::set_nonblocking(self, manner == Manner::NonBlocking)?;
        }
        Ok(())
    }

    /// Removes the file that it is bound to, if that is still its file and
    /// nobody serves on it after us.
    pub(crate) fn unlink(&self) {
        let ours = match tenure(&self.tenure) {
            Tenure::Predecessor | Tenure::Probation => !self.inherited,
            Tenure::Ours => true,
            Tenure::Successor => self.unwanted(),
        };
        if let (true, Some(path), Some(inode)) = (ours && !self.lent, self.path(), self.inode)
            && let Err(error) = unlink_if(path, inode)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the socket file");
        }
    }

    fn path(&self) -> Option<&PathBuf> {
        match &self.key {
            SocketKey::Unix { path }
            | SocketKey::UnixSeqpacket { path }
            | SocketKey::UnixDatagram { path } => path.as_ref(),
            SocketKey::Tcp { .. }
            | SocketKey::Udp { .. }
            | SocketKey::UnixAbstract { .. }
            | SocketKey::UnixSeqpacketAbstract { .. }
            | SocketKey::UnixDatagramPair { .. }
            | SocketKey::Named { .. }
            | SocketKey::State
            | SocketKey::Foreign(_) => None,
        }
    }

    /// As a manifest has it, at this number in the reader.
    pub(crate) fn passed_as(&self, number: i32) -> Passed {
        Passed { number, key: self.key.clone(), inode: self.inode, lent: self.lent }
    }
}

impl AsFd for Listed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.unlink();
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed")
            .field("key", &self.key)
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

/// Leads new connections of an `SO_REUSEPORT` group to its first members.
#[derive(Debug)]
struct Steering {
    member: Arc<Listed>,
    /// Closed when it has ended: what the successor waits for.
    _emptied: Option<Arc<OwnedFd>>,
}

impl Drop for Steering {
    fn drop(&mut self) {
        if let Err(error) = quiesce::stop_steering(&*self.member) {
            tracing::warn!(%error, "cannot spread connections over the whole group again");
        }
    }
}

/// Told that this process wants the socket in this place of its manifest.
type Tell = Box<dyn Fn(u16) + Send>;

#[derive(Default)]
struct Sockets {
    /// With the place that each has in the manifest.
    inherited: Vec<(u16, Arc<Listed>)>,
    active: Vec<Arc<Listed>>,
    /// What was passed on to the successor that is being started, in order.
    passed: Vec<Arc<Listed>>,
    /// While what was not claimed in time may still be claimed.
    tell: Option<Tell>,
    /// Groups that grow, and may not attract connections yet.
    growing: Vec<Steering>,
}

/// The sockets of this process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    sockets: Arc<Mutex<Sockets>>,
    tenure: Arc<AtomicU8>,
}

impl Registry {
    /// A registry that holds what the predecessor passed on.
    pub(crate) fn inheriting(inherited: Vec<(Passed, OwnedFd)>) -> Self {
        let registry = Self::default();
        registry.set_tenure(Tenure::Predecessor);
        let places = 0..=u16::MAX;
        registry.lock().inherited = places
            .zip(inherited)
            .map(|(place, (passed, fd))| (place, registry.listed(passed, fd, true)))
            .collect();
        registry
    }

    fn listed(&self, passed: Passed, fd: OwnedFd, inherited: bool) -> Arc<Listed> {
        Arc::new(Listed {
            key: passed.key,
            fd,
            inode: passed.inode,
            lent: passed.lent,
            inherited,
            manner: AtomicU8::new(u8::MAX),
            unwanted: AtomicBool::new(false),
            tenure: Arc::clone(&self.tenure),
            steering: Mutex::default(),
        })
    }

    /// Says whose the sockets are from now on.
    pub(crate) fn set_tenure(&self, whose: Tenure) {
        self.tenure.store(whose as u8, Ordering::Relaxed);
        if whose != Tenure::Predecessor {
            self.lock().growing.clear();
        }
    }

    /// The first inherited socket with this key, and a descriptor of it for the
    /// application. If there is none to be had, the socket stays inherited.
    pub(crate) fn claim(&self, key: &SocketKey) -> io::Result<Option<(OwnedFd, Registration)>> {
        let mut sockets = self.lock();
        let Some(at) = sockets.inherited.iter().position(|(_, listed)| listed.key == *key) else {
            return Ok(None);
        };
        let fd = sockets.inherited[at].1.fd.try_clone()?;
        let (place, listed) = sockets.inherited.remove(at);
        if let Some(tell) = &sockets.tell {
            tell(place);
        }
        sockets.active.push(Arc::clone(&listed));
        Ok(Some((fd, Registration { registry: self.clone(), listed, kept: false })))
    }

    /// Takes an inherited descriptor out for good: it is not passed on again.
    pub(crate) fn take(&self, key: &SocketKey) -> Option<io::Result<OwnedFd>> {
        match self.claim(key) {
            Ok(Some((fd, _registration))) => Some(Ok(fd)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Enters a socket that the application uses, to be passed on for as long
    /// as the registration lives.
    pub(crate) fn enter(
        &self,
        key: SocketKey,
        socket: impl AsFd,
        inode: Option<Inode>,
        lent: bool,
    ) -> io::Result<Registration> {
        let fd = socket.as_fd().try_clone_to_owned()?;
        let listed = self.listed(Passed { number: 0, key, inode, lent }, fd, false);
        self.lock().active.push(Arc::clone(&listed));
        Ok(Registration { registry: self.clone(), listed, kept: false })
    }

    /// Sets the flags as this process needs them, whoever has changed them.
    pub(crate) fn assert_flags(&self) {
        for listed in &self.lock().active {
            let manner = listed.manner.load(Ordering::Relaxed);
            let decided = [Manner::Blocking, Manner::NonBlocking];
            let Some(manner) = decided.into_iter().find(|known| *known as u8 == manner) else {
                continue;
            };
            if let Err(error) = listed.decide(manner) {
                tracing::warn!(key = ?listed.key, %error, "cannot set O_NONBLOCK");
            }
        }
    }

    /// The registration of the application's socket, to be dropped with it.
    pub(crate) fn registration(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Registration>> {
        for listed in &self.lock().active {
            if same_socket(listed.as_fd(), socket)? {
                let listed = Arc::clone(listed);
                return Ok(Some(Registration { registry: self.clone(), listed, kept: false }));
            }
        }
        Ok(None)
    }

    /// Lets go of the application's socket: it is not passed on any more. False
    /// if it was not registered.
    pub(crate) fn forget(&self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut sockets = self.lock();
        for (at, listed) in sockets.active.iter().enumerate() {
            if same_socket(listed.as_fd(), socket)? {
                sockets.active.remove(at);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the next generation gets, in the order in which it was made.
    pub(crate) fn export(&self) -> Vec<Arc<Listed>> {
        let mut sockets = self.lock();
        let passed = sockets.active.clone();
        for listed in &passed {
            listed.unwanted.store(false, Ordering::Relaxed);
        }
        sockets.passed.clone_from(&passed);
        passed
    }

    /// The successor has told us whether it wants what is in this place.
    pub(crate) fn mark(&self, place: u16, wanted: bool) {
        if let Some(listed) = self.lock().passed.get(usize::from(place)) {
            listed.unwanted.store(!wanted, Ordering::Relaxed);
        }
    }

    /// The places of what was inherited and not claimed. It can be claimed until
    /// [`Self::close_unclaimed`]; `tell` hears of it then. Sockets of unknown
    /// kinds are kept, for a later generation that may know them.
    pub(crate) fn disclaim(&self, tell: impl Fn(u16) + Send + 'static) -> Vec<u16> {
        let mut sockets = self.lock();
        let (foreign, unclaimed): (Vec<_>, Vec<_>) = std::mem::take(&mut sockets.inherited)
            .into_iter()
            .partition(|(_, listed)| matches!(listed.key, SocketKey::Foreign(_)));
        sockets.active.extend(foreign.into_iter().map(|(_, listed)| listed));
        sockets.inherited = unclaimed;
        sockets.tell = Some(Box::new(tell));
        sockets.inherited.iter().map(|(place, _)| *place).collect()
    }

    /// Closes what is still not claimed.
    pub(crate) fn close_unclaimed(&self) {
        let mut sockets = self.lock();
        sockets.tell = None;
        for (_, listed) in std::mem::take(&mut sockets.inherited) {
            tracing::info!(key = ?listed.key, "closing an inherited socket that nobody asked for");
        }
    }

    /// Before a socket is bound that joins a group of inherited ones: until
    /// this process accepts, the group must not lead connections to it.
    pub(crate) fn before_joining(&self, key: &SocketKey) -> io::Result<()> {
        if tenure(&self.tenure) != Tenure::Predecessor {
            return Ok(());
        }
        let mut sockets = self.lock();
        if sockets.growing.iter().any(|steering| steering.member.key == *key) {
            return Ok(());
        }
        let active = sockets.active.iter().filter(|listed| listed.key == *key && listed.inherited);
        let group: Vec<_> = active.cloned().collect();
        if let Some(member) = group.first()
            && quiesce::is_reuseport(member)?
        {
            quiesce::steer_to_first(member, u32::try_from(group.len()).unwrap_or(u32::MAX))?;
            sockets.growing.push(Steering { member: Arc::clone(member), _emptied: None });
        }
        Ok(())
    }

    /// Lets go of everything: the successor has it now, or nobody will. Where a
    /// group shrinks, new connections are led to the members that stay, while
    /// the others are emptied by those who still hold them. `emptied` is closed
    /// when that is done.
    pub(crate) fn clear(&self, emptied: Option<OwnedFd>) {
        let emptied = emptied.map(Arc::new);
        let (active, _inherited) = {
            let mut sockets = self.lock();
            sockets.tell = None;
            sockets.passed.clear();
            (std::mem::take(&mut sockets.active), std::mem::take(&mut sockets.inherited))
        };
        let (unwanted, staying): (Vec<_>, Vec<_>) =
            active.iter().partition(|listed| listed.unwanted());
        let mut steered: Vec<Arc<Steering>> = Vec::new();
        for listed in unwanted {
            let known = steered.iter().find(|steering| steering.member.key == listed.key).cloned();
            if let Some(steering) = known.or_else(|| steer(&listed.key, &staying, &emptied)) {
                *listed.steering.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::clone(&steering));
                steered.push(steering);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("active", &self.lock().active).finish_non_exhaustive()
    }
}

/// Leads new connections to those members of a group that stay, if there is a
/// group and some stay.
fn steer(
    key: &SocketKey,
    staying: &[&Arc<Listed>],
    emptied: &Option<Arc<OwnedFd>>,
) -> Option<Arc<Steering>> {
    let group: Vec<_> = staying.iter().filter(|listed| listed.key == *key).collect();
    let member = group.first()?;
    let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
    match quiesce::steer_to_first(member.as_fd(), count) {
        Ok(()) => {
            let steering = Steering { member: Arc::clone(member), _emptied: emptied.clone() };
            Some(Arc::new(steering))
        }
        Err(error) => {
            tracing::warn!(%error, ?key, "cannot lead connections to the sockets that stay");
            None
        }
    }
}

fn tenure(shared: &AtomicU8) -> Tenure {
    let whose = shared.load(Ordering::Relaxed);
    [Tenure::Predecessor, Tenure::Probation, Tenure::Successor]
        .into_iter()
        .find(|tenure| *tenure as u8 == whose)
        .unwrap_or(Tenure::Ours)
}

/// Keeps a socket registered. Dropped with the socket, so that a listener the
/// application lets go of is closed for good, and not kept half alive by us.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
    pub(crate) listed: Arc<Listed>,
    kept: bool,
}

impl Registration {
    /// Keeps it registered for as long as the registry has anything.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.kept {
            self.registry.lock().active.retain(|listed| !Arc::ptr_eq(listed, &self.listed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn key(port: u16) -> SocketKey {
        SocketKey::tcp(([127, 0, 0, 1], port).into())
    }

    fn passed(key: SocketKey, socket: TcpListener) -> (Passed, OwnedFd) {
        (Passed { number: 9, key, inode: None, lent: false }, socket.into())
    }

    fn refused(address: SocketAddr) {
        let error = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn sockets_with_one_key_are_claimed_in_order_and_once() {
        let (first, second) = (listener(), listener());
        let addresses = [&first, &second].map(|socket| socket.local_addr().unwrap());
        let registry = Registry::inheriting(vec![passed(key(0), first), passed(key(0), second)]);
        let claimed = [(); 2].map(|()| registry.claim(&key(0)).unwrap().unwrap());
        assert!(registry.claim(&key(0)).unwrap().is_none());
        let listeners = claimed.map(|(fd, registration)| (TcpListener::from(fd), registration));
        assert_eq!([0, 1].map(|at| listeners[at].0.local_addr().unwrap()), addresses);
    }

    #[test]
    fn a_dropped_listener_is_closed_in_the_registry_too() {
        let registry = Registry::default();
        let socket = listener();
        let address = socket.local_addr().unwrap();
        let registration = registry.enter(key(0), &socket, None, false).unwrap();
        assert_eq!(registry.export().len(), 1);
        registry.clear(None);
        registry.lock().active.push(Arc::clone(&registration.listed));
        drop((socket, registration));
        assert!(registry.export().is_empty());
        refused(address);
    }

    #[test]
    fn a_forgotten_listener_is_not_passed_on() {
        let registry = Registry::default();
        let (socket, other) = (listener(), listener());
        let address = socket.local_addr().unwrap();
        registry.enter(key(0), &socket, None, false).unwrap().keep();
        assert!(!registry.forget(other.as_fd()).unwrap());
        assert!(registry.forget(socket.as_fd()).unwrap());
        assert!(registry.export().is_empty());
        drop(socket);
        refused(address);
    }

    #[test]
    fn unknown_kinds_are_carried_to_the_next_generation() {
        let foreign = SocketKey::Foreign(serde_json::json!({ "kind": "vsock" }));
        let registry = Registry::inheriting(vec![
            passed(foreign.clone(), listener()),
            passed(key(1), listener()),
        ]);
        registry.disclaim(|_| {});
        registry.close_unclaimed();
        let keys: Vec<_> = registry.export().iter().map(|listed| listed.key.clone()).collect();
        assert_eq!(keys, [foreign]);
    }

    #[test]
    fn what_is_not_claimed_in_time_can_be_claimed_until_it_is_closed() {
        let registry = Registry::inheriting(
            [1, 2, 3].map(|port| passed(key(port), listener())).into_iter().collect(),
        );
        let _claimed = registry.claim(&key(1)).unwrap().unwrap();
        let (said, heard) = mpsc::channel();
        let unclaimed = registry.disclaim(move |place| said.send(place).unwrap());
        assert_eq!(unclaimed, [1, 2]);
        let _late = registry.claim(&key(3)).unwrap().unwrap();
        registry.close_unclaimed();
        assert!(registry.claim(&key(2)).unwrap().is_none());
        assert_eq!(heard.iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_predecessor_remembers_what_its_successor_does_not_want() {
        let registry = Registry::default();
        let (one, other) = (listener(), listener());
        let one = registry.enter(key(1), &one, None, false).unwrap();
        let other = registry.enter(key(2), &other, None, false).unwrap();
        registry.export();
        registry.mark(1, false);
        registry.mark(0, false);
        registry.mark(0, true);
        registry.mark(7, false);
        assert_eq!((one.listed.unwanted(), other.listed.unwanted()), (false, true));
        // Another upgrade, another successor.
        registry.export();
        assert!(!other.listed.unwanted());
    }

    #[test]
    fn a_successor_hears_when_what_it_does_not_want_of_a_group_is_emptied() {
        let member = |address: SocketAddr| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(1).unwrap();
            socket
        };
        let first = member(([127, 0, 0, 1], 0).into());
        let second = member(first.local_addr().unwrap().as_socket().unwrap());
        let (mut hears, tells) = io::pipe().unwrap();
        let registry = Registry::default();
        let stays = registry.enter(key(0), &first, None, false).unwrap();
        let goes = registry.enter(key(0), &second, None, false).unwrap();
        registry.export();
        registry.mark(1, false);
        registry.clear(Some(tells.into()));
        drop(stays);
        fd::set_nonblocking(&hears, true).unwrap();
        let heard = hears.read(&mut [0]).unwrap_err();
        assert_eq!(heard.kind(), io::ErrorKind::WouldBlock, "it is being emptied");
        fd::set_nonblocking(&hears, false).unwrap();
        drop(goes);
        assert_eq!(hears.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_socket_file_is_removed_by_the_last_who_serves_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let key = SocketKey::Unix { path: Some(path.clone()) };
        let bound = || {
            let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
            (socket, crate::unix_path::inode_of(&path).unwrap())
        };
        for (tenure, inherited, removed) in [
            (Tenure::Predecessor, true, false),
            (Tenure::Predecessor, false, true),
            (Tenure::Probation, true, false),
            (Tenure::Probation, false, true),
            (Tenure::Ours, true, true),
            (Tenure::Successor, false, false),
        ] {
            let (socket, inode) = bound();
            let registry = if inherited {
                let (key, inode) = (key.clone(), Some(inode));
                let passed = Passed { number: 9, key, inode, lent: false };
                Registry::inheriting(vec![(passed, socket.into())])
            } else {
                let registry = Registry::default();
                registry.enter(key.clone(), socket, Some(inode), false).unwrap().keep();
                registry
            };
            registry.set_tenure(tenure);
            registry.clear(None);
            assert_eq!(!path.exists(), removed, "{tenure:?}, inherited: {inherited}");
            let _ = std::fs::remove_file(&path);
        }
    }
}
