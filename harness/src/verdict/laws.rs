//! The conservation laws: what one ledger says, another must say too.

use super::check::{Check, Law, Status};
use super::evidence::Evidence;
use crate::event::{Datagrams, Fate, Harm, Resets};

/// All laws.
pub(super) fn laws(evidence: &Evidence<'_>) -> Vec<Law> {
    let mut laws = clients(evidence);
    laws.extend(kernel(evidence));
    laws.extend(servers(evidence));
    laws.extend(datagrams(evidence));
    laws.extend(ends(evidence));
    laws
}

/// A law among the checks.
pub(super) fn check(law: &Law, evidence: &Evidence<'_>) -> Check {
    let untraced = untraced(evidence).filter(|_| law.id == "L6.traced");
    let why = if law.id == "L10" {
        Some("fewer than two generations whose listening sockets were seen")
    } else if law.id == "L9.processes" {
        evidence.attached()
    } else if law.id == "L6.traced" {
        evidence.tainted().or(untraced.as_deref())
    } else if law.id == "L5" || law.id.starts_with("L7") {
        evidence.unkept()
    } else {
        evidence.tainted().or_else(|| evidence.unkept()).or_else(|| evidence.uncounted())
    };
    let unchecked = law.status == Status::NotChecked;
    Check {
        id: format!("law.{}", law.id),
        status: law.status,
        limit: law.says.clone(),
        got: format!("{} = {}", law.lhs, law.rhs),
        detail: why.filter(|_| unchecked).map(str::to_owned),
        gate: None,
    }
}

/// Why there is no complete trace of the resets, if there is none.
fn untraced(evidence: &Evidence<'_>) -> Option<String> {
    match &evidence.recording.kernel.resets {
        Resets::Traced { lost: Some(0), .. } => None,
        Resets::Traced { lost: Some(lost), .. } => {
            Some(format!("{lost} of the traced resets were lost"))
        }
        Resets::Traced { lost: None, .. } => {
            Some("resets may have been lost from the trace".to_owned())
        }
        Resets::Untraced { why } => Some(why.clone()),
    }
}

fn clients(evidence: &Evidence<'_>) -> Vec<Law> {
    let recording = evidence.recording;
    let intended: u64 = recording.observer.intended.iter().sum();
    let harmed: usize = Harm::ALL.into_iter().map(|harm| evidence.fates(Fate::Harmed(harm))).sum();
    let ended = [Fate::Ok, Fate::LimitHit, Fate::Cancelled].map(|fate| evidence.fates(fate));
    let mut ids: Vec<u64> = recording.operations.iter().map(|operation| operation.id).collect();
    ids.sort_unstable();
    ids.dedup();
    vec![
        // That the generator fell behind is no fault of the server's.
        law("L1", "operations intended = dispatched", intended, recording.operations.len())
            .or_else_is(Status::Inconclusive),
        law(
            "L2",
            "operations dispatched, each once = ok + harmed + limit hit + cancelled",
            ids.len(),
            harmed + ended.iter().sum::<usize>(),
        ),
    ]
}

fn kernel(evidence: &Evidence<'_>) -> Vec<Law> {
    let delta = |name| evidence.recording.kernel.delta(name);
    let accepted: u64 = evidence.ledgers().map(|ledger| ledger.accepted).sum();
    // The servers count what came by unix sockets, too; the kernel does not.
    let otherwise = evidence
        .recording
        .connections
        .iter()
        .filter(|connection| connection.established.is_some() && !evidence.is_tcp(connection));
    let tainted = evidence.tainted().is_some();
    let traced = match &evidence.recording.kernel.resets {
        Resets::Traced { resets, .. } => resets.len(),
        Resets::Untraced { .. } => 0,
    };
    vec![
        law(
            "L3",
            "kernel's ActiveOpens = connections opened",
            delta("Tcp.ActiveOpens"),
            evidence.opened().filter(|connection| evidence.is_tcp(connection)).count(),
        )
        .unless(tainted),
        law(
            "L4",
            "kernel's PassiveOpens + connections by unix sockets = connections accepted",
            delta("Tcp.PassiveOpens") + count(otherwise.count()),
            accepted,
        )
        .unless(tainted || evidence.unkept().is_some()),
        law(
            "L6",
            "kernel's OutRsts = connections reset",
            delta("Tcp.OutRsts") - evidence.stray_resets(),
            evidence.reset(),
        )
        .unless(tainted),
        // A trace with a hole is no fault of the server's; L6 judges the resets.
        law("L6.traced", "kernel's OutRsts = resets traced", delta("Tcp.OutRsts"), traced)
            .or_else_is(Status::Inconclusive)
            .unless(tainted || untraced(evidence).is_some()),
    ]
}

