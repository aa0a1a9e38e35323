//! The validated scenario: no option is left open, and nobody else sees the
//! file it came from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::{Gate, Window};
use crate::event::{Anchor, Harm};

pub use super::fault::{Fault, FaultKind, When};

/// One run, decided in every detail but for what chance the seed draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's name.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// The file it came from.
    pub path: PathBuf,
    /// Everything random in the run is drawn from this.
    #[serde(
        serialize_with = "crate::units::serialize_seed",
        deserialize_with = "crate::units::deserialize_seed"
    )]
    pub seed: u64,
    /// The server under test.
    pub target: Target,
    /// Where its traffic runs.
    pub network: Network,
    /// How long each phase takes.
    pub phases: Phases,
    /// The client populations, all at once.
    pub loads: Vec<Load>,
    /// The upgrades; `None`: the server is left alone.
    pub upgrades: Option<Upgrades>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// What must have been seen for a verdict to mean anything.
    pub coverage: Coverage,
    /// What the observer must have managed for a verdict to mean anything.
    pub limits: ObserverLimits,
    /// What is demanded beyond what always is.
    pub gates: Vec<Gate>,
}

/// The server under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Program and arguments. May contain `{bin:NAME}` (a binary of this Cargo
    /// workspace, built before the run, or found beside the harness or on PATH),
    /// `{addr}` (the address and port the load goes to), `{dir}` (a fresh, private
    /// directory) and `{here}` (the scenario's directory). No other placeholder gets
    /// past validation. Empty where the server runs already.
    pub command: Vec<String>,
    /// The server that runs already; `None`: it is started by `command`.
    pub attach: Option<Attach>,
    /// The file in which the server's main process leaves its pid, and its successor
    /// its own; may contain `{dir}`. `None`: the main process stays the first.
    pub pid_file: Option<String>,
    /// The literal text around the numbers in the server's greeting line, or, where
    /// the loads speak HTTP, in a header of each answer, its name before a colon.
    /// `{pid}` and, unless the server does not know it, `{generation}` are where the
    /// numbers stand; `None`: nothing is known of who answered.
    pub greeting: Option<String>,
    /// The server may close connections that are idle, as HTTP allows: counted, but
    /// no failure.
    pub closes_idle: bool,
    /// How an upgrade is asked for.
    pub trigger: Trigger,
    /// The signal that asks the serving process to stop.
    pub stop_signal: Signal,
    /// The first answer must come within this time of the start, and of each trigger.
    pub ready_timeout: Duration,
    /// A generation must be gone this long after its last connection ended.
    pub drain_timeout: Duration,
    /// The directory (`{dir}/…`) in which each generation leaves `PID.json`, its
    /// [`crate::event::ServerLedger`], when it ends. `None`: no server ledger; the laws that
    /// need it are reported as not checked.
    pub ledger: Option<String>,
}

/// A server that runs already and is none of the harness's: it is observed, asked to
/// upgrade, and never stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Where the load goes.
    pub connect: SocketAddr,
    /// Its main process; `None`: the PID file tells, or nothing is known of processes.
    pub pid: Option<u32>,
}

/// A signal, as scenarios name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "signal(7) documents them")]
pub enum Signal {
    SigHup,
    SigInt,
    SigQuit,
    SigTerm,
    SigUsr1,
    SigUsr2,
    SigWinch,
}

/// How an upgrade is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The means.
    pub by: By,
    /// Who gets the signal, or is meant by `{pid}`.
    pub to: Addressee,
}

/// By what an upgrade is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A signal.
    Signal(Signal),
    /// A program and its arguments, which may contain what [`Target::command`] may
    /// and `{pid}`. The upgrade is complete when it has ended with status 0 and a
    /// new process has answered; another status is a failed upgrade.
    Command(Vec<String>),
    /// A line, sent over a unix socket. The upgrade is complete when the answer is
    /// there and a new process has answered a client; JSON with `"ok": false` is a
    /// failed upgrade.
    Socket {
        /// Where; may contain `{dir}`.
        path: String,
        /// The line, without its end.
        send: String,
    },
}

/// Who gets the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressee {
    /// The process that serves now: the newest that answered a client.
    Serving,
    /// The process that the harness started or was attached to, or the one that the
    /// PID file names now: a supervisor of the servers.
    Main,
}

/// Where the traffic runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// A namespace of the run's own, or the machine's (which taints the evidence).
    pub namespace: Namespace,
    /// Settings written under `/proc/sys/` before the start: (`net.ipv4.x`, value).
    /// Only in a private namespace.
    pub sysctl: Vec<(String, String)>,
    /// The share of the packets that get lost on their way, resets excepted; `None`:
    /// none does. Only in a private namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

/// Whose network the run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// A new network namespace.
    Private,
    /// The machine's own; counters are tainted, so kernel evidence is not checked.
    Host,
}

/// How long each phase takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Load without judging latency.
    pub warmup: Duration,
    /// Load without upgrades: what "normal" is.
    pub baseline: Duration,
    /// Load with upgrades and faults. An upgrade under way at the end is finished.
    pub storm: Duration,
    /// Load without upgrades again.
    pub settle: Duration,
}

