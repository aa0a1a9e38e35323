//! The report before it has a form: every figure, once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::bursts::{BurstRow, bursts};
use super::clients::{self, HarmDone, Population};
use super::harmed::{self, Harmed};
use super::ledgers::{Kernel, Ledger, Observer};
use super::processes::{self, FaultRow, GenerationRow, UpgradeRow, UpgradeTotals};
use super::superposed::{Superposed, superposed};
use super::timeline::Timeline;
use super::windows::Standing;
use crate::event::{Harm, Machine, Recording, Scope};
use crate::exit::Exit;
use crate::scenario::Plan;
use crate::verdict::{Bounds, Check, Outcome, Status, Verdict};

/// Which form this is. Fields are only ever added to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) enum Schema {
    /// The first.
    #[serde(rename = "harness/result/1")]
    V1,
}

/// Everything there is to say about one run. What is called `…_ns` is whole
/// nanoseconds; moments are counted from the beginning of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub(super) schema: Schema,
    pub(super) run_id: String,
    pub(super) verdict: Outcome,
    pub(super) reasons: Vec<Reason>,
    #[serde(rename = "exit_code")]
    #[schemars(with = "u8")]
    pub(super) exit: Exit,
    pub(super) interrupted: Option<String>,
    pub(super) scenario: Scenario,
    pub(super) target: String,
    pub(super) seed: String,
    pub(super) started: String,
    pub(super) duration_ns: u64,
    pub(super) environment: Environment,
    pub(super) gates: Vec<Gate>,
    /// Every kind of harm, done or not.
    #[schemars(schema_with = "every_harm")]
    pub(super) harm: BTreeMap<Harm, HarmDone>,
    pub(super) first_harm: Option<Harmed>,
    pub(super) ledger: Ledger,
    pub(super) kernel: Kernel,
    pub(super) populations: Vec<Population>,
    pub(super) upgrade_totals: UpgradeTotals,
    pub(super) upgrades: Vec<UpgradeRow>,
    pub(super) faults: Vec<FaultRow>,
    /// Empty in what was written before bursts were reported.
    #[serde(default)]
    pub(super) bursts: Vec<BurstRow>,
    pub(super) generations: Vec<GenerationRow>,
    pub(super) leaked: Vec<u32>,
    pub(super) observer: Observer,
    pub(super) bounds: Bounds,
    /// The first harm of each of the first harmed connections.
    pub(super) harmed: Vec<Harmed>,
    pub(super) superposed: Option<Superposed>,
    pub(super) timeline: Timeline,
}

/// An object with all kinds of harm and nothing else.
fn every_harm(generator: &mut SchemaGenerator) -> schemars::Schema {
    let done = generator.subschema_for::<HarmDone>();
    let ids = Harm::ALL.map(Harm::id);
    let properties: serde_json::Map<_, _> =
        ids.iter().map(|id| ((*id).to_owned(), done.clone().to_value())).collect();
    json_schema!({
        "type": "object",
        "properties": properties,
        "required": ids,
        "additionalProperties": false,
    })
}

/// Why the verdict is not "pass".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Reason {
    pub(super) code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<String>,
}

/// Where a reason lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The run ended early.
    Interrupted,
    /// A check did not hold, or saw too little.
    Gate,
}

/// Which scenario was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Where it was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Environment {
    /// The version of the harness.
    pub(super) harness: String,
    pub(super) kernel: String,
    pub(super) cpus: usize,
    pub(super) netns: Scope,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Gate {
    pub(super) id: String,
    pub(super) limit: String,
    pub(super) got: String,
    pub(super) ok: bool,
    pub(super) status: Status,
    pub(super) detail: Option<String>,
}

impl From<&Check> for Gate {
    fn from(check: &Check) -> Self {
        Self {
            id: check.id.clone(),
            limit: check.limit.clone(),
            got: check.got.clone(),
            ok: check.status == Status::Pass,
            status: check.status,
            detail: check.detail.clone(),
        }
    }
}

