//! The judge: from a command line to a verdict and an exit code.

use std::process::ExitCode;

use clap::Parser;
use harness::cli::Cli;
use harness::command;

fn main() -> ExitCode {
    command::execute(&Cli::parse().command).into()
}
