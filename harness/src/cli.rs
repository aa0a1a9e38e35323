//! The command line as it was typed. Nothing is opened or run here.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;

use crate::units::{SeedChoice, Shard};

mod attach;
mod explore;
mod sweep;

pub use attach::Attach;
pub use explore::{Explore, Replay, Shrink, Soak};
pub use sweep::{Sweep, Who};

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
#[derive(Clone, Debug, PartialEq, Parser)]
#[command(name = "harness", version, after_help = format!("{FIRST_STEPS}{EXIT_CODES}"))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Run a scenario and judge it; several, or several times, for a verdict each
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
    /// Run every scenario and every control of a directory, for one exit code
    ///
    /// A scenario must pass, and a control (in the directory `controls`, usually a
    /// server that is broken on purpose) must end as its `[expect]` says. A control
    /// that passes makes the whole inconclusive: nobody can believe this harness then.
    /// The last line is `N passed, N failed`.
    #[command(after_help = EXIT_CODES)]
    Suite(Suite),
    /// Run controls only: is the harness able to convict?
    #[command(after_help = EXIT_CODES)]
    Control(Control),
    /// Draw schedules at random around a scenario's target, and run each
    ///
    /// Load, upgrades and faults are drawn from --seed: the same seed draws the same
    /// schedules. A run that does not pass leaves its plan, for replay and shrink.
    #[command(after_help = EXIT_CODES)]
    Explore(Explore),
    /// Let one server live on under random schedules, and see whether anything grows
    ///
    /// Each schedule is a run that is judged by itself, with all ledgers. Between two
    /// the server passes on to a fresh process without a client, and what that holds
    /// must be what the first such held.
    #[command(after_help = EXIT_CODES)]
    Soak(Soak),
    /// Run the plan of an earlier run again, and say how often it fails
    ///
    /// Nothing but its plan.json is needed. The server is the one of this checkout.
    #[command(after_help = explore::REPLAY_CODES)]
    Replay(Replay),
    /// Make the plan of a run that failed as small as it can be
    ///
    /// Faults, populations, upgrades, load and time are left out as long as it fails
    /// in the same way. What is left is a scenario file.
    #[command(after_help = EXIT_CODES)]
    Shrink(Shrink),
    /// Hit a process at each of its system calls, one upgrade each, under load
    ///
    /// By ptrace(2): the successor from its birth until it is ready and has its first
    /// client, or the predecessor from the trigger to its end, is killed before its
    /// first call, in the next upgrade before its second, and so on. Nobody may be
    /// harmed but clients of the process that is killed, and the service must go on.
    /// The last line is `N passed, N failed`.
    #[command(after_help = EXIT_CODES)]
    Sweep(Sweep),
    /// Judge a stored run again, without running anything
    ///
    /// The same recording gives the same verdict and the same reports, byte for byte.
    #[command(after_help = EXIT_CODES)]
    Analyze(Analyze),
    /// Make one verdict of what several generators saw, on one machine or on many
    ///
    /// Each ran the same scenario with the same --seed and a --shard of its own, with
    /// a server of its own. Each is judged by itself, so that no part hides what
    /// another saw, and harm in one convicts all. A missing part makes the whole
    /// inconclusive.
    #[command(after_help = EXIT_CODES)]
    Merge(Merge),
    /// Compare the latencies of two runs, window by window
    ///
    /// Ends with 1 if one has grown by more than it may, and with 3 if that was not measured.
    Compare(Compare),
    /// Check a scenario without running it, and print the plan it stands for as JSON
    ///
    /// Every default is filled in, so this shows what `run` would do. A mistake
    /// is shown with its line and with what to write instead (exit code 2).
    Check(Scenario),
    /// Expand a scenario into the operations it intends, a line of JSON each
    ///
    /// The same seed gives the same lines, and a run with it intends the same
    /// operations: when, of which population, how large.
    Plan(Scenario),
    /// Explain a fault, or a finding: a kind of harm, a law or another check
    Explain {
        /// Its id, as reports print it: reset_queue, harm.reset_queue, L4, law.L4, …
        #[arg(value_name = "ID")]
        id: String,
    },
    /// List what the harness knows
    List {
        /// What to list
        #[arg(value_name = "WHAT")]
        what: Listing,
        /// The directory of the scenarios, which has a directory `controls`
        #[arg(long, value_name = "DIR", default_value = "scenarios")]
        dir: PathBuf,
    },
    /// Say what this machine can prove, and what it cannot
    #[command(after_help = EXIT_CODES)]
    Doctor {
        /// End with 4 if one of these is not ok
        #[arg(long, value_name = "CAP,…", value_delimiter = ',', env = "HARNESS_REQUIRE")]
        require: Vec<Capability>,
    },
    /// Say what a run came to in another form, on standard output
    Report {
        /// The run's directory, or its result.json
        #[arg(value_name = "RUN_DIR")]
        run: PathBuf,
        /// In which form
        #[command(flatten)]
        form: Form,
    },
    /// Print the JSON schema of result.json
    Schema,
    /// Print what a shell needs to complete our arguments
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// In which form a report is printed. None of them: as text.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "at most one of them is set")]
pub struct Form {
    /// One page of HTML
    #[arg(long)]
    pub html: bool,
    /// What result.json has
    #[arg(long)]
    pub json: bool,
    /// A test case for each check and each fault
    #[arg(long)]
    pub junit: bool,
    /// What GitHub shows of a job
    #[arg(long)]
    pub markdown: bool,
    /// Metrics, for a textfile collector
    #[arg(long)]
    pub prometheus: bool,
    /// The percentiles of one population, for HdrHistogram's plotters
    #[arg(long, value_name = "POPULATION")]
    pub hgrm: Option<String>,
}

