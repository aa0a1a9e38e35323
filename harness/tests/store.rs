//! A run that is stored is the same run when it is read again, and what is no
//! stored run is refused in words that help.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use harness::clock::Stamp;
use harness::event::{
    Anchor, Connection, Edge, Expected, Fate, Generation, Harm, KernelLedger, Machine, Observer,
    OpKind, Operation, Outcome, Recording, Resets, Sample, Samples, Scope, Served, Spared,
    Timeline, Upgrade, Upshot, VERSION,
};
use harness::scenario::Plan;
use harness::scenario::catalogue::ENTRIES;
use harness::scenario::gate::{Gate, Window};
use harness::scenario::plan::{
    Addressee, Arrivals, Attach, Burst, By, Coverage, Delivered, Endpoint, Fault, Http, Load,
    LoadKind, Namespace, Network, ObserverLimits, Offset, Pace, Phases, Ramp, Signal, Speak,
    Target, Trigger, Upgrades, When,
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
        (1_usize..100).prop_map(|connections| LoadKind::Idle { connections }),
        (proptest::option::of(any::<u64>()), 0.0..1.0_f64).prop_map(|(send, half_close)| {
            LoadKind::Stream { pace: Pace { send, receive: None }, half_close }
        }),
        (1_usize..100).prop_map(|flows| LoadKind::Udp { flows }),
        (1_usize..100, span())
            .prop_map(|(connections, lifetime)| LoadKind::KeepAlive { connections, lifetime }),
    ];
    let rate = prop_oneof![1e-300..1e7_f64, Just(0.1 + 0.2), Just(f64::MIN_POSITIVE)];
    let arrivals = prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson)];
    let to = prop_oneof![
        Just(Endpoint::Tcp),
        ".*".prop_map(Endpoint::Unix),
        ".*".prop_map(Endpoint::Seqpacket),
    ];
    let ramp = proptest::option::of((span(), span(), 0.1..1e6_f64))
        .prop_map(|ramp| ramp.map(|(begin, over, to)| Ramp { begin, over, to }));
    let burst = (any::<i64>(), any::<u64>()).prop_map(|(offset, count)| Burst {
        on: Anchor::NewSeen,
        offset: Offset(offset),
        count,
    });
    let swell = (ramp, proptest::collection::vec(burst, 0..3));
    let spans = (span(), span());
    let at = (to, speak());
    (".*", kind, at, rate, arrivals, (1_usize..9, 9_usize..99), spans, swell).prop_map(
        |(name, kind, (to, speak), rate, arrivals, payload, (timeout, stall), (ramp, bursts))| {
            Load { name, kind, to, speak, rate, arrivals, payload, timeout, stall, ramp, bursts }
        },
    )
}

fn speak() -> impl Strategy<Value = Speak> {
    let numbers = (proptest::option::of(any::<u16>()), proptest::option::of(any::<u64>()));
    let http = (".*", ".*", numbers).prop_map(|(path, host, (status, body_bytes))| {
        Speak::Http(Http { path, host, status, body_bytes })
    });
    prop_oneof![Just(Speak::Echo), http]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let signal = prop_oneof![Just(Signal::SigHup), Just(Signal::SigUsr2), Just(Signal::SigWinch)];
    let by = prop_oneof![
        signal.prop_map(By::Signal),
        proptest::collection::vec(".*", 0..4).prop_map(By::Command),
        (".*", ".*").prop_map(|(path, send)| By::Socket { path, send }),
    ];
    let to = prop_oneof![Just(Addressee::Serving), Just(Addressee::Main)];
    (by, to).prop_map(|(by, to)| Trigger { by, to })
}

fn attach() -> impl Strategy<Value = Option<Attach>> {
    let one = (any::<IpAddr>(), any::<u16>(), proptest::option::of(any::<u32>()));
    let attach = |(ip, port, pid)| Attach { connect: SocketAddr::new(ip, port), pid };
    proptest::option::of(one.prop_map(attach))
}

