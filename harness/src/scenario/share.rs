//! A plan with more or less load than was written.

use super::gate::Metric;
use super::plan::{Load, LoadKind, Plan};
use crate::units::{Shard, UnitError, rate_from_number};

impl Plan {
    /// The plan with every rate multiplied by `factor`. What must have been seen
    /// stays: less load proves less.
    ///
    /// # Errors
    ///
    /// When no load can have such a rate.
    pub fn scaled(mut self, factor: f64) -> Result<Self, UnitError> {
        for load in &mut self.loads {
            load.rate = rate_from_number(load.rate * factor)?;
        }
        Ok(self)
    }

    /// What one of several generators does, each with a server of its own: its
    /// share of the load, and all of the upgrades. Together they begin as many
    /// connections during upgrades as one with the whole load would, so what
    /// coverage asks of each upgrade is shared as well.
    ///
    /// Each draws its own chance.
    #[must_use]
    pub fn share(&self, shard: Shard) -> Self {
        if shard == Shard::WHOLE {
            return self.clone();
        }
        let mut plan = self.clone();
        // The fractional part of the golden ratio keeps neighbours far apart.
        plan.seed ^= u64::from(shard.index()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for load in &mut plan.loads {
            share_load(load, shard);
        }
        plan.coverage.connections = shard.share(plan.coverage.connections);
        plan.coverage.connections_per_upgrade /= f64::from(shard.of());
        for (_, least) in &mut plan.coverage.ops_in_window {
            *least = shard.share(*least);
        }
        for gate in plan.gates.iter_mut().filter(|gate| counts_operations(&gate.metric)) {
            gate.min_samples = shard.share(gate.min_samples);
        }
        plan
    }
}

/// Whether less load gives fewer samples of it.
fn counts_operations(metric: &Metric) -> bool {
    match metric {
        Metric::Harm(_) | Metric::Latency { .. } | Metric::Gap { .. } => true,
        Metric::Ledger
        | Metric::KernelUnexplained
        | Metric::UnplannedFailures
        | Metric::Upgrade { .. }
        | Metric::Growth(_)
        | Metric::Leaked
        | Metric::QueueDepth => false,
    }
}

fn share_load(load: &mut Load, shard: Shard) {
    load.rate /= f64::from(shard.of());
    match &mut load.kind {
        LoadKind::Churn | LoadKind::Stream { .. } => {}
        LoadKind::KeepAlive { connections, .. } | LoadKind::Idle { connections } => {
            let whole = u64::try_from(*connections).unwrap_or(u64::MAX);
            // Requests need a connection, however many generators there are.
            *connections = usize::try_from(shard.share(whole)).unwrap_or(usize::MAX).max(1);
        }
    }
}
