//! Named points in the course of an upgrade, at which a test can have a process
//! fail. With the feature `failpoints`; without it nothing of this is compiled, and
//! `point!` is nothing.
//!
//! A crash between two system calls, or a system call that fails just there, is
//! what only the inside can bring about on purpose. The crate `fail` knows what is
//! to happen at which point, and this file is the list of points.

/// A point; with `?`, one at which the step may fail, in a function that returns an
/// error.
#[cfg(not(feature = "failpoints"))]
macro_rules! point {
    ($point:ident) => {};
    ($point:ident ?) => {};
}

#[cfg(feature = "failpoints")]
macro_rules! point {
    ($point:ident) => {
        $crate::points::pass(&$crate::points::$point)
    };
    ($point:ident ?) => {
        $crate::points::try_to_pass(&$crate::points::$point)?
    };
}

#[cfg(feature = "failpoints")]
pub use enabled::FailPoint;
#[cfg(feature = "failpoints")]
pub(crate) use enabled::*;

#[cfg(feature = "failpoints")]
mod enabled {
    use std::collections::BTreeSet;
    use std::io::{self, ErrorKind, Write};
    use std::process;
    use std::sync::OnceLock;

    use nix::sys::signal::{Signal, raise};

    /// What a process that is told to exit at a point exits with: an internal error
    /// of the software, in the words of sysexits.h.
    const EXIT: i32 = 70;

