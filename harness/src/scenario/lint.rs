//! What a scenario can mean, but probably does not.

use std::fmt;
use std::time::Duration;

use super::plan::{Endpoint, LoadKind, Namespace, Plan};

/// A lost SYN is sent again after 1 s, then after 2, 3, 4 … or after 3 and 7 s, as
/// the kernel's version has it. A shorter timeout turns what would have been seen
/// as that comb into a mere "timed out".
const SYN_COMB: Duration = Duration::from_secs(8);

/// A warning: the scenario runs, but sees less than it could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lint {
    /// A timeout ends operations before their SYNs were sent again.
    TimeoutHidesSynRetries {
        /// The load.
        load: String,
        /// Its timeout.
        timeout: Duration,
    },
    /// The machine's network is used.
    HostNetwork,
    /// No load opens a connection per request.
    NoChurn,
    /// Idle connections are still being opened when the storm begins.
    StillOpening {
        /// The load.
        load: String,
    },
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeoutHidesSynRetries { load, timeout } => write!(
                f,
                "load `{load}`: a timeout of {timeout:?} hides lost SYNs, which are sent again \
                 one to seven seconds later; write timeout = \"8s\" or more"
            ),
            Self::HostNetwork => f.write_str(
                "network.namespace = \"host\" taints the kernel's counters with other traffic: \
                 what they prove will be reported as not checked; write namespace = \"private\"",
            ),
            Self::StillOpening { load } => write!(
                f,
                "load `{load}`: not all of its connections are there when the storm begins, so \
                 not all are held through it; write a higher rate, or phases.warmup = \"10s\""
            ),
            Self::NoChurn => f.write_str(
                "only kept-alive connections: a connection lost in a closed listener's queue \
                 would hardly ever be one of them; add a [[load]] with kind = \"churn\"",
            ),
        }
    }
}

/// All that is doubtful in a plan.
pub(super) fn lints(plan: &Plan) -> Vec<Lint> {
    let mut lints: Vec<Lint> = plan
        .loads
        .iter()
        .filter(|load| load.to == Endpoint::Tcp && load.timeout < SYN_COMB)
        .map(|load| Lint::TimeoutHidesSynRetries { load: load.name.clone(), timeout: load.timeout })
        .collect();
    if plan.network.namespace == Namespace::Host {
        lints.push(Lint::HostNetwork);
    }
    if !plan.loads.iter().any(|load| load.kind == LoadKind::Churn) {
        lints.push(Lint::NoChurn);
    }
    let quiet = plan.phases.warmup + plan.phases.baseline;
    let still_opening = plan.loads.iter().filter(|load| match load.kind {
        LoadKind::Idle { connections } => connections as f64 / load.rate > quiet.as_secs_f64(),
        LoadKind::Churn
        | LoadKind::Stream { .. }
        | LoadKind::KeepAlive { .. }
        | LoadKind::Udp { .. } => false,
    });
    lints.extend(still_opening.map(|load| Lint::StillOpening { load: load.name.clone() }));
    lints
}
