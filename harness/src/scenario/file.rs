//! The scenario file as it is written: which keys there are, what each accepts,
//! and what it is when left out. Nobody outside this module's parent sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::catalogue::Entry;
use super::error::Mistake;
use super::expect::Ending;
use super::form::{BytesPerSecond, Kind, Numbers, Rate, Tongue, Written};
use super::gate::Window;
use super::plan::{Addressee, Arrivals, Delivered, Endpoint, Namespace, Offset, Signal};
use crate::event::{Anchor, Harm, Spared, Upshot};
use crate::units::SeedChoice;

/// What the first key of every file must say.
pub(super) const SCHEMA: &str = "harness/scenario/1";

/// How many connections a keep-alive load has when it does not say, or flows udp.
pub(super) const USUAL_CONNECTIONS: usize = 16;

/// How long a keep-alive load keeps each when it does not say.
pub(super) const USUAL_LIFETIME: Duration = Duration::from_secs(2);

/// What coverage asks of each upgrade when it does not say: with 20 connections
/// on average, a gap that loses a fourth of them goes unseen once in 300 upgrades.
pub(super) const USUAL_CONNECTIONS_PER_UPGRADE: f64 = 20.0;

/// Reads the text of a scenario, and says which seed it asks for.
pub(super) fn parse(source: &str) -> Result<(Scenario, SeedChoice), Mistake> {
    let scenario: Scenario = toml::from_str(source)?;
    let seed = scenario.seed.0;
    Ok((scenario, seed))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) schema: Spanned<String>,
    pub(super) name: Spanned<String>,
    /// Default: empty.
    #[serde(default)]
    pub(super) about: String,
    /// Default: random.
    #[serde(default = "random")]
    seed: Written<SeedChoice>,
    /// Must not be left out, unless the command line names the target.
    #[serde(default)]
    pub(super) target: Target,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) phases: Phases,
    /// At least one.
    #[serde(default)]
    pub(super) load: Vec<Spanned<Load>>,
    /// Default: the server is left alone.
    pub(super) upgrades: Option<Spanned<Upgrades>>,
    /// Default: none.
    #[serde(default)]
    pub(super) fault: Vec<Spanned<Fault>>,
    #[serde(default)]
    pub(super) coverage: Coverage,
    #[serde(default)]
    pub(super) observer: Observer,
    /// Default: none beyond what is always demanded.
    #[serde(default)]
    pub(super) gates: Gates,
    /// Default: it must pass.
    pub(super) expect: Option<Expect>,
    /// Default: the target is always started the same way.
    #[serde(default)]
    pub(super) explore: Explore,
}

/// What `harness explore` may vary.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Explore {
    /// What may stand behind an argument of the target's command.
    pub(super) arguments: BTreeMap<Spanned<String>, Spanned<Vec<String>>>,
}

/// What is demanded of each metric.
pub(super) type Gates = BTreeMap<Spanned<String>, Spanned<Demand>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Demand {
    pub(super) is: Spanned<String>,
    /// Default: as many as the figure needs.
    pub(super) min_samples: Option<Spanned<u64>>,
}

fn random() -> Written<SeedChoice> {
    Written(SeedChoice::Random)
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Target {
    /// Either this or `attach`.
    pub(super) command: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) attach: Option<Spanned<Attach>>,
    /// Default: the main process stays the first.
    pub(super) pid_file: Option<Spanned<String>>,
    /// Default: the server sends none.
    pub(super) greeting: Option<Spanned<String>>,
    pub(super) closes_idle: Spanned<bool>,
    /// Default: SIGHUP to the serving process.
    pub(super) trigger: Spanned<Trigger>,
    pub(super) stop: Written<Signal>,
    pub(super) ready_timeout: Spanned<Written<Duration>>,
    pub(super) drain_timeout: Written<Duration>,
    /// Default: the server keeps none.
    pub(super) ledger: Option<Spanned<String>>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            command: None,
            attach: None,
            pid_file: None,
            greeting: None,
            closes_idle: unplaced(false),
            trigger: unplaced(Trigger::default()),
            stop: Written(Signal::SigTerm),
            ready_timeout: ten_seconds(),
            drain_timeout: Written(Duration::from_secs(15)),
            ledger: None,
        }
    }
}

