//! `harness list`: what the harness knows.

use std::path::Path;

use super::explain;
use super::suite::controls_in;
use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Listing;
use crate::event::Harm;
use crate::exit::Exit;
use crate::scenario::METRICS;
use crate::scenario::catalogue::{ENTRIES, Entry};
use crate::scenario::expect::Expect;

pub(super) fn list(what: Listing, dir: &Path) -> Result<Exit, Trouble> {
    say(&match what {
        Listing::Harms => Harm::ALL.map(|harm| format!("{harm}\n")).concat(),
        Listing::Faults => faults(),
        Listing::Gates => gates(),
        Listing::Controls => controls(dir)?,
    })?;
    Ok(Exit::Pass)
}

/// What is always asked, and what a scenario can ask for besides.
fn gates() -> String {
    let always = explain::CHECKS.iter().map(|(id, _)| format!("{id}\n"));
    let metrics = METRICS.map(|metric| format!("gates.\"{metric}\"\n"));
    always.chain(metrics).collect()
}

fn faults() -> String {
    let line = |entry: &Entry| {
        format!("{:<4} {:<22} {} {}\n", entry.id, entry.name, entry.whom(), entry.says)
    };
    ENTRIES.iter().map(line).collect()
}

fn controls(dir: &Path) -> Result<String, Trouble> {
    let mut lines = String::new();
    for path in controls_in(dir)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let must = Expect::load(&path)?
            .map_or_else(|| "does not say what it must end as".to_owned(), |expect| said(&expect));
        lines += &format!("{name:<20} {must}\n");
    }
    Ok(lines)
}

fn said(expect: &Expect) -> String {
    let mut named: Vec<&str> = expect.harm.iter().map(|harm| harm.id()).collect();
    named.extend(expect.checks.iter().map(String::as_str));
    let only = if expect.only { ", and no other harm" } else { "" };
    let of = if named.is_empty() { String::new() } else { format!(": {}", named.join(" or ")) };
    format!("{}{of}{only}", expect.verdict.id())
}
