//! What a scenario can mean, but probably does not.

use std::fmt;
use std::time::Duration;

use super::gate::{Gate, Metric, Window};
use super::plan::{Endpoint, LoadKind, Namespace, Plan, When};

/// A lost SYN is sent again after 1 s, then after 2, 3, 4 … or after 3 and 7 s, as
/// the kernel's version has it. A shorter timeout turns what would have been seen
/// as that comb into a mere "timed out".
const SYN_COMB: Duration = Duration::from_secs(8);

/// Of the connections begun each second, the share that a server loses at each
/// upgrade if it hands over by `SO_REUSEPORT` and closes what waits: measured
/// at 20 000 to 27 000 connections a second, which lost 2.8 to 4.1 of them.
const LOST_BY_REUSEPORT: f64 = 1.45e-4;

/// A warning: the scenario runs, but sees less than it could.
#[derive(Clone, Debug, PartialEq)]
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
    /// A server that loses its accept queue would most likely be acquitted.
    TooWeak {
        /// Connections per second, over all loads that open one per request.
        rate: f64,
        /// Upgrades that must be seen.
        upgrades: u64,
        /// How many clients such a server would harm.
        harms: f64,
    },
    /// A gate asks for more samples than there can be.
    GateWithoutSamples {
        /// The gate.
        gate: String,
        /// Its line.
        line: usize,
        /// What it asks for.
        wanted: u64,
        /// What there can be at the most.
        most: u64,
    },
    /// A gate on the kernel's counters, where they prove nothing.
    KernelGateOnHost {
        /// The gate.
        gate: String,
        /// Its line.
        line: usize,
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
            Self::TooWeak { rate, upgrades, harms } => write!(
                f,
                "{rate} connections a second over {upgrades} upgrades are a weak witness: of a \
                 server that loses its accept queue at each, they would notice {harms:.2} losses, \
                 and most likely none; write a higher rate = \"6k/s\", or more upgrades under \
                 [coverage]"
            ),
            Self::GateWithoutSamples { gate, line, wanted, most } => write!(
                f,
                "line {line}: gate `{gate}` asks for {wanted} samples, and there can be {most} at \
                 the most, so it will be inconclusive; write a longer phase, a higher rate = \
                 \"6k/s\", or a lower quantile"
            ),
            Self::KernelGateOnHost { gate, line } => write!(
                f,
                "line {line}: gate `{gate}` rests on the kernel's counters, which others' traffic \
                 taints, so it will be inconclusive; write namespace = \"private\""
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
    // Where the server runs already there is no other.
    if plan.network.namespace == Namespace::Host && plan.target.attach.is_none() {
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
    lints.extend(too_weak(plan));
    lints.extend(plan.gates.iter().filter_map(|gate| without_samples(plan, gate)));
    lints.extend(plan.gates.iter().filter_map(|gate| kernel_on_host(plan, gate)));
    lints
}

/// Below one loss in all, none at all is the likeliest.
fn too_weak(plan: &Plan) -> Option<Lint> {
    let churn = plan.loads.iter().filter(|load| load.kind == LoadKind::Churn);
    let rate: f64 = churn.map(|load| load.rate).sum();
    // Where certain upgrades are to go wrong, that they do is what is to be seen.
    let picked = plan.faults.iter().any(|fault| matches!(fault.when, When::Upgrades(_)));
    if picked {
        return None;
    }
    let upgrades = plan.upgrades.map(|_| plan.coverage.upgrades)?;
    let harms = rate * LOST_BY_REUSEPORT * lossy(upgrades);
    (rate > 0.0 && harms < 1.0).then_some(Lint::TooWeak { rate, upgrades, harms })
}

fn without_samples(plan: &Plan, gate: &Gate) -> Option<Lint> {
    let most = most_samples(plan, &gate.metric).filter(|most| *most < gate.min_samples)?;
    let (gate, line, wanted) = (gate.name.clone(), gate.line, gate.min_samples);
    Some(Lint::GateWithoutSamples { gate, line, wanted, most })
}

/// How many samples there can be, where the plan tells.
fn most_samples(plan: &Plan, metric: &Metric) -> Option<u64> {
    match metric {
        Metric::Latency { population, window, .. } => {
            let load = plan.loads.iter().find(|load| load.name == *population)?;
            let phases = plan.phases;
            let span = match window {
                Window::Baseline => phases.baseline,
                Window::After => phases.storm + phases.settle,
                Window::Init | Window::Handover | Window::Drain | Window::During => phases.storm,
            };
            Some(whole(load.rate * span.as_secs_f64()))
        }
        Metric::Upgrade { .. } | Metric::UnplannedFailures => {
            let upgrades = plan.upgrades?;
            let every = upgrades.every.as_secs_f64();
            let room = (every > 0.0).then(|| whole(plan.phases.storm.as_secs_f64() / every) + 1);
            Some(room.map_or(upgrades.most, |room| room.min(upgrades.most)))
        }
        Metric::Harm(_)
        | Metric::Ledger
        | Metric::KernelUnexplained
        | Metric::Gap { .. }
        | Metric::Growth(_)
        | Metric::Leaked
        | Metric::QueueDepth => None,
    }
}

fn kernel_on_host(plan: &Plan, gate: &Gate) -> Option<Lint> {
    let tainted = plan.network.namespace == Namespace::Host;
    let rests = matches!(gate.metric, Metric::KernelUnexplained | Metric::Ledger);
    (tainted && rests).then(|| Lint::KernelGateOnHost { gate: gate.name.clone(), line: gate.line })
}

/// Whole samples. No conversion says that it may round, but text does.
fn whole(number: f64) -> u64 {
    format!("{:.0}", number.floor()).parse().unwrap_or(u64::MAX)
}

/// Beyond four thousand million more does not matter.
fn lossy(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
