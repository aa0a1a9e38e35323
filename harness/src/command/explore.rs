//! `harness explore`: schedules drawn at random, until one goes wrong.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::place::Place;
use super::scenarios::{drawn_seed, load};
use super::terminal::{complain, say};
use super::trials::{Shown, Tally, Trial, Trials, numbered};
use super::trouble::Trouble;
use crate::cli::Explore;
use crate::clock::{Clock, Stamp};
use crate::exit::Exit;
use crate::explore::{Size, draw};
use crate::scenario::vary::Vary;
use crate::units::{SeedChoice, seed_text};

/// What is kept of every run, also of one that went well: a line.
const LINES: &str = "explored.jsonl";

/// One line.
#[derive(Debug, Serialize)]
struct Line {
    /// With the seed, what draws the same schedule again.
    number: u64,
    #[serde(serialize_with = "crate::units::serialize_seed")]
    seed: u64,
    exit_code: Exit,
    duration_ns: u64,
    populations: usize,
    upgrades: u64,
    faults: usize,
    culprits: Vec<String>,
}

pub(super) fn explore(explore: &Explore) -> Result<Exit, Trouble> {
    // What is doubtful of its own load does not matter: it is not run.
    let (base, _) = load(&explore.scenario, &explore.changes)?;
    let vary = Vary::load(&explore.scenario)?;
    let seed = match explore.changes.seed {
        Some(SeedChoice::Fixed(seed)) => seed,
        Some(SeedChoice::Random) | None => drawn_seed()?,
    };
    complain(&format!("seed {}\n", seed_text(seed)));
    let place = Place::open(explore.out.as_deref())?;
    let mut lines = lines(place.dir())?;
    let (mut trials, mut tally) = (Trials::new(true, explore.allow_tainted)?, Tally::default());
    let clock = Clock::start();
    let first = explore.first;
    let last = explore.runs.map_or(u64::MAX, |runs| first.saturating_add(runs).saturating_sub(1));
    for number in first..=last {
        let plan = draw(&base, &vary, seed, number);
        let out = numbered(place.dir(), number);
        let trial = trials.run(&plan, &out)?;
        let shown = trial.shown();
        if !explore.quiet || shown == Shown::Failed {
            say(&text(number, &trial, Size::of(&plan), &out))?;
        }
        write(&mut lines, &line(number, seed, &trial, Size::of(&plan)))?;
        if trial.interrupted {
            return Ok(Exit::gravest([tally.exit(), trial.exit]));
        }
        if let Some(trouble) = trial.trouble() {
            return Err(trouble);
        }
        if shown == Shown::Held {
            std::fs::remove_dir_all(&out)?;
        }
        tally.add(shown);
        let spent = clock.now() - Stamp::default();
        let over = explore.time.is_some_and(|time| spent >= time);
        if over || (explore.until_fail && shown == Shown::Failed) {
            break;
        }
    }
    let spent = (clock.now() - Stamp::default()).as_secs();
    if tally.exit() != Exit::Pass
        && let Some(kept) = place.keep()
    {
        complain(&format!("the runs are in {}\n", kept.display()));
    }
    say(&format!("P(fail) = {}, in {spent} s, seed {}\n", tally.odds(), seed_text(seed)))?;
    say(&tally.text())?;
    Ok(tally.exit())
}

fn lines(dir: &Path) -> Result<File, Trouble> {
    let path = dir.join(LINES);
    let file = OpenOptions::new().append(true).create(true).open(&path);
    file.map_err(|error| Trouble::Usage(format!("cannot write to {}: {error}", path.display())))
}

fn write(file: &mut File, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

fn line(number: u64, seed: u64, trial: &Trial, size: Size) -> Line {
    Line {
        number,
        seed,
        exit_code: trial.exit,
        duration_ns: crate::clock::nanos(trial.took),
        populations: size.populations,
        upgrades: trial.result.as_ref().map_or(0, |result| result.upgrade_totals.completed),
        faults: size.faults,
        culprits: trial.culprits(),
    }
}

fn text(number: u64, trial: &Trial, size: Size, out: &Path) -> String {
    let completed = trial.result.as_ref().map_or(0, |result| result.upgrade_totals.completed);
    let took = seconds(trial.took);
    let what = format!(
        "#{number} ({took}): populations {}, upgrades {completed}, faults {}",
        size.populations, size.faults
    );
    let out = out.display();
    match trial.shown() {
        Shown::Held => format!("ok      {what}\n"),
        Shown::Failed => format!(
            "FAILED  {what}: {}\n        harness replay {out} --repeat 20\n        harness shrink \
             {out}\n",
            trial.culprits().join(", ")
        ),
        Shown::Nothing => format!(
            "UNCLEAR {what}, exit {}: {}\n",
            trial.exit.code(),
            trial.log.lines().next().unwrap_or_default()
        ),
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
