//! The judge: from a command line to a verdict and an exit code.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use harness::cli::{Attach, Cli, Command, Listing, Run};
use harness::conduct::{self, ConductError, Prepared};
use harness::event::{Harm, Progress, Recording};
use harness::exit::Exit;
use harness::report::{self, Machine, Outputs, Report, Ticker};
use harness::scenario::plan::Namespace;
use harness::scenario::{Attachment, Lint, Plan, ScenarioError};
use harness::verdict::{self, Outcome};

/// Why there is no verdict: what to say, and how to end.
struct Trouble {
    exit: Exit,
    message: String,
}

impl Trouble {
    fn new(exit: Exit, message: &impl ToString) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<ConductError> for Trouble {
    fn from(error: ConductError) -> Self {
        Self::new(error.exit(), &error)
    }
}

/// Whoever reads our output may stop reading; that is no reason to stop judging.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Internal, &format!("cannot write the report: {error}"))
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(run) => judge(&run, Plan::load(&run.scenario, run.seed)),
        Command::Attach(attach) => judge(&attach.run, attached(&attach)),
        Command::Check { scenario } => check(&scenario),
        Command::Explain { harm } => say(&report::explain(harm)),
        Command::List { what: Listing::Harms } => {
            say(&Harm::ALL.map(|harm| format!("{harm}\n")).concat())
        }
    };
    outcome
        .unwrap_or_else(|trouble| {
            complain(&format!("harness: {}\n", trouble.message));
            trouble.exit
        })
        .into()
}

fn say(text: &str) -> Result<Exit, Trouble> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Pass),
    }
}

/// For the reader's eyes only: if there is nobody to read it, nothing is lost.
fn complain(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

fn check(scenario: &Path) -> Result<Exit, Trouble> {
    let (plan, lints) =
        Plan::load(scenario, None).map_err(|error| Trouble::new(Exit::Usage, &error))?;
    lints.iter().for_each(|lint| complain(&format!("warning: {lint}\n")));
    let json = serde_json::to_string_pretty(&plan)
        .map_err(|error| Trouble::new(Exit::Internal, &error))?;
    say(&format!("{json}\n"))
}

/// The plan for a server that runs already.
fn attached(attach: &Attach) -> Result<(Plan, Vec<Lint>), ScenarioError> {
    let attachment = Attachment {
        connect: attach.connect,
        pid: attach.pid,
        pid_file: attach.pid_file.clone(),
        upgrade_cmd: attach.upgrade_cmd.clone(),
    };
    Plan::load_attached(&attach.run.scenario, attach.run.seed, &attachment)
}

fn judge(run: &Run, loaded: Result<(Plan, Vec<Lint>), ScenarioError>) -> Result<Exit, Trouble> {
    let (mut plan, lints) = loaded.map_err(|error| Trouble::new(Exit::Usage, &error))?;
    if !run.quiet {
        complain(&format!("seed {:#x}\n", plan.seed));
        lints.iter().for_each(|lint| complain(&format!("warning: {lint}\n")));
    }
    let outputs = run.out.as_deref().map(open).transpose()?;
    let machine = Machine::read()
        .map_err(|error| Trouble::new(Exit::Environment, &format!("cannot read /proc: {error}")))?;
    let prepared = prepare(&mut plan, run.allow_tainted)?;
    let recording = observe(&plan, prepared, run.quiet)?;
    let verdict = verdict::judge(&plan, &recording);
    let report = Report::new(&plan, &recording, &verdict, &machine);
    say(&match run.quiet {
        true => report::brief(&report),
        false => report::text(&report, outputs.as_ref().map(Outputs::dir)),
    })?;
    if let Some(outputs) = outputs {
        outputs.write(&report, &report::latencies(&recording, &verdict))?;
        // It is large, and wanted only where somebody has to look closer.
        if verdict.outcome != Outcome::Pass {
            outputs.write_recording(&recording)?;
        }
    }
    Ok(report.exit())
}

/// Opens the place for the files before anything is run.
fn open(dir: &Path) -> Result<Outputs, Trouble> {
    Outputs::open(dir).map_err(|error| {
        Trouble::new(Exit::Usage, &format!("cannot write to {}: {error}", dir.display()))
    })
}

/// Builds the server and enters the network, the machine's own if a private one
/// cannot be had and the caller has allowed it.
fn prepare(plan: &mut Plan, allow_tainted: bool) -> Result<Prepared, Trouble> {
    let network = || std::fs::read_link("/proc/self/ns/net").ok();
    let home = network();
    let error = match conduct::prepare(plan) {
        Ok(prepared) => return Ok(prepared),
        Err(error) => error,
    };
    let tainted = allow_tainted && error.exit() == Exit::Environment;
    // A namespace that was entered but could not be set up cannot be left again,
    // and what runs in it is not what the report would say.
    if !tainted || plan.network.namespace == Namespace::Host || network() != home {
        return Err(error.into());
    }
    complain(&format!("warning: {error}; running in the machine's network\n"));
    plan.network.namespace = Namespace::Host;
    // These are written only in a private namespace: the machine's are not ours.
    plan.network.sysctl.clear();
    Ok(conduct::prepare(plan)?)
}

fn observe(plan: &Plan, prepared: Prepared, quiet: bool) -> Result<Recording, Trouble> {
    let terminal = io::stderr().is_terminal();
    let mut ticker = Ticker::new(io::stderr(), terminal);
    let mut progress = |progress: &Progress| {
        if !quiet {
            drop(ticker.tick(progress));
        }
    };
    let recording = conduct::conduct(plan, prepared, &mut progress);
    if !quiet {
        drop(ticker.finish());
    }
    Ok(recording?)
}