/// One population of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Its name in reports.
    pub name: String,
    /// What its clients do.
    pub kind: LoadKind,
    /// Where they connect to.
    pub to: Endpoint,
    /// What they say there.
    pub speak: Speak,
    /// Operations per second, over the whole population, open-loop: connections
    /// for churn, requests for kept connections.
    pub rate: f64,
    /// How the intended times are spread.
    pub arrivals: Arrivals,
    /// Size of a request's payload, bytes, drawn evenly from this range (inclusive).
    pub payload: (usize, usize),
    /// An operation that takes longer than this has failed.
    pub timeout: Duration,
    /// A first byte later than this after the handshake is a stall.
    pub stall: Duration,
    /// How the rate changes; `None`: it does not.
    pub ramp: Option<Ramp>,
    /// Operations beside those of the rate, aimed at events of each upgrade.
    pub bursts: Vec<Burst>,
}

/// A rate that changes evenly from the load's own to another, and stays there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// It begins to change so long after the load began.
    pub begin: Duration,
    /// It has changed after so long.
    pub over: Duration,
    /// What it is then, operations per second.
    pub to: f64,
}

/// Operations that are begun at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// The event that they are aimed at.
    pub on: Anchor,
    /// How far from it.
    pub offset: Offset,
    /// How many.
    pub count: u64,
}

/// A span after a moment, ns; before it, if negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset(pub i64);

/// Where the clients of a population connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The target's `{addr}`, by TCP.
    Tcp,
    /// The target's `{addr}`, by UDP.
    Udp,
    /// A unix stream socket at this path, which may contain `{dir}`.
    Unix(String),
    /// A unix seqpacket socket at this path: each request is one record, and so is
    /// its reply.
    Seqpacket(String),
}

/// What clients say to the server, and what they expect to hear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speak {
    /// Bytes that no other operation sends; they are to come back as they are.
    Echo,
    /// `GET` by HTTP/1.1.
    Http(Http),
}

/// A request by HTTP, and which answer is a good one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// What is asked for, with its query.
    pub path: String,
    /// The `Host` header.
    pub host: String,
    /// The status that is expected; `None`: 200 to 399.
    pub status: Option<u16>,
    /// The length of the body that is expected; `None`: any.
    pub body_bytes: Option<u64>,
}

/// What the clients of a population do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadKind {
    /// One connection per request.
    Churn,
    /// One connection per request, sent and read at the client's pace.
    Stream {
        /// The pace.
        pace: Pace,
        /// This share of the clients finishes sending before it has read the whole reply.
        half_close: f64,
    },
    /// Connections that are kept for `lifetime` and then closed by the client
    /// and opened anew.
    KeepAlive {
        /// How many at once.
        connections: usize,
        /// How long each is kept. The first of each slot is cut short by chance,
        /// so that they do not all end together.
        lifetime: Duration,
    },
    /// Connections that are opened, `rate` of them in a second, and then held in
    /// silence until the load ends; each then makes one request and is closed.
    Idle {
        /// How many at once.
        connections: usize,
    },
    /// Datagrams, each of which is to be answered by itself; none is sent twice.
    Udp {
        /// Sockets that they are sent from, in turn.
        flows: usize,
    },
}

/// The most that a client moves in a second, bytes; `None`: as much as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// What it sends.
    pub send: Option<u64>,
    /// What it reads.
    pub receive: Option<u64>,
}

/// How intended times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// At equal distances.
    Uniform,
    /// At random, independent of one another, as many clients would.
    Poisson,
}

/// The upgrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrades {
    /// From one trigger to the next at the least; zero is back-to-back: the next
    /// trigger follows the first answer of the new generation.
    pub every: Duration,
    /// Processes of the subject alive at once; a trigger waits until there are fewer.
    pub max_alive: usize,
    /// So many are triggered at the most; the storm ends when they are done.
    pub most: u64,
}

/// What must have been seen for a verdict to mean anything. Unmet: inconclusive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Upgrades that completed.
    pub upgrades: u64,
    /// Connections, over all populations.
    pub connections: u64,
    /// Connections dispatched while an upgrade was under way, per completed upgrade, on
    /// average. Below this a loss at the hand-over would go unseen.
    pub connections_per_upgrade: f64,
    /// Faults delivered, of each kind.
    pub faults: u64,
    /// Harm that is expected and does not fail the run. Empty but for plans
    /// whose faults cannot but hurt.
    pub tolerated: Vec<Harm>,
    /// Faults delivered, over all kinds. `None`: `faults` says all there is to say.
    pub faults_delivered: Option<Delivered>,
    /// For each window named, operations intended in it, over all upgrades.
    pub ops_in_window: Vec<(Window, u64)>,
}

/// How many faults must have hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivered {
    /// Every one that was aimed; one that missed and was aimed again counts once.
    All,
    /// So many.
    AtLeast(u64),
}

/// What the observer must have managed. Unmet: inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserverLimits {
    /// 99th percentile of dispatched − intended.
    pub lateness_p99: Duration,
    /// The longest of the same.
    pub lateness_max: Duration,
    /// Longest time a thread of the harness was not woken.
    pub hiccup_max: Duration,
    /// Operations that the schedule wanted and nobody began.
    pub shed: u64,
}
