//! Sets this project's library beside its peers, and beside those who restart without
//! one: each part says what it measures, and how.

#[path = "../../pressed.rs"]
mod pressed;
mod clock;
mod peer;
mod figures;
mod client;
mod service;
mod telling;
mod latency;
mod stall;
mod throughput;
mod storm;
mod sabotage;
mod stopping;
mod environment;
mod measures;
mod gates;
mod table;
mod plot;
mod readme;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use nix::sys::prctl::set_child_subreaper;

use crate::clock::now;
use crate::figures::Figures;
use crate::peer::{PEERS, Paths, Peer, Role};
use crate::plot::Plot;

/// Sets this library beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where this workspace's programs are
    #[arg(long)]
    bench: PathBuf,
    /// Where the harness and its controls are
    #[arg(long)]
    harness: PathBuf,
    #[arg(long)]
    repository: PathBuf,
    /// Where the table, the plots and the figures go
    #[arg(long)]
    out: PathBuf,
    /// What is said of how it was made
    #[arg(long)]
    command: String,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What a full process holds
    #[arg(long, default_value_t = 4)]
    gib: u64,
    /// Connections a second in the storms; more than the machine can serve harm whoever
    /// is left alone, too, and then nothing is proved
    #[arg(long, default_value_t = 6000)]
    rate: u32,
    /// Do these parts only
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// With these servers only
    #[arg(long, value_delimiter = ',')]
    peer: Vec<String>,
    /// Measure nothing: make tables and plots of the figures that are there
    #[arg(long)]
    render: bool,
    /// Put the table into this file, too
    #[arg(long)]
    readme: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Latency,
    Stall,
    Throughput,
    Storm,
    Killed,
    Sabotage,
    Stop,
}

/// What comes out the same each time is tried in so many rounds: it would take long.
const OUTCOMES: usize = 2;

impl Part {
    fn is_due(self, round: usize) -> bool {
        match self {
            Self::Latency | Self::Stall | Self::Throughput | Self::Storm => true,
            Self::Killed | Self::Sabotage | Self::Stop => round <= OUTCOMES,
        }
    }
}

type Done<T> = Result<T, Box<dyn Error>>;

/// What the README shows below the table.
const PLOTS: &str = "[`peers.md`](ci/peers-results/peers.md) has every figure with its spread.\n\n\
    ![How long an upgrade takes](ci/peers-results/latency.svg)\n\
    ![Clients harmed by each upgrade](ci/peers-results/harm.svg)\n\
    ![How long clients wait while the new process starts](ci/peers-results/stall.svg)\n";

