//! Measures the server that is built on this project's library, beside the one
//! that is built on the published crate, and says whether it is good enough.
//! Each part says what it measures, and how.

#[path = "../../pressed.rs"]
mod pressed;
mod gates;
mod generator;
mod memory;
mod quantile;
mod server;
mod throughput;
mod upgrade;

use std::process::ExitCode;

use crate::gates::Gates;

const USAGE: &str =
    "usage: ci/bench [--report-only] [--gib N] [upgrade] [memory] [throughput] [generator]";
const PARTS: [&str; 4] = ["upgrade", "memory", "throughput", "generator"];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some(wanted) = Wanted::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut gates = Gates::default();
    for part in PARTS.into_iter().filter(|part| wanted.parts.contains(part)) {
        let (ours, published) = (wanted.ours, wanted.published);
        let measured = match part {
            "upgrade" => upgrade::run(ours, published, &mut gates),
            "memory" => memory::run(ours, published, wanted.gib, &mut gates),
            "throughput" => throughput::run(ours, published, &mut gates),
            _ => generator::run(wanted.harness, &mut gates),
        };
        if let Err(error) = measured {
            gates.check(&format!("{part} can be measured ({error})"), false);
        }
        println!();
    }
    println!("{}", gates.sum());
    if gates.hold() || wanted.report_only { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Wanted<'a> {
    ours: &'a str,
    published: &'a str,
    harness: &'a str,
    report_only: bool,
    /// What the full process holds.
    gib: u64,
    parts: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn parse(arguments: &'a [String]) -> Option<Self> {
        let [ours, published, harness, rest @ ..] = arguments else { return None };
        let mut wanted =
            Self { ours, published, harness, report_only: false, gib: 8, parts: Vec::new() };
        let mut rest = rest.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--report-only" => wanted.report_only = true,
                "--gib" => wanted.gib = rest.next()?.parse().ok().filter(|gib| *gib > 0)?,
                part if PARTS.contains(&part) => wanted.parts.push(part),
                _ => return None,
            }
        }
        if wanted.parts.is_empty() {
            wanted.parts = PARTS.to_vec();
        }
        Some(wanted)
    }
}
