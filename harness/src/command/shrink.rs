//! `harness shrink`: the smallest plan that fails as a stored one did.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::result::RunResult;
use super::terminal::{complain, say};
use super::trials::{Shown, Tally, Trial, Trials};
use super::trouble::Trouble;
use crate::cli::Shrink;
use crate::clock::{Clock, Stamp};
use crate::exit::Exit;
use crate::explore::{self, Answer, Odds, Search, Size};
use crate::scenario::Plan;
use crate::store;

/// What the scenario is called that is left behind, if nobody says.
const MINIMAL: &str = "minimal.toml";

pub(super) fn shrink(shrink: &Shrink) -> Result<Exit, Trouble> {
    let plan = store::read_plan(&shrink.run)?;
    let out = shrink.out.clone().unwrap_or_else(|| beside(&shrink.run).join(MINIMAL));
    let mut bench = Bench {
        trials: Trials::new(false, shrink.allow_tainted)?,
        dir: TempDir::new()?,
        clock: Clock::start(),
        budget: shrink.budget,
        runs: shrink.runs_per_step,
        interrupted: false,
        trouble: None,
        accepted: 0,
    };
    let before = Size::of(&plan);
    let (culprit, odds) = bench.culprit(&plan, shrink.of.as_deref())?;
    complain(&format!("{culprit} in {odds} of the whole plan: {before}\n"));
    let around = RunResult::read(&shrink.run).ok().and_then(|result| result.first_upgrade());
    let needed = odds.threshold(shrink.runs_per_step);
    let mut search = explore::shrink(plan, around, &mut |plan, what| {
        bench.try_out(plan, &culprit, needed, what)
    });
    if let Some(trouble) = bench.trouble {
        return Err(trouble);
    }
    let final_odds = bench.confirm(&mut search, &culprit, needed)?;
    let text = scenario(&search, &out, &culprit, final_odds);
    fs::write(&out, text)
        .map_err(|error| Trouble::Usage(format!("cannot write {}: {error}", out.display())))?;
    say(&format!(
        "before  {before}\nafter   {}\ntried   {} plans{}\n{culprit}: P(fail) = {final_odds}\n{}\n",
        Size::of(&search.plan),
        search.tried,
        if search.finished { "; nothing smaller fails" } else { "; there was no time for more" },
        out.display()
    ))?;
    Ok(if bench.interrupted { Exit::Inconclusive } else { Exit::Pass })
}

/// Where the files of a run are that is named by its directory or its plan.
fn beside(run: &Path) -> PathBuf {
    if run.is_dir() {
        run.to_owned()
    } else {
        run.parent().map_or_else(PathBuf::new, Path::to_owned)
    }
}

/// Where plans are tried.
#[derive(Debug)]
struct Bench {
    trials: Trials,
    dir: TempDir,
    clock: Clock,
    budget: Duration,
    runs: u32,
    interrupted: bool,
    trouble: Option<Trouble>,
    accepted: usize,
}

