//! Several stored parts of one run, put beside each other.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::StoreError;
use super::run::{Part, Run};
use crate::event::{Edge, KernelLedger, Observer, Recording};
use crate::scenario::Plan;

/// Why runs are not parts of one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One of them cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They were to do different things.
    #[error(
        "{} and {} are not parts of one run: {what} is {one} in the one and {other} in the other{}",
        first.display(), second.display(), advice(what)
    )]
    OtherPlan {
        /// One of them.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        /// Where their plans differ.
        what: String,
        /// What stands there in one.
        one: String,
        /// And in the other.
        other: String,
    },
    /// The same share of the load twice.
    #[error(
        "{} and {} are both share {shard}: they are not two parts of one run; give each \
         generator a --shard of its own",
        first.display(), second.display()
    )]
    Twice {
        /// One of them.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        /// The share.
        shard: String,
    },
    /// Shares of different sizes.
    #[error(
        "{} and {} are not parts of one run: shares {one} and {other} are not of one size",
        first.display(), second.display()
    )]
    OtherSize {
        /// One of them.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        /// Its share.
        one: String,
        /// The other's.
        other: String,
    },
}

fn advice(what: &str) -> &'static str {
    if what == "seed" { "; give every generator the same --seed" } else { "" }
}

impl Run {
    /// Puts the runs in `dirs` beside each other, in the order of their shares.
    ///
    /// Operations, connections and upgrades are renumbered, so that none has the
    /// number of one in another part. All else stays as it was recorded.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or when they are not parts of one run: of other
    /// plans (but for where the scenario's file lay), or the same share twice.
    pub fn merge(dirs: &[PathBuf]) -> Result<Self, MergeError> {
        let mut plan: Option<(&Path, Plan)> = None;
        let mut parts: Vec<(&Path, Part)> = Vec::new();
        for dir in dirs {
            let run = Self::read(dir)?;
            match &plan {
                None => plan = Some((dir, run.plan)),
                Some((first, known)) => agree((first, known), (dir, run.plan))?,
            }
            for part in run.parts {
                fits(&parts, dir, &part)?;
                parts.push((dir, part));
            }
        }
        let Some((_, plan)) = plan else { return Err(StoreError::Nothing.into()) };
        parts.sort_by_key(|(_, part)| part.shard);
        let mut parts: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
        let mut taken = Numbers::default();
        for part in &mut parts {
            taken = renumber(&mut part.recording, taken);
        }
        Ok(Self { plan, parts })
    }
}

fn agree(
    (first, known): (&Path, &Plan),
    (second, mut plan): (&Path, Plan),
) -> Result<(), MergeError> {
    plan.path.clone_from(&known.path);
    if plan == *known {
        return Ok(());
    }
    let value = |plan: &Plan| serde_json::to_value(plan).unwrap_or_default();
    let (what, one, other) = difference("", &value(known), &value(&plan));
    Err(MergeError::OtherPlan {
        first: first.to_owned(),
        second: second.to_owned(),
        what,
        one,
        other,
    })
}

/// The first place in which two values differ, and what stands there.
fn difference(place: &str, one: &Value, other: &Value) -> (String, String, String) {
    let dotted = |key: &str| {
        if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
    };
    let inner = match (one, other) {
        (Value::Object(one), Value::Object(other)) => one.iter().find_map(|(key, value)| {
            let theirs = other.get(key).unwrap_or(&Value::Null);
            (value != theirs).then(|| difference(&dotted(key), value, theirs))
        }),
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().find_map(|(index, (value, theirs))| {
                let differs = value != theirs;
                differs.then(|| difference(&dotted(&index.to_string()), value, theirs))
            })
        }
        (
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => None,
    };
    inner.unwrap_or_else(|| (place.to_owned(), one.to_string(), other.to_string()))
}

fn fits(parts: &[(&Path, Part)], dir: &Path, part: &Part) -> Result<(), MergeError> {
    for (first, known) in parts {
        let (first, second) = ((*first).to_owned(), dir.to_owned());
        if known.shard.of() != part.shard.of() {
            let (one, other) = (known.shard.to_string(), part.shard.to_string());
            return Err(MergeError::OtherSize { first, second, one, other });
        }
        if known.shard == part.shard {
            let shard = part.shard.to_string();
            return Err(MergeError::Twice { first, second, shard });
        }
    }
    Ok(())
}

/// The lowest numbers that no part before has.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    operation: u64,
    connection: u64,
    upgrade: u64,
}

/// Renumbers whatever has a number, from `from` on, and says what is free then.
fn renumber(recording: &mut Recording, from: Numbers) -> Numbers {
    // Each field is named, so that a new one is thought of here.
    let Recording {
        operations,
        connections,
        upgrades,
        faults,
        observer: Observer { intended: _, hiccup_max: _, hiccup_p99: _ },
        version: _,
        started_unix: _,
        populations: _,
        timeline: _,
        generations: _,
        kernel: KernelLedger { samples, scope: _, before: _, after: _, resets: _ },
        interrupted: _,
        leaked: _,
    } = recording;
    let operation = shift(operations.iter().map(|row| row.id), from.operation);
    let used = connections.iter().map(|row| row.id);
    let connection =
        shift(used.chain(operations.iter().map(|row| row.connection)), from.connection);
    // They are counted from 1.
    let upgrade = shift(upgrades.iter().map(|row| row.number), from.upgrade + 1);
    for row in operations {
        row.id = operation.of(row.id);
        row.connection = connection.of(row.connection);
    }
    for row in connections {
        row.id = connection.of(row.id);
    }
    for row in upgrades {
        row.number = upgrade.of(row.number);
    }
    for row in faults {
        row.upgrade = upgrade.of(row.upgrade);
    }
    for edge in samples.rows.iter_mut().flat_map(|sample| &mut sample.edges) {
        match edge {
            Edge::Triggered(number) | Edge::Answered(number) => *number = upgrade.of(*number),
            Edge::Began | Edge::Seen(_) | Edge::Gone(_) | Edge::Ended => {}
        }
    }
    Numbers {
        operation: operation.next,
        connection: connection.next,
        upgrade: upgrade.next.saturating_sub(1),
    }
}

/// Numbers moved so that the lowest becomes another.
#[derive(Clone, Copy, Debug)]
struct Shift {
    lowest: u64,
    to: u64,
    next: u64,
}

fn shift(numbers: impl Iterator<Item = u64> + Clone, to: u64) -> Shift {
    let lowest = numbers.clone().min().unwrap_or(0);
    let many = numbers.max().map_or(0, |highest| highest - lowest + 1);
    Shift { lowest, to, next: to.saturating_add(many) }
}

impl Shift {
    fn of(self, number: u64) -> u64 {
        number.saturating_sub(self.lowest).saturating_add(self.to)
    }
}
