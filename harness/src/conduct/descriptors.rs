//! Whether as many files may be open at once as a plan needs. What is missing in the
//! middle of a run would look like harm.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::error::ConductError;
use crate::scenario::Plan;
use crate::scenario::plan::{Load, LoadKind};

/// What the harness has open beside its clients, and a server beside theirs.
const OWN: u64 = 256;

/// Sees to it that this process, and the server that it will start, may have as many
/// open as `plan` needs.
pub(super) fn provide(plan: &Plan) -> Result<(), ConductError> {
    let limits = || -> io::Result<(u64, u64)> { Ok(getrlimit(Resource::RLIMIT_NOFILE)?) };
    let (soft, hard) = limits().map_err(ConductError::system("read the limit of open files"))?;
    let needed = needed(plan);
    if needed > hard {
        return Err(ConductError::Descriptors { needed, hard });
    }
    if needed > soft {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard)
            .map_err(io::Error::from)
            .map_err(ConductError::system("raise the limit of open files"))?;
    }
    Ok(())
}

/// How many one process may come to have open, as long as nobody is harmed.
fn needed(plan: &Plan) -> u64 {
    plan.loads.iter().map(at_once).fold(OWN, u64::saturating_add)
}

fn at_once(load: &Load) -> u64 {
    let held = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    match load.kind {
        LoadKind::KeepAlive { connections, .. } | LoadKind::Idle { connections } => {
            held(connections)
        }
        LoadKind::Udp { flows } => held(flows),
        LoadKind::Churn => passing(load, 0.0),
        LoadKind::Stream { pace, .. } => {
            let slowest = [pace.send, pace.receive].into_iter().flatten().min();
            let (_, largest) = load.payload;
            passing(load, slowest.map_or(0.0, |pace| largest as f64 / pace as f64))
        }
    }
}

/// Those that come and go: each may take so many seconds, and until it is a stall.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive, and beyond the largest number it is cut there"
)]
fn passing(load: &Load, seconds: f64) -> u64 {
    let rate = load.ramp.map_or(load.rate, |ramp| load.rate.max(ramp.to));
    let burst = load.bursts.iter().map(|burst| burst.count).fold(0, u64::saturating_add);
    (rate * (seconds + load.stall.as_secs_f64())).ceil() as u64 + burst
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::plan::{Arrivals, Endpoint, Pace, Speak};

    fn load(kind: LoadKind) -> Load {
        Load {
            name: "a".to_owned(),
            kind,
            to: Endpoint::Tcp,
            speak: Speak::Echo,
            rate: 500.0,
            arrivals: Arrivals::Uniform,
            payload: (1, 64 << 10),
            timeout: Duration::from_secs(10),
            stall: Duration::from_millis(1500),
            ramp: None,
            bursts: Vec::new(),
        }
    }

    #[test]
    fn as_many_are_needed_as_are_open_at_once() {
        let pace = Pace { send: Some(32 << 10), receive: Some(64 << 10) };
        for (kind, expected) in [
            (LoadKind::Idle { connections: 10_000 }, 10_000),
            (LoadKind::KeepAlive { connections: 16, lifetime: Duration::from_secs(1) }, 16),
            (LoadKind::Udp { flows: 7 }, 7),
            (LoadKind::Churn, 750),
            (LoadKind::Stream { pace, half_close: 0.0 }, 1750),
            (LoadKind::Stream { pace: Pace::default(), half_close: 0.0 }, 750),
        ] {
            assert_eq!(at_once(&load(kind)), expected, "{kind:?}");
        }
    }
}
