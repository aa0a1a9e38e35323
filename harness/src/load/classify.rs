//! Which fate the facts amount to. Pure: it can be shown every case.

use std::time::Duration;

use nix::errno::Errno;

use crate::event::{Fate, Harm};

/// A SYN is sent again after one second. A handshake that took nearly that
/// long on a local network has lost one.
const SYN_LOST: Duration = Duration::from_millis(900);

/// How far an operation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Before the handshake was complete.
    Connecting,
    /// Waiting for the whole greeting.
    Greeting,
    /// Sending, or waiting for the reply to begin.
    Request,
    /// The reply has begun.
    Reply,
    /// The reply was complete; waiting for the server to finish too.
    Finishing,
    /// A kept connection with nothing outstanding.
    Idle,
    /// A kept connection that had nothing outstanding and on which the client has finished.
    Closing,
}

/// What ended an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It came to the end that it was to come to.
    Complete,
    /// The bytes that came are not those that should have.
    Mismatch(Harm),
    /// A system call failed with this error number.
    Error(i32),
    /// The server finished too early.
    Eof,
    /// Time was up.
    Deadline,
    /// The plan was given up.
    Cancelled,
}

/// What is known of an operation besides its ending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// How far it had come.
    pub(super) progress: Progress,
    /// Whether it is about a unix socket.
    pub(super) unix: bool,
    /// The client had finished sending before the reply was complete.
    pub(super) half_closed: bool,
    /// The connection had been idle, and its protocol lets either side end it then.
    pub(super) kept: bool,
    /// Behind the end of the stream, a reset was found.
    pub(super) reset: bool,
    /// Bytes that were ever read on its connection.
    pub(super) seen: u64,
    /// How long the handshake took, if this operation made it.
    pub(super) connect_took: Option<Duration>,
    /// From the handshake to the first byte, if this operation waited for it.
    pub(super) first_byte_took: Option<Duration>,
    /// More than this to the first byte is a stall.
    pub(super) stall: Duration,
}

/// The fate of an operation with these `facts` that ended by `ending`.
pub(super) fn fate(facts: &Facts, ending: Ending) -> Fate {
    match ending {
        Ending::Complete => completed(facts),
        Ending::Mismatch(harm) => Fate::Harmed(harm),
        Ending::Error(errno) => error(facts, errno),
        Ending::Eof => Fate::Harmed(eof(facts)),
        Ending::Deadline => Fate::Harmed(deadline(facts)),
        Ending::Cancelled => Fate::Cancelled,
    }
}

/// Whether the connection ended by RST, as far as this error number tells.
pub(super) fn is_reset(errno: i32) -> bool {
    [Errno::ECONNRESET, Errno::ECONNREFUSED, Errno::EPIPE].contains(&Errno::from_raw(errno))
}

/// Whether the error number names a limit of the harness itself.
pub(super) fn is_limit(errno: i32) -> bool {
    [
        Errno::EADDRNOTAVAIL,
        Errno::EADDRINUSE,
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
    ]
    .contains(&Errno::from_raw(errno))
}

fn completed(facts: &Facts) -> Fate {
    if facts.connect_took.is_some_and(|took| took >= SYN_LOST) {
        Fate::Harmed(Harm::StallSyn)
    } else if facts.first_byte_took.is_some_and(|took| took > facts.stall) {
        Fate::Harmed(Harm::StallAccept)
    } else {
        Fate::Ok
    }
}

fn error(facts: &Facts, errno: i32) -> Fate {
    if is_limit(errno) {
        return Fate::LimitHit;
    }
    let errno = Errno::from_raw(errno);
    if facts.unix && facts.progress == Progress::Connecting {
        return unix(errno);
    }
    Fate::Harmed(if errno == Errno::ETIMEDOUT {
        // The kernel gave up sending: for us, the deadline came early.
        deadline(facts)
    } else if facts.progress != Progress::Connecting {
        // Whatever else breaks a connection that was there is as good as a reset.
        if errno == Errno::EPIPE { Harm::Epipe } else { reset(facts) }
    } else if errno == Errno::ECONNREFUSED {
        Harm::Refused
    } else if errno == Errno::ECONNRESET {
        // The handshake may have been complete, and the reset quicker than the
        // client was to look: from here, the two cannot be told apart.
        Harm::ResetConnect
    } else {
        // No route, no permission: this says nothing about the server.
        return Fate::LimitHit;
    })
}

/// Why a unix socket did not let a client in.
fn unix(errno: Errno) -> Fate {
    let harms = [
        (Errno::ENOENT, Harm::UdsEnoent),
        (Errno::ECONNREFUSED, Harm::UdsRefused),
        (Errno::EAGAIN, Harm::UdsEagain),
    ];
    // Whatever else it is, a path that may not be walked say, is not the server's doing.
    let found = harms.into_iter().find(|(of, _)| *of == errno);
    found.map_or(Fate::LimitHit, |(_, harm)| Fate::Harmed(harm))
}

