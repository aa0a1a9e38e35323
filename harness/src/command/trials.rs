//! Runs of a plan that is made again and again: what each came to.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::child::Children;
use super::result::RunResult;
use super::series::tail;
use super::trouble::Trouble;
use crate::exit::Exit;
use crate::explore::Odds;
use crate::scenario::Plan;
use crate::store;

/// How often a run is made of which the observer says that it was not up to it.
const TRIES: u32 = 3;

/// Makes runs, each in a process of its own.
#[derive(Debug)]
pub(super) struct Trials {
    children: Children,
    flags: Vec<OsString>,
}

/// A run that was made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) exit: Exit,
    pub(super) took: Duration,
    pub(super) interrupted: bool,
    pub(super) result: Option<RunResult>,
    /// The end of what it said.
    pub(super) log: String,
}

/// What a run shows of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Every check held.
    Held,
    /// Something did not.
    Failed,
    /// Too little was seen.
    Nothing,
}

impl Trials {
    /// `recorded`: whether the runs can be judged again.
    pub(super) fn new(recorded: bool, allow_tainted: bool) -> Result<Self, Trouble> {
        let mut flags: Vec<OsString> = vec!["--format".into(), "quiet".into()];
        if !recorded {
            flags.push("--no-recording".into());
        }
        if allow_tainted {
            flags.push("--allow-tainted".into());
        }
        Ok(Self { children: Children::new()?, flags })
    }

    /// Makes a run of `plan`, whose files go into `out`, which need not be there. One
    /// of which the observer says that it was not up to it is made again.
    pub(super) fn run(&mut self, plan: &Plan, out: &Path) -> Result<Trial, Trouble> {
        let mut trial = self.run_once(plan, out)?;
        for _ in 1..TRIES {
            let blind = trial.result.as_ref().is_some_and(RunResult::is_observers_fault);
            if trial.shown() != Shown::Nothing || !blind || trial.interrupted {
                break;
            }
            trial = self.run_once(plan, out)?;
        }
        Ok(trial)
    }

    fn run_once(&mut self, plan: &Plan, out: &Path) -> Result<Trial, Trouble> {
        fs::create_dir_all(out).map_err(|error| {
            Trouble::Usage(format!("cannot write to {}: {error}", out.display()))
        })?;
        let plan = store::write_plan(plan, out)?;
        let log = out.join("run.log");
        let mut arguments: Vec<OsString> = vec!["run".into(), "--out".into(), out.into()];
        arguments.extend_from_slice(&self.flags);
        arguments.extend(["--".into(), plan.into()]);
        let ended = self.children.run(&arguments, Some(&log))?;
        Ok(Trial {
            exit: ended.exit,
            took: ended.took,
            interrupted: ended.interrupted,
            result: RunResult::read(out).ok(),
            log: tail(&log),
        })
    }
}

impl Trial {
    pub(super) fn shown(&self) -> Shown {
        match self.exit {
            Exit::Pass => Shown::Held,
            Exit::Fail => Shown::Failed,
            Exit::Usage
            | Exit::Inconclusive
            | Exit::Environment
            | Exit::Internal
            | Exit::TargetStart
            | Exit::Interrupted(_) => Shown::Nothing,
        }
    }

    /// The checks that did not hold, the kinds of harm among them, the commonest
    /// harm first.
    pub(super) fn culprits(&self) -> Vec<String> {
        let Some(result) = &self.result else { return Vec::new() };
        if self.shown() != Shown::Failed {
            return Vec::new();
        }
        let count = |id: &str| {
            let harm = id.strip_prefix("harm.").and_then(|kind| result.harm.get(kind));
            harm.map_or(0, |harm| harm.count)
        };
        let failed = result.gates.iter().filter(|gate| gate.status == "fail");
        let mut ids: Vec<String> = failed.map(|gate| gate.id.clone()).collect();
        ids.sort_by_key(|id| std::cmp::Reverse(count(id)));
        ids.dedup();
        ids
    }

    /// Why the next run would end like this one, which was not judged at all.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let grave = match self.exit {
            Exit::Usage | Exit::Environment | Exit::Internal | Exit::TargetStart => true,
            Exit::Pass | Exit::Fail | Exit::Inconclusive | Exit::Interrupted(_) => false,
        };
        grave.then(|| Trouble::Ended { exit: self.exit, log: self.log.clone() })
    }
}

/// What many runs come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) held: u32,
    pub(super) failed: u32,
    pub(super) unproved: u32,
}

impl Tally {
    pub(super) fn add(&mut self, shown: Shown) {
        match shown {
            Shown::Held => self.held += 1,
            Shown::Failed => self.failed += 1,
            Shown::Nothing => self.unproved += 1,
        }
    }

    /// Those that proved something.
    pub(super) fn odds(self) -> Odds {
        Odds { failed: self.failed, of: self.held + self.failed }
    }

    /// How the whole ends. That nothing failed means little where more than a fifth
    /// of the runs could not have shown it.
    pub(super) fn exit(self) -> Exit {
        if self.failed > 0 {
            Exit::Fail
        } else if self.held == 0 || 4 * self.unproved > self.held {
            Exit::Inconclusive
        } else {
            Exit::Pass
        }
    }

    /// The last line of all.
    pub(super) fn text(self) -> String {
        let unproved = match self.unproved {
            0 => String::new(),
            1 => "1 proved nothing\n".to_owned(),
            many => format!("{many} proved nothing\n"),
        };
        // Of runs that prove nothing, nobody must read that nothing failed.
        let failed = self.failed.max(u32::from(self.exit() != Exit::Pass));
        format!("{unproved}{} passed, {failed} failed\n", self.held)
    }
}

/// A directory for the files of one run of several.
pub(super) fn numbered(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:04}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_nothing_is_no_proof_of_the_contrary() {
        let exit = |held, failed, unproved| Tally { held, failed, unproved }.exit();
        assert_eq!(exit(0, 0, 0), Exit::Inconclusive);
        assert_eq!(exit(0, 0, 3), Exit::Inconclusive);
        assert_eq!(exit(8, 0, 2), Exit::Pass);
        assert_eq!(exit(8, 0, 3), Exit::Inconclusive);
        assert_eq!(exit(8, 1, 3), Exit::Fail);
        assert_eq!(Tally { held: 0, failed: 0, unproved: 1 }.text().lines().count(), 2);
        assert_eq!(Tally { held: 3, failed: 2, unproved: 0 }.text(), "3 passed, 2 failed\n");
    }
}