fn servers(evidence: &Evidence<'_>) -> Vec<Law> {
    let connections = &evidence.recording.connections;
    let sum = |of: fn(&crate::event::ServerLedger) -> u64| evidence.ledgers().map(of).sum::<u64>();
    let silent = connections
        .iter()
        .filter(|connection| connection.established.is_some() && connection.bytes_out == 0);
    // What datagrams carry, no server counts as bytes.
    let streams = || connections.iter().filter(|connection| connection.datagrams.is_none());
    let out: u64 = streams().map(|connection| connection.bytes_out).sum();
    let back: u64 = streams().map(|connection| connection.bytes_in).sum();
    let unkept = evidence.unkept().is_some();
    vec![
        law(
            "L5",
            "connections accepted = read from + those whose client sent nothing",
            sum(|ledger| ledger.accepted),
            i128::from(sum(|ledger| ledger.first_read)) + count(silent.count()),
        )
        .unless(unkept),
        law(
            "L7.out",
            "bytes the clients sent = bytes the servers read",
            out,
            sum(|ledger| ledger.bytes_in),
        )
        .unless(unkept),
        law(
            "L7.in",
            "bytes the servers sent = bytes the clients read",
            sum(|ledger| ledger.bytes_out),
            back,
        )
        .unless(unkept),
    ]
}

/// A datagram that is neither read nor refused was in the queue of a socket that
/// was closed: no counter moves, and only what is missing from the sum tells.
fn datagrams(evidence: &Evidence<'_>) -> Vec<Law> {
    if evidence.datagrams().next().is_none() {
        return Vec::new();
    }
    let delta = |name| {
        let kernel = &evidence.recording.kernel;
        kernel.delta(&format!("Udp.{name}")) + kernel.delta(&format!("Snmp6.Udp6{name}"))
    };
    let sum = |of: fn(&crate::event::ServerLedger) -> Option<u64>| -> u64 {
        evidence.ledgers().filter_map(of).sum()
    };
    let flows = |of: fn(Datagrams) -> u64| -> u64 { evidence.datagrams().map(of).sum() };
    // What our own sockets had no room for is counted among the kernel's errors.
    let ours = flows(|flow| flow.dropped);
    let (read, answered) = (sum(|ledger| ledger.datagrams_in), sum(|ledger| ledger.datagrams_out));
    let turned_away = delta("NoPorts") + delta("InErrors");
    let tainted = evidence.tainted().is_some();
    let uncounted = evidence.unkept().or_else(|| evidence.uncounted()).is_some();
    vec![
        law(
            "L8",
            "datagrams sent = read + met nobody + dropped; the rest was lost at a close",
            delta("OutDatagrams"),
            delta("InDatagrams") + turned_away,
        )
        .unless(tainted),
        law(
            "L8.out",
            "datagrams the clients sent = datagrams the servers read + met nobody + dropped",
            flows(|flow| flow.sent),
            i128::from(read) + turned_away - i128::from(ours),
        )
        .unless(tainted || uncounted),
        law(
            "L8.in",
            "datagrams the servers sent = datagrams the clients read, or had no room for",
            answered,
            flows(|flow| flow.received) + ours,
        )
        .unless(uncounted),
    ]
}

fn ends(evidence: &Evidence<'_>) -> Vec<Law> {
    let open = evidence.recording.kernel.delta("Tcp.CurrEstab");
    let living = evidence.recording.generations.iter().filter(|process| process.gone.is_none());
    let left = living.count() + evidence.recording.leaked.len();
    let sets = evidence.listener_sets();
    let first = sets.first().copied();
    let others = sets.iter().filter(|set| Some(**set) != first).count();
    vec![
        law("L9", "connections left open = 0", open, 0_u64).unless(evidence.tainted().is_some()),
        law("L9.processes", "processes left = 0", left, 0_u64)
            .unless(evidence.attached().is_some()),
        law("L10", "generations with other listening sockets than the first = 0", others, 0_u64)
            .unless(sets.len() < 2),
    ]
}

fn law(id: &str, says: &str, lhs: impl Sum, rhs: impl Sum) -> Law {
    let (lhs, rhs) = (lhs.sum(), rhs.sum());
    let status = if lhs == rhs { Status::Pass } else { Status::Fail };
    Law { id: id.to_owned(), says: says.to_owned(), lhs, rhs, status }
}

impl Law {
    /// Where it does not hold, it is this.
    fn or_else_is(mut self, status: Status) -> Self {
        if self.status == Status::Fail {
            self.status = status;
        }
        self
    }

    /// It cannot be checked if `cannot`.
    fn unless(mut self, cannot: bool) -> Self {
        if cannot {
            self.status = Status::NotChecked;
        }
        self
    }
}

/// Whatever counts.
trait Sum {
    fn sum(self) -> i128;
}

impl Sum for i128 {
    fn sum(self) -> i128 {
        self
    }
}

impl Sum for u64 {
    fn sum(self) -> i128 {
        i128::from(self)
    }
}

impl Sum for usize {
    fn sum(self) -> i128 {
        count(self)
    }
}

fn count(number: usize) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}
