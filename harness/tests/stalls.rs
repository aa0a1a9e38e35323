//! What a pause does to the figures: one of the server's is in them, where
//! arithmetic says it must be; one of the harness's own makes them worthless.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use harness::clock::{Clock, Stamp};
use harness::event::{KernelLedger, Observer, Recording, Scope, Sightings, Timeline, VERSION};
use harness::histogram::Histogram;
use harness::load;
use harness::scenario::Plan;
use harness::verdict::{Status, judge};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const STALL: Duration = Duration::from_millis(100);
const RATE: u32 = 500;
const OPERATIONS: u64 = 2000;

/// A noisy machine adds to latencies, so the upper bounds get more than one chance.
const ATTEMPTS: usize = 8;

fn plan(text: &str) -> Plan {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("stalls.toml");
    fs::write(&path, text).unwrap();
    Plan::load(&path, None).unwrap().0
}

/// A load of a steady beat, and gates that only a stall lets pass.
fn steady() -> Plan {
    plan(&format!(
        r#"schema = "harness/scenario/1"
name = "stalled"
[target]
command = ["server", "{{addr}}"]
[network]
namespace = "host"
[[load]]
name = "churn"
kind = "churn"
rate = {RATE}
arrivals = "uniform"
payload = "64"
[gates]
"latency.churn.after.p99" = {{ is = ">= 55ms" }}
"latency.churn.after.p98" = {{ is = ">= 15ms" }}
"gap.churn.max" = {{ is = ">= 80ms" }}
"#
    ))
}

/// An echo server on one thread. When asked to, all of it stands still at once,
/// as it would if it were stopped by a signal, and says from when until when.
struct Server {
    address: SocketAddr,
    freeze: Sender<oneshot::Sender<(Stamp, Stamp)>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(clock: Clock) -> Self {
        let (freeze, frozen) = channel::<oneshot::Sender<(Stamp, Stamp)>>();
        let (end, mut ended) = oneshot::channel::<()>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    if let Ok(answer) = frozen.try_recv() {
                        let from = clock.now();
                        thread::sleep(STALL);
                        answer.send((from, clock.now())).unwrap();
                    }
                    tokio::select! {
                        _ = &mut ended => return,
                        accepted = listener.accept() => {
                            tokio::spawn(echo(accepted.unwrap().0));
                        }
                    }
                }
            });
        });
        let address = told.recv().unwrap();
        Self { address, freeze, end: Some(end), thread: Some(thread) }
    }

    /// Takes effect with the next connection.
    fn stall(&self) -> (Stamp, Stamp) {
        let (answer, stalled) = oneshot::channel();
        self.freeze.send(answer).unwrap();
        stalled.blocking_recv().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn echo(mut stream: tokio::net::TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        stream.write_all(&bytes[..read]).await.unwrap();
    }
}

/// One run of about four seconds, stalled in its middle.
fn stalled_run(plan: &Plan) -> (Recording, (Stamp, Stamp)) {
    let clock = Clock::start();
    let server = Server::start(clock);
    let running = load::start(
        plan,
        load::Site { address: server.address, directory: Path::new("/") },
        clock,
        Sightings::default(),
    )
    .unwrap();
    let wait = |operations| {
        while running.counts().0 < operations {
            thread::sleep(Duration::from_millis(1));
        }
    };
    wait(OPERATIONS / 2);
    let stall = server.stall();
    wait(OPERATIONS);
    let gathered = running.finish();
    let recording = Recording {
        version: VERSION,
        started_unix: 0,
        populations: vec!["churn".to_owned()],
        timeline: Timeline {
            load_ended: gathered.load_ended,
            ended: clock.now(),
            ..Timeline::default()
        },
        operations: gathered.operations,
        connections: gathered.connections,
        generations: Vec::new(),
        upgrades: Vec::new(),
        faults: Vec::new(),
        kernel: KernelLedger::new(Scope::Host, BTreeMap::new(), BTreeMap::new()),
        observer: Observer {
            intended: gathered.intended,
            hiccup_max: gathered.hiccup_max,
            hiccup_p99: gathered.hiccup_p99,
        },
        interrupted: None,
        leaked: Vec::new(),
    };
    (recording, stall)
}

