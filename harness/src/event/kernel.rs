//! The kernel's ledger.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// Counters by their names, `Tcp.OutRsts`, `TcpExt.ListenDrops`, ….
pub type Counters = BTreeMap<String, u64>;

/// Segments that open a connection, of the client or the server's answer, and got lost
/// because the scenario has a network that loses some. For each, a client sends its own
/// again, after a second at the earliest.
pub const LOST_HANDSHAKES: &str = "Loss.Handshakes";

/// Other packets that got lost so.
pub const LOST_OTHERS: &str = "Loss.Others";

/// Whose traffic the counters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A network namespace of the run's own: every count is the run's.
    Private,
    /// The machine's: others' traffic taints it, so it proves nothing.
    Host,
}

/// What happened just before a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Nothing yet: the subject is about to be started.
    Began,
    /// The upgrade with this number is about to be triggered.
    Triggered(u64),
    /// A process with this pid was seen for the first time.
    Seen(u32),
    /// The upgrade with this number is complete: a new process has answered.
    Answered(u64),
    /// The process with this pid is gone.
    Gone(u32),
    /// Every process of the subject is gone.
    Ended,
}

/// The accept queue of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The socket's inode.
    pub inode: u64,
    /// Connections that waited to be accepted.
    pub waiting: u64,
    /// How many may; the kernel lets in one more than that.
    pub limit: u64,
}

/// The kernel's state at one moment, as what has changed since the sample before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Before the reading. What had ended by then is counted.
    pub from: Stamp,
    /// After the reading. What had not begun by then is not counted.
    pub to: Stamp,
    /// Why it was taken; none: because time had passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<Edge>,
    /// Index into [`Samples::names`], and how far that counter moved.
    pub moved: Vec<(usize, i64)>,
    /// The accept queues of the target's listeners; none where nobody listens, or
    /// the kernel does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<Queue>,
}

/// The samples of a run, in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Names of the counters that moved at least once.
    pub names: Vec<String>,
    /// The samples. The first is [`KernelLedger::before`] itself.
    pub rows: Vec<Sample>,
    /// How often the kernel's tables could not be read.
    pub failed: u64,
}

impl Samples {
    /// The sample that was taken because of `edge`, and its place.
    #[must_use]
    pub fn at(&self, edge: Edge) -> Option<(usize, &Sample)> {
        self.rows.iter().enumerate().find(|(_, sample)| sample.edges.contains(&edge))
    }

    /// How far each counter moved after the sample at place `from` and up to
    /// the one at place `to`. Those that came back to where they were are left out.
    #[must_use]
    pub fn moved(&self, from: usize, to: usize) -> BTreeMap<&str, i128> {
        let mut sums = BTreeMap::new();
        for sample in self.rows.get(from + 1..=to).unwrap_or_default() {
            for (place, by) in &sample.moved {
                if let Some(name) = self.names.get(*place) {
                    *sums.entry(name.as_str()).or_default() += i128::from(*by);
                }
            }
        }
        sums.retain(|_, by| *by != 0);
        sums
    }

    /// Adds a sample: where the counters stood before, and where they stand.
    pub fn push(&mut self, mut sample: Sample, before: &Counters, now: &Counters) {
        sample.moved.clear();
        for (name, value) in now {
            let by = i128::from(*value) - before.get(name).copied().map_or(0, i128::from);
            if by != 0 {
                let place = self.place(name);
                sample.moved.push((place, i64::try_from(by).unwrap_or(i64::MAX)));
            }
        }
        self.rows.push(sample);
    }

    fn place(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

/// One RST that the kernel sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// When.
    pub at: Stamp,
    /// The process in whose context it was sent. That is the one that did what
    /// it answers, unless the kernel answered a packet by itself: then it is
    /// whoever happened to run, which on loopback is mostly who sent the packet.
    pub pid: u32,
    /// The name of its thread.
    pub command: String,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// The kernel's reason, `TCP_STATE`, `NO_SOCKET`, ….
    pub reason: Option<String>,
}

/// The RSTs of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resets {
    /// Each was traced.
    Traced {
        /// Those from and to the server's address, in the order in which they were sent
        /// on each processor.
        resets: Vec<Reset>,
        /// Events that found no room. `None`: the kernel does not tell.
        lost: Option<u64>,
        /// Whether this kernel gives reasons.
        reasons: bool,
        /// Whether the pids are those that the harness sees.
        pids: bool,
    },
    /// They were not.
    Untraced {
        /// Why not.
        why: String,
    },
}

impl Default for Resets {
    fn default() -> Self {
        Self::Untraced { why: "resets were not traced".to_owned() }
    }
}

/// The kernel's counters, at the edges of the run and in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLedger {
    /// Whose they are.
    pub scope: Scope,
    /// Before the subject was started.
    pub before: Counters,
    /// After the last process of the subject was gone.
    pub after: Counters,
    /// In between.
    #[serde(default)]
    pub samples: Samples,
    /// The resets that it counted, by name.
    #[serde(default)]
    pub resets: Resets,
}

impl KernelLedger {
    /// A ledger of the run's edges alone.
    #[must_use]
    pub fn new(scope: Scope, before: Counters, after: Counters) -> Self {
        Self { scope, before, after, samples: Samples::default(), resets: Resets::default() }
    }

    /// How far a counter moved. A counter this kernel does not have did not move.
    #[must_use]
    pub fn delta(&self, name: &str) -> i128 {
        let read = |counters: &Counters| counters.get(name).copied().map_or(0, i128::from);
        read(&self.after) - read(&self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(resets: u64, open: u64) -> Counters {
        [("Tcp.OutRsts", resets), ("Tcp.CurrEstab", open), ("Tcp.InErrs", 4)]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    fn sample(at: u64, edges: &[Edge]) -> Sample {
        let (from, to) = (Stamp(at), Stamp(at + 1));
        Sample { from, to, edges: edges.to_vec(), moved: Vec::new(), queues: Vec::new() }
    }

    #[test]
    fn samples_add_up_to_what_was_read() {
        let read = [counters(0, 0), counters(2, 9), counters(2, 5), counters(3, 0)];
        let mut samples = Samples::default();
        samples.push(sample(0, &[Edge::Began]), &read[0], &read[0]);
        for at in 1..read.len() {
            samples.push(sample(10, &[Edge::Gone(7)]), &read[at - 1], &read[at]);
        }
        assert_eq!(samples.names, ["Tcp.CurrEstab", "Tcp.OutRsts"], "only those that moved");
        assert_eq!(samples.rows[2].moved, [(0, -4)]);
        assert_eq!(samples.moved(0, 3), BTreeMap::from([("Tcp.OutRsts", 3)]));
        assert_eq!(
            samples.moved(1, 3),
            BTreeMap::from([("Tcp.OutRsts", 1), ("Tcp.CurrEstab", -9)])
        );
        assert_eq!(samples.at(Edge::Gone(7)).map(|(place, _)| place), Some(1));
        assert_eq!(samples.at(Edge::Ended), None);
        assert!(samples.moved(3, 9).is_empty(), "there is no ninth");
    }
}