/// `harness merge`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Merge {
    /// The directories that `harness run --shard I/N --out` filled, or another merge
    #[arg(value_name = "RUN_DIR", required = true)]
    pub runs: Vec<PathBuf>,

    /// Leave the reports and the merged recording in this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Annotate what failed, and add the report to the summary of the GitHub job
    #[arg(long, env = "HARNESS_GITHUB", value_parser = FalseyValueParser::new())]
    pub github: bool,

    /// How to say it
    #[command(flatten)]
    pub format: Formats,
}

/// `harness compare`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Compare {
    /// The run to compare with: its directory, or its result.json
    #[arg(value_name = "BASE")]
    pub base: PathBuf,

    /// The run to look at
    #[arg(value_name = "NEW")]
    pub new: PathBuf,

    /// By how much a quantile may grow: `churn.p99=+20%+1ms`, or, in one window,
    /// `churn.during.p99.9=+50%+2ms`
    #[arg(long, value_name = "LIMIT")]
    pub max_regress: Vec<String>,
}

/// A scenario that is read and not run.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Scenario {
    /// The scenario file
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,

    /// What is different from the file
    #[command(flatten)]
    pub changes: Changes,
}

/// What is different from a scenario's file.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct Changes {
    /// Draw everything random from this seed instead of the scenario's: `random`,
    /// or the 0x… that an earlier run printed
    #[arg(long, value_name = "HEX|random", env = "HARNESS_SEED")]
    pub seed: Option<SeedChoice>,

    /// Put a value in the place of the scenario's: `phases.storm=30s`,
    /// `load.churn.rate=2000` (the load of that name), `fault.0.every=2`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Let the storm take so long: phases.storm
    #[arg(long, value_name = "SPAN", env = "HARNESS_DURATION")]
    pub duration: Option<String>,

    /// Multiply the rate of every load by this, 0.1 to 10
    ///
    /// What must have been seen stays as it is: less load proves less.
    #[arg(long, value_name = "FACTOR", env = "HARNESS_SCALE", value_parser = scale)]
    pub scale: Option<f64>,
}

fn scale(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (0.1..=10.0).contains(factor));
    factor.ok_or_else(|| "write a number from 0.1 to 10, like 0.5".to_owned())
}

/// `harness run`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Run {
    /// The scenario files, for example scenarios/smoke.toml, or the plan.json of an
    /// earlier run; several are run one after another
    #[arg(value_name = "SCENARIO", required = true)]
    pub scenarios: Vec<PathBuf>,

    /// Take only one of N equal shares of the load, counted from 1; `harness merge`
    /// makes one verdict of all of them
    #[arg(long, value_name = "I/N", env = "HARNESS_SHARD")]
    pub shard: Option<Shard>,

    /// How it is run
    #[command(flatten)]
    pub runs: Runs,
}

/// `harness suite`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Suite {
    /// The directory of the scenarios
    #[arg(value_name = "DIR", default_value = "scenarios")]
    pub dir: PathBuf,

    /// Leave the outcome in this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// How they are run
    #[command(flatten)]
    pub runs: Runs,
}

/// `harness control`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Control {
    /// Which of them; `harness list controls` names them all
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// The directory of the scenarios, which has a directory `controls`
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    pub dir: PathBuf,

    /// Leave the outcome in this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// How they are run
    #[command(flatten)]
    pub runs: Runs,
}

