//! A recording, looked at in the ways that several checks need.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use crate::clock::Stamp;
use crate::event::{
    Connection, Datagrams, Fate, FaultRecord, Generation, Harm, OpKind, Outcome, Recording, Reset,
    Resets, Scope, ServerLedger, Spared, Upgrade,
};
use crate::scenario::Plan;
use crate::scenario::plan::{Endpoint, Load, Speak};

/// The plan, the recording, and what follows from them at once.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) plan: &'a Plan,
    pub(super) recording: &'a Recording,
    /// Processes that a delivered fault killed.
    pub(super) killed: HashSet<u32>,
    /// Those of them that had not begun to serve, and must not have.
    pub(super) unborn: HashSet<u32>,
    /// Processes that answered a client.
    pub(super) answered: HashSet<u32>,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(plan: &'a Plan, recording: &'a Recording) -> Self {
        let delivered = || recording.faults.iter().filter(|fault| fault.delivered);
        let before_it_served = |fault: &&FaultRecord| fault.expected.clients == Spared::All;
        let served = recording.connections.iter().filter_map(|connection| connection.served);
        Self {
            plan,
            recording,
            killed: delivered().filter_map(|fault| fault.victim).collect(),
            unborn: delivered().filter(before_it_served).filter_map(|fault| fault.victim).collect(),
            answered: served.map(|served| served.pid).collect(),
        }
    }

    /// Why the kernel's counters prove nothing here, if they do not.
    pub(super) fn tainted(&self) -> Option<&'static str> {
        match self.recording.kernel.scope {
            Scope::Private => None,
            Scope::Host => Some("the machine's network was used, where others are counted too"),
        }
    }

    /// Why the ends of processes prove nothing here, if they do not.
    pub(super) fn attached(&self) -> Option<&'static str> {
        let attached = self.plan.target.attach.is_some();
        attached.then_some("the server was there before the run, and is there after it")
    }

    /// Why there is no server's ledger, if there is none.
    pub(super) fn unkept(&self) -> Option<&'static str> {
        if self.plan.target.ledger.is_none() {
            return Some("the server keeps no ledger");
        }
        // One that was killed may have accepted without a word to anybody.
        let accounts = |pid: u32| self.ledgers().any(|ledger| ledger.pid == pid);
        let faults = self.recording.faults.iter().filter(|fault| fault.delivered);
        let silenced = faults
            .filter(|fault| fault.expected.clients == Spared::ButItsOwn)
            .filter_map(|fault| fault.victim)
            .any(|victim| !accounts(victim));
        silenced
            .then_some("a process that may have accepted was killed by a fault, and left no ledger")
    }

    /// Why the servers say nothing of datagrams, if they do not.
    pub(super) fn uncounted(&self) -> Option<&'static str> {
        let silent =
            |ledger: &ServerLedger| ledger.datagrams_in.is_none() || ledger.datagrams_out.is_none();
        self.ledgers().any(silent).then_some("the server's ledger does not count datagrams")
    }

    /// What the flows counted.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagrams> {
        self.recording.connections.iter().filter_map(|connection| connection.datagrams)
    }

    /// The servers' ledgers.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = &ServerLedger> {
        self.recording.generations.iter().filter_map(|generation| generation.ledger.as_ref())
    }

    /// Processes that served: they answered somebody, or say that they accepted.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Generation> {
        self.recording.generations.iter().filter(|generation| {
            let accepted = generation.ledger.as_ref().is_some_and(|ledger| ledger.accepted > 0);
            self.answered.contains(&generation.pid) || accepted
        })
    }

    pub(super) fn upgrades(&self, outcome: Outcome) -> impl Iterator<Item = &Upgrade> {
        self.recording.upgrades.iter().filter(move |upgrade| upgrade.outcome == outcome)
    }

    /// Whether the kernel's TCP counters know of this connection.
    pub(super) fn is_tcp(&self, connection: &Connection) -> bool {
        let load = self.plan.loads.get(usize::from(connection.population));
        load.is_none_or(|load| load.to == Endpoint::Tcp) && connection.datagrams.is_none()
    }

    /// Connections that ended by RST.
    pub(super) fn reset(&self) -> usize {
        let connections = self.recording.connections.iter();
        connections.filter(|connection| connection.reset && self.is_tcp(connection)).count()
    }

    /// Resets that answer a segment which the server has sent again for want of CPU, to
    /// a client that is gone already: no connection is there any more that could be
    /// harmed. Each needs a retransmission, and, where they are traced, to be sent by a
    /// client.
    pub(super) fn stray_resets(&self) -> i128 {
        let kernel = &self.recording.kernel;
        let reset = i128::try_from(self.reset()).unwrap_or(i128::MAX);
        let most =
            self.strays_of(kernel.delta("Tcp.RetransSegs")) + self.sent_by_listeners(|_| true);
        (kernel.delta("Tcp.OutRsts") - reset).clamp(0, most)
    }

    /// How many resets so many retransmissions may explain. That is only where the
    /// server may be the first to close, as by HTTP, or where the network loses what
    /// the last to close is waiting for.
    pub(super) fn strays_of(&self, retransmitted: i128) -> i128 {
        let closes = |load: &Load| matches!(load.speak, Speak::Http(_));
        if !self.plan.loads.iter().any(closes) && self.plan.network.loss.is_none() {
            return 0;
        }
        let traced = match &self.recording.kernel.resets {
            Resets::Traced { resets, lost: Some(0), .. } => Some(self.sent_by_clients(resets)),
            Resets::Traced { .. } | Resets::Untraced { .. } => None,
        };
        retransmitted.min(traced.unwrap_or(i128::MAX)).max(0)
    }

    /// Resets that were traced to a listening socket which met a segment of no
    /// connection (`tcp_rcv_state_process` in `net/ipv4/tcp_input.c`): the last
    /// acknowledgement of a client, say, that a busy machine delivers when both ends
    /// have long forgotten the connection. Who is harmed by one sees it, and counts.
    pub(super) fn sent_by_listeners(&self, within: impl Fn(Stamp) -> bool) -> i128 {
        let Resets::Traced { resets, .. } = &self.recording.kernel.resets else { return 0 };
        let by_listener = |reset: &&Reset| {
            reset.destination.ip().is_unspecified()
                && reset.reason.as_deref() == Some("TCP_FLAGS")
                && within(reset.at)
        };
        i128::try_from(resets.iter().filter(by_listener).count()).unwrap_or(i128::MAX)
    }

    fn sent_by_clients(&self, resets: &[Reset]) -> i128 {
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        let connections = self.recording.connections.iter();
        let clients: HashSet<_> =
            connections.filter_map(|connection| connection.local.map(plain)).collect();
        let sent = resets.iter().filter(|reset| clients.contains(&plain(reset.source)));
        i128::try_from(sent.count()).unwrap_or(i128::MAX)
    }

    /// How often a client has sent its SYN again.
    pub(super) fn sent_again(&self) -> i128 {
        let again = |one: &Connection| one.syn_retransmits.map_or(0, i128::from);
        self.recording.connections.iter().map(again).sum()
    }

    /// Connections for which a SYN left.
    pub(super) fn opened(&self) -> impl Iterator<Item = &Connection> {
        self.recording.connections.iter().filter(|connection| connection.opened.is_some())
    }

    /// Operations that ended in this way.
    pub(super) fn fates(&self, fate: Fate) -> usize {
        self.recording.operations.iter().filter(|operation| operation.fate == fate).count()
    }

    /// Operations that the plan allows the server to end so: they found that it had
    /// closed a connection which was idle, or crossed that on their way.
    pub(super) fn closed_idle(&self) -> HashSet<u64> {
        let ends = |operation: &&crate::event::Operation| {
            matches!(operation.kind, OpKind::Request | OpKind::Close)
                && [Harm::EofIdle, Harm::ResetIdle, Harm::Epipe]
                    .map(Fate::Harmed)
                    .contains(&operation.fate)
        };
        let allowed = self.recording.operations.iter().filter(|_| self.plan.target.closes_idle);
        allowed.filter(ends).map(|operation| operation.id).collect()
    }

    /// The operations of each connection.
    pub(super) fn operations_by_connection(&self) -> HashMap<u64, Vec<u64>> {
        let mut map: HashMap<u64, Vec<u64>> = HashMap::new();
        for operation in &self.recording.operations {
            map.entry(operation.connection).or_default().push(operation.id);
        }
        map
    }

    /// Every set of listening sockets that a serving process had.
    pub(super) fn listener_sets(&self) -> Vec<&BTreeSet<u64>> {
        let sets = self.serving().map(|generation| &generation.listeners);
        sets.filter(|set| !set.is_empty()).collect()
    }
}
