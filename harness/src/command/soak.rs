//! `harness soak`: one server that lives on, under schedules drawn at random, until
//! the time is over; and whether it holds at the end what it held at the beginning.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::judge;
use super::place::Place;
use super::scenarios::{drawn_seed, load};
use super::soaked::{Gauge, Soaked};
use super::terminal::{complain, say};
use super::trials::{Shown, numbered};
use super::trouble::Trouble;
use crate::cli::Soak;
use crate::clock::{Clock, Stamp};
use crate::conduct::{self, Relief, Tenure};
use crate::event::{Outcome, Recording};
use crate::exit::Exit;
use crate::explore::draw;
use crate::observe::{machine, procfs};
use crate::report::{self, Report};
use crate::scenario::Plan;
use crate::scenario::plan::{Addressee, By};
use crate::scenario::vary::Vary;
use crate::store::{Part, Run};
use crate::units::{SeedChoice, Shard, seed_text};
use crate::verdict::{self, Status, Verdict};

/// What a program reads of a soak.
const SUMMARY: &str = "soak.json";

/// A line for each run, written when it has ended.
const LINES: &str = "soak.jsonl";

#[derive(Debug, Serialize)]
struct Summary<'a> {
    schema: &'static str,
    #[serde(serialize_with = "crate::units::serialize_seed")]
    seed: u64,
    exit_code: Exit,
    #[serde(flatten)]
    soaked: &'a Soaked,
}

pub(super) fn soak(soak: &Soak) -> Result<Exit, Trouble> {
    // What is doubtful of its own load does not matter: it is not run.
    let (base, _) = load(&soak.scenario, &soak.changes)?;
    suits(&base)?;
    let seed = match soak.changes.seed {
        Some(SeedChoice::Fixed(seed)) => seed,
        Some(SeedChoice::Random) | None => drawn_seed()?,
    };
    complain(&format!("seed {}\n", seed_text(seed)));
    let place = Place::open(soak.out.as_deref())?;
    let machine = machine::read()
        .map_err(|error| Trouble::Environment(format!("cannot read /proc: {error}")))?;
    let tenure = Tenure::begin(&base, conduct::prepare(&base)?)?;
    let soaked = make(soak, &base, seed, tenure, &machine, place.dir())?;
    let exit = soaked.exit();
    let summary = Summary { schema: "harness/soak/1", seed, exit_code: exit, soaked: &soaked };
    let text = serde_json::to_string_pretty(&summary).map_err(std::io::Error::from)?;
    fs::write(place.dir().join(SUMMARY), text + "\n")?;
    if exit != Exit::Pass
        && let Some(kept) = place.keep()
    {
        complain(&format!("what did not pass is in {}\n", kept.display()));
    }
    say(&soaked.text())?;
    Ok(exit)
}

/// Between two runs there is no client, so the server has to be asked by a signal.
fn suits(base: &Plan) -> Result<(), Trouble> {
    let by_signal = matches!(base.target.trigger.by, By::Signal(_));
    if base.target.attach.is_none() && by_signal && base.target.trigger.to == Addressee::Serving {
        return Ok(());
    }
    Err(Trouble::Usage(format!(
        "{}: a soak starts its server by target.command, and asks the serving process by a signal \
         to upgrade; write trigger = {{ signal = \"SIGHUP\" }}",
        base.path.display()
    )))
}