fn main() -> Done<ExitCode> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.out)?;
    let file = arguments.out.join("peers.json");
    let figures = if arguments.render {
        serde_json::from_str(&fs::read_to_string(&file)?)?
    } else {
        let figures = measure(&arguments)?;
        fs::write(&file, serde_json::to_string_pretty(&figures)? + "\n")?;
        figures
    };
    render(&arguments, &figures)?;
    let gates = gates::gates(&figures);
    for (claim, holds) in &gates {
        say(&format!("{}  {claim}", if *holds { "ok    " } else { "FAILED" }));
    }
    let passed = gates.iter().filter(|(_, holds)| *holds).count();
    say(&format!("{passed} passed, {} failed", gates.len() - passed));
    Ok(if passed == gates.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(text: &str) {
    println!("{text}");
}

fn measure(arguments: &Arguments) -> Done<Figures> {
    // Whatever a server leaves behind is ours to end.
    set_child_subreaper(true)?;
    let started = now();
    let search = std::env::var("PATH")?;
    let paths = Paths {
        bench: arguments.bench.canonicalize()?,
        harness: arguments.harness.canonicalize()?,
        repository: arguments.repository.canonicalize()?,
        search: search.split(':').map(PathBuf::from).collect(),
    };
    let named = |peer: &Peer| arguments.peer.iter().any(|id| id == peer.id);
    let wanted = PEERS.into_iter().filter(|peer| arguments.peer.is_empty() || named(peer));
    let (peers, absent): (Vec<Peer>, Vec<Peer>) =
        wanted.partition(|peer| paths.program(peer.program).is_some());
    let scratch = std::env::temp_dir().join(format!("peers-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let mut course = Course {
        peers,
        paths,
        scratch,
        gib: arguments.gib,
        rate: arguments.rate,
        figures: Figures::default(),
    };
    course.figures.environment = environment::environment(&course.paths, &arguments.command);
    course.figures.environment.rate = arguments.rate;
    course.figures.environment.gib = arguments.gib;
    course.figures.rounds = arguments.rounds;
    course.figures.troubles =
        absent.iter().map(|peer| format!("{}: it is not installed", peer.title)).collect();
    for round in 1..=arguments.rounds {
        for part in Part::value_variants() {
            let wanted = arguments.only.is_empty() || arguments.only.contains(part);
            if wanted && part.is_due(round) {
                let begun = now();
                course.take(*part, round);
                say(&format!("round {round}, {part:?}: {:.1} s", begun.elapsed().as_secs_f64()));
            }
        }
    }
    fs::remove_dir_all(&course.scratch)?;
    course.figures.environment.seconds = started.elapsed().as_secs();
    Ok(course.figures)
}

/// What goes on.
struct Course {
    peers: Vec<Peer>,
    paths: Paths,
    scratch: PathBuf,
    gib: u64,
    rate: u32,
    figures: Figures,
}

impl Course {
    /// A part of a round. What goes wrong with one server is no reason not to measure
    /// the others, but fails in the end.
    fn take(&mut self, part: Part, round: usize) {
        let mut peers = self.peers.clone();
        // Whoever goes later finds the machine otherwise: they take turns.
        let shift = round % peers.len().max(1);
        peers.rotate_left(shift);
        let (paths, scratch) = (&self.paths, self.scratch.as_path());
        let rate = self.rate;
        let figures = &mut self.figures;
        let mut troubles = Vec::new();
        let mut note = |title: &str, done: std::io::Result<()>| {
            if let Err(error) = done {
                let trouble = format!("{title}, {part:?}, round {round}: {error}");
                say(&trouble);
                troubles.push(trouble);
            }
        };
        match part {
            Part::Stall => note("", stall::run(&peers, paths, scratch, self.gib, figures)),
            Part::Throughput => note("", throughput::run(&peers, paths, scratch, figures)),
            Part::Latency | Part::Storm | Part::Killed | Part::Sabotage | Part::Stop => {
                for peer in &peers {
                    note(peer.title, one(part, peer, paths, scratch, round, rate, figures));
                }
            }
        }
        self.figures.troubles.extend(troubles);
    }
}

/// A part that takes one server after another.
fn one(
    part: Part,
    peer: &Peer,
    paths: &Paths,
    scratch: &Path,
    round: usize,
    rate: u32,
    figures: &mut Figures,
) -> std::io::Result<()> {
    let graceful = peer.role == Role::Graceful;
    match part {
        Part::Latency => latency::run(peer, paths, scratch, figures),
        Part::Storm => {
            storm::run(peer, storm::Kind::Upgrades, paths, scratch, round, rate, figures)
        }
        Part::Killed if storm::can_be_killed(peer) => {
            storm::run(peer, storm::Kind::Killed, paths, scratch, round, rate, figures)
        }
        Part::Sabotage => sabotage::Fault::ALL
            .into_iter()
            .filter(|fault| sabotage::applies(peer, *fault))
            .try_for_each(|fault| sabotage::run(peer, fault, paths, scratch, round, figures)),
        Part::Stop if graceful => stopping::run(peer, paths, scratch, figures),
        Part::Stall | Part::Throughput | Part::Killed | Part::Stop => Ok(()),
    }
}

fn render(arguments: &Arguments, figures: &Figures) -> Done<()> {
    let out = &arguments.out;
    fs::write(out.join("peers.md"), table::whole(figures))?;
    let all: Vec<&str> = PEERS.iter().map(|peer| peer.id).collect();
    let full = format!("process of {} GiB", figures.environment.gib);
    for plot in [
        Plot {
            file: "latency.svg",
            title: "How long an upgrade takes".to_owned(),
            axis: "milliseconds after the trigger; medians of the rounds, least to most",
            rows: &all,
            series: &[
                ("latency.answered", "first answer by the new process"),
                ("latency.stopped", "the old one stops accepting"),
            ],
            logarithmic: true,
            digits: 1,
        },
        Plot {
            file: "harm.svg",
            title: "Clients harmed by each upgrade, under the same load".to_owned(),
            axis: "clients harmed per upgrade; medians of the rounds, least to most",
            rows: &all,
            series: &[
                ("storm.churn", "connections of one request"),
                ("storm.kept", "kept connections"),
            ],
            logarithmic: false,
            digits: 2,
        },
        Plot {
            file: "stall.svg",
            title: "How long clients of the old process wait while it starts the new one"
                .to_owned(),
            axis: "worst round trip, milliseconds; medians of the rounds, least to most",
            rows: &stall::ROWS.map(|(row, _, _)| row),
            series: &[("stall.empty", "empty process"), ("stall.full", &full)],
            logarithmic: true,
            digits: 1,
        },
    ] {
        plot::draw(&plot, figures, out)?;
    }
    if let Some(readme) = &arguments.readme {
        let text = format!(
            "{}\nMedians. Harm is by upgrade; *large* is a process of {} GiB. Who drains a queue \
             before he closes it loses it in one of sixty upgrades, which are more than are made \
             here (`harness control drained-queue`). Where this library is not the \
             best:\n\n{}\n{}\n{PLOTS}",
            table::summary(figures),
            figures.environment.gib,
            table::behind(figures),
            table::origin(figures),
        );
        readme::update(readme, &text)?;
    }
    Ok(())
}
