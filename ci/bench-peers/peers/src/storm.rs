//! Upgrades under load, judged by the harness, in a network of its own: the same load
//! for all, a connection per request at a rate that shows what the controls do, and
//! kept connections beside it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::clock::now;
use crate::figures::{Figures, Storm};
use crate::peer::{Paths, Peer, Program, Role, Speaks, Trigger};
use crate::service::send;

/// A run takes seven seconds, and some more where servers do not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests a second on kept connections.
const KEPT_RATE: u32 = 400;
const KEPT: u32 = 32;

/// The published crate takes half a second for each upgrade; until then it takes a
/// successor that has handed over to its own for one that has died.
const EVERY: &str = "600ms";

/// What the storm is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing but upgrades.
    Upgrades,
    /// Every other successor is killed between its exec and its readiness.
    Killed,
}

impl Kind {
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Upgrades => "storm",
            Self::Killed => "killed",
        }
    }
}

/// Whether the harness can aim at the successor: it looks among the children of the
/// process that serves, and a worker has none.
pub(crate) fn can_be_killed(peer: &Peer) -> bool {
    peer.role == Role::Graceful && matches!(peer.trigger, Trigger::Serving(_))
}

pub(crate) fn run(
    peer: &Peer,
    kind: Kind,
    paths: &Paths,
    scratch: &Path,
    round: usize,
    rate: u32,
    figures: &mut Figures,
) -> io::Result<()> {
    let name = format!("{}-{}-{round}", kind.id(), peer.id);
    let scenario = scratch.join(format!("{name}.toml"));
    fs::write(&scenario, text(peer, kind, paths, rate, &name)?)?;
    let out = scratch.join(&name);
    let log = File::create(scratch.join(format!("{name}.log")))?;
    let mut harness = Command::new(paths.harness.join("harness"))
        .arg("run")
        .arg(&scenario)
        .arg("--no-recording")
        .arg("--out")
        .arg(&out)
        .current_dir(&paths.repository)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let begun = now();
    let status = loop {
        if let Some(status) = harness.try_wait()? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            // It ends in order, and says what it has seen so far.
            send(harness.id(), Signal::SIGTERM)?;
            let late = format!("{}: {}: still at it after {PATIENCE:?}", peer.title, kind.id());
            figures.troubles.push(late);
            break harness.wait()?;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let text = fs::read_to_string(out.join("result.json")).map_err(|error| {
        let said = fs::read_to_string(scratch.join(format!("{name}.log"))).unwrap_or_default();
        io::Error::new(error.kind(), format!("the harness ended with {status} and said: {said}"))
    })?;
    let result: Outcome = serde_json::from_str(&text)?;
    figures.storms.push(result.into_storm(peer, kind, round));
    note(peer, kind, figures);
    fs::remove_dir_all(out)
}

/// The figures of the storm that was pushed last.
fn note(peer: &Peer, kind: Kind, figures: &mut Figures) {
    let Some(storm) = figures.storms.last().cloned() else { return };
    let times = match kind {
        // Whoever is left alone is harmed by no upgrade: its harm counts whole.
        Kind::Upgrades if peer.role == Role::Floor => 1,
        Kind::Upgrades => storm.upgrades,
        Kind::Killed => storm.killed,
    };
    if times == 0 {
        figures.troubles.push(format!("{}: {}: it could not be done once", peer.title, kind.id()));
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let per = |harm: u64| harm as f64 / times as f64;
    if kind == Kind::Upgrades {
        // To end a connection that is idle is what HTTP allows, and nothing else does.
        let idle = storm.harm.get("eof_idle").copied().unwrap_or_default();
        figures.note("storm.churn", peer.id, per(storm.churn));
        figures.note("storm.kept", peer.id, per(storm.kept.saturating_sub(idle)));
        figures.note("storm.idle", peer.id, per(idle));
    } else {
        figures.note("killed.harm", peer.id, per(storm.churn + storm.kept));
    }
}

/// What is read of the harness's result.
#[derive(Debug, Deserialize)]
struct Outcome {
    verdict: String,
    harm: BTreeMap<String, Count>,
    populations: Vec<Population>,
    upgrade_totals: Totals,
    ledger: Ledger,
}

#[derive(Debug, Deserialize)]
struct Count {
    count: u64,
}

#[derive(Debug, Deserialize)]
struct Population {
    name: String,
    harmed: u64,
}

#[derive(Debug, Deserialize)]
struct Totals {
    completed: u64,
    failed_as_planned: u64,
}

#[derive(Debug, Deserialize)]
struct Ledger {
    connections: u64,
}

impl Outcome {
    fn into_storm(self, peer: &Peer, kind: Kind, round: usize) -> Storm {
        let harmed = |name: &str| {
            let of = self.populations.iter().find(|population| population.name == name);
            of.map_or(0, |population| population.harmed)
        };
        Storm {
            round,
            peer: peer.id.to_owned(),
            kind: kind.id().to_owned(),
            churn: harmed("churn"),
            kept: harmed("kept"),
            verdict: self.verdict,
            upgrades: self.upgrade_totals.completed,
            killed: self.upgrade_totals.failed_as_planned,
            connections: self.ledger.connections,
            harm: self
                .harm
                .into_iter()
                .map(|(id, done)| (id, done.count))
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

/// The scenario. Idle connections that a web server closes are counted here like any
/// other harm; the figures tell them apart.
fn text(peer: &Peer, kind: Kind, paths: &Paths, rate: u32, name: &str) -> io::Result<String> {
    let program = match peer.program {
        Program::Control(name) => format!("{{bin:{name}}}"),
        Program::Bench(_) | Program::Installed { .. } => {
            let path = paths.program(peer.program);
            path.ok_or(io::ErrorKind::NotFound)?.display().to_string()
        }
    };
    let command = peer.command(paths, &program, "{addr}", "{dir}");
    let (greeting, speak) = match (peer.speaks, peer.program) {
        (Speaks::Http, _) => ("x-served-by: {pid}", "http\"\npath = \"/small"),
        (Speaks::Echo, Program::Control(_)) => ("generation {generation} pid {pid}", "echo"),
        (Speaks::Echo, _) => ("generation 0 pid {pid}", "echo"),
    };
    let (trigger, pid_file) = trigger(peer, paths);
    let upgrades = if peer.role == Role::Floor {
        String::new()
    } else {
        format!("[upgrades]\nevery = \"{EVERY}\"\n")
    };
    let fault = match kind {
        Kind::Upgrades => "",
        Kind::Killed => "[[fault]]\nkind = \"kill-before-ready\"\nevery = 2\n",
    };
    Ok(format!(
        r#"schema = "harness/scenario/1"
name = "{name}"

[target]
command = {command:?}
greeting = "{greeting}"
trigger = {trigger}
stop = "{stop}"
{pid_file}
[network]
sysctl = {{ "net.ipv4.ip_local_port_range" = "1024 65535", "net.ipv4.tcp_max_tw_buckets" = "2000000" }}

[phases]
warmup = "300ms"
baseline = "300ms"
storm = "5s"
settle = "300ms"

[[load]]
name = "churn"
kind = "churn"
speak = "{speak}"
rate = {rate}

[[load]]
name = "kept"
kind = "keep-alive"
speak = "{speak}"
rate = {KEPT_RATE}
connections = {KEPT}
lifetime = "2s"

{upgrades}
{fault}"#,
        stop = peer.stop.as_str(),
    ))
}

fn trigger(peer: &Peer, paths: &Paths) -> (String, String) {
    match peer.trigger {
        Trigger::Serving(signal) => {
            (format!("{{ signal = \"{signal}\", to = \"serving\" }}"), String::new())
        }
        Trigger::Main(signal) => {
            (format!("{{ signal = \"{signal}\", to = \"main\" }}"), String::new())
        }
        Trigger::Script { script, pid_file } => (
            format!("{{ command = [{:?}, \"{{pid}}\"] }}", paths.repository.join(script)),
            format!("pid_file = \"{{dir}}/{pid_file}\"\n"),
        ),
        Trigger::Never => ("{ signal = \"SIGHUP\" }".to_owned(), String::new()),
    }
}