impl Bench {
    /// What the plan fails by, and how often: the check that failed most often, and of
    /// those the one that was found in most clients.
    fn culprit(&mut self, plan: &Plan, wanted: Option<&str>) -> Result<(String, Odds), Trouble> {
        let (mut tally, mut found) = (Tally::default(), Vec::<(String, u32)>::new());
        for _ in 0..self.runs {
            let trial = self.run(plan)?;
            if let Some(trouble) = trial.trouble() {
                return Err(trouble);
            }
            if trial.interrupted {
                break;
            }
            tally.add(trial.shown());
            for id in trial.culprits() {
                match found.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, count)) => *count += 1,
                    None => found.push((id, 1)),
                }
            }
        }
        let of = tally.odds().of;
        // A stable sort leaves the commonest harm first.
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let known: Vec<String> = found.iter().map(|(id, _)| id.clone()).collect();
        let chosen = match wanted {
            Some(wanted) => found.into_iter().find(|(id, _)| {
                id == wanted || id.strip_prefix("harm.").is_some_and(|harm| harm == wanted)
            }),
            None => found.into_iter().next(),
        };
        let Some((id, failed)) = chosen else {
            let other = if known.is_empty() {
                "nothing failed".to_owned()
            } else {
                format!("what failed is {}", known.join(", "))
            };
            return Err(Trouble::Unproved(format!(
                "{} does not fail in {of} of {} runs that proved something: {other}; raise \
                 --runs-per-step if it is rare",
                wanted.unwrap_or("the plan"),
                self.runs
            )));
        };
        Ok((id, Odds { failed, of }))
    }

    fn try_out(&mut self, plan: &Plan, culprit: &str, needed: u32, what: &str) -> Answer {
        if self.interrupted || self.clock.now() - Stamp::default() >= self.budget {
            return Answer::Enough;
        }
        let (odds, shown) = match self.failures(plan, culprit, self.runs, needed) {
            Ok(done) => done,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return Answer::Enough;
            }
        };
        if self.interrupted {
            return Answer::Enough;
        }
        if odds.failed < needed {
            return Answer::Holds;
        }
        self.accepted += 1;
        complain(&format!(
            "step {} ({what}): failed {} of {shown}: {}\n",
            self.accepted,
            odds.failed,
            Size::of(plan)
        ));
        Answer::Fails
    }

    /// How often `plan` fails by `culprit` in so many runs, or in fewer once it is
    /// certain whether that is `needed` times; never less if nothing is. And how many
    /// runs were made.
    fn failures(
        &mut self,
        plan: &Plan,
        culprit: &str,
        runs: u32,
        needed: u32,
    ) -> Result<(Odds, u32), Trouble> {
        let (mut odds, mut made) = (Odds::default(), 0);
        while made < runs && !self.interrupted {
            let certain = odds.failed >= needed || odds.failed + (runs - made) < needed;
            if needed > 0 && certain {
                break;
            }
            let trial = self.run(plan)?;
            made += 1;
            let same = trial.culprits().iter().any(|id| id == culprit);
            // What fails in another way proves nothing of this one.
            odds.failed += u32::from(same);
            odds.of += u32::from(trial.shown() != Shown::Nothing);
        }
        Ok((odds, made))
    }

    /// How often the smallest plan fails. Of many that are tried, some fail often
    /// enough by chance; if it was such a one, the next larger takes its place.
    fn confirm(
        &mut self,
        search: &mut Search,
        culprit: &str,
        needed: u32,
    ) -> Result<Odds, Trouble> {
        loop {
            let (odds, _) = self.failures(&search.plan, culprit, self.runs, 0)?;
            if odds.failed >= needed || self.interrupted {
                return Ok(odds);
            }
            let Some(larger) = search.larger.pop() else { return Ok(odds) };
            complain(&format!("step back: failed only {} of {}\n", odds.failed, odds.of));
            search.plan = larger;
        }
    }

    fn run(&mut self, plan: &Plan) -> Result<Trial, Trouble> {
        let out = self.dir.path().join("run");
        let trial = self.trials.run(plan, &out)?;
        self.interrupted |= trial.interrupted;
        fs::remove_dir_all(&out)?;
        Ok(trial)
    }
}

/// The scenario that is left behind, with what there is to know about it.
fn scenario(search: &Search, out: &Path, culprit: &str, odds: Odds) -> String {
    let mut plan = search.plan.moved(out);
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let named = Plan { name: stem.into_owned(), ..plan.clone() };
    // A file may have a name that a scenario may not.
    if explore::sound(named.clone()).is_some() {
        plan.name = named.name;
    }
    plan.about = format!("The smallest plan found that fails by {culprit}");
    let again = format!("harness run {} --repeat 20", out.display());
    format!(
        "# Fails by {culprit}: P(fail) = {odds}.\n# See it fail: {again}\n#\n# Found by `harness \
         shrink`. It passes when what makes it fail is mended.\n\n{}",
        plan.to_toml()
    )
}
