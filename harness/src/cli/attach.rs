//! How a server that runs already is judged, as it was typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, value_parser};

use super::{Capability, Changes, Formats, Kept};

/// `harness attach`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Attach {
    /// The scenario file; what it says of how the server is started is passed over
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,

    /// Where the server listens; takes the place of the scenario's target.attach
    #[arg(long, value_name = "ADDR")]
    pub connect: Option<SocketAddr>,

    /// Its main process, whose children are observed with it
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// The file in which its main process leaves its pid, and a successor its own
    #[arg(long, value_name = "FILE", conflicts_with = "pid")]
    pub pid_file: Option<PathBuf>,

    /// What asks it to upgrade, for /bin/sh; {pid} is its main process
    #[arg(long, value_name = "COMMAND")]
    pub upgrade_cmd: Option<String>,

    /// What is different from the file
    #[command(flatten)]
    pub changes: Changes,

    /// What it leaves behind
    #[command(flatten)]
    pub kept: Kept,

    /// Run nothing, and end with 4, unless this machine has these; `harness doctor`
    /// says what they are
    #[arg(long, value_name = "CAP,…", value_delimiter = ',', env = "HARNESS_REQUIRE")]
    pub require: Vec<Capability>,

    /// Annotate what failed, and add the report to the summary of the GitHub job
    #[arg(long, env = "HARNESS_GITHUB", value_parser = FalseyValueParser::new())]
    pub github: bool,

    /// How to say it
    #[command(flatten)]
    pub format: Formats,
}
