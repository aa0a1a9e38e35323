//! The sockets this process owns: those it inherited and has not claimed yet,
//! and those it uses and will pass on.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::listed::{Listed, Steering, Tenure};
use crate::manifest::Passed;
use crate::socket::{SocketKey, same_socket};
use crate::sys::quiesce;
use crate::unix_path::Inode;

/// Told that this process wants the socket in this place of its manifest. Whether
/// the predecessor can still be told.
type Tell = Box<dyn Fn(u16) -> bool + Send>;

/// Told that what is registered under this key has changed, and what is now
/// registered in all. It must not ask for anything to be registered.
type Watcher = Box<dyn Fn(&SocketKey, &[Arc<Listed>]) + Send + Sync>;

#[derive(Default)]
struct Sockets {
    /// With the place that each has in the manifest.
    inherited: Vec<(u16, Arc<Listed>)>,
    active: Vec<Arc<Listed>>,
    /// What was passed on to the successor that is being started, in order.
    passed: Vec<Arc<Listed>>,
    /// A successor has been given what there was: what is made now, nobody has after us.
    exported: bool,
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
    watcher: Arc<OnceLock<Watcher>>,
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

    /// Adds what is as good as passed on by a predecessor.
    #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
    pub(crate) fn restore(&self, passed: impl Iterator<Item = (Passed, OwnedFd)>) {
        let listed = passed.map(|(passed, fd)| (0, self.listed(passed, fd, true)));
        self.lock().inherited.extend(listed);
    }

    /// What was inherited, claimed or not.
    #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
    pub(crate) fn inherited(&self) -> Vec<Arc<Listed>> {
        let sockets = self.lock();
        let unclaimed = sockets.inherited.iter().map(|(_, listed)| listed);
        let claimed = sockets.active.iter().filter(|listed| listed.inherited);
        unclaimed.chain(claimed).cloned().collect()
    }

    /// Has somebody told of each change from now on. Once in the life of a registry.
    #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
    pub(crate) fn watch(
        &self,
        watcher: impl Fn(&SocketKey, &[Arc<Listed>]) + Send + Sync + 'static,
    ) {
        let _ = self.watcher.set(Box::new(watcher));
    }

    /// Looks at what is registered, while nothing changes.
    #[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
    pub(crate) fn look(&self, look: impl FnOnce(&[Arc<Listed>])) {
        look(&self.lock().active);
    }

    fn changed(&self, sockets: &Sockets, key: &SocketKey) {
        if let Some(watcher) = self.watcher.get() {
            watcher(key, &sockets.active);
        }
    }

    fn listed(&self, passed: Passed, fd: OwnedFd, inherited: bool) -> Arc<Listed> {
        Arc::new(Listed::new(passed, fd, inherited, Arc::clone(&self.tenure)))
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
        point!(SOCKET_IS_CLAIMED?);
        let fd = sockets.inherited[at].1.fd.try_clone()?;
        let (place, listed) = sockets.inherited.remove(at);
        if let Some(tell) = &sockets.tell
            && !tell(place)
        {
            // It has let go, and empties and closes what nobody wanted, or has:
            // the socket hears nobody any more. So it is as if we had come a moment
            // later, when what is not claimed is closed here, too.
            tracing::info!(?key, "too late for an inherited socket, which nobody had asked for");
            return Ok(None);
        }
        sockets.active.push(Arc::clone(&listed));
        Ok(Some((fd, self.used(listed))))
    }

