//! What keeps a plan that was made by a program one that a person could have written.

use std::fmt;

use crate::scenario::Plan;
use crate::scenario::gate::{Gate, Metric};
use crate::scenario::plan::{Coverage, Load, LoadKind, Speak};

/// `plan` with nothing left that is about what it has not, and with no more asked of
/// it than it can show. `None`: no scenario file stands for it.
#[must_use]
pub fn sound(mut plan: Plan) -> Option<Plan> {
    let upgraded = plan.upgrades.is_some();
    if !upgraded {
        plan.faults.clear();
        plan.loads.iter_mut().for_each(|load| load.bursts.clear());
    }
    for load in &mut plan.loads {
        if let Some(ramp) = &mut load.ramp {
            ramp.begin = plan.phases.warmup;
        }
    }
    plan.coverage = Coverage {
        upgrades: u64::from(upgraded && plan.coverage.upgrades > 0),
        connections: 1,
        connections_per_upgrade: 0.0,
        faults: 0,
        tolerated: if plan.faults.is_empty() { Vec::new() } else { plan.coverage.tolerated },
        faults_delivered: None,
        ops_in_window: Vec::new(),
    };
    plan.gates.retain(bears_on_anything);
    plan.target.closes_idle &= plan.loads.iter().all(|load| load.speak != Speak::Echo);
    let read = Plan::parse(&plan.to_toml(), &plan.path).ok()?;
    // A gate's line is another in each text, and no part of what is meant.
    plan.gates.clone_from(&read.gates);
    (read == plan).then_some(read)
}

/// Whether a gate means something whatever the load is, and however short the run.
fn bears_on_anything(gate: &Gate) -> bool {
    match gate.metric {
        Metric::Harm(_)
        | Metric::Ledger
        | Metric::KernelUnexplained
        | Metric::UnplannedFailures
        | Metric::Leaked => true,
        Metric::Latency { .. }
        | Metric::Gap { .. }
        | Metric::Upgrade { .. }
        | Metric::Growth(_)
        | Metric::QueueDepth => false,
    }
}

/// How much there is in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Populations.
    pub populations: usize,
    /// Upgrades at the most; `None`: as many as there is time for.
    pub upgrades: Option<u64>,
    /// Faults.
    pub faults: usize,
    /// Connections that are kept, and bursts.
    pub extras: usize,
    /// Operations that the rates come to.
    pub operations: u64,
}

impl Size {
    /// Of this plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let phases = plan.phases;
        let lasts = phases.warmup + phases.baseline + phases.storm + phases.settle;
        let rate: f64 = plan.loads.iter().map(|load| load.rate).sum();
        Self {
            populations: plan.loads.len(),
            upgrades: plan
                .upgrades
                .map_or(Some(0), |all| (all.most < u64::MAX).then_some(all.most)),
            faults: plan.faults.len(),
            extras: plan.loads.iter().map(extras).sum(),
            operations: std::time::Duration::from_secs_f64(rate).as_secs() * lasts.as_secs().max(1),
        }
    }
}

fn extras(load: &Load) -> usize {
    let kept = match load.kind {
        LoadKind::Churn | LoadKind::Stream { .. } => 0,
        LoadKind::KeepAlive { connections, .. } | LoadKind::Idle { connections } => connections,
        LoadKind::Udp { flows } => flows,
    };
    kept + load.bursts.len()
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upgrades = self.upgrades.map_or_else(|| "endless".to_owned(), |most| most.to_string());
        write!(
            f,
            "populations {}, upgrades {upgrades}, faults {}, kept connections and bursts {}, \
             operations about {}",
            self.populations, self.faults, self.extras, self.operations
        )
    }
}
