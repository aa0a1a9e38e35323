//! A recording, written by hand, of a run in which nothing went wrong: 3
//! upgrades, 4 generations, 400 connections over four seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Stamp;
use crate::event::{
    Connection, Edge, Exit, Expected, Fate, FaultRecord, Generation, KernelLedger, Observer,
    OpKind, Operation, Outcome, Recording, Resets, Resources, Sample, Samples, Scope, Served,
    ServerLedger, Timeline, Upgrade, VERSION,
};
use crate::scenario::Plan;
use crate::scenario::plan::{
    Addressee, Arrivals, By, Coverage, Endpoint, Fault, FaultKind, Load, LoadKind, Namespace,
    Network, ObserverLimits, Phases, Signal, Speak, Target, Trigger, Upgrades, When,
};

const CONNECTIONS: u64 = 400;
const APART: u64 = 10_000_000;
const PAYLOAD: u64 = 100;
const GREETING: u64 = 22;
const PIDS: [u32; 4] = [100, 101, 102, 103];

/// The plan that the recordings are of.
pub(super) fn plan() -> Plan {
    Plan {
        name: "clean".to_owned(),
        about: String::new(),
        path: "clean.toml".into(),
        seed: 1,
        target: Target {
            command: vec!["server".to_owned()],
            attach: None,
            pid_file: None,
            greeting: Some("generation {generation} pid {pid}".to_owned()),
            closes_idle: false,
            trigger: Trigger { by: By::Signal(Signal::SigHup), to: Addressee::Serving },
            stop_signal: Signal::SigTerm,
            ready_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(1),
            ledger: Some("{dir}".to_owned()),
        },
        network: Network { namespace: Namespace::Private, sysctl: Vec::new(), loss: None },
        phases: Phases {
            warmup: Duration::ZERO,
            baseline: Duration::ZERO,
            storm: Duration::from_secs(4),
            settle: Duration::ZERO,
        },
        loads: vec![Load {
            name: "churn".to_owned(),
            kind: LoadKind::Churn,
            to: Endpoint::Tcp,
            speak: Speak::Echo,
            rate: 100.0,
            arrivals: Arrivals::Uniform,
            payload: (100, 100),
            timeout: Duration::from_secs(10),
            stall: Duration::from_secs(1),
            ramp: None,
            bursts: Vec::new(),
        }],
        upgrades: Some(Upgrades { every: Duration::from_secs(1), max_alive: 4, most: u64::MAX }),
        faults: Vec::new(),
        coverage: Coverage {
            upgrades: 2,
            connections: 100,
            connections_per_upgrade: 2.0,
            faults: 0,
            tolerated: Vec::new(),
            faults_delivered: None,
            ops_in_window: Vec::new(),
        },
        limits: ObserverLimits {
            lateness_p99: Duration::from_millis(50),
            hiccup_max: Duration::from_millis(500),
            lateness_max: Duration::from_secs(1),
            shed: 0,
        },
        gates: Vec::new(),
    }
}

/// The clean run. Generation g serves the g-th second.
pub(super) fn recording() -> Recording {
    let served = |id: u64| usize::try_from(id * APART / 1_000_000_000).unwrap();
    let ids = || 0..CONNECTIONS;
    let connections: Vec<Connection> = ids().map(|id| connection(id, served(id))).collect();
    let accepted = |generation: usize| {
        u64::try_from(ids().filter(|id| served(*id) == generation).count()).unwrap()
    };
    let generations = (0..PIDS.len()).map(|index| generation(index, accepted(index))).collect();
    let before = BTreeMap::from([
        ("Tcp.ActiveOpens".to_owned(), 1),
        ("Tcp.AttemptFails".to_owned(), 1),
        ("Tcp.EstabResets".to_owned(), 0),
        ("Tcp.InErrs".to_owned(), 0),
        ("Tcp.OutRsts".to_owned(), 1),
    ]);
    let mut after = before.clone();
    after.insert("Tcp.ActiveOpens".to_owned(), 1 + CONNECTIONS);
    after.insert("Tcp.PassiveOpens".to_owned(), CONNECTIONS);
    let mut run = Recording {
        version: VERSION,
        started_unix: 0,
        populations: vec!["churn".to_owned()],
        timeline: Timeline { ended: Stamp(5_000_000_000), ..Timeline::default() },
        operations: ids().map(operation).collect(),
        connections,
        generations,
        upgrades: (1..4).map(upgrade).collect(),
        faults: Vec::new(),
        bursts: Vec::new(),
        kernel: KernelLedger::new(Scope::Private, before, after),
        observer: Observer { intended: vec![CONNECTIONS], ..Observer::default() },
        interrupted: None,
        leaked: Vec::new(),
    };
    run.kernel.samples = samples(&run);
    run.kernel.resets =
        Resets::Traced { resets: Vec::new(), lost: Some(0), reasons: true, pids: true };
    run
}

