//! A run, stored and read again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::file;
use crate::event::{Machine, Recording, VERSION};
use crate::scenario::Plan;
use crate::units::Shard;

const PLAN: &str = "plan.json";
const RECORDING: &str = "recording.json.gz";
const PLAN_SCHEMA: &str = "harness/plan/1";
const RECORDING_SCHEMA: &str = "harness/recording/1";

/// Everything that a verdict and a report are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The plan of the whole run.
    pub plan: Plan,
    /// What each generator did and saw; usually there is one.
    pub parts: Vec<Part>,
}

/// What one generator did and saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its share of the load.
    pub shard: Shard,
    /// Where it ran.
    pub machine: Machine,
    /// What happened.
    pub recording: Recording,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlanFile<P> {
    schema: String,
    plan: P,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordingFile<P> {
    schema: String,
    /// Ties the recording to its plan.
    plan_sha256: String,
    parts: P,
}

impl Run {
    /// Writes the plan and the recording into `dir`, which is there.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), StoreError> {
        write_plan(&self.plan, dir)?;
        let recording = RecordingFile {
            schema: RECORDING_SCHEMA.to_owned(),
            plan_sha256: digest(&self.plan),
            parts: &self.parts,
        };
        file::write_packed(&dir.join(RECORDING), &recording)
    }

    /// Reads what [`Run::write`] wrote.
    ///
    /// # Errors
    ///
    /// When a file is not there, is damaged, is something else, is of a version
    /// that is not known, or when the two are not of one run.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(RECORDING);
        let recording: RecordingFile<Vec<Part>> =
            file::read_packed(&path, RECORDING_SCHEMA, "a recording of the harness")?;
        let old = recording.parts.iter().find(|part| part.recording.version != VERSION);
        if let Some(part) = old {
            return Err(StoreError::Version {
                path,
                found: format!("version {}", part.recording.version),
                wanted: format!("version {VERSION}"),
            });
        }
        if recording.parts.is_empty() {
            let (wanted, why) = ("a recording of the harness", "it holds no run".to_owned());
            return Err(StoreError::Foreign { path, wanted, why });
        }
        let path = dir.join(PLAN);
        let plan = read_plan(&path)?;
        if digest(&plan) != recording.plan_sha256 {
            return Err(StoreError::OtherPlan { path });
        }
        Ok(Self { plan, parts: recording.parts })
    }
}

/// Writes a plan into `dir`, which is there, and says where. It is all that is needed
/// to make the same run again.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_plan(plan: &Plan, dir: &Path) -> Result<PathBuf, StoreError> {
    let path = dir.join(PLAN);
    file::write_plain(&path, &PlanFile { schema: PLAN_SCHEMA.to_owned(), plan })?;
    Ok(path)
}

/// Reads a plan that was written: its file, or the directory of a run that has it.
///
/// # Errors
///
/// When it is not there, or is something else.
pub fn read_plan(path: &Path) -> Result<Plan, StoreError> {
    let path = if path.is_dir() { path.join(PLAN) } else { path.to_owned() };
    let file: PlanFile<Plan> = file::read_plain(&path, PLAN_SCHEMA, "a plan of the harness")?;
    Ok(file.plan)
}

/// What tells one plan from another.
fn digest(plan: &Plan) -> String {
    // A plan that cannot be written as JSON could not have been stored either.
    let text = serde_json::to_vec(plan).unwrap_or_default();
    Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect()
}