/// A reset of a connection that was there.
fn reset(facts: &Facts) -> Harm {
    if facts.seen == 0 {
        return if facts.unix { Harm::UdsQueueLost } else { Harm::ResetQueue };
    }
    match facts.progress {
        Progress::Connecting => Harm::ResetConnect,
        // A server resets with what it has not read: it had closed a connection that
        // was idle to it, and the request crossed that on its way.
        Progress::Request if facts.kept => Harm::ResetIdle,
        Progress::Request => Harm::ResetRequest,
        // A greeting is something that the server says, too: it was cut.
        Progress::Greeting | Progress::Reply | Progress::Finishing => Harm::ResetReply,
        Progress::Idle | Progress::Closing => Harm::ResetIdle,
    }
}

fn eof(facts: &Facts) -> Harm {
    match facts.progress {
        Progress::Request | Progress::Reply if facts.half_closed => Harm::HalfClose,
        // Whoever has read a request and drops it finishes without a reset. So the
        // connection had been closed before this request was written.
        Progress::Request if facts.kept && facts.reset => Harm::Epipe,
        Progress::Connecting | Progress::Greeting => Harm::EofGreeting,
        Progress::Request | Progress::Reply | Progress::Finishing => Harm::EofEarly,
        Progress::Idle | Progress::Closing => Harm::EofIdle,
    }
}

