//! Where and with what it was measured.

use std::fs;
use std::process::Command;
use std::thread;

use crate::figures::Environment;
use crate::peer::{PEERS, Paths, Program};
use crate::service::version;

pub(crate) fn environment(paths: &Paths, command: &str) -> Environment {
    let mut versions = vec![
        said(Command::new("rustc").arg("--version")),
        "ecdysis 1.1.1, shellflip 2.1.3 (published crates)".to_owned(),
    ];
    for peer in PEERS {
        if matches!(peer.program, Program::Installed { .. }) {
            versions.push(version(paths, peer.program));
        }
    }
    versions.dedup();
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(&paths.repository)
        .output();
    Environment {
        date: said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%MZ"])),
        commit: commit.map_or_else(|_| String::new(), |output| text(&output.stdout)),
        command: command.to_owned(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        processors: thread::available_parallelism().map_or(0, usize::from),
        versions,
        ..Environment::default()
    }
}

fn said(command: &mut Command) -> String {
    command.output().map_or_else(|_| String::new(), |output| text(&output.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