/// What runs leave behind.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Kept {
    /// Leave result.json, the report, the latencies and the whole recording in
    /// this directory
    #[arg(long, value_name = "DIR", env = "HARNESS_OUT")]
    pub out: Option<PathBuf>,

    /// Leave out the recording: the run cannot be judged again
    #[arg(long, requires = "out")]
    pub no_recording: bool,
}

/// How runs are made.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Runs {
    /// What is different from the file
    #[command(flatten)]
    pub changes: Changes,

    /// What they leave behind
    #[command(flatten)]
    pub kept: Kept,

    /// Run everything so often
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = value_parser!(u32).range(1..),
        env = "HARNESS_REPEAT"
    )]
    pub repeat: u32,

    /// Stop at the first run that does not end as it must; without --repeat, go
    /// on until there is one
    #[arg(long)]
    pub until_fail: bool,

    /// Run nothing, and end with 4, unless this machine has these; `harness doctor`
    /// says what they are
    #[arg(long, value_name = "CAP,…", value_delimiter = ',', env = "HARNESS_REQUIRE")]
    pub require: Vec<Capability>,

    /// Run in the machine's own network if a private one cannot be had
    ///
    /// Other traffic then taints the kernel's counters. What they would have
    /// proved is reported as not checked.
    #[arg(long, env = "HARNESS_ALLOW_TAINTED", value_parser = FalseyValueParser::new())]
    pub allow_tainted: bool,

    /// Annotate what failed, and add the report to the summary of the GitHub job
    #[arg(long, env = "HARNESS_GITHUB", value_parser = FalseyValueParser::new())]
    pub github: bool,

    /// How to say it
    #[command(flatten)]
    pub format: Formats,
}

impl Runs {
    /// The numbers of the rounds.
    pub fn rounds(&self) -> impl Iterator<Item = u32> + use<> {
        let endless = self.until_fail && self.repeat == 1;
        1..=if endless { u32::MAX } else { self.repeat }
    }
}

/// How the outcome is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Formats {
    /// How to print the outcome
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "HARNESS_FORMAT")]
    format: Format,

    /// Print the verdict only, without progress and details: --format quiet
    #[arg(short, long)]
    quiet: bool,
}

impl Formats {
    /// The one that counts.
    #[must_use]
    pub fn chosen(self) -> Format {
        if self.quiet { Format::Quiet } else { self.format }
    }
}

/// A way to print the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// What result.json has
    Json,
    /// The verdict and the sum
    Quiet,
}

/// `harness analyze`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Analyze {
    /// The directory that `harness run --out` filled
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,

    /// Leave the reports here, and not beside the recording
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// How to say it
    #[command(flatten)]
    pub format: Formats,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// Every kind of harm, by its id
    Harms,
    /// Every kind of fault that a scenario can ask for
    Faults,
    /// Every check, by its id
    Gates,
    /// Every control, and what it must be convicted of
    Controls,
}

/// What a machine has, or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Capability {
    /// A network namespace of the run's own
    Netns,
    /// A user namespace, so that no root is needed for that
    Userns,
    /// The kernel's tracing, which sees each reset
    Tracefs,
    /// The kernel says why it reset a connection
    ResetReasons,
    /// Enough descriptors for many connections
    Descriptors,
    /// Enough ports for many connections a second
    Ports,
    /// Two processors or more: one for the server, one for the observer
    Cpus,
    /// The observer is woken in time
    Hiccup,
    /// It is known when the kernel sends a lost SYN again
    SynRetries,
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
        let runs = Runs {
            changes: Changes {
                seed: Some(SeedChoice::Fixed(0x5eed)),
                set: vec!["phases.storm=1s".to_owned()],
                ..Changes::default()
            },
            kept: Kept { out: Some("dir".into()), no_recording: false },
            repeat: 1,
            until_fail: false,
            require: Vec::new(),
            allow_tainted: true,
            github: false,
            format: Formats { format: Format::Text, quiet: true },
        };
        let expected = Run { scenarios: vec!["s.toml".into()], shard: None, runs };
        let line =
            "harness run s.toml --out dir --set phases.storm=1s --seed 0x5eed --allow-tainted -q";
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
        for wrong in ["--connect x", "--pid 0", "--pid 1 --pid-file f", "--repeat 2"] {
            assert!(parse(&format!("harness attach s.toml {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_and_scales_out_of_range_are_refused() {
        for wrong in ["--shard 3/2", "--scale 0.01", "--scale x", "--require nothing"] {
            assert!(parse(&format!("harness run s.toml {wrong}")).is_err(), "{wrong}");
        }
        parse("harness run s.toml --shard 2/2 --scale 0.1 --require netns,cpus").unwrap();
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "128+N"] {
            assert!(help.contains(&format!("\n  {code}")), "{code}");
        }
    }
}
