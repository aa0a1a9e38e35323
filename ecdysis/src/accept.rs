//! What to do about an accept that failed.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// The first pause after an accept that failed for want of something.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The pause doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to do about a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// That one connection failed: take the next.
    Connection,
    /// Something is used up: take the next in a while.
    Resource,
    /// The listener itself is broken: the application has to know.
    Listener,
}

impl Failure {
    /// What accept(2) says of its errors: some are those of the one connection,
    /// which Linux hands out here; some pass when something is given back.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(
                Errno::ECONNABORTED
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::EINTR
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EPERM
                | Errno::EPROTO
                | Errno::ETIMEDOUT,
            ) => Self::Connection,
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Self::Resource,
            _ => Self::Listener,
        }
    }
}

/// How long to wait for something that is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let judged = |errno: Errno| Failure::of(&errno.into());
        assert_eq!(judged(Errno::ECONNABORTED), Failure::Connection);
        assert_eq!(judged(Errno::EMFILE), Failure::Resource);
        assert_eq!(judged(Errno::EINVAL), Failure::Listener);
        assert_eq!(Failure::of(&io::ErrorKind::Other.into()), Failure::Listener);
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }
}