/// All runs, one after another.
fn make(
    soak: &Soak,
    base: &Plan,
    seed: u64,
    mut tenure: Tenure,
    machine: &crate::event::Machine,
    dir: &Path,
) -> Result<Soaked, Trouble> {
    let mut lines = fs::File::create(dir.join(LINES))?;
    let (clock, mut soaked) = (Clock::start(), Soaked::default());
    for number in 1.. {
        let plan = draw(base, &Vary::default(), seed, number);
        let (next, recording, relief) = tenure.next(&plan, &mut |_| {})?;
        tenure = next;
        let part = Part { shard: Shard::WHOLE, machine: machine.clone(), recording };
        let run = Run { plan, parts: vec![part] };
        let verdict = judge::verdict(&run);
        let (shown, culprits) = (shown(&verdict), culprits(&verdict));
        let interrupted = run.parts.iter().find_map(|part| part.recording.interrupted.clone());
        if shown != Shown::Held {
            keep(&run, &verdict, &numbered(dir, number))?;
        }
        for part in &run.parts {
            count(&mut soaked, &part.recording, &verdict);
        }
        soaked.runs.add(shown);
        let line = text(number, shown, &soaked, &culprits);
        lines.write_all(&json_line(number, seed, shown, &culprits)?)?;
        if !soak.quiet || shown == Shown::Failed {
            say(&line)?;
        }
        let over = clock.now() - Stamp::default() >= soak.time;
        soaked.lasted = clock.now() - Stamp::default();
        match relief {
            Relief::Done { resources, stayed, .. } => {
                let harness = procfs::resources(std::process::id()).ok();
                soaked.gauge(Gauge::new(soaked.upgrades(), &resources, stayed, harness.as_ref()));
            }
            Relief::Failed { why } => {
                soaked.stopped = Some(why);
                return Ok(soaked);
            }
        }
        soaked.upgrades_between += 1;
        if let Some(signal) = interrupted {
            soaked.interrupted = Some(signal);
            break;
        }
        if over {
            break;
        }
    }
    soaked.leaked = tenure.end(base).len();
    Ok(soaked)
}

fn shown(verdict: &Verdict) -> Shown {
    match verdict.outcome {
        verdict::Outcome::Pass => Shown::Held,
        verdict::Outcome::Fail => Shown::Failed,
        verdict::Outcome::Inconclusive => Shown::Nothing,
    }
}

/// The checks that did not hold, or that saw too little.
fn culprits(verdict: &Verdict) -> Vec<String> {
    let worst = match verdict.outcome {
        verdict::Outcome::Pass => return Vec::new(),
        verdict::Outcome::Fail => Status::Fail,
        verdict::Outcome::Inconclusive => Status::Inconclusive,
    };
    verdict
        .checks
        .iter()
        .filter(|check| check.status == worst)
        .map(|check| check.id.clone())
        .collect()
}

fn count(soaked: &mut Soaked, recording: &Recording, verdict: &Verdict) {
    let of = |outcome| {
        let all = recording.upgrades.iter().filter(|upgrade| upgrade.outcome == outcome);
        u64::try_from(all.count()).unwrap_or(u64::MAX)
    };
    soaked.completed += of(Outcome::Completed);
    soaked.sabotaged += of(Outcome::FailedAsPlanned);
    let delivered = recording.faults.iter().filter(|fault| fault.delivered).count();
    soaked.faults += u64::try_from(delivered).unwrap_or(u64::MAX);
    soaked.operations += u64::try_from(recording.operations.len()).unwrap_or(u64::MAX);
    let harmed: usize = verdict.harm.values().map(Vec::len).sum();
    soaked.harmed += u64::try_from(harmed).unwrap_or(u64::MAX);
}

/// Everything about a run that did not pass.
fn keep(run: &Run, verdict: &Verdict, out: &Path) -> Result<(), Trouble> {
    let mut outputs = judge::open(out, &run.plan)?;
    run.write(out)?;
    let (recording, machine) = run.view();
    let report = Report::new(&run.plan, &recording, verdict, &machine);
    outputs.write(&report, &report::latencies(&recording, verdict))?;
    Ok(())
}

fn json_line(
    number: u64,
    seed: u64,
    shown: Shown,
    culprits: &[String],
) -> std::io::Result<Vec<u8>> {
    let verdict = match shown {
        Shown::Held => "pass",
        Shown::Failed => "fail",
        Shown::Nothing => "inconclusive",
    };
    let line = serde_json::json!({
        "number": number,
        "seed": seed_text(seed),
        "verdict": verdict,
        "culprits": culprits,
    });
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    Ok(text)
}

fn text(number: u64, shown: Shown, soaked: &Soaked, culprits: &[String]) -> String {
    let word = match shown {
        Shown::Held => "ok     ",
        Shown::Failed => "FAILED ",
        Shown::Nothing => "UNCLEAR",
    };
    let why =
        if culprits.is_empty() { String::new() } else { format!(": {}", culprits.join(", ")) };
    let upgrades = soaked.upgrades();
    format!("{word} #{number}, {upgrades} upgrades and {} harmed so far{why}\n", soaked.harmed)
}
