//! A run that is stored is the same run when it is read again, and what is no
//! stored run is refused in words that help.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use harness::clock::Stamp;
use harness::event::{
    Connection, Fate, Harm, KernelLedger, Machine, Observer, OpKind, Operation, Recording, Scope,
    Served, Timeline, VERSION,
};
use harness::scenario::Plan;
use harness::scenario::plan::{
    Addressee, Arrivals, Coverage, Endpoint, Fault, FaultKind, Load, LoadKind, Namespace, Network,
    ObserverLimits, Pace, Phases, Signal, Target, Trigger, Upgrades,
};
use harness::store::{Part, Run};
use harness::units::Shard;
use proptest::prelude::*;
use tempfile::TempDir;

fn span() -> impl Strategy<Value = Duration> {
    (0_u64..4_000_000_000_000).prop_map(Duration::from_nanos)
}

fn load() -> impl Strategy<Value = Load> {
    let kind = prop_oneof![
        Just(LoadKind::Churn),
        (1_usize..100, span())
            .prop_map(|(connections, lifetime)| LoadKind::KeepAlive { connections, lifetime }),
        (1_usize..100).prop_map(|connections| LoadKind::Idle { connections }),
        (proptest::option::of(1_u64..9), proptest::option::of(1_u64..9), 0.0..1.0_f64).prop_map(
            |(send, receive, half_close)| LoadKind::Stream {
                pace: Pace { send, receive },
                half_close
            }
        ),
    ];
    let rate = prop_oneof![1e-300..1e7_f64, Just(0.1 + 0.2), Just(f64::MIN_POSITIVE)];
    let arrivals = prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson)];
    let to = prop_oneof![Just(Endpoint::Tcp), ".*".prop_map(Endpoint::Unix)];
    (".*", kind, to, rate, arrivals, (1_usize..9, 9_usize..99), span(), span()).prop_map(
        |(name, kind, to, rate, arrivals, payload, timeout, stall)| Load {
            name,
            kind,
            to,
            rate,
            arrivals,
            payload,
            timeout,
            stall,
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    let signal = prop_oneof![Just(Signal::SigHup), Just(Signal::SigUsr2), Just(Signal::SigWinch)];
    let to = prop_oneof![Just(Addressee::Serving), Just(Addressee::Main)];
    let maybe = || proptest::option::of(".*");
    let command = proptest::collection::vec(".*", 0..4);
    (command, maybe(), signal, to, span(), span(), maybe()).prop_map(
        |(command, greeting, signal, to, ready_timeout, drain_timeout, ledger)| Target {
            command,
            greeting,
            trigger: Trigger { signal, to },
            stop_signal: signal,
            ready_timeout,
            drain_timeout,
            ledger,
        },
    )
}

fn coverage() -> impl Strategy<Value = Coverage> {
    let harms = proptest::sample::subsequence(Harm::ALL.to_vec(), 0..4);
    (any::<u64>(), any::<u64>(), 0.0..1e9_f64, any::<u64>(), harms).prop_map(
        |(upgrades, connections, connections_per_upgrade, faults, tolerated)| Coverage {
            upgrades,
            connections,
            connections_per_upgrade,
            faults,
            tolerated,
        },
    )
}

prop_compose! {
    fn plan()(
        texts in (".*", ".*", "[a-z/]{0,20}"),
        seed: u64,
        target in target(),
        private: bool,
        sysctl in proptest::collection::vec((".*", ".*"), 0..3),
        spans in proptest::array::uniform4(span()),
        loads in proptest::collection::vec(load(), 0..3),
        upgrades in proptest::option::of((span(), 2_usize..99, any::<u64>())),
        faults in proptest::collection::vec(1_u64..99, 0..3),
        coverage in coverage(),
        limits in (span(), span()),
    ) -> Plan {
        let [warmup, baseline, storm, settle] = spans;
        let namespace = if private { Namespace::Private } else { Namespace::Host };
        Plan {
            name: texts.0,
            about: texts.1,
            path: PathBuf::from(texts.2),
            seed,
            target,
            network: Network { namespace, sysctl },
            phases: Phases { warmup, baseline, storm, settle },
            loads,
            upgrades: upgrades.map(|(every, max_alive, most)| Upgrades { every, max_alive, most }),
            faults: faults
                .into_iter()
                .map(|every| Fault { kind: FaultKind::KillBeforeReady, every })
                .collect(),
            coverage,
            limits: ObserverLimits { lateness_p99: limits.0, hiccup_max: limits.1 },
        }
    }
}

/// A recording of this many operations, each on a connection of its own.
fn recording(operations: u64) -> Recording {
    let operation = |id: u64| Operation {
        id,
        population: 0,
        kind: OpKind::Churn,
        connection: id,
        intended: Stamp(id * 166_667),
        dispatched: Stamp(id * 166_667 + 7_001 + id % 977),
        finished: Stamp(id * 166_667 + 201_317 + id % 9_973),
        fate: if id % 1000 == 7 { Fate::Harmed(Harm::ResetQueue) } else { Fate::Ok },
        errno: (id % 1000 == 7).then_some(104),
    };
    let connection = |operation: Operation| Connection {
        id: operation.connection,
        population: 0,
        local: format!("127.0.1.{}:{}", operation.id % 8 + 1, 1024 + operation.id % 64_000)
            .parse()
            .ok(),
        opened: Some(operation.dispatched.after(Duration::from_nanos(9_119))),
        established: Some(operation.dispatched.after(Duration::from_nanos(60_333))),
        first_byte: Some(operation.dispatched.after(Duration::from_nanos(130_773))),
        closed: operation.finished,
        served: Some(Served { generation: operation.id / 5000, pid: 4242 }),
        bytes_out: 64 + operation.id % 961,
        bytes_in: 89 + operation.id % 961,
        reset: false,
    };
    Recording {
        version: VERSION,
        started_unix: 1_700_000_000,
        populations: vec!["churn".to_owned()],
        timeline: Timeline::default(),
        operations: (0..operations).map(operation).collect(),
        connections: (0..operations).map(operation).map(connection).collect(),
        generations: Vec::new(),
        upgrades: Vec::new(),
        faults: Vec::new(),
        kernel: KernelLedger {
            scope: Scope::Private,
            before: BTreeMap::new(),
            after: BTreeMap::from([("Tcp.OutRsts".to_owned(), 3)]),
        },
        observer: Observer { intended: vec![operations], ..Observer::default() },
        interrupted: None,
        leaked: Vec::new(),
    }
}

fn some_plan() -> Plan {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/smoke.toml");
    Plan::load(&scenario, None).unwrap().0
}

fn run(operations: u64) -> Run {
    let machine = Machine { kernel: "6.1.0".to_owned(), cpus: 2, boot: "b".to_owned() };
    let part = Part { shard: Shard::WHOLE, machine, recording: recording(operations) };
    Run { plan: some_plan(), parts: vec![part] }
}

/// A stored run, in a directory.
fn stored() -> TempDir {
    let dir = TempDir::new().unwrap();
    run(10).write(dir.path()).unwrap();
    dir
}

/// Why the run in `dir` is refused. It names the file.
#[track_caller]
fn refused(dir: &TempDir, file: &str) -> String {
    let message = Run::read(dir.path()).unwrap_err().to_string();
    assert!(message.contains(&dir.path().join(file).display().to_string()), "{message}");
    message
}

fn unpacked(dir: &TempDir) -> String {
    let mut text = String::new();
    let packed = fs::read(dir.path().join("recording.json.gz")).unwrap();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    text
}

fn pack(dir: &TempDir, text: &str) {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    fs::write(dir.path().join("recording.json.gz"), out.finish().unwrap()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn any_plan_comes_back_exactly(plan in plan()) {
        let dir = TempDir::new().unwrap();
        let run = Run { plan, ..run(1) };
        run.write(dir.path()).unwrap();
        prop_assert_eq!(Run::read(dir.path()).unwrap(), run);
    }
}

#[test]
fn a_recording_comes_back_exactly_and_other_tools_can_read_it() {
    let (dir, run) = (TempDir::new().unwrap(), run(3000));
    run.write(dir.path()).unwrap();
    assert_eq!(Run::read(dir.path()).unwrap(), run);
    let json: serde_json::Value = serde_json::from_str(&unpacked(&dir)).unwrap();
    assert_eq!(json["schema"], "harness/recording/1");
    let operations = &json["parts"][0]["recording"]["operations"];
    assert_eq!(operations.as_array().unwrap().len(), 3000);
}

#[test]
fn a_file_that_is_cut_short_is_said_to_be() {
    let dir = stored();
    let path = dir.path().join("recording.json.gz");
    let packed = fs::read(&path).unwrap();
    for length in [packed.len() - 1, packed.len() / 2, 12] {
        fs::write(&path, &packed[..length]).unwrap();
        assert!(refused(&dir, "recording.json.gz").contains("cut short"));
    }
    let mut flipped = packed;
    let middle = flipped.len() - 6;
    flipped[middle] ^= 1;
    fs::write(&path, flipped).unwrap();
    assert!(refused(&dir, "recording.json.gz").contains("damaged"));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let dir = stored();
    for (text, part) in [
        ("{}", "schema"),
        ("[1, 2]", "expected a string"),
        ("hello", "expected"),
        ("{\"schema\": \"harness/recording/1\"}", "plan_sha256"),
        ("{\"schema\": \"harness/recording/1\", \"plan_sha256\": \"\", \"parts\": []}", "no run"),
    ] {
        pack(&dir, text);
        let message = refused(&dir, "recording.json.gz");
        assert!(message.contains("recording") && message.contains(part), "{text}: {message}");
    }
    fs::write(dir.path().join("recording.json.gz"), "{}").unwrap();
    assert!(refused(&dir, "recording.json.gz").contains("gzip"));
    let dir = stored();
    fs::write(dir.path().join("plan.json"), "{}").unwrap();
    assert!(refused(&dir, "plan.json").contains("schema"));
}

#[test]
fn another_version_is_named_beside_the_one_that_would_do() {
    let dir = stored();
    pack(&dir, &unpacked(&dir).replace("harness/recording/1", "harness/recording/9"));
    let message = refused(&dir, "recording.json.gz");
    assert!(message.contains("`harness/recording/9`"), "{message}");
    assert!(message.contains("`harness/recording/1`"), "{message}");
    let dir = stored();
    pack(&dir, &unpacked(&dir).replace("\"version\":1", "\"version\":77"));
    assert!(refused(&dir, "recording.json.gz").contains("`version 77`"));
    let dir = stored();
    let path = dir.path().join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("harness/plan/1", "harness/plan/2")).unwrap();
    assert!(refused(&dir, "plan.json").contains("`harness/plan/2`"));
}

#[test]
fn what_is_not_there_is_named_with_what_is_wanted() {
    let dir = TempDir::new().unwrap();
    assert!(refused(&dir, "recording.json.gz").contains("harness run --out"));
    let dir = stored();
    fs::remove_file(dir.path().join("plan.json")).unwrap();
    refused(&dir, "plan.json");
}

#[test]
fn the_plan_of_another_run_is_noticed() {
    let dir = stored();
    let path = dir.path().join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"smoke\"", "\"smoky\"")).unwrap();
    assert!(refused(&dir, "plan.json").contains("not the plan"));
}

#[test]
#[ignore = "shows what a large run costs; run it with --release and --nocapture"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_large_run_is_stored_and_read_in_a_few_seconds() {
    use std::time::Instant;
    let (dir, run) = (TempDir::new().unwrap(), run(700_000));
    let begun = Instant::now();
    run.write(dir.path()).unwrap();
    let (written, begun) = (begun.elapsed(), Instant::now());
    let read = Run::read(dir.path()).unwrap();
    let took = begun.elapsed();
    assert_eq!(read, run);
    let size = fs::metadata(dir.path().join("recording.json.gz")).unwrap().len();
    println!("{size} bytes, written in {written:?}, read in {took:?}");
    assert!(written < Duration::from_secs(6) && took < Duration::from_secs(6));
}