/// What a sampler would have read at each edge of the upgrades, a millisecond
/// before a trigger and after an end: nobody is being connected then.
pub(super) fn samples(run: &Recording) -> Samples {
    let ms = Duration::from_millis(1);
    let mut edges = vec![(Stamp(0), Edge::Began), (run.timeline.ended, Edge::Ended)];
    for upgrade in &run.upgrades {
        edges.push((upgrade.triggered.before(ms), Edge::Triggered(upgrade.number)));
        edges.push((upgrade.decided.after(ms), Edge::Answered(upgrade.number)));
    }
    for process in &run.generations {
        edges.extend(process.gone.map(|gone| (gone.after(ms), Edge::Gone(process.pid))));
    }
    edges.sort_by_key(|(at, _)| *at);
    let read = |at: Stamp| {
        let opened = run.connections.iter().filter(|one| one.opened <= Some(at)).count();
        let mut counters = run.kernel.before.clone();
        for name in ["Tcp.ActiveOpens", "Tcp.PassiveOpens"] {
            *counters.entry(name.to_owned()).or_default() += u64::try_from(opened).unwrap();
        }
        counters
    };
    let mut samples = Samples::default();
    let mut before = run.kernel.before.clone();
    for (at, edge) in edges {
        let (from, to) = (at, at.after(Duration::from_micros(100)));
        let now = if edge == Edge::Began { before.clone() } else { read(at) };
        let sample = Sample { from, to, edges: vec![edge], moved: Vec::new(), queues: Vec::new() };
        samples.push(sample, &before, &now);
        before = now;
    }
    samples
}

/// The same, with a successor that was killed before each upgrade that worked.
pub(super) fn killed() -> (Plan, Recording) {
    let (mut plan, mut run) = (plan(), recording());
    let (kind, expect) = (FaultKind::KillBeforeReady, Expected::default());
    let (id, when) = ("C04".to_owned(), When::Every(2));
    plan.faults = vec![Fault { id, kind, when, expect }];
    plan.coverage.faults = 3;
    let mut upgrades = Vec::new();
    for (number, worked) in (1..).zip(std::mem::take(&mut run.upgrades)) {
        let pid = 200 + number;
        let injected = worked.triggered.before(Duration::from_millis(20));
        run.generations.push(Generation {
            pid,
            generation: None,
            exit: Some(Exit::Reaped),
            ledger: None,
            listeners: BTreeSet::new(),
            resources: None,
            ..run.generations[0].clone()
        });
        run.faults.push(FaultRecord {
            id: "C04".to_owned(),
            upgrade: u64::from(2 * number - 1),
            pid: Some(pid),
            victim: Some(pid),
            injected: Some(injected),
            delivered: true,
            evidence: "frozen, and somebody else answered".to_owned(),
            old_answered: Some(injected.after(Duration::from_millis(1))),
            ..FaultRecord::default()
        });
        upgrades.push(Upgrade {
            number: u64::from(2 * number - 1),
            new_pid: Some(pid),
            triggered: injected.before(Duration::from_millis(1)),
            decided: injected.after(Duration::from_millis(2)),
            outcome: Outcome::FailedAsPlanned,
            ..worked.clone()
        });
        upgrades.push(Upgrade { number: u64::from(2 * number), ..worked });
    }
    run.upgrades = upgrades;
    run.kernel.samples = samples(&run);
    (plan, run)
}

fn operation(id: u64) -> Operation {
    let at = Stamp(id * APART);
    Operation {
        id,
        population: 0,
        kind: OpKind::Churn,
        connection: id,
        intended: at,
        dispatched: at,
        finished: at.after(Duration::from_micros(300)),
        fate: Fate::Ok,
        errno: None,
    }
}

fn connection(id: u64, generation: usize) -> Connection {
    let at = Stamp(id * APART);
    Connection {
        id,
        population: 0,
        local: None,
        opened: Some(at),
        established: Some(at.after(Duration::from_micros(50))),
        first_byte: Some(at.after(Duration::from_micros(150))),
        closed: at.after(Duration::from_micros(300)),
        served: Some(Served { generation: u64::try_from(generation).ok(), pid: PIDS[generation] }),
        bytes_out: PAYLOAD,
        bytes_in: PAYLOAD + GREETING,
        reset: false,
        syn_retransmits: None,
        retransmits: None,
        datagrams: None,
    }
}

fn generation(index: usize, accepted: u64) -> Generation {
    let number = u64::try_from(index).unwrap();
    Generation {
        pid: PIDS[index],
        generation: Some(number),
        seen: Stamp(number * 1_000_000_000),
        gone: Some(Stamp((number + 1) * 1_000_000_000)),
        exit: Some(Exit::Code(0)),
        ledger: Some(ServerLedger {
            generation: number,
            pid: PIDS[index],
            accepted,
            first_read: accepted,
            closed_clean: accepted,
            closed_dirty: 0,
            bytes_in: accepted * PAYLOAD,
            bytes_out: accepted * (PAYLOAD + GREETING),
            ..ServerLedger::default()
        }),
        listeners: BTreeSet::from([42]),
        resources: (index > 0).then(|| Resources {
            fds: BTreeMap::from([(3, "socket:listener".to_owned())]),
            environ_bytes: 1000,
            rss_kib: 5000,
            threads: 3,
        }),
    }
}

/// The upgrade at the beginning of the second `number`.
fn upgrade(number: u64) -> Upgrade {
    let index = usize::try_from(number).unwrap();
    let triggered = Stamp(number * 1_000_000_000 - 3_000_000);
    Upgrade {
        number,
        triggered,
        old_pid: PIDS[index - 1],
        new_pid: Some(PIDS[index]),
        new_seen: Some(triggered.after(Duration::from_millis(1))),
        new_answered: Some(triggered.after(Duration::from_millis(3))),
        outcome: Outcome::Completed,
        decided: triggered.after(Duration::from_millis(4)),
        trouble: None,
    }
}