    /// With the lock held, or before anybody else can know of the socket.
    fn used(&self, listed: Arc<Listed>) -> Registration {
        listed.users.fetch_add(1, Ordering::Relaxed);
        Registration { registry: self.clone(), listed, kept: false }
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
    /// as the registration lives. During an upgrade it comes too late for that: it
    /// is served, and if the upgrade completes it is emptied, as one that the
    /// successor does not want.
    pub(crate) fn enter(
        &self,
        key: SocketKey,
        socket: impl AsFd,
        inode: Option<Inode>,
        lent: bool,
    ) -> io::Result<Registration> {
        let fd = socket.as_fd().try_clone_to_owned()?;
        let listed = self.listed(Passed { inode, lent, ..Passed::new(0, key) }, fd, false);
        let registration = self.used(listed);
        let mut sockets = self.lock();
        sockets.active.push(Arc::clone(&registration.listed));
        if sockets.exported {
            registration.listed.set_unwanted(true);
        } else {
            self.changed(&sockets, &registration.listed.key);
        }
        Ok(registration)
    }

    /// Sets the flags as this process needs them, now that it is its turn.
    pub(crate) fn assert_flags(&self) {
        for listed in &self.lock().active {
            if let Some(Err(error)) = listed.manner().map(|manner| listed.decide(manner)) {
                tracing::warn!(key = ?listed.key, %error, "cannot set O_NONBLOCK");
            }
        }
    }

    /// This process serves again: what was passed on is as it was before.
    pub(crate) fn take_back(&self) {
        let mut sockets = self.lock();
        let passed = std::mem::take(&mut sockets.passed);
        passed.iter().for_each(|listed| listed.take_back());
        sockets.exported = false;
        for late in sockets.active.iter().filter(|listed| listed.unwanted()) {
            late.set_unwanted(false);
            self.changed(&sockets, &late.key);
        }
    }

    /// The registration of the application's socket, to be dropped with it.
    pub(crate) fn registration(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Registration>> {
        for listed in &self.lock().active {
            if same_socket(listed.as_fd(), socket)? {
                let listed = Arc::clone(listed);
                return Ok(Some(self.used(listed)));
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
                let listed = sockets.active.remove(at);
                self.changed(&sockets, &listed.key);
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
            listed.set_unwanted(false);
            listed.leave();
        }
        sockets.passed.clone_from(&passed);
        sockets.exported = true;
        passed
    }

    /// The successor has told us whether it wants what is in this place.
    pub(crate) fn mark(&self, place: u16, wanted: bool) {
        if let Some(listed) = self.lock().passed.get(usize::from(place)) {
            listed.set_unwanted(!wanted);
        }
    }

    /// The places of what was inherited and not claimed. It can be claimed until
    /// [`Self::close_unclaimed`]; `tell` hears of it then. Sockets of unknown
    /// kinds are kept, for a later generation that may know them.
    pub(crate) fn disclaim(&self, tell: impl Fn(u16) -> bool + Send + 'static) -> Vec<u16> {
        let mut sockets = self.lock();
        let (foreign, unclaimed): (Vec<_>, Vec<_>) = std::mem::take(&mut sockets.inherited)
            .into_iter()
            .partition(|(_, listed)| matches!(listed.key, SocketKey::Foreign(_)));
        sockets.active.extend(foreign.into_iter().map(|(_, listed)| listed));
        sockets.inherited = unclaimed;
        sockets.tell = Some(Box::new(tell));
        sockets.inherited.iter().map(|(place, _)| *place).collect()
    }

    /// Nobody has to be told any more, and nobody empties what is not claimed: there
    /// is no predecessor.
    pub(crate) fn tell_nobody(&self) {
        self.lock().tell = None;
    }

    /// Whether there is anything that can still be claimed.
    pub(crate) fn has_unclaimed(&self) -> bool {
        !self.lock().inherited.is_empty()
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
        if Tenure::of(&self.tenure) != Tenure::Predecessor {
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
                listed.steer_past(Arc::clone(&steering));
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

/// Keeps a socket registered. Dropped with the socket, so that a listener the
/// application lets go of is closed for good, and not kept half alive by us. Where
/// several accept from clones of one listener, the last of them counts.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
    pub(crate) listed: Arc<Listed>,
    kept: bool,
}

impl Registration {
    /// Keeps it registered for as long as the registry has anything.
    pub(crate) fn keep(mut self) {
        self.listed.users.fetch_sub(1, Ordering::Relaxed);
        self.kept = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Under the lock, so that nobody becomes a user of what is unregistered.
        let mut sockets = self.registry.lock();
        if self.listed.users.fetch_sub(1, Ordering::Relaxed) == 1 {
            let before = sockets.active.len();
            sockets.active.retain(|listed| !Arc::ptr_eq(listed, &self.listed));
            // What was passed on, or is left to nobody, is not for us to tell of.
            if sockets.active.len() < before {
                self.registry.changed(&sockets, &self.listed.key);
            }
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
    use crate::listed::Manner;
    use crate::sys::fd;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn key(port: u16) -> SocketKey {
        SocketKey::tcp(([127, 0, 0, 1], port).into())
    }

    fn passed(key: SocketKey, socket: TcpListener) -> (Passed, OwnedFd) {
        (Passed::new(9, key), socket.into())
    }

    fn refused(address: SocketAddr) {
        crate::sys::spawn::no_copy_is_left();
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

    /// The first loop that ended took the socket from the next generation.
    #[test]
    fn a_listener_is_registered_until_the_last_who_accepts_from_it_has_ended() {
        let registry = Registry::default();
        let socket = listener();
        registry.enter(key(0), &socket, None, false).unwrap().keep();
        let loops = [(); 3].map(|()| registry.registration(socket.as_fd()).unwrap().unwrap());
        for (ended, registration) in loops.into_iter().enumerate() {
            assert_eq!(registry.export().len(), 1, "{ended} have ended");
            drop(registration);
        }
        assert!(registry.export().is_empty());
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
        registry.disclaim(|_| true);
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
        let unclaimed = registry.disclaim(move |place| said.send(place).is_ok());
        assert_eq!(unclaimed, [1, 2]);
        let _late = registry.claim(&key(3)).unwrap().unwrap();
        registry.close_unclaimed();
        assert!(registry.claim(&key(2)).unwrap().is_none());
        assert_eq!(heard.iter().collect::<Vec<_>>(), [2]);
    }

    /// It was handed out though the predecessor had made it deaf: nobody could
    /// connect, and nobody was told.
    #[test]
    fn what_the_predecessor_has_let_go_of_is_not_handed_out_and_not_kept() {
        let socket = listener();
        let address = socket.local_addr().unwrap();
        let registry = Registry::inheriting(vec![passed(key(1), socket)]);
        registry.disclaim(|_| false);
        assert!(registry.claim(&key(1)).unwrap().is_none());
        refused(address);
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

    /// It was taken for one that nobody wants, at a stop long after.
    #[test]
    fn what_a_successor_that_failed_did_not_want_is_wanted_again() {
        let registry = Registry::default();
        let socket = listener();
        let ours = registry.enter(key(1), &socket, None, false).unwrap();
        registry.export();
        registry.mark(0, false);
        registry.take_back();
        assert!(!ours.listed.unwanted());
        // Nor does anything count that is heard of it later.
        registry.mark(0, false);
        assert!(!ours.listed.unwanted());
    }

    /// It was taken for one that the successor has.
    #[test]
    fn what_is_entered_during_an_upgrade_is_ours_alone_until_it_has_failed() {
        let registry = Registry::default();
        let late = |port| registry.enter(key(port), listener(), None, false).unwrap();
        let before = late(1);
        registry.export();
        let during = late(2);
        assert_eq!((before.listed.unwanted(), during.listed.unwanted()), (false, true));
        registry.take_back();
        assert!(!during.listed.unwanted() && !late(3).listed.unwanted());
        assert_eq!(registry.export().len(), 2, "and the next successor gets it");
    }

    fn nonblocking(socket: impl AsFd) -> bool {
        fd::is_nonblocking(socket).unwrap()
    }

    /// What the application had set was cleared: when the listener was made, when
    /// it was the successor's turn, and when a successor had failed.
    #[test]
    fn a_listener_that_the_application_polls_itself_stays_as_it_is() {
        for mine in [true, false] {
            let registry = Registry::default();
            let socket = listener();
            socket.set_nonblocking(mine).unwrap();
            let ours = registry.enter(key(1), &socket, None, false).unwrap();
            ours.listed.decide(Manner::Blocking).unwrap();
            assert_eq!(nonblocking(&socket), mine);
            let passed = registry.export()[0].passed_as(9);
            // The successor takes it over in its own manner, serves, and fails.
            let its = vec![(passed, socket.try_clone().unwrap().into())];
            let successor = Registry::inheriting(its);
            let (_fd, its) = successor.claim(&key(1)).unwrap().unwrap();
            its.listed.decide(Manner::Blocking).unwrap();
            successor.set_tenure(Tenure::Probation);
            successor.assert_flags();
            assert_eq!(nonblocking(&socket), mine);
            its.listed.decide(Manner::NonBlocking).unwrap();
            assert!(nonblocking(&socket));
            registry.take_back();
            assert_eq!(nonblocking(&socket), mine);
            // Once: what the application does later is not undone.
            socket.set_nonblocking(!mine).unwrap();
            registry.take_back();
            assert_eq!(nonblocking(&socket), !mine);
        }
    }

    #[test]
    fn a_listener_blocks_again_in_a_successor_only_if_the_library_had_changed_it() {
        let registry = Registry::default();
        let socket = listener();
        let ours = registry.enter(key(1), &socket, None, false).unwrap();
        ours.listed.decide(Manner::NonBlocking).unwrap();
        let passed = registry.export()[0].passed_as(9);
        let its = vec![(passed, socket.try_clone().unwrap().into())];
        let successor = Registry::inheriting(its);
        let (_fd, its) = successor.claim(&key(1)).unwrap().unwrap();
        its.listed.decide(Manner::Blocking).unwrap();
        assert!(nonblocking(&socket), "its predecessor serves");
        successor.set_tenure(Tenure::Probation);
        successor.assert_flags();
        assert!(!nonblocking(&socket));
        assert!(!its.listed.passed_as(9).nonblocking);
        registry.take_back();
        assert!(nonblocking(&socket), "and serves again");
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
                let passed = Passed { inode: Some(inode), ..Passed::new(9, key.clone()) };
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