fn target() -> impl Strategy<Value = Target> {
    let signal = prop_oneof![Just(Signal::SigHup), Just(Signal::SigUsr2), Just(Signal::SigWinch)];
    let maybe = || proptest::option::of(".*");
    let command = (proptest::collection::vec(".*", 0..4), attach(), any::<bool>());
    let files = (maybe(), maybe());
    (command, files, maybe(), trigger(), signal, (span(), span())).prop_map(
        |(command, (pid_file, ledger), greeting, trigger, stop_signal, timeouts)| Target {
            command: command.0,
            attach: command.1,
            pid_file,
            greeting,
            closes_idle: command.2,
            trigger,
            stop_signal,
            ready_timeout: timeouts.0,
            drain_timeout: timeouts.1,
            ledger,
        },
    )
}

fn coverage() -> impl Strategy<Value = Coverage> {
    let harms = proptest::sample::subsequence(Harm::ALL.to_vec(), 0..4);
    let delivered = prop_oneof![
        Just(None),
        Just(Some(Delivered::All)),
        any::<u64>().prop_map(|least| Some(Delivered::AtLeast(least))),
    ];
    let windows = proptest::sample::subsequence(Window::ALL.to_vec(), 0..3);
    (any::<u64>(), any::<u64>(), 0.0..1e9_f64, any::<u64>(), harms, delivered, windows).prop_map(
        |(upgrades, connections, per_upgrade, faults, tolerated, faults_delivered, windows)| {
            Coverage {
                upgrades,
                connections,
                connections_per_upgrade: per_upgrade,
                faults,
                tolerated,
                faults_delivered,
                ops_in_window: windows.into_iter().zip(1..).collect(),
            }
        },
    )
}