/// Of `n` operations at a rate `r`, a stall of `d` leaves `r·d` with latencies
/// evenly between `d` and nothing. So `k` operations take longer than `d − k/r`,
/// and that is the quantile `1 − k/n`.
#[test]
fn a_stall_of_the_server_is_at_the_quantiles_where_arithmetic_puts_it() {
    let plan = steady();
    let mut tried = Vec::new();
    for _ in 0..ATTEMPTS {
        let (recording, (from, until)) = stalled_run(&plan);
        let mut histogram = Histogram::new();
        for operation in &recording.operations {
            let latency = operation.finished - operation.intended;
            histogram.record(latency);
            // No operation that was intended meanwhile can have ended before.
            if (from..until).contains(&operation.intended) {
                assert!(operation.finished >= until, "{operation:?}");
            }
        }
        let number = u32::try_from(histogram.len()).unwrap();
        let arithmetic = |share: f64| {
            let beyond = f64::from(number) * (1.0 - share);
            (until - from).as_secs_f64() - beyond / f64::from(RATE)
        };
        // A step between two operations, and a thousandth of what the histogram rounds.
        let step = 1.5 / f64::from(RATE);
        let noise = 0.02 + 2.0 * recording.observer.hiccup_max.as_secs_f64();
        let mut close = true;
        for share in [0.98, 0.985, 0.99, 0.995, 0.999] {
            let (expected, got) = (arithmetic(share), histogram.quantile(share).as_secs_f64());
            assert!(got >= expected - step, "p{}: {got} s, not {expected} s", share * 100.0);
            close &= got <= expected + noise;
            tried.push(format!("p{:.1} {expected:.4} {got:.4} ±{noise:.4}", share * 100.0));
        }
        // The judge sees the same.
        let verdict = judge(&plan, &recording);
        for gate in &verdict.checks[..3] {
            assert_eq!(gate.status, Status::Pass, "{gate:?}");
        }
        // Without the stall it would not be there: most operations know nothing of it.
        if close && histogram.quantile(0.9).as_secs_f64() < noise {
            return;
        }
    }
    panic!("never close enough: {tried:#?}");
}

/// Stops the harness itself for 300 ms: with it the clients stand still, and the
/// latencies that they measure are not the server's.
#[test]
fn a_stall_of_the_harness_makes_the_run_inconclusive() {
    let dir = TempDir::new().unwrap();
    let (path, out) = (dir.path().join("stopped.toml"), dir.path().join("out"));
    let server = env!("CARGO_BIN_EXE_control-stop-start");
    let text = format!(
        r#"schema = "harness/scenario/1"
name = "stopped"
[target]
command = ["{server}", "--listen", "{{addr}}"]
greeting = "generation {{generation}} pid {{pid}}"
trigger = {{ signal = "SIGHUP", to = "main" }}
[phases]
warmup = "0s"
baseline = "0s"
storm = "3s"
settle = "0s"
[[load]]
name = "churn"
kind = "churn"
rate = 200
timeout = "20s"
stall = "10s"
[observer]
dispatch_lateness_p99 = "10s"
dispatch_lateness_max = "200ms"
hiccup_max = "200ms"
"#
    );
    fs::write(&path, text).unwrap();
    let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args([Path::new("run"), &path, Path::new("--out"), &out])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(harness.stderr.take().unwrap()).lines();
    // It tells every second how many operations there have been.
    assert!(lines.any(|line| line.unwrap().contains("operations")));
    let pid = Pid::from_raw(i32::try_from(harness.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    thread::sleep(Duration::from_millis(300));
    kill(pid, Signal::SIGCONT).unwrap();
    // It must not wait for us to read the rest.
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let status = harness.wait().unwrap();
    let report = fs::read_to_string(out.join("result.json")).unwrap();
    assert_eq!(status.code(), Some(3), "{rest:?}\n{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for id in ["observer.hiccup_max", "observer.lateness_max"] {
        let gates = report["gates"].as_array().unwrap();
        let gate = gates.iter().find(|gate| gate["id"] == id).unwrap();
        assert_eq!(gate["status"], "inconclusive", "{gate}");
    }
}
