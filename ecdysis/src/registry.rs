//! The sockets this process owns: those it inherited and has not claimed yet,
//! and those it uses and will pass on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::socket::SocketKey;

/// A socket of ours, and what it is. The descriptor is shared, not duplicated,
/// so that passing it on needs no descriptor that we may not have.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) key: SocketKey,
    pub(crate) fd: Arc<OwnedFd>,
}

#[derive(Debug, Default)]
struct Sockets {
    inherited: Vec<(SocketKey, OwnedFd)>,
    active: Vec<Listed>,
}

/// The sockets of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<Mutex<Sockets>>);

impl Registry {
    /// A registry that holds what the predecessor passed on.
    pub(crate) fn inheriting(inherited: Vec<(SocketKey, OwnedFd)>) -> Self {
        Self(Arc::new(Mutex::new(Sockets { inherited, active: Vec::new() })))
    }

    /// Takes out the first inherited socket with this key.
    pub(crate) fn claim(&self, key: &SocketKey) -> Option<OwnedFd> {
        let inherited = &mut self.lock().inherited;
        let place = inherited.iter().position(|(listed, _)| listed == key)?;
        Some(inherited.remove(place).1)
    }

    /// Enters a socket that the application uses, to be passed on for as long
    /// as the registration lives.
    pub(crate) fn enter(&self, key: SocketKey, socket: impl AsFd) -> io::Result<Registration> {
        let fd = Arc::new(socket.as_fd().try_clone_to_owned()?);
        self.lock().active.push(Listed { key, fd: Arc::clone(&fd) });
        Ok(Registration { registry: self.clone(), fd })
    }

    /// What the next generation gets, in the order in which it was made.
    pub(crate) fn export(&self) -> Vec<Listed> {
        self.lock().active.clone()
    }

    /// Closes what was inherited and never claimed; sockets of unknown kinds
    /// are kept, for a later generation that may know them.
    pub(crate) fn close_unclaimed(&self) {
        let mut sockets = self.lock();
        for (key, fd) in std::mem::take(&mut sockets.inherited) {
            if matches!(key, SocketKey::Foreign(_)) {
                sockets.active.push(Listed { key, fd: Arc::new(fd) });
            } else {
                tracing::info!(?key, "closing an inherited socket that nobody asked for");
            }
        }
    }

    /// Lets go of everything: the successor has it now, or nobody will.
    pub(crate) fn clear(&self) {
        *self.lock() = Sockets::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a socket registered. Dropped with the socket, so that a listener the
/// application lets go of is closed for good, and not kept half alive by us.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
    fd: Arc<OwnedFd>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().active.retain(|listed| !Arc::ptr_eq(&listed.fd, &self.fd));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn key(port: u16) -> SocketKey {
        SocketKey::Tcp(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn sockets_with_one_key_are_claimed_in_order_and_once() {
        let (first, second) = (listener(), listener());
        let addresses = [&first, &second].map(|socket| socket.local_addr().unwrap());
        let registry = Registry::inheriting(vec![(key(0), first.into()), (key(0), second.into())]);
        let claimed = [(); 2].map(|()| TcpListener::from(registry.claim(&key(0)).unwrap()));
        assert_eq!(claimed.map(|socket| socket.local_addr().unwrap()), addresses);
        assert!(registry.claim(&key(0)).is_none());
    }

    #[test]
    fn a_dropped_listener_is_closed_in_the_registry_too() {
        let registry = Registry::default();
        let socket = listener();
        let address = socket.local_addr().unwrap();
        let registration = registry.enter(key(0), &socket).unwrap();
        assert_eq!(registry.export().len(), 1);
        drop((socket, registration));
        assert!(registry.export().is_empty());
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn unknown_kinds_are_carried_to_the_next_generation() {
        let foreign = SocketKey::Foreign(serde_json::json!({ "kind": "vsock" }));
        let registry = Registry::inheriting(vec![
            (foreign.clone(), listener().into()),
            (key(1), listener().into()),
        ]);
        registry.close_unclaimed();
        let keys: Vec<_> = registry.export().into_iter().map(|listed| listed.key).collect();
        assert_eq!(keys, [foreign]);
    }
}