impl Report {
    /// Computes every figure.
    #[must_use]
    pub fn new(plan: &Plan, recording: &Recording, verdict: &Verdict, machine: &Machine) -> Self {
        let standing = Standing::new(verdict);
        let fates = clients::fates(recording, &standing);
        let harmed = harmed::harmed(recording, &standing);
        let upgrades = processes::upgrades(recording, &standing);
        Self {
            schema: Schema::V1,
            run_id: format!("{}-{}-{:x}", plan.name, recording.started_unix, plan.seed),
            verdict: verdict.outcome,
            reasons: reasons(verdict, recording),
            exit: exit(verdict, recording),
            interrupted: recording.interrupted.clone(),
            scenario: Scenario { name: plan.name.clone(), path: plan.path.clone() },
            target: target(plan),
            seed: format!("{:#x}", plan.seed),
            started: rfc3339(recording.started_unix),
            duration_ns: recording.timeline.ended.0,
            environment: Environment {
                harness: env!("CARGO_PKG_VERSION").to_owned(),
                kernel: machine.kernel.clone(),
                cpus: machine.cpus,
                netns: recording.kernel.scope,
            },
            gates: verdict.checks.iter().map(Gate::from).collect(),
            harm: clients::harm(recording, &standing),
            first_harm: harmed.first().cloned(),
            ledger: Ledger::new(recording, verdict, fates),
            kernel: Kernel::new(&recording.kernel, verdict),
            populations: clients::populations(recording, &standing),
            upgrade_totals: UpgradeTotals::new(recording, &upgrades),
            upgrades,
            faults: processes::faults(recording, &verdict.faults),
            bursts: bursts(recording),
            generations: processes::generations(recording),
            leaked: recording.leaked.clone(),
            observer: Observer::new(recording),
            bounds: verdict.bounds,
            harmed,
            superposed: superposed(recording, &standing),
            timeline: Timeline::new(recording, &standing),
        }
    }

    /// How the harness ends after this run.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

/// How the harness ends after a run. A proven harm outranks an interruption,
/// which outranks all that was not proved because of it.
#[must_use]
pub fn exit(verdict: &Verdict, recording: &Recording) -> Exit {
    match (verdict.outcome, recording.interrupted.as_deref()) {
        (Outcome::Fail, _) => Exit::Fail,
        (_, Some("SIGINT")) => Exit::Interrupted(2),
        (_, Some("SIGTERM")) => Exit::Interrupted(15),
        (Outcome::Inconclusive, _) | (Outcome::Pass, Some(_)) => Exit::Inconclusive,
        (Outcome::Pass, None) => Exit::Pass,
    }
}

fn reasons(verdict: &Verdict, recording: &Recording) -> Vec<Reason> {
    // What is inconclusive is no reason for a failure.
    let guilty = match verdict.outcome {
        Outcome::Fail => Status::Fail,
        Outcome::Inconclusive | Outcome::Pass => Status::Inconclusive,
    };
    let gates = verdict.checks.iter().filter(|check| check.status == guilty);
    let interruption = recording.interrupted.iter();
    interruption
        .map(|_| Reason { code: Code::Interrupted, gate: None })
        .chain(gates.map(|check| Reason { code: Code::Gate, gate: Some(check.id.clone()) }))
        .collect()
}

/// The server's program, a binary of this workspace by its bare name; or where the
/// server was that was there before.
fn target(plan: &Plan) -> String {
    if let Some(attach) = &plan.target.attach {
        return attach.connect.to_string();
    }
    let program = plan.target.command.first().map_or("", String::as_str);
    let bare = program.strip_prefix("{bin:").and_then(|name| name.strip_suffix('}'));
    bare.unwrap_or(program).to_owned()
}

/// A moment as RFC 3339 writes it, in UTC.
fn rfc3339(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Years are counted from March, so that the leap day is a year's last, in
    // eras of 400 years, which all have as many days. 719468 days lie between
    // the first of March of year 0 and 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix), text);
        }
    }
}
