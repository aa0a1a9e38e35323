//! An echo server that changes its binary without dropping a connection.
//!
//! It is the reference use of the `ecdysis` library, to be read and copied:
//! `app` is the life of a process, `server` serves a stream of connections,
//! `echo` what comes by it, and `ledger` keeps the account that a judge can check.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

mod cli;
mod ledger;
mod echo;
mod server;
mod app;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match app::run(cli::Config::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}
