//! One small run, made by hand, and what people and programs are told of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::clock::Stamp;
use harness::event::{
    Connection, Fate, FaultRecord, Generation, Harm, KernelLedger, Machine, Observer, OpKind,
    Operation, Outcome, Recording, Scope, Served, ServerLedger, Timeline, Upgrade, VERSION,
};
use harness::exit::Exit;
use harness::report::{self, Outputs, Report};
use harness::scenario::Plan;
use harness::scenario::plan::{
    Addressee, By, Coverage, Namespace, Network, ObserverLimits, Phases, Signal, Target, Trigger,
};
use harness::verdict::{self, Bounds, Check, FaultFinding, Law, Seen, Status, Verdict};

#[path = "report/formats.rs"]
mod formats;
#[path = "report/html.rs"]
mod html;
#[path = "report/real.rs"]
mod real;
#[path = "report/schema.rs"]
mod schema;

const MS: u64 = 1_000_000;

fn plan() -> Plan {
    Plan {
        name: "storm".to_owned(),
        about: String::new(),
        path: PathBuf::from("scenarios/storm.toml"),
        seed: 0x5eed,
        target: Target {
            command: vec!["{bin:echo-server}".to_owned(), "{addr}".to_owned()],
            attach: None,
            pid_file: None,
            greeting: None,
            closes_idle: false,
            trigger: Trigger { by: By::Signal(Signal::SigHup), to: Addressee::Serving },
            stop_signal: Signal::SigTerm,
            ready_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(1),
            ledger: None,
        },
        network: Network { namespace: Namespace::Private, sysctl: Vec::new(), loss: None },
        phases: Phases {
            warmup: Duration::from_millis(100),
            baseline: Duration::from_millis(100),
            storm: Duration::from_millis(600),
            settle: Duration::from_millis(200),
        },
        loads: Vec::new(),
        upgrades: None,
        faults: Vec::new(),
        coverage: Coverage {
            upgrades: 1,
            connections: 1,
            connections_per_upgrade: 1.0,
            faults: 1,
            tolerated: Vec::new(),
            faults_delivered: None,
            ops_in_window: Vec::new(),
        },
        limits: ObserverLimits {
            lateness_p99: Duration::from_millis(5),
            hiccup_max: Duration::from_millis(50),
            lateness_max: Duration::from_secs(1),
            shed: 0,
        },
        gates: Vec::new(),
    }
}

/// 100 operations, one each 10 ms, all well: each takes 1 ms, during the
/// upgrade 2 ms.
fn operations() -> Vec<Operation> {
    let operation = |id: u64| {
        let intended = Stamp(id * 10 * MS);
        let took = if (40..=45).contains(&id) { 2 } else { 1 };
        Operation {
            id,
            population: 0,
            kind: OpKind::Churn,
            connection: 1000 + id,
            intended,
            dispatched: intended,
            finished: Stamp(intended.0 + took * MS),
            fate: Fate::Ok,
            errno: None,
        }
    };
    (0..100).map(operation).collect()
}

fn connection(operation: &Operation) -> Connection {
    Connection {
        id: operation.connection,
        population: 0,
        local: "10.0.0.1:40000".parse().ok(),
        opened: Some(operation.dispatched),
        established: Some(operation.dispatched),
        first_byte: Some(operation.finished),
        closed: operation.finished,
        served: Some(Served { generation: Some(0), pid: 11 }),
        bytes_out: 10,
        bytes_in: 20,
        reset: false,
        syn_retransmits: None,
        retransmits: None,
        datagrams: None,
    }
}

fn upgrade(number: u64, triggered: u64, answered: Option<u64>, outcome: Outcome) -> Upgrade {
    Upgrade {
        number,
        triggered: Stamp(triggered * MS),
        old_pid: 11,
        new_pid: Some(12),
        new_seen: Some(Stamp((triggered + 1) * MS)),
        new_answered: answered.map(|at| Stamp(at * MS)),
        outcome,
        decided: Stamp(answered.unwrap_or(triggered + 5) * MS),
        trouble: None,
    }
}

fn generation() -> Generation {
    Generation {
        pid: 11,
        generation: Some(0),
        seen: Stamp(0),
        gone: Some(Stamp(900 * MS)),
        exit: Some(harness::event::Exit::Code(0)),
        ledger: Some(ServerLedger { pid: 11, accepted: 100, ..ServerLedger::default() }),
        listeners: BTreeSet::from([7]),
        resources: None,
    }
}