prop_compose! {
    fn plan()(
        texts in (".*", ".*", "[a-z/]{0,20}"),
        seed: u64,
        target in target(),
        private: bool,
        (sysctl, loss) in (
            proptest::collection::vec((".*", ".*"), 0..3),
            proptest::option::of(0.001_f64..=0.5),
        ),
        spans in proptest::array::uniform4(span()),
        loads in proptest::collection::vec(load(), 0..3),
        upgrades in proptest::option::of((span(), 2_usize..99, any::<u64>())),
        faults in proptest::collection::vec(fault(), 0..3),
        coverage in coverage(),
        limits in (span(), span(), span(), any::<u64>()),
        gates in proptest::sample::subsequence(gates(), 0..4),
    ) -> Plan {
        let [warmup, baseline, storm, settle] = spans;
        let namespace = if private { Namespace::Private } else { Namespace::Host };
        Plan {
            name: texts.0,
            about: texts.1,
            path: PathBuf::from(texts.2),
            seed,
            target,
            network: Network { namespace, sysctl, loss },
            phases: Phases { warmup, baseline, storm, settle },
            loads,
            upgrades: upgrades.map(|(every, max_alive, most)| Upgrades { every, max_alive, most }),
            faults,
            coverage,
            limits: ObserverLimits {
                lateness_p99: limits.0,
                lateness_max: limits.1,
                hiccup_max: limits.2,
                shed: limits.3,
            },
            gates,
        }
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    let when = prop_oneof![
        (1_u64..99).prop_map(When::Every),
        proptest::collection::vec(1_u64..99, 1..4).prop_map(When::Upgrades),
        // A share with many digits comes back as it was.
        (1_u32..).prop_map(|share| When::Chance(1.0 / f64::from(share))),
    ];
    let kind = proptest::sample::select(ENTRIES).prop_map(|entry| entry.kind);
    let upgrade = proptest::sample::select(vec![Upshot::Fails, Upshot::Completes]);
    let clients = proptest::sample::select(vec![Spared::All, Spared::ButItsOwn]);
    (".*", kind, when, upgrade, clients, proptest::option::of(".*")).prop_map(
        |(id, kind, when, upgrade, clients, told)| Fault {
            id,
            kind,
            when,
            expect: Expected { upgrade, clients, told },
        },
    )
}

/// Every kind of gate.
fn gates() -> Vec<Gate> {
    let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/smoke.toml");
    let source = format!(
        "{}\n{}",
        fs::read_to_string(smoke).unwrap(),
        r#"
[gates]
"harm.*" = { is = "== 0" }
"harm.refused" = { is = "<= 3", min_samples = 7 }
"ledger" = { is = "balanced" }
"kernel.unexplained" = { is = "== 0" }
"upgrade.unplanned_failures" = { is = "== 0" }
"upgrade.answered.p99" = { is = "< 0.3s" }
"latency.churn.during.p99.9" = { is = "< 25ms", min_samples = 20000 }
"latency.churn.drain.max" = { is = "<= 3.3 * baseline + 2ms" }
"gap.churn.max" = { is = "< 50ms" }
"resources.fds.slope_per_upgrade" = { is = "<= 0.1" }
"processes.leaked" = { is = "== 0" }
"queue.depth.max" = { is = "< 100" }
"#
    );
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("gated.toml");
    fs::write(&path, source).unwrap();
    Plan::load(&path, None).unwrap().0.gates
}

/// Three resets, seen when the first upgrade was triggered.
fn samples() -> Samples {
    let mut samples = Samples::default();
    let read = |resets| BTreeMap::from([("Tcp.OutRsts".to_owned(), resets)]);
    for (at, edge, resets) in [(0, Edge::Began, 0), (1000, Edge::Triggered(1), 3)] {
        let (from, to) = (Stamp(at), Stamp(at + 5));
        let sample = Sample { from, to, edges: vec![edge], moved: Vec::new(), queues: Vec::new() };
        samples.push(sample, &read(0), &read(resets));
    }
    samples
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
        served: Some(Served { generation: Some(operation.id / 5000), pid: 4242 }),
        bytes_out: 64 + operation.id % 961,
        bytes_in: 89 + operation.id % 961,
        reset: false,
        syn_retransmits: Some(0),
        datagrams: None,
        retransmits: Some(u32::from(operation.id.is_multiple_of(2))),
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
        bursts: Vec::new(),
        kernel: KernelLedger {
            scope: Scope::Private,
            before: BTreeMap::new(),
            after: BTreeMap::from([("Tcp.OutRsts".to_owned(), 3)]),
            samples: samples(),
            resets: Resets::default(),
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

/// A part of a run, stored: so many operations and two upgrades, by processes whose
/// pids every part has.
fn part(plan: &Plan, shard: &str, operations: u64) -> TempDir {
    let mut run = run(operations);
    run.plan = plan.clone();
    run.parts[0].shard = shard.parse().unwrap();
    run.parts[0].machine.boot = format!("boot of {shard}");
    let recording = &mut run.parts[0].recording;
    recording.timeline.load_began = Stamp(operations);
    for number in 1..=2 {
        recording.upgrades.push(Upgrade {
            number,
            triggered: Stamp(number * 1000),
            old_pid: 7,
            new_pid: Some(8),
            new_seen: None,
            new_answered: Some(Stamp(number * 1000 + 5)),
            outcome: Outcome::Completed,
            decided: Stamp(number * 1000 + 9),
            trouble: None,
        });
    }
    recording.generations.push(Generation {
        pid: 4242,
        generation: Some(0),
        seen: Stamp(1),
        gone: None,
        exit: None,
        ledger: None,
        listeners: BTreeSet::new(),
        resources: None,
    });
    let dir = TempDir::new().unwrap();
    run.write(dir.path()).unwrap();
    dir
}

fn merged(dirs: &[&TempDir]) -> Result<Run, String> {
    let paths: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
    Run::merge(&paths).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16, failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn parts_are_merged_without_loss_in_whatever_order(sizes in proptest::array::uniform3(1_u64..40)) {
        let plan = some_plan();
        let [a, b, c] = [1, 2, 3].map(|index: u32| {
            part(&plan, &format!("{index}/3"), sizes[usize::try_from(index - 1).unwrap()])
        });
        let all = merged(&[&a, &b, &c]).unwrap();
        prop_assert_eq!(&all, &merged(&[&c, &a, &b]).unwrap());
        let two = TempDir::new().unwrap();
        merged(&[&c, &b]).unwrap().write(two.path()).unwrap();
        prop_assert_eq!(&all, &merged(&[&two, &a]).unwrap());

        // Each part still is what it was, but for its numbers.
        let (mut operations, mut upgrades) = (Vec::new(), Vec::new());
        for (dir, merged) in [&a, &b, &c].into_iter().zip(&all.parts) {
            let mut alone = Run::read(dir.path()).unwrap().parts.remove(0);
            let recording = &merged.recording;
            operations.extend(recording.operations.iter().map(|row| row.id));
            upgrades.extend(recording.upgrades.iter().map(|row| row.number));
            let rows = alone.recording.operations.iter_mut().zip(&recording.operations);
            rows.for_each(|(alone, row)| {
                (alone.id, alone.connection) = (row.id, row.connection);
            });
            let rows = alone.recording.connections.iter_mut().zip(&recording.connections);
            rows.for_each(|(alone, row)| alone.id = row.id);
            let rows = alone.recording.upgrades.iter_mut().zip(&recording.upgrades);
            rows.for_each(|(alone, row)| alone.number = row.number);
            let rows = alone.recording.kernel.samples.rows.iter_mut();
            rows.zip(&recording.kernel.samples.rows).for_each(|(alone, row)| {
                alone.edges.clone_from(&row.edges);
            });
            prop_assert_eq!(&alone, merged);
        }
        prop_assert_eq!(operations, (0..sizes.iter().sum()).collect::<Vec<u64>>());
        prop_assert_eq!(upgrades, [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn several_parts_are_looked_at_as_one_run() {
    let plan = some_plan();
    let run = merged(&[&part(&plan, "1/2", 10), &part(&plan, "2/2", 30)]).unwrap();
    let (whole, machine) = run.view();
    assert_eq!((whole.operations.len(), whole.connections.len()), (40, 40));
    assert_eq!(whole.observer.intended, [40]);
    assert_eq!(whole.kernel.delta("Tcp.OutRsts"), 6);
    assert_eq!(machine.cpus, 4, "two machines");
    // Their loads begin together, and nothing else of their clocks changes.
    assert_eq!(whole.timeline.load_began, Stamp(30));
    let first = run.parts[0].recording.operations[3].intended;
    assert_eq!(whole.operations[3].intended, first.after(Duration::from_nanos(20)));
    // Samples of both kernels add up, and name the upgrades as the others do.
    let samples = &whole.kernel.samples;
    assert_eq!(samples.moved(0, 3), BTreeMap::from([("Tcp.OutRsts", 6)]));
    assert!(samples.at(Edge::Triggered(1)).is_some() && samples.at(Edge::Triggered(3)).is_some());
    // Two processes with one pid are two.
    let pids: Vec<u32> = whole.generations.iter().map(|one| one.pid).collect();
    assert_eq!(pids, [4242, 4242 + (1 << 22)]);
    let served: BTreeSet<u32> =
        whole.connections.iter().filter_map(|row| Some(row.served?.pid)).collect();
    assert_eq!(served.into_iter().collect::<Vec<_>>(), pids);
    let alone = Run::read(part(&plan, "1/2", 10).path()).unwrap();
    assert_eq!(*alone.view().0, alone.parts[0].recording);
}

#[test]
fn runs_that_are_not_parts_of_one_are_not_merged() {
    let plan = some_plan();
    let other = Plan { seed: plan.seed ^ 1, ..plan.clone() };
    let mut slower = plan.clone();
    slower.loads[0].rate = 7.0;
    let elsewhere = Plan { path: PathBuf::from("/other/smoke.toml"), ..plan.clone() };
    let one = part(&plan, "1/2", 3);
    for (second, wanted) in [
        (part(&plan, "1/2", 3), &["both share 1/2", "--shard"][..]),
        (part(&plan, "1/3", 3), &["1/2", "1/3"]),
        (part(&other, "2/2", 3), &["seed is \"0x", "the same --seed"]),
        (part(&slower, "2/2", 3), &["loads.0.rate is 1000.0 in the one and 7.0"]),
    ] {
        let message = merged(&[&one, &second]).unwrap_err();
        assert!(wanted.iter().all(|part| message.contains(part)), "{message}");
        assert!(message.contains(second.path().to_str().unwrap()), "{message}");
    }
    merged(&[&one, &part(&elsewhere, "2/2", 3)]).unwrap();
    assert!(merged(&[&one, &TempDir::new().unwrap()]).unwrap_err().contains("recording.json.gz"));
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
