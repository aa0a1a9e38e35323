//! What looks for plans that go wrong, as it was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, value_parser};

use super::Changes;
use crate::units;

pub(super) const REPLAY_CODES: &str = "\
Exit codes:
  0      it never failed
  1      reproduced: it failed once or more
  3      inconclusive: it never failed, but too few of the runs proved anything
  2, 4, 5, 6, 128+N as for `harness run`";

/// `harness explore`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Explore {
    /// The scenario whose target is explored
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,

    /// Draw and run so many schedules
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    #[arg(required_unless_present = "time")]
    pub runs: Option<u64>,

    /// Begin no run after this time, like 10m
    #[arg(id = "time", long = "for", value_name = "SPAN", value_parser = units::span)]
    pub time: Option<Duration>,

    /// The number of the first schedule; a single one is drawn again with --runs 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub first: u64,

    /// Stop at the first run that fails
    #[arg(long)]
    pub until_fail: bool,

    /// What is different from the file
    #[command(flatten)]
    pub changes: Changes,

    /// Leave what did not pass in this directory
    #[arg(long, value_name = "DIR", env = "HARNESS_OUT")]
    pub out: Option<PathBuf>,

    /// Run in the machine's own network if a private one cannot be had
    #[arg(long, env = "HARNESS_ALLOW_TAINTED", value_parser = FalseyValueParser::new())]
    pub allow_tainted: bool,

    /// Tell only of runs that fail
    #[arg(short, long)]
    pub quiet: bool,
}

/// `harness soak`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Soak {
    /// The scenario whose server it is
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,

    /// Begin no schedule after this time, like 30m
    #[arg(long = "for", value_name = "SPAN", value_parser = units::span)]
    pub time: Duration,

    /// What is different from the file
    #[command(flatten)]
    pub changes: Changes,

    /// Leave the outcome, and the runs that did not pass, in this directory
    #[arg(long, value_name = "DIR", env = "HARNESS_OUT")]
    pub out: Option<PathBuf>,

    /// Tell only of runs that fail
    #[arg(short, long)]
    pub quiet: bool,
}

/// `harness replay`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Replay {
    /// The run's directory, or its plan.json
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,

    /// Run it so often
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub repeat: u32,

    /// Leave the reports and the recordings in this directory
    #[arg(long, value_name = "DIR", env = "HARNESS_OUT")]
    pub out: Option<PathBuf>,

    /// Run in the machine's own network if a private one cannot be had
    #[arg(long, env = "HARNESS_ALLOW_TAINTED", value_parser = FalseyValueParser::new())]
    pub allow_tainted: bool,
}

/// `harness shrink`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Shrink {
    /// The directory of the run that failed, or its plan.json
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,

    /// Try each smaller plan so often; it must fail half as often as the whole
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub runs_per_step: u32,

    /// Try nothing more after this time
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = units::span)]
    pub budget: Duration,

    /// The finding that must be kept, like reset_queue or law.L4; otherwise the commonest
    #[arg(long, value_name = "ID")]
    pub of: Option<String>,

    /// Write the scenario here, and not as minimal.toml into the run's directory
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Run in the machine's own network if a private one cannot be had
    #[arg(long, env = "HARNESS_ALLOW_TAINTED", value_parser = FalseyValueParser::new())]
    pub allow_tainted: bool,
}
