//! The command line as it was typed. Nothing is opened or run here.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::event::Harm;
use crate::units::SeedChoice;

const EXIT_CODES: &str = "\
Exit codes:
  0      pass: every check was made, and held
  1      fail: a client was harmed, or a ledger does not balance
  2      usage: the command line or the scenario cannot be meant
  3      inconclusive: nothing was disproved, but nothing was proved either
         (too little load, a fault not delivered, or the observer too slow)
  4      environment: this machine lacks something that the run requires
  5      internal: the harness itself failed
  6      target: the server under test could not be built or started
  128+N  interrupted by signal N; the report covers what was seen
A proven harm outranks \"inconclusive\": 1 is never hidden by 3.";

const FIRST_STEPS: &str = "\
First steps:
  harness run scenarios/smoke.toml                    ten seconds, must pass
  harness run scenarios/controls/stop-start.toml      broken on purpose, must fail
  harness explain reset_queue                         what a finding means

";

/// Judges graceful restarts: drives load at a server, upgrades and sabotages it
/// while it serves, and proves whether one connection was harmed.
///
/// A scenario file says which server, which load, which upgrades and faults, and
/// how much must have been seen for a verdict to mean anything. Three ledgers that
/// know nothing of each other (the clients', the servers' and the kernel's) must
/// then tell the same story.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "harness", version, after_help = format!("{FIRST_STEPS}{EXIT_CODES}"))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run a scenario and judge it
    #[command(after_help = EXIT_CODES)]
    Run(Run),
    /// Judge a server that is running already, without its help
    ///
    /// The load goes to it in the machine's own network, so the kernel's counters
    /// prove nothing. It is asked to upgrade as the scenario or --upgrade-cmd says,
    /// and otherwise left alone: it is not stopped when the run ends. What could only
    /// be known of a server that the harness has started is reported as not checked.
    #[command(after_help = EXIT_CODES)]
    Attach(Attach),
    /// Check a scenario without running it, and print the plan it stands for as JSON
    ///
    /// Every default is filled in, so this shows what `run` would do. A mistake
    /// is shown with its line and with what to write instead (exit code 2).
    Check {
        /// The scenario file
        #[arg(value_name = "SCENARIO")]
        scenario: PathBuf,
    },
    /// Explain a kind of harm: what the client saw, and what usually causes it
    Explain {
        /// The harm's id, as reports print it
        #[arg(value_name = "HARM", value_parser = harm_parser(), hide_possible_values = true)]
        harm: Harm,
    },
    /// List what the harness knows
    List {
        /// What to list
        #[arg(value_name = "WHAT")]
        what: Listing,
    },
}

/// `harness run`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Run {
    /// The scenario file, for example scenarios/smoke.toml
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,

    /// Leave result.json, the report and the latencies in this directory, and,
    /// unless the verdict is PASS, the whole recording
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Draw everything random from this seed instead of the scenario's: `random`,
    /// or the 0x… that an earlier run printed
    #[arg(long, value_name = "HEX|random")]
    pub seed: Option<SeedChoice>,

    /// Run in the machine's own network if a private one cannot be had
    ///
    /// Other traffic then taints the kernel's counters. What they would have
    /// proved is reported as not checked.
    #[arg(long)]
    pub allow_tainted: bool,

    /// Print the verdict only: no progress, no details
    #[arg(short, long)]
    pub quiet: bool,
}

/// `harness attach`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Attach {
    /// What is the same for `harness run`.
    #[command(flatten)]
    pub run: Run,

    /// Where the server listens; takes the place of the scenario's target.attach
    #[arg(long, value_name = "ADDR")]
    pub connect: Option<SocketAddr>,

    /// Its main process, whose children are observed with it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// The file in which its main process leaves its pid, and a successor its own
    #[arg(long, value_name = "FILE", conflicts_with = "pid")]
    pub pid_file: Option<PathBuf>,

    /// What asks it to upgrade, for /bin/sh; {pid} is its main process
    #[arg(long, value_name = "COMMAND")]
    pub upgrade_cmd: Option<String>,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// Every kind of harm, by its id
    Harms,
}

/// Leaves it to clap to say which ids there are, and which was nearly typed.
fn harm_parser() -> impl TypedValueParser<Value = Harm> {
    PossibleValuesParser::new(Harm::ALL.map(Harm::id))
        .try_map(|id| Harm::from_id(&id).ok_or("no such harm; `harness list harms` names them all"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, String> {
        Cli::try_parse_from(line.split(' '))
            .map(|cli| cli.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_what_it_says() {
        let expected = Run {
            scenario: "s.toml".into(),
            out: Some("dir".into()),
            seed: Some(SeedChoice::Fixed(0x5eed)),
            allow_tainted: true,
            quiet: true,
        };
        let line = "harness run s.toml --out dir --seed 0x5eed --allow-tainted -q";
        assert_eq!(parse(line), Ok(Command::Run(expected)));
        assert!(parse("harness run s.toml --seed 5eed").unwrap_err().contains("0x5eed"));
    }

    #[test]
    fn attach_takes_where_the_server_is() {
        let line = "harness attach s.toml --connect 127.0.0.1:80 --pid-file f --upgrade-cmd x";
        let Ok(Command::Attach(attach)) = parse(line) else { panic!("{line}") };
        assert_eq!(attach.connect, "127.0.0.1:80".parse().ok());
        assert_eq!((attach.pid, attach.pid_file), (None, Some("f".into())));
        assert_eq!(attach.upgrade_cmd.as_deref(), Some("x"));
        for wrong in ["--connect x", "--pid 0", "--pid 1 --pid-file f"] {
            assert!(parse(&format!("harness attach s.toml {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_harm_nearly_typed_is_suggested() {
        let expected = Command::Explain { harm: Harm::ResetQueue };
        assert_eq!(parse("harness explain reset_queue"), Ok(expected));
        assert!(parse("harness explain reset_queu").unwrap_err().contains("'reset_queue'"));
        assert_eq!(parse("harness list harms"), Ok(Command::List { what: Listing::Harms }));
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "128+N"] {
            assert!(help.contains(&format!("\n  {code}")), "{code}");
        }
    }
}