fn recording() -> Recording {
    let operations = operations();
    let opens = |number| BTreeMap::from([("Tcp.PassiveOpens".to_owned(), number)]);
    Recording {
        version: VERSION,
        started_unix: 1_709_164_800,
        populations: vec!["churn".to_owned()],
        timeline: Timeline {
            load_began: Stamp(0),
            warmed_up: Stamp(100 * MS),
            storm_began: Stamp(200 * MS),
            storm_ended: Stamp(800 * MS),
            load_ended: Stamp(1000 * MS),
            ended: Stamp(1100 * MS),
        },
        connections: operations.iter().map(connection).collect(),
        operations,
        generations: vec![generation()],
        upgrades: vec![
            upgrade(1, 400, Some(404), Outcome::Completed),
            upgrade(2, 600, None, Outcome::FailedAsPlanned),
        ],
        faults: vec![FaultRecord {
            id: "C04".to_owned(),
            upgrade: 2,
            pid: Some(12),
            planned_delay_ns: 3 * MS,
            injected: Some(Stamp(604 * MS)),
            delivered: true,
            evidence: "pid 12 killed by SIGKILL before it answered".to_owned(),
            old_answered: Some(Stamp(610 * MS)),
            victim: Some(12),
            ..FaultRecord::default()
        }],
        bursts: Vec::new(),
        kernel: KernelLedger::new(Scope::Private, opens(5), opens(105)),
        observer: Observer { intended: vec![100], ..Observer::default() },
        interrupted: None,
        leaked: Vec::new(),
    }
}

fn check(id: &str, status: Status, limit: &str, got: &str) -> Check {
    let detail = (status != Status::Pass).then(|| format!("because of {id}"));
    Check {
        id: id.to_owned(),
        status,
        limit: limit.to_owned(),
        got: got.to_owned(),
        detail,
        gate: None,
    }
}

fn clean() -> Verdict {
    let mut checks: Vec<_> = Harm::ALL
        .into_iter()
        .map(|harm| check(&format!("harm.{harm}"), Status::Pass, "= 0", "0"))
        .collect();
    checks.push(check("law.L1", Status::Pass, "exact", "100 = 100"));
    checks.push(check("coverage.upgrades", Status::Pass, ">= 1", "1"));
    Verdict {
        outcome: verdict::Outcome::Pass,
        checks,
        harm: Harm::ALL.into_iter().map(|harm| (harm, Vec::new())).collect(),
        laws: vec![Law {
            id: "L1".to_owned(),
            says: "accepted = connections opened".to_owned(),
            lhs: 100,
            rhs: 100,
            status: Status::Pass,
        }],
        unexplained: BTreeMap::new(),
        bounds: Bounds {
            confidence: 0.95,
            upgrades: Seen { harmed: 0, of: 1 },
            connections: Seen { harmed: 0, of: 6_000 },
            bad_upgrade_upper: 0.95,
            bad_connection_upper: 0.000_49,
        },
        gaps: Vec::new(),
        upgrades: Vec::new(),
        faults: vec![FaultFinding {
            id: "C04".to_owned(),
            upgrade: 2,
            got: "failed after 5.0ms".to_owned(),
            met: Some(true),
        }],
        resets: Vec::new(),
    }
}

/// A connection was refused while the upgrade was under way, and the judge found
/// another that the wrong generation served, which its client could not know.
fn harmed() -> (Recording, Verdict) {
    let (mut recording, mut verdict) = (recording(), clean());
    recording.operations[41].fate = Fate::Harmed(Harm::Refused);
    recording.operations[41].errno = Some(111);
    recording.connections[41].served = None;
    verdict.outcome = verdict::Outcome::Fail;
    for (harm, operation) in [(Harm::Refused, 41), (Harm::WrongGeneration, 70)] {
        verdict.harm.insert(harm, vec![operation]);
        let id = format!("harm.{harm}");
        verdict.checks.retain(|check| check.id != id);
        verdict.checks.push(check(&id, Status::Fail, "= 0", "1"));
    }
    for (id, status) in [
        ("coverage.faults", Status::Inconclusive),
        ("law.L2", Status::NotChecked),
        ("law.L3", Status::NotChecked),
    ] {
        verdict.checks.push(check(id, status, ">= 1", "0"));
    }
    (recording, verdict)
}

fn report(recording: &Recording, verdict: &Verdict) -> Report {
    let machine = Machine { kernel: "6.1.0".to_owned(), cpus: 2, boot: String::new() };
    Report::new(&plan(), recording, verdict, &machine)
}

