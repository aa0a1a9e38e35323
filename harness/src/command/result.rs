//! What other commands read of a result.json. Fields are only ever added to one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::trouble::Trouble;
use crate::scenario::expect::Ending;

const SCHEMA: &str = "harness/result/1";
const FILE: &str = "result.json";

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct RunResult {
    schema: String,
    pub(super) verdict: Ending,
    pub(super) gates: Vec<GateResult>,
    pub(super) harm: BTreeMap<String, HarmResult>,
    pub(super) upgrade_totals: UpgradeTotals,
    pub(super) populations: Vec<PopulationResult>,
    #[serde(default)]
    first_harm: Option<HarmedResult>,
}

/// An operation that came to harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct HarmedResult {
    upgrade: Option<u64>,
}

/// One population of clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct PopulationResult {
    pub(super) name: String,
    pub(super) latency: Option<LatencyResult>,
    pub(super) windows: WindowResults,
}

/// Latency by window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct WindowResults {
    pub(super) baseline: Option<LatencyResult>,
    pub(super) during: Option<LatencyResult>,
    pub(super) after: Option<LatencyResult>,
}

/// How long operations took, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct LatencyResult {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct GateResult {
    pub(super) id: String,
    pub(super) status: String,
}

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct HarmResult {
    pub(super) count: u64,
}

/// The upgrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct UpgradeTotals {
    pub(super) completed: u64,
}

impl RunResult {
    /// Reads a result.json, or that of a run's directory.
    pub(super) fn read(path: &Path) -> Result<Self, Trouble> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let refuse = |why: &dyn std::fmt::Display| {
            Trouble::Usage(format!(
                "{} is no result that `harness run --out` left: {why}",
                file.display()
            ))
        };
        let text = fs::read(&file).map_err(|error| refuse(&error))?;
        let result: Self = serde_json::from_slice(&text).map_err(|error| refuse(&error))?;
        if result.schema != SCHEMA {
            return Err(refuse(&format!("its form is `{}`, not `{SCHEMA}`", result.schema)));
        }
        Ok(result)
    }

    /// Whether the observer says of itself that it was not up to the run.
    pub(super) fn is_observers_fault(&self) -> bool {
        let observer = |gate: &&GateResult| gate.id.starts_with("observer.");
        self.gates.iter().filter(observer).any(|gate| gate.status == "inconclusive")
    }

    /// The upgrade that was under way when the first harm was done.
    pub(super) fn first_upgrade(&self) -> Option<u64> {
        self.first_harm.and_then(|harm| harm.upgrade)
    }

    /// The kinds of harm that were found, and how often.
    pub(super) fn found(&self) -> impl Iterator<Item = (&str, u64)> {
        let counted = self.harm.iter().map(|(id, harm)| (id.as_str(), harm.count));
        counted.filter(|(_, count)| *count > 0)
    }
}
