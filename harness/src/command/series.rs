//! Several runs, one after another, and what they come to together.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::child::Children;
use super::expectation::{self, Power};
use super::result::RunResult;
use super::trouble::Trouble;
use crate::exit::Exit;
use crate::scenario::expect::Expect;

/// How much of its log is shown of a run that did not end as it must.
const LOG_LINES: usize = 40;

/// How often a run is made of which the observer says that it was not up to it.
const TRIES: u32 = 3;

/// One run to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) scenario: PathBuf,
    /// Whether it judges the harness, and not a server.
    pub(super) control: bool,
    /// Which time it is made, from 1.
    pub(super) round: u32,
    /// Where it leaves its files.
    pub(super) out: PathBuf,
}

/// One run that was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Done {
    pub(super) scenario: PathBuf,
    pub(super) control: bool,
    pub(super) round: u32,
    /// How the run itself ended.
    #[serde(rename = "exit_code")]
    pub(super) exit: Exit,
    #[serde(rename = "duration_ns", serialize_with = "as_nanos")]
    pub(super) took: Duration,
    /// What is wrong with that; `None`: it ended as it must.
    pub(super) complaint: Option<String>,
    pub(super) power: Option<Power>,
    /// Where its files are.
    #[serde(skip)]
    pub(super) out: PathBuf,
    #[serde(skip)]
    pub(super) log: String,
    #[serde(skip)]
    pub(super) interrupted: bool,
    /// The observer says that it was not up to it.
    #[serde(skip)]
    pub(super) blind: bool,
    /// How often it was made until it proved something.
    pub(super) tries: u32,
}

fn as_nanos<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(crate::clock::nanos(*span))
}

impl Case {
    /// Where a run of `scenario` leaves its files, below `out`.
    pub(super) fn new(scenario: &Path, control: bool, round: u32, out: &Path) -> Self {
        let path = scenario.with_extension("").display().to_string();
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let mut name: String = path.trim_start_matches(['.', '/']).chars().map(safe).collect();
        if round > 1 {
            name += &format!(".{round}");
        }
        Self { scenario: scenario.to_owned(), control, round, out: out.join(name) }
    }

    /// Makes the run, with its log beside its files, and compares its result with
    /// what the scenario expects. A run of which the observer itself says that it was
    /// not up to it is made again: it has proved nothing, of a server or of a control.
    /// A server that was convicted is not given another chance.
    pub(super) fn make(
        &self,
        children: &mut Children,
        flags: &[OsString],
    ) -> Result<Done, Trouble> {
        let mut made = self.make_once(children, flags)?;
        for _ in 1..TRIES {
            let unproved = self.control || made.exit == Exit::Inconclusive;
            if made.complaint.is_none() || !made.blind || !unproved || made.interrupted {
                break;
            }
            made = Done { tries: made.tries + 1, ..self.make_once(children, flags)? };
        }
        Ok(made)
    }

    fn make_once(&self, children: &mut Children, flags: &[OsString]) -> Result<Done, Trouble> {
        let expect = self.expect()?;
        let log = self.out.with_file_name(format!(
            "{}.log",
            self.out.file_name().unwrap_or_default().to_string_lossy()
        ));
        let mut arguments: Vec<OsString> =
            vec!["run".into(), "--out".into(), self.out.clone().into()];
        arguments.extend_from_slice(flags);
        arguments.extend(["--".into(), self.scenario.clone().into()]);
        let ended = children.run(&arguments, Some(&log))?;
        // Without a result the exit code says why there is none.
        let result = RunResult::read(&self.out).ok();
        let complaint = match &result {
            _ if expect.is_none() && self.control => {
                Some("its [expect] does not say what it must be convicted of".to_owned())
            }
            None => Some(format!("it was not judged (exit code {})", ended.exit.code())),
            Some(_) if matches!(ended.exit, Exit::Internal | Exit::Interrupted(_)) => {
                Some(format!("it did not end in order (exit code {})", ended.exit.code()))
            }
            Some(result) => {
                expectation::complaint(&expect.clone().unwrap_or_else(Expect::pass), result)
            }
        };
        let blind = result.as_ref().is_some_and(RunResult::is_observers_fault);
        let power =
            expect.zip(result).and_then(|(expect, result)| expectation::power(&expect, &result));
        Ok(Done {
            scenario: self.scenario.clone(),
            control: self.control,
            round: self.round,
            out: self.out.clone(),
            exit: ended.exit,
            took: ended.took,
            log: if complaint.is_some() { tail(&log) } else { String::new() },
            complaint,
            power,
            interrupted: ended.interrupted,
            blind,
            tries: 1,
        })
    }