fn deadline(facts: &Facts) -> Harm {
    if facts.progress == Progress::Connecting {
        // Not one SYN of all that were sent was answered.
        Harm::StallSyn
    } else if facts.seen == 0 {
        Harm::NeverServed
    } else {
        Harm::Timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_millis(500);

    fn facts(progress: Progress, seen: u64) -> Facts {
        let quick = Some(Duration::from_millis(1));
        Facts {
            progress,
            unix: false,
            half_closed: false,
            kept: false,
            reset: false,
            seen,
            connect_took: quick,
            first_byte_took: quick,
            stall: STALL,
        }
    }

    fn harm(progress: Progress, seen: u64, ending: Ending) -> &'static str {
        match fate(&facts(progress, seen), ending) {
            Fate::Harmed(harm) => harm.id(),
            Fate::Ok => "ok",
            Fate::LimitHit => "limit_hit",
            Fate::Cancelled => "cancelled",
        }
    }

    #[test]
    fn every_harm_has_its_facts() {
        use Progress::*;
        let errno = |errno: Errno| Ending::Error(errno as i32);
        let (rst, pipe) = (errno(Errno::ECONNRESET), errno(Errno::EPIPE));
        for (progress, seen, ending, expected) in [
            (Finishing, 90, Ending::Complete, "ok"),
            (Reply, 90, Ending::Cancelled, "cancelled"),
            (Connecting, 0, errno(Errno::ECONNREFUSED), "refused"),
            (Connecting, 0, rst, "reset_connect"),
            (Connecting, 0, Ending::Deadline, "stall_syn"),
            (Connecting, 0, errno(Errno::ETIMEDOUT), "stall_syn"),
            (Greeting, 0, rst, "reset_queue"),
            (Greeting, 9, rst, "reset_reply"),
            (Greeting, 0, Ending::Eof, "eof_greeting"),
            (Greeting, 9, Ending::Eof, "eof_greeting"),
            (Greeting, 0, Ending::Deadline, "never_served"),
            (Greeting, 9, Ending::Deadline, "timeout"),
            // Nothing was ever read: there is no greeting, and the request changes nothing.
            (Request, 0, rst, "reset_queue"),
            (Request, 0, Ending::Deadline, "never_served"),
            (Request, 0, Ending::Eof, "eof_early"),
            (Request, 9, rst, "reset_request"),
            (Request, 9, pipe, "epipe"),
            (Request, 9, Ending::Eof, "eof_early"),
            (Request, 9, Ending::Deadline, "timeout"),
            (Request, 9, errno(Errno::ETIMEDOUT), "timeout"),
            (Reply, 50, rst, "reset_reply"),
            (Reply, 50, pipe, "epipe"),
            (Reply, 50, Ending::Eof, "eof_early"),
            (Reply, 50, Ending::Deadline, "timeout"),
            (Reply, 50, Ending::Mismatch(Harm::LostBytes), "lost_bytes"),
            (Reply, 50, Ending::Mismatch(Harm::DupBytes), "dup_bytes"),
            (Reply, 50, Ending::Mismatch(Harm::Corrupt), "corrupt"),
            (Finishing, 90, rst, "reset_reply"),
            (Finishing, 90, Ending::Deadline, "timeout"),
            (Idle, 9, Ending::Eof, "eof_idle"),
            (Idle, 9, rst, "reset_idle"),
            (Idle, 0, rst, "reset_queue"),
            (Closing, 9, rst, "reset_idle"),
            (Closing, 0, Ending::Deadline, "never_served"),
            (Closing, 9, Ending::Deadline, "timeout"),
            (Closing, 9, Ending::Complete, "ok"),
        ] {
            assert_eq!(harm(progress, seen, ending), expected, "{progress:?} {seen} {ending:?}");
        }
    }

    #[test]
    fn our_own_limits_are_never_the_servers_fault() {
        for errno in [
            Errno::EADDRNOTAVAIL,
            Errno::EADDRINUSE,
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ENOBUFS,
            Errno::ENOMEM,
        ] {
            assert_eq!(harm(Progress::Connecting, 0, Ending::Error(errno as i32)), "limit_hit");
        }
        let unreachable = Ending::Error(Errno::ENETUNREACH as i32);
        assert_eq!(harm(Progress::Connecting, 0, unreachable), "limit_hit");
    }

    #[test]
    fn a_unix_socket_has_harms_of_its_own() {
        use Progress::*;
        for (progress, seen, errno, expected) in [
            (Connecting, 0, Errno::ENOENT, Fate::Harmed(Harm::UdsEnoent)),
            (Connecting, 0, Errno::ECONNREFUSED, Fate::Harmed(Harm::UdsRefused)),
            (Connecting, 0, Errno::EAGAIN, Fate::Harmed(Harm::UdsEagain)),
            (Connecting, 0, Errno::EACCES, Fate::LimitHit),
            (Greeting, 0, Errno::ECONNRESET, Fate::Harmed(Harm::UdsQueueLost)),
            (Request, 9, Errno::ECONNRESET, Fate::Harmed(Harm::ResetRequest)),
        ] {
            let facts = Facts { unix: true, ..facts(progress, seen) };
            assert_eq!(fate(&facts, Ending::Error(errno as i32)), expected, "{errno}");
        }
    }

    #[test]
    fn who_has_finished_sending_still_has_a_right_to_the_reply() {
        for progress in [Progress::Request, Progress::Reply] {
            let facts = Facts { half_closed: true, ..facts(progress, 9) };
            assert_eq!(fate(&facts, Ending::Eof), Fate::Harmed(Harm::HalfClose));
        }
        let whole = Facts { half_closed: true, ..facts(Progress::Finishing, 9) };
        assert_eq!(fate(&whole, Ending::Eof), Fate::Harmed(Harm::EofEarly));
    }

    #[test]
    fn a_request_that_crosses_the_close_of_an_idle_connection_is_told_from_one_that_is_dropped() {
        use Progress::*;
        let (rst, pipe) = (Errno::ECONNRESET as i32, Errno::EPIPE as i32);
        for (progress, seen, ending, reset, expected) in [
            (Request, 9, Ending::Error(rst), false, Harm::ResetIdle),
            (Request, 9, Ending::Error(pipe), false, Harm::Epipe),
            (Request, 9, Ending::Eof, true, Harm::Epipe),
            (Idle, 9, Ending::Eof, false, Harm::EofIdle),
            // It was read and dropped, or its answer was cut.
            (Request, 9, Ending::Eof, false, Harm::EofEarly),
            (Reply, 9, Ending::Eof, true, Harm::EofEarly),
            (Reply, 9, Ending::Error(rst), false, Harm::ResetReply),
            // Nobody has ever served on it: it may have been lost in a queue.
            (Request, 0, Ending::Error(rst), false, Harm::ResetQueue),
        ] {
            let facts = Facts { kept: true, reset, ..facts(progress, seen) };
            assert_eq!(fate(&facts, ending), Fate::Harmed(expected), "{progress:?} {ending:?}");
        }
        let fresh = Facts { reset: true, ..facts(Request, 9) };
        assert_eq!(fate(&fresh, Ending::Eof), Fate::Harmed(Harm::EofEarly));
        assert_eq!(fate(&fresh, Ending::Error(rst)), Fate::Harmed(Harm::ResetRequest));
    }

    #[test]
    fn a_late_success_is_a_stall() {
        let quick = facts(Progress::Finishing, 9);
        let syn = Facts { connect_took: Some(Duration::from_millis(900)), ..quick };
        assert_eq!(fate(&syn, Ending::Complete), Fate::Harmed(Harm::StallSyn));
        let accept = Facts { first_byte_took: Some(Duration::from_millis(501)), ..quick };
        assert_eq!(fate(&accept, Ending::Complete), Fate::Harmed(Harm::StallAccept));
        let edge = Facts { first_byte_took: Some(STALL), ..quick };
        assert_eq!(fate(&edge, Ending::Complete), Fate::Ok);
    }

    #[test]
    fn a_reset_is_told_by_its_error_number() {
        assert!(is_reset(Errno::EPIPE as i32));
        assert!(!is_reset(Errno::ETIMEDOUT as i32));
    }
}
