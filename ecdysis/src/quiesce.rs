//! Emptying a listener before it is closed, so that closing it resets nobody.
//!
//! Closing a TCP listener resets every connection that its queue holds. So, when
//! nobody will accept from it after us, first no new handshake is let in, then
//! what is in the queue is accepted and served, and only when nothing has come
//! for a while is it closed. No clock and no accept in here: both accept loops,
//! the asynchronous and the blocking one, are driven by it.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::listed::Listed;
use crate::socket::SocketKey;
use crate::sys::quiesce::{allow_handshakes, hide, queued, refuse_handshakes, shrink_backlog};

/// How long nothing may have come before the listener is closed. A handshake
/// that was under way when the door was shut is complete one round trip later.
const QUIET: Duration = Duration::from_millis(100);

/// How long it may take in all.
const MOST: Duration = Duration::from_secs(2);

/// A socket that is being emptied.
#[derive(Debug)]
pub(crate) struct Quiesce {
    listed: Arc<Listed>,
    /// No new connection can come any more. Else they are led elsewhere, which
    /// is gentler, and holds if the group is in the order we think it is in.
    shut: bool,
    /// That has succeeded.
    kept_away: bool,
    quiet: Duration,
    quiet_since: Option<Instant>,
    deadline: Instant,
}

/// What the accept loop has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again when something comes, at the latest at this moment.
    Look(Instant),
    /// Close.
    Close,
}

impl Quiesce {
    /// Begins: from now on nothing new should come.
    pub(crate) fn begin(listed: Arc<Listed>, now: Instant) -> Self {
        let mut quiet = QUIET;
        let mut kept_away = false;
        let spared = listed.lent() || !listed.key.listens();
        let shut = spared || !listed.is_steered_past();
        if spared {
            // Whoever lent it to us will go on with it, queue and all.
            quiet = Duration::ZERO;
        } else if shut {
            listed.unlink();
            kept_away = shut_door(&listed);
        }
        Self { listed, shut, kept_away, quiet, quiet_since: None, deadline: now + MOST }
    }

    /// Something was accepted.
    pub(crate) fn accepted(&mut self) {
        self.quiet_since = None;
    }

    /// There may be something, and it cannot be accepted for want of resources:
    /// those are in use by connections that are told to finish only when this is
    /// over, so here the deadline holds, whatever is left.
    pub(crate) fn starved(&self, now: Instant, pause: Duration) -> Next {
        if now < self.deadline {
            return Next::Look((now + pause).min(self.deadline));
        }
        Next::Close
    }

    /// There was nothing to accept.
    pub(crate) fn empty(&mut self, now: Instant) -> Next {
        let quiet_until = *self.quiet_since.get_or_insert(now) + self.quiet;
        if now < quiet_until && now < self.deadline {
            return Next::Look(quiet_until.min(self.deadline));
        }
        if !self.shut {
            self.shut = true;
            // Nobody waits for one that is hidden: the group goes on.
            self.kept_away = hide(&self.listed).is_ok() || shut_door(&self.listed);
            self.quiet_since = Some(now);
            return Next::Look(now + self.quiet);
        }
        // The loop may not have been told yet of what has just come. It does not
        // come without end, as the door is shut, so this needs no deadline.
        let tcp = is_tcp(&self.listed) && !self.listed.lent();
        let left = if tcp { queued(self.listed.as_fd()).unwrap_or(0) } else { 0 };
        if left > 0 && (self.kept_away || now < self.deadline) {
            self.quiet_since = Some(now);
            return Next::Look(now + self.quiet);
        }
        Next::Close
    }
}

/// Frees a connection that came while its TCP listener was being emptied of what
/// keeps new ones away, and what it has inherited.
pub(crate) fn admit(connection: &impl AsFd) {
    if let Err(error) = allow_handshakes(connection) {
        tracing::warn!(%error, "cannot make a connection hear its peer again");
    }
}

/// Whether new connections are kept away now.
fn shut_door(listed: &Listed) -> bool {
    let shut = if is_tcp(listed) { refuse_handshakes(listed) } else { shrink_backlog(listed) };
    if let Err(error) = &shut {
        tracing::warn!(key = ?listed.key, %error, "cannot keep new connections away");
    }
    shut.is_ok()
}

fn is_tcp(listed: &Listed) -> bool {
    matches!(listed.key, SocketKey::Tcp { .. })
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::atomic::AtomicU8;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::listed::{Steering, Tenure};
    use crate::manifest::Passed;

    #[expect(clippy::disallowed_methods, reason = "the only moment there is")]
    fn now() -> Instant {
        Instant::now()
    }

    /// Whoever had lent it found that nobody could connect any more.
    #[test]
    fn what_is_lent_is_not_shut_where_its_group_shrinks_either() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let tenure = Arc::new(AtomicU8::new(Tenure::Successor as u8));
        let listed = |socket: Socket| {
            let passed = Passed { lent: true, ..Passed::new(0, SocketKey::Tcp { address }) };
            Arc::new(Listed::new(passed, socket.into(), true, Arc::clone(&tenure)))
        };
        let member = listed(socket.try_clone().unwrap());
        let listed = listed(socket);
        listed.steer_past(Arc::new(Steering { member, _emptied: None }));
        let mut quiesce = Quiesce::begin(Arc::clone(&listed), now());
        assert_eq!(quiesce.empty(now()), Next::Close);
        TcpStream::connect(address).unwrap();
    }
}
