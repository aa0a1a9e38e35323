//! `harness replay`: a plan that was run before, run again.

use std::collections::BTreeMap;

use super::place::Place;
use super::terminal::{complain, say};
use super::trials::{Shown, Tally, Trials, numbered};
use super::trouble::Trouble;
use crate::cli::Replay;
use crate::exit::Exit;
use crate::explore::Odds;
use crate::store;

pub(super) fn replay(replay: &Replay) -> Result<Exit, Trouble> {
    let plan = store::read_plan(&replay.run)?;
    let place = Place::open(replay.out.as_deref())?;
    let mut trials = Trials::new(replay.out.is_some(), replay.allow_tainted)?;
    let (mut tally, mut guilty) = (Tally::default(), BTreeMap::<String, u32>::new());
    for round in 1..=u64::from(replay.repeat) {
        let trial = trials.run(&plan, &numbered(place.dir(), round))?;
        let shown = trial.shown();
        let culprits = trial.culprits();
        let outcome = match shown {
            Shown::Held => "held".to_owned(),
            Shown::Failed => format!("FAILED: {}", culprits.join(", ")),
            Shown::Nothing => format!("proved nothing, exit {}", trial.exit.code()),
        };
        complain(&format!("run {round} of {} {outcome}\n", replay.repeat));
        if trial.interrupted {
            say(&text(tally, &guilty))?;
            return Ok(Exit::gravest([tally.exit(), trial.exit]));
        }
        if let Some(trouble) = trial.trouble() {
            return Err(trouble);
        }
        tally.add(shown);
        culprits.into_iter().for_each(|id| *guilty.entry(id).or_default() += 1);
    }
    say(&text(tally, &guilty))?;
    if tally.failed > 0
        && let Some(kept) = place.keep()
    {
        complain(&format!("the reports are in {}\n", kept.display()));
    }
    Ok(tally.exit())
}

/// How often it failed, and of what.
fn text(tally: Tally, guilty: &BTreeMap<String, u32>) -> String {
    let odds = tally.odds();
    let mut text = format!("P(fail) = {odds}\n");
    let mut each: Vec<(&String, &u32)> = guilty.iter().collect();
    each.sort_by_key(|(id, failed)| (std::cmp::Reverse(**failed), (*id).clone()));
    for (id, failed) in each {
        text += &format!("  {id}: {}\n", Odds { failed: *failed, of: odds.of });
    }
    text + &tally.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_culprit_has_odds_of_its_own() {
        let guilty = [("law.L4".to_owned(), 1), ("harm.refused".to_owned(), 3)].into();
        let text = text(Tally { held: 2, failed: 3, unproved: 1 }, &guilty);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "P(fail) = 3/5 = 60 % (95 % Clopper-Pearson: 15 % to 95 %)");
        assert!(lines[1].starts_with("  harm.refused: 3/5 = 60 %"), "{text}");
        assert!(lines[2].starts_with("  law.L4: 1/5 = 20 %"), "{text}");
        assert_eq!(lines[3..], ["1 proved nothing", "2 passed, 3 failed"]);
    }
}