    fn expect(&self) -> Result<Option<Expect>, Trouble> {
        Ok(Expect::load(&self.scenario)?)
    }
}

impl Done {
    /// How the whole ends because of this run.
    pub(super) fn exit(&self) -> Exit {
        match (&self.complaint, self.control, self.exit) {
            (None, _, _) => Exit::Pass,
            // What a control shows is that the harness is not to be believed: then
            // nothing is proved, but nobody is convicted either.
            (Some(_), true, Exit::Pass | Exit::Fail | Exit::Inconclusive) => Exit::Inconclusive,
            // It was to be convicted.
            (Some(_), false, Exit::Pass) => Exit::Fail,
            (Some(_), _, exit) => exit,
        }
    }

    /// What it was.
    pub(super) fn name(&self) -> String {
        let round = if self.round > 1 { format!(" #{}", self.round) } else { String::new() };
        format!("{}{round}", self.scenario.display())
    }

    /// A line about it, and more where somebody has to look closer.
    pub(super) fn text(&self) -> String {
        let took = self.took.as_secs_f64();
        let tries = match self.tries {
            1 => String::new(),
            tries => format!(", try {tries}: the observer was not up to those before"),
        };
        let head = format!("{} (exit {}, {took:.1} s{tries})", self.name(), self.exit.code());
        let Some(complaint) = &self.complaint else {
            let power = self.power.map(|power| format!(": {}", said(power))).unwrap_or_default();
            return format!("ok      {head}{power}\n");
        };
        let log: String = self.log.lines().map(|line| format!("        {line}\n")).collect();
        format!("FAILED  {head}: {complaint}\n{log}")
    }
}

fn said(power: Power) -> String {
    format!(
        "{:.2} harmed per upgrade x {} upgrades; the chance to miss it is {:.1e}",
        power.rate, power.upgrades, power.missed
    )
}

/// The end of what a run has said.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// How many ended as they must, and how many did not: the last line of all.
pub(super) fn totals(done: &[Done]) -> (usize, usize) {
    let failed = done.iter().filter(|one| one.complaint.is_some()).count();
    (done.len() - failed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(control: bool, exit: Exit, complaint: Option<&str>) -> Done {
        Done {
            scenario: "a.toml".into(),
            control,
            round: 1,
            exit,
            took: Duration::from_secs(2),
            complaint: complaint.map(str::to_owned),
            power: None,
            out: PathBuf::new(),
            log: String::new(),
            interrupted: false,
            blind: false,
            tries: 1,
        }
    }

    #[test]
    fn a_control_that_passes_proves_nothing_and_convicts_nobody() {
        for (control, exit, complaint, whole) in [
            (false, Exit::Pass, None, Exit::Pass),
            (true, Exit::Fail, None, Exit::Pass),
            (true, Exit::Pass, Some("blind"), Exit::Inconclusive),
            (true, Exit::Fail, Some("of another harm"), Exit::Inconclusive),
            (true, Exit::Internal, Some("crashed"), Exit::Internal),
            (true, Exit::TargetStart, Some("not judged"), Exit::TargetStart),
            (false, Exit::Fail, Some("must pass"), Exit::Fail),
            (false, Exit::Inconclusive, Some("must pass"), Exit::Inconclusive),
            (false, Exit::Pass, Some("must fail"), Exit::Fail),
        ] {
            assert_eq!(done(control, exit, complaint).exit(), whole, "{exit:?} {complaint:?}");
        }
    }

    #[test]
    fn the_files_of_a_run_lie_in_a_directory_of_its_own() {
        let out = |path: &str, round| Case::new(Path::new(path), false, round, Path::new("o")).out;
        assert_eq!(out("scenarios/smoke.toml", 1), Path::new("o/scenarios-smoke"));
        assert_eq!(
            out("scenarios/controls/smoke.toml", 2),
            Path::new("o/scenarios-controls-smoke.2")
        );
        assert_eq!(out("../../a b.toml", 1), Path::new("o/a-b"));
    }

    #[test]
    fn a_line_says_how_it_ended_and_what_that_is_worth() {
        let power = Some(Power { rate: 2.5, upgrades: 4, missed: 4.5e-5 });
        let convicted = Done { power, ..done(true, Exit::Fail, None) };
        assert_eq!(
            convicted.text(),
            "ok      a.toml (exit 1, 2.0 s): 2.50 harmed per upgrade x 4 upgrades; the chance to \
             miss it is 4.5e-5\n"
        );
        let failed = Done { log: "x\ny".to_owned(), ..done(true, Exit::Pass, Some("blind")) };
        assert_eq!(failed.text(), "FAILED  a.toml (exit 0, 2.0 s): blind\n        x\n        y\n");
    }
}