#[test]
fn people_are_told_of_a_clean_run_in_a_screenful() {
    let text = report::text(&report(&recording(), &clean()), Some(Path::new("runs/1")));
    assert_eq!(text, include_str!("golden/report.txt"));
    assert!(text.lines().count() <= 45);
}

#[test]
fn people_are_told_what_is_wrong_first() {
    let (recording, verdict) = harmed();
    let text = report::text(&report(&recording, &verdict), None);
    assert_eq!(text, include_str!("golden/report_harmed.txt"));
}

#[test]
fn programs_find_every_kind_of_harm() {
    let (recording, verdict) = harmed();
    let text = report::json(&report(&recording, &verdict)).unwrap();
    assert!(text.contains("\"refused\": {\n      \"count\": 1,\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let harm = json["harm"].as_object().unwrap();
    assert_eq!(harm.len(), Harm::ALL.len());
    assert_eq!(harm["refused"]["conns"], serde_json::json!([1041]));
    assert_eq!(harm["wrong_generation"]["count"], 1);
    assert_eq!(harm["epipe"], serde_json::json!({"count": 0, "conns": []}));
    assert_eq!(json["schema"], "harness/result/1");
    assert_eq!(json["verdict"], "fail");
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["seed"], "0x5eed");
    assert_eq!(json["started"], "2024-02-29T00:00:00Z");
    assert_eq!(json["run_id"], "storm-1709164800-5eed");
    let reasons = serde_json::json!([
        {"code": "gate", "gate": "harm.refused"},
        {"code": "gate", "gate": "harm.wrong_generation"},
    ]);
    assert_eq!(json["reasons"], reasons);
    assert_eq!(json["ledger"]["ok"], 98);
    assert_eq!(json["ledger"]["server"]["accepted"], 100);
    assert_eq!(json["ledger"]["kernel"]["PassiveOpens"], 100);
    assert_eq!(json["kernel"]["delta"], serde_json::json!({"Tcp.PassiveOpens": 100}));
    let churn = &json["populations"][0];
    assert_eq!(churn["harmed"], 2);
    assert_eq!(churn["failure_latency"]["count"], 2);
    assert_eq!(churn["latency"]["clock"], "intended");
    assert_eq!(churn["windows"]["baseline"]["count"], 10);
    assert_eq!(churn["longest_gap_ns"], 20 * MS);
    assert_eq!(json["upgrades"][0]["phases_ns"]["answered"], 4 * MS);
}

#[test]
fn a_proven_harm_outranks_an_interruption_and_that_the_rest() {
    use verdict::Outcome::{Fail, Inconclusive, Pass};
    for (outcome, interrupted, exit) in [
        (Pass, None, Exit::Pass),
        (Fail, None, Exit::Fail),
        (Inconclusive, None, Exit::Inconclusive),
        (Fail, Some("SIGINT"), Exit::Fail),
        (Inconclusive, Some("SIGINT"), Exit::Interrupted(2)),
        (Pass, Some("SIGTERM"), Exit::Interrupted(15)),
        (Pass, Some("the server is gone"), Exit::Inconclusive),
    ] {
        let recording = Recording { interrupted: interrupted.map(str::to_owned), ..recording() };
        let verdict = Verdict { outcome, ..clean() };
        assert_eq!(report::exit(&verdict, &recording), exit, "{outcome:?} {interrupted:?}");
        let says_success = report::brief(&report(&recording, &verdict)).ends_with(" 0 failed\n");
        assert_eq!(says_success, exit == Exit::Pass, "{outcome:?} {interrupted:?}");
    }
}

#[test]
fn a_run_leaves_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::open(&dir.path().join("a/b"), ["churn"]).unwrap();
    let files = [
        "result.json",
        "report.txt",
        "report.html",
        "junit.xml",
        "summary.md",
        "metrics.prom",
        "latency.hlog",
        "churn.hgrm",
    ];
    let length = |file: &str| std::fs::metadata(dir.path().join("a/b").join(file)).unwrap().len();
    assert_eq!(files.map(length), [0; 8], "before the run");
    let (recording, verdict) = (recording(), clean());
    let latencies = report::latencies(&recording, &verdict);
    outputs.write(&report(&recording, &verdict), &latencies).unwrap();
    for file in files {
        assert!(length(file) > 0, "{file}");
    }

    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(Outputs::open(&dir.path().join("file"), []).is_err());
}