/// A server that runs already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attach {
    pub(super) connect: Written<SocketAddr>,
    /// Default: as the PID file says, or unknown.
    pub(super) pid: Option<u32>,
}

fn ten_seconds() -> Spanned<Written<Duration>> {
    unplaced(Written(Duration::from_secs(10)))
}

/// One means at the most: with none, it is SIGHUP.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Trigger {
    pub(super) signal: Option<Written<Signal>>,
    pub(super) command: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) socket: Option<Spanned<String>>,
    /// With a socket only. Default: {"command":"upgrade"}.
    pub(super) send: Option<Spanned<String>>,
    /// Default: serving; main with a command.
    pub(super) to: Option<Written<Addressee>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Network {
    /// Default: private; host where the server runs already.
    pub(super) namespace: Option<Spanned<Written<Namespace>>>,
    pub(super) sysctl: BTreeMap<Spanned<String>, String>,
    /// Default: none.
    pub(super) loss: Option<Spanned<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Phases {
    pub(super) warmup: Written<Duration>,
    pub(super) baseline: Written<Duration>,
    pub(super) storm: Spanned<Written<Duration>>,
    pub(super) settle: Written<Duration>,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            warmup: Written(Duration::from_secs(1)),
            baseline: Written(Duration::from_secs(2)),
            storm: unplaced(Written(Duration::from_secs(10))),
            settle: Written(Duration::from_secs(1)),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    pub(super) name: Spanned<String>,
    pub(super) kind: Written<Kind>,
    /// Default: tcp. Not for udp.
    pub(super) to: Option<Spanned<Written<Endpoint>>>,
    /// Default: echo.
    #[serde(default = "by_echo")]
    pub(super) speak: Spanned<Written<Tongue>>,
    pub(super) rate: Written<Rate>,
    /// Default: poisson.
    #[serde(default = "poisson")]
    pub(super) arrivals: Written<Arrivals>,
    /// Default: 64..1024.
    #[serde(default = "usual_payload")]
    pub(super) payload: Spanned<Written<(usize, usize)>>,
    /// Default: 10s, long enough to see a lost SYN sent again.
    #[serde(default = "ten_seconds")]
    pub(super) timeout: Spanned<Written<Duration>>,
    /// Default: 1s.
    #[serde(default = "one_second")]
    pub(super) stall: Written<Duration>,
    /// Keep-alive and idle only. Default: 16.
    pub(super) connections: Option<Spanned<usize>>,
    /// Keep-alive only. Default: 2s.
    pub(super) lifetime: Option<Spanned<Written<Duration>>>,
    /// Stream only. Default: as fast as it goes.
    pub(super) send: Option<Spanned<Written<BytesPerSecond>>>,
    /// Stream only. Default: as fast as it goes.
    pub(super) receive: Option<Spanned<Written<BytesPerSecond>>>,
    /// Stream only. Default: 0, nobody.
    pub(super) half_close: Option<Spanned<f64>>,
    /// Udp only. Default: 16.
    pub(super) flows: Option<Spanned<usize>>,
    /// Default: the rate stays as it is.
    pub(super) ramp: Option<Spanned<Ramp>>,
    /// Churn only. Default: none.
    #[serde(default)]
    pub(super) burst: Vec<Spanned<Burst>>,
    /// HTTP only. Default: "/".
    pub(super) path: Option<Spanned<String>>,
    /// HTTP only. Default: "localhost".
    pub(super) host: Option<Spanned<String>>,
    /// HTTP only. Default: a status from 200 to 399, and any body.
    pub(super) expect: Option<Spanned<Answer>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ramp {
    pub(super) to: Written<Rate>,
    pub(super) over: Written<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Burst {
    pub(super) on: Written<Anchor>,
    /// Default: none.
    #[serde(default = "at_the_moment")]
    pub(super) offset: Written<Offset>,
    pub(super) count: Spanned<u64>,
}

fn at_the_moment() -> Written<Offset> {
    Written(Offset::default())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// Default: 200 to 399.
    pub(super) status: Option<Spanned<u64>>,
    /// Default: any.
    pub(super) body_bytes: Option<u64>,
}

fn by_echo() -> Spanned<Written<Tongue>> {
    unplaced(Written(Tongue::Echo))
}

fn poisson() -> Written<Arrivals> {
    Written(Arrivals::Poisson)
}

fn usual_payload() -> Spanned<Written<(usize, usize)>> {
    unplaced(Written((64, 1024)))
}

fn one_second() -> Written<Duration> {
    Written(Duration::from_secs(1))
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upgrades {
    pub(super) every: Written<Duration>,
    pub(super) max_alive: Spanned<usize>,
    /// Default: as many as the storm has time for.
    pub(super) most: Option<Spanned<u64>>,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self { every: Written(Duration::ZERO), max_alive: unplaced(24), most: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// Either this, or `kind`.
    pub(super) id: Option<Spanned<Written<&'static Entry>>>,
    pub(super) kind: Option<Spanned<Written<&'static Entry>>>,
    /// One of these three at the most. Default: every upgrade.
    pub(super) every: Option<Spanned<u64>>,
    pub(super) upgrades: Option<Spanned<Numbers>>,
    pub(super) chance: Option<Spanned<f64>>,
    /// How long it waits or lasts. Default: as the catalogue has it.
    pub(super) span: Option<Spanned<Written<Duration>>>,
    /// Default: what the catalogue says.
    #[serde(default)]
    pub(super) expect: Answered,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Answered {
    pub(super) upgrade: Option<Written<Upshot>>,
    pub(super) clients: Option<Written<Spared>>,
    pub(super) told: Option<String>,
}

/// What is left out here depends on the rest, so `check` fills it in: with
/// `[upgrades]` 1 upgrade and 20 connections in each, without none; 1 connection;
/// with a `[[fault]]` 1 of each kind, without none. No harm is tolerated.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Coverage {
    pub(super) upgrades: Option<Spanned<u64>>,
    pub(super) connections: Option<u64>,
    pub(super) connections_per_upgrade: Option<Spanned<f64>>,
    pub(super) faults: Option<Spanned<u64>>,
    pub(super) tolerated: Option<Spanned<Vec<Written<Harm>>>>,
    /// Default: what `faults` asks.
    pub(super) faults_delivered: Option<Spanned<Written<Delivered>>>,
    /// Default: not asked.
    pub(super) ops_in_window: Option<Spanned<OpsInWindow>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpsInWindow {
    pub(super) min: u64,
    pub(super) windows: Vec<Spanned<Written<Window>>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Observer {
    /// Also by the name that gates would give it.
    #[serde(alias = "dispatch_lateness_p99")]
    pub(super) lateness_p99: Written<Duration>,
    #[serde(alias = "dispatch_lateness_max")]
    pub(super) lateness_max: Written<Duration>,
    pub(super) hiccup_max: Written<Duration>,
    pub(super) shed: u64,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            lateness_p99: Written(Duration::from_millis(50)),
            lateness_max: Written(Duration::from_secs(1)),
            hiccup_max: Written(Duration::from_millis(500)),
            shed: 0,
        }
    }
}

/// How the run must end; `harness suite` asks. Default: harm of any kind, no check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) verdict: Written<Ending>,
    #[serde(default)]
    pub(super) harm: Vec<Written<Harm>>,
    #[serde(default)]
    pub(super) only: bool,
    #[serde(default)]
    pub(super) checks: Vec<String>,
}

/// A value that is in no file, so nothing can be wrong with its place.
pub(super) fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
