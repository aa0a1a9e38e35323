//! The arguments of a run, as they are passed on to the process that makes it.

use std::ffi::OsString;

use clap::ValueEnum;

use crate::cli::{Format, Runs};

/// All but where its files go.
pub(super) fn of(runs: &Runs, format: Format) -> Vec<OsString> {
    let format = match format {
        Format::Text => "text",
        Format::Json => "json",
        Format::Quiet => "quiet",
    };
    let mut flags: Vec<OsString> = vec!["--format".into(), format.into()];
    let changes = &runs.changes;
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // In one word, so that a value that begins with a dash is one.
            flags.push(format!("{name}={value}").into());
        }
    };
    option("--seed", changes.seed.map(|seed| seed.to_string()));
    option("--duration", changes.duration.clone());
    option("--scale", changes.scale.map(|factor| factor.to_string()));
    for set in &changes.set {
        option("--set", Some(set.clone()));
    }
    for capability in &runs.require {
        option(
            "--require",
            capability.to_possible_value().map(|value| value.get_name().to_owned()),
        );
    }
    if runs.kept.no_recording {
        flags.push("--no-recording".into());
    }
    if runs.allow_tainted {
        flags.push("--allow-tainted".into());
    }
    flags
}
