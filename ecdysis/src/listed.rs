//! One socket of this process: what it is, whose it is, and in which state this
//! process leaves it when it is another's turn, or the end.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::manifest::Passed;
use crate::socket::SocketKey;
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

impl Tenure {
    /// What is in this cell.
    pub(crate) fn of(shared: &AtomicU8) -> Self {
        let whose = shared.load(Ordering::Relaxed);
        [Self::Predecessor, Self::Probation, Self::Successor]
            .into_iter()
            .find(|tenure| *tenure as u8 == whose)
            .unwrap_or(Self::Ours)
    }
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
    lent: AtomicBool,
    /// It came from the predecessor.
    pub(crate) inherited: bool,
    /// How many there are who unregister it when they let go of it.
    pub(crate) users: AtomicUsize,
    /// How this process accepts from it, if it has decided.
    manner: AtomicU8,
    /// It does not block because this library needs that, here or in a process
    /// before us. What the application has made of it is its own affair.
    made_nonblocking: AtomicBool,
    /// Whether it blocked when it was passed on: what a successor that fails has
    /// made of the flag is undone.
    left: Mutex<Option<Manner>>,
    /// The successor does not want it.
    unwanted: AtomicBool,
    tenure: Arc<AtomicU8>,
    /// Keeps new connections away while it is emptied; the last socket of its
    /// group to be closed lets them go where they like again.
    steering: Mutex<Option<Arc<Steering>>>,
}

impl Listed {
    /// A socket that was passed on to us, or that is as if it had been.
    pub(crate) fn new(passed: Passed, fd: OwnedFd, inherited: bool, tenure: Arc<AtomicU8>) -> Self {
        Self {
            key: passed.key,
            fd,
            inode: passed.inode,
            lent: AtomicBool::new(passed.lent),
            inherited,
            users: AtomicUsize::new(0),
            manner: AtomicU8::new(u8::MAX),
            made_nonblocking: AtomicBool::new(passed.nonblocking),
            left: Mutex::default(),
            unwanted: AtomicBool::new(false),
            tenure,
            steering: Mutex::default(),
        }
    }

    /// Whether the successor has told us that it does not want it. It is ours
    /// to the end, then.
    pub(crate) fn unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }

    /// The successor has told us whether it wants it.
    pub(crate) fn set_unwanted(&self, unwanted: bool) {
        self.unwanted.store(unwanted, Ordering::Relaxed);
    }

    /// New connections are led past it, for as long as it lives.
    pub(crate) fn steer_past(&self, steering: Arc<Steering>) {
        *self.steering.lock().unwrap_or_else(PoisonError::into_inner) = Some(steering);
    }

    /// Whether new connections are led past it already.
    pub(crate) fn is_steered_past(&self) -> bool {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether somebody who is no generation of ours has it too.
    pub(crate) fn lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }

    /// So it is, whatever the predecessor has said: the published crate has no
    /// word for it.
    #[cfg(feature = "systemd_sockets")]
    pub(crate) fn lend(&self) {
        self.lent.store(true, Ordering::Relaxed);
    }

    /// Decides how this process accepts from it. The flag is shared with every
    /// process that has the socket, so one that blocks gets its way only when the
    /// predecessor accepts no more; one that does not must have it at once. One
    /// that blocks gets back what this library has changed, and no more: the
    /// application may poll a listener of its own.
    pub(crate) fn decide(&self, manner: Manner) -> io::Result<()> {
        self.manner.store(manner as u8, Ordering::Relaxed);
        match manner {
            Manner::NonBlocking => {
                self.made_nonblocking.store(true, Ordering::Relaxed);
                fd::set_nonblocking(self, true)
            }
            Manner::Blocking if Tenure::of(&self.tenure) == Tenure::Predecessor => Ok(()),
            Manner::Blocking if self.made_nonblocking.swap(false, Ordering::Relaxed) => {
                fd::set_nonblocking(self, false)
            }
            Manner::Blocking => Ok(()),
        }
    }

    /// How this process accepts from it, if it has decided.
    pub(crate) fn manner(&self) -> Option<Manner> {
        let decided = self.manner.load(Ordering::Relaxed);
        [Manner::Blocking, Manner::NonBlocking].into_iter().find(|known| *known as u8 == decided)
    }

    /// It is passed on. Remembers how it is, for [`Self::take_back`].
    pub(crate) fn leave(&self) {
        let left = fd::is_nonblocking(self)
            .map(|nonblocking| if nonblocking { Manner::NonBlocking } else { Manner::Blocking });
        // A descriptor that the application passes on by name is its own affair.
        let left = left.ok().filter(|_| self.manner().is_some());
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    /// Undoes what a successor that has failed has made of it, and said of it.
    pub(crate) fn take_back(&self) {
        self.set_unwanted(false);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        // This library may have come to need it otherwise meanwhile.
        let needed = self.manner().filter(|manner| *manner == Manner::NonBlocking);
        if let Some(manner) = needed.or(left)
            && let Err(error) = fd::set_nonblocking(self, manner == Manner::NonBlocking)
        {
            tracing::warn!(key = ?self.key, %error, "cannot set O_NONBLOCK");
        }
    }

    /// Removes the file that it is bound to, if that is still its file and
    /// nobody serves on it after us.
    pub(crate) fn unlink(&self) {
        let ours = match Tenure::of(&self.tenure) {
            Tenure::Predecessor | Tenure::Probation => !self.inherited,
            Tenure::Ours => true,
            Tenure::Successor => self.unwanted(),
        };
        if let (true, Some(path), Some(inode)) = (ours && !self.lent(), self.key.path(), self.inode)
            && let Err(error) = unlink_if(path, inode)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the socket file");
        }
    }

    /// As a manifest has it, at this number in the reader.
    pub(crate) fn passed_as(&self, number: i32) -> Passed {
        Passed {
            inode: self.inode,
            lent: self.lent(),
            nonblocking: self.made_nonblocking.load(Ordering::Relaxed),
            ..Passed::new(number, self.key.clone())
        }
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
pub(crate) struct Steering {
    pub(crate) member: Arc<Listed>,
    /// Closed when it has ended: what the successor waits for.
    pub(crate) _emptied: Option<Arc<OwnedFd>>,
}

impl Drop for Steering {
    fn drop(&mut self) {
        if let Err(error) = quiesce::stop_steering(&*self.member) {
            tracing::warn!(%error, "cannot spread connections over the whole group again");
        }
    }
}