    /// A named point in the course of an upgrade, at which a test can have a process
    /// fail.
    ///
    /// A process takes what is to happen from its environment, when it makes its
    /// [`Ecdysis`](crate::Ecdysis): `FAILPOINTS="ecdysis.successor.go=return(abort)"`,
    /// several separated by semicolons. After the equals sign can stand what
    /// [`fail::cfg`] takes (`1*return(abort)`, `5%panic`, `sleep(100)`, `pause`);
    /// `return` means here:
    ///
    /// | | |
    /// |---|---|
    /// | `return(abort)` | the process aborts |
    /// | `return(exit)` | the process exits, with status 70 |
    /// | `return(stop)` | the process stops, until somebody sends it SIGCONT |
    /// | `return(12)` | the step fails with this error of the system, if it [can](Self::can_fail) |
    ///
    /// A process that passes a point of which `FAILPOINTS` speaks (`off` is enough)
    /// says so to its standard error, with the name and its pid, so that what was
    /// asked for and what has happened can be compared. The variable crosses to the
    /// next generation as any other does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct FailPoint {
        /// What `FAILPOINTS` calls it.
        pub name: &'static str,
        /// What has happened there, and what has not yet.
        pub meaning: &'static str,
        /// Whether the step after it can be made to return an error.
        pub can_fail: bool,
    }

    macro_rules! points {
        ($($(#[doc = $meaning:literal])+ $point:ident = $name:literal $($fails:ident)?;)+) => {
            $(
                $(#[doc = $meaning])+
                pub(crate) static $point: FailPoint = FailPoint {
                    name: $name,
                    meaning: concat!($($meaning),+).trim_ascii_start(),
                    can_fail: points!(@ $($fails)?),
                };
            )+

            impl FailPoint {
                /// Every one, in the order in which an upgrade that goes well passes
                /// them, first those of the old process; then those that only one
                /// passes that fails.
                pub const ALL: &'static [&'static Self] = &[$(&$point),+];
            }
        };
        (@) => { false };
        (@ fails) => { true };
    }

    points! {
        /// The old process begins an upgrade; nothing is prepared.
        UPGRADE_BEGINS = "ecdysis.predecessor.begin" fails;
        /// It is about to have the application make the state for the new one.
        STATE_IS_MADE = "ecdysis.predecessor.state" fails;
        /// It is about to make the pipes that the two talk on.
        PIPES_ARE_MADE = "ecdysis.predecessor.pipes" fails;
        /// The pipes are there; the manifest is about to be written.
        MANIFEST_IS_WRITTEN = "ecdysis.predecessor.manifest" fails;
        /// The manifest is written; the new process is about to be created.
        PROGRAM_IS_STARTED = "ecdysis.predecessor.spawn" fails;
        /// The new process has called exec.
        PROGRAM_HAS_STARTED = "ecdysis.predecessor.spawned" fails;
        /// The old process is about to look at the new one, which is not ready yet.
        READINESS_IS_AWAITED = "ecdysis.predecessor.wait" fails;
        /// It has heard that the new one is ready, and accepts itself.
        READINESS_IS_HEARD = "ecdysis.predecessor.ready" fails;
        /// It has stopped accepting, and has not said *go*.
        ACCEPTING_HAS_STOPPED = "ecdysis.predecessor.stopped" fails;
        /// It has said *go*.
        GO_IS_SAID = "ecdysis.predecessor.go";
        /// It is about to look at the new one, which serves, on probation or told
        /// that it is settled.
        PROBATION_IS_WATCHED = "ecdysis.predecessor.probation" fails;
        /// The probation is over; *settled* has not been said.
        SETTLED_IS_SAID = "ecdysis.predecessor.settle" fails;
        /// *Settled* has been said; the sockets are still held.
        SETTLED_HAS_BEEN_SAID = "ecdysis.predecessor.settled";
        /// The outcome is certain, and nobody has been told.
        OUTCOME_IS_CERTAIN = "ecdysis.predecessor.decided";
        /// The new process has been let go of, and so have the sockets; connections
        /// are left.
        DRAIN_BEGINS = "ecdysis.predecessor.drain";
        /// The new process was started as one; it has taken over nothing.
        PREDECESSOR_IS_FOUND = "ecdysis.successor.begin" fails;
        /// It has the pipes, and has read nothing.
        MANIFEST_IS_READ = "ecdysis.successor.manifest" fails;
        /// It has read the manifest, and is about to take the descriptors.
        DESCRIPTORS_ARE_ADOPTED = "ecdysis.successor.adopt" fails;
        /// It holds all that was passed on.
        EVERYTHING_IS_ADOPTED = "ecdysis.successor.adopted" fails;
        /// The application is about to get a socket that was passed on.
        SOCKET_IS_CLAIMED = "ecdysis.successor.claim" fails;
        /// The application has said that it is ready; nobody else knows.
        APPLICATION_IS_READY = "ecdysis.successor.initialised" fails;
        /// The new process is about to say so to the old one.
        READY_IS_SAID = "ecdysis.successor.ready" fails;
        /// It has said so.
        READY_HAS_BEEN_SAID = "ecdysis.successor.said";
        /// It is about to wait for a word of the old one.
        WORD_IS_AWAITED = "ecdysis.successor.hear" fails;
        /// It has heard *go*, and accepts nothing yet.
        GO_IS_HEARD = "ecdysis.successor.go";
        /// It accepts.
        ACCEPTING_HAS_BEGUN = "ecdysis.successor.serve";
        /// It has heard *settled*, or that the old one is gone.
        SETTLED_IS_HEARD = "ecdysis.successor.settle";
        /// It is settled, and the old one can see that.
        SETTLED_IS_ANSWERED = "ecdysis.successor.settled";
        /// The old process is about to end a new one that has failed.
        SUCCESSOR_IS_ENDED = "ecdysis.predecessor.kill" fails;
        /// The new one has failed on probation; the old one accepts nothing yet.
        ACCEPTING_BEGINS_AGAIN = "ecdysis.predecessor.rollback";
        /// What is left of an upgrade that has failed is about to be put in order.
        SERVICE_IS_TAKEN_BACK = "ecdysis.predecessor.recover";
    }

    /// Takes what is to happen from the environment. Once in a process.
    pub(crate) fn configure() -> io::Result<()> {
        configured().as_ref().map(drop).map_err(|message| {
            io::Error::new(ErrorKind::InvalidInput, format!("FAILPOINTS: {message}"))
        })
    }

    /// The points of which `FAILPOINTS` speaks.
    fn configured() -> &'static Result<BTreeSet<String>, String> {
        static CONFIGURED: OnceLock<Result<BTreeSet<String>, String>> = OnceLock::new();
        CONFIGURED.get_or_init(|| {
            let value = std::env::var("FAILPOINTS").unwrap_or_default();
            // Others are those of somebody else who uses the crate.
            let ours = |order: &&str| order.starts_with("ecdysis.");
            value.split(';').map(str::trim).filter(ours).map(configure_one).collect()
        })
    }

    fn configure_one(order: &str) -> Result<String, String> {
        let (name, action) = order
            .split_once('=')
            .ok_or_else(|| format!("{order:?}: a point, \"=\" and an action are accepted"))?;
        if !FailPoint::ALL.iter().any(|point| point.name == name) {
            let names: Vec<_> = FailPoint::ALL.iter().map(|point| point.name).collect();
            return Err(format!("no point {name:?}; there are {}", names.join(", ")));
        }
        fail::cfg(name, action).map_err(|error| format!("{order:?}: {error}"))?;
        Ok(name.to_owned())
    }

    /// At a point at which nothing can fail but the whole process.
    pub(crate) fn pass(point: &FailPoint) {
        if let Err(error) = try_to_pass(point) {
            say(point, &format!("cannot fail here ({error})"));
        }
    }

    /// At a point at which something can fail.
    pub(crate) fn try_to_pass(point: &FailPoint) -> io::Result<()> {
        if configured().as_ref().is_ok_and(|points| points.contains(point.name)) {
            say(point, "is passed");
        }
        let Some(what) = returned(point.name) else { return Ok(()) };
        match what.as_deref() {
            Some("abort") => process::abort(),
            #[expect(clippy::exit, reason = "that is what was asked for")]
            Some("exit") => process::exit(EXIT),
            Some("stop") => Ok(raise(Signal::SIGSTOP)?),
            Some(number) => Err(number.parse().map_or_else(
                |_| io::Error::other(number.to_owned()),
                io::Error::from_raw_os_error,
            )),
            None => Err(io::Error::other(point.name)),
        }
    }

    fn returned(name: &str) -> Option<Option<String>> {
        fail::fail_point!(name, Some);
        None
    }

    /// Tells whoever started the process; without a logger, and in one piece.
    fn say(point: &FailPoint, what: &str) {
        let line = format!("failpoint {} {what} pid={}\n", point.name, process::id());
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
