//! What a scenario can mean, but probably does not.

use std::fmt;
use std::time::Duration;

use super::plan::{LoadKind, Namespace, Plan};

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
        .filter(|load| load.timeout < SYN_COMB)
        .map(|load| Lint::TimeoutHidesSynRetries { load: load.name.clone(), timeout: load.timeout })
        .collect();
    // Where the server runs already there is no other.
    if plan.network.namespace == Namespace::Host && plan.target.attach.is_none() {
        lints.push(Lint::HostNetwork);
    }
    if !plan.loads.iter().any(|load| load.kind == LoadKind::Churn) {
        lints.push(Lint::NoChurn);
    }
    lints
}
