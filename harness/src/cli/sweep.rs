//! What makes an upgrade for each call of a process, as it was typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use super::{Changes, Formats};

/// `harness sweep`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Sweep {
    /// The scenario file; of its phases, upgrades and faults, nothing is used
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,

    /// Which process
    #[arg(long)]
    pub who: Who,

    /// Do not kill it: have each call of the upgrade fail, in every way that its manual
    /// page lists, without being made; on x86_64 only
    #[arg(long)]
    pub errors: bool,

    /// Of the calls that can fail, take this one only
    #[arg(long, value_name = "NAME", requires = "errors")]
    pub call: Option<String>,

    /// Begin at this point
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    pub from: u64,

    /// Go no further than this point
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,

    /// Take only every N-th point
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    pub step: u64,

    /// After how many points there is an upgrade that nothing is done to
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    pub healthy_every: u64,

    /// Leave all of it in this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// What is different from the file
    #[command(flatten)]
    pub changes: Changes,

    /// How to say it
    #[command(flatten)]
    pub format: Formats,
}

/// Which process a sweep hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Who {
    /// The one that an upgrade starts
    Successor,
    /// The one that is upgraded
    Predecessor,
}
