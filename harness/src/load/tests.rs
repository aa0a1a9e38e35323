//! The load against servers of all manners. Everything is real but short.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Gathered, Running, Site, Volley, start};
use crate::clock::Clock;
use crate::event::{Fate, OpKind, Served, Sightings};
use crate::scenario::plan::{
    Addressee, Arrivals, By, Coverage, Endpoint, Load, LoadKind, Namespace, Network,
    ObserverLimits, Phases, Plan, Signal, Speak, Target, Trigger,
};

mod server;
mod full_rate;
mod populations;
mod records;
mod datagrams;
mod resets;
mod web;

use server::{Manner, serve};

const GREETING: &str = "generation {generation} pid {pid}";

fn load(name: &str, kind: LoadKind, rate: f64) -> Load {
    Load {
        name: name.to_owned(),
        kind,
        to: Endpoint::Tcp,
        speak: Speak::Echo,
        rate,
        arrivals: Arrivals::Poisson,
        payload: (64, 512),
        timeout: Duration::from_secs(5),
        stall: Duration::from_secs(2),
        ramp: None,
        bursts: Vec::new(),
    }
}

fn churn(rate: f64) -> Load {
    load("churn", LoadKind::Churn, rate)
}

fn kept(rate: f64, connections: usize, lifetime: Duration) -> Load {
    load("kept", LoadKind::KeepAlive { connections, lifetime }, rate)
}

fn plan(loads: Vec<Load>) -> Plan {
    let phase = Duration::from_secs(1);
    Plan {
        name: "test".to_owned(),
        about: "the load itself".to_owned(),
        path: PathBuf::new(),
        seed: 42,
        target: Target {
            command: Vec::new(),
            attach: None,
            pid_file: None,
            greeting: Some(GREETING.to_owned()),
            closes_idle: false,
            trigger: Trigger { by: By::Signal(Signal::SigHup), to: Addressee::Serving },
            stop_signal: Signal::SigTerm,
            ready_timeout: phase,
            drain_timeout: phase,
            ledger: None,
        },
        network: Network { namespace: Namespace::Host, sysctl: Vec::new(), loss: None },
        phases: Phases { warmup: phase, baseline: phase, storm: phase, settle: phase },
        loads,
        upgrades: None,
        faults: Vec::new(),
        coverage: Coverage {
            upgrades: 0,
            connections: 0,
            connections_per_upgrade: 0.0,
            faults: 0,
            tolerated: Vec::new(),
            faults_delivered: None,
            ops_in_window: Vec::new(),
        },
        limits: ObserverLimits {
            lateness_p99: phase,
            lateness_max: phase,
            hiccup_max: phase,
            shed: 0,
        },
        gates: Vec::new(),
    }
}

fn begin(plan: &Plan, target: SocketAddr) -> (Running, Sightings) {
    let sightings = Sightings::default();
    let site = Site { address: target, directory: Path::new("/nonexistent") };
    (start(plan, site, Clock::start(), sightings.clone()).unwrap(), sightings)
}

/// Runs the load until so many operations have ended.
fn run(loads: Vec<Load>, target: SocketAddr, operations: u64) -> Gathered {
    let (running, _) = begin(&plan(loads), target);
    wait_for(&running, operations);
    let gathered = running.finish();
    books_balance(&gathered);
    gathered
}

fn wait_for(running: &Running, operations: u64) {
    let clock = Clock::start();
    while running.counts().0 < operations {
        assert!(clock.now().0 < 30_000_000_000, "{:?}", running.counts());
        std::thread::yield_now();
    }
}

fn books_balance(gathered: &Gathered) {
    for (population, intended) in gathered.intended.iter().enumerate() {
        let rows = gathered.operations.iter();
        let rows = rows.filter(|row| usize::from(row.population) == population).count();
        assert_eq!(u64::try_from(rows).unwrap(), *intended);
    }
    assert!(gathered.operations.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(gathered.connections.windows(2).all(|pair| pair[0].id < pair[1].id));
    for row in &gathered.operations {
        assert!(row.intended <= row.dispatched && row.dispatched <= row.finished, "{row:?}");
        assert!(gathered.connections.binary_search_by_key(&row.connection, |c| c.id).is_ok());
    }
}

fn fates(gathered: &Gathered, kind: OpKind) -> BTreeMap<String, usize> {
    let mut fates = BTreeMap::new();
    for row in gathered.operations.iter().filter(|row| row.kind == kind) {
        let name = match row.fate {
            Fate::Harmed(harm) => harm.id().to_owned(),
            fate @ (Fate::Ok | Fate::LimitHit | Fate::Cancelled) => format!("{fate:?}"),
        };
        *fates.entry(name).or_default() += 1;
    }
    fates
}

fn only(gathered: &Gathered, kind: OpKind, fate: &str) {
    let fates = fates(gathered, kind);
    assert_eq!(fates.keys().collect::<Vec<_>>(), [fate], "{kind:?}: {fates:?}");
}

#[test]
fn a_good_server_harms_nobody_and_the_books_balance() {
    let server = serve(Manner::Echo);
    let lifetime = Duration::from_millis(200);
    let plan = plan(vec![churn(500.0), kept(300.0, 8, lifetime)]);
    let (running, sightings) = begin(&plan, server.address);
    wait_for(&running, 1000);
    let gathered = running.finish();
    books_balance(&gathered);
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request, OpKind::Close] {
        only(&gathered, kind, "Ok");
    }
    let opens = fates(&gathered, OpKind::Open)["Ok"];
    assert!(opens > 8, "connections are renewed: {opens}");
    assert_eq!(fates(&gathered, OpKind::Close)["Ok"], opens);
    let served = Served { generation: Some(3), pid: 77 };
    assert_eq!(sightings.all(), [served]);
    let greeting = u64::try_from("generation 3 pid 77\n".len()).unwrap();
    for row in &gathered.connections {
        assert_eq!(row.served, Some(served));
        assert_eq!(row.bytes_in, row.bytes_out + greeting);
        assert!(row.opened <= row.established && row.established <= row.first_byte);
        assert!(row.first_byte.unwrap() <= row.closed && !row.reset);
        assert!(row.local.unwrap().ip().to_string().starts_with("127.0.1."));
    }
}

#[test]
fn nobody_listening_is_refused() {
    let server = serve(Manner::Echo);
    let address = server.address;
    drop(server);
    let loads = vec![churn(500.0), kept(100.0, 2, Duration::from_secs(9))];
    let gathered = run(loads, address, 200);
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request] {
        only(&gathered, kind, "refused");
    }
    assert!(gathered.connections.iter().all(|row| row.reset && row.opened.is_some()));
}

#[test]
fn every_bad_manner_has_its_name() {
    for (manner, expected) in [
        (Manner::ResetRequest, "reset_request"),
        (Manner::FinishAtOnce, "eof_greeting"),
        (Manner::FinishAfterGreeting, "eof_early"),
        (Manner::Double, "dup_bytes"),
        (Manner::Hole, "lost_bytes"),
        (Manner::Garble, "corrupt"),
    ] {
        let server = serve(manner);
        let gathered = run(vec![churn(500.0)], server.address, 100);
        let fates = fates(&gathered, OpKind::Churn);
        assert_eq!(fates.keys().collect::<Vec<_>>(), [expected], "{manner:?}: {fates:?}");
    }
}

#[test]
fn a_reset_instead_of_a_greeting_is_told_from_a_refusal() {
    let server = serve(Manner::ResetAtOnce);
    let gathered = run(vec![churn(500.0)], server.address, 100);
    let fates = fates(&gathered, OpKind::Churn);
    // It can be there before the client has looked whether it is connected.
    let names = ["reset_connect", "reset_queue"];
    assert!(fates.keys().all(|fate| names.contains(&fate.as_str())), "{fates:?}");
    assert!(gathered.connections.iter().all(|row| row.reset && row.bytes_in == 0));
}

#[test]
fn a_reset_in_the_reply_is_told_from_one_before() {
    let server = serve(Manner::ResetReply);
    let gathered = run(vec![churn(200.0)], server.address, 100);
    let fates = fates(&gathered, OpKind::Churn);
    // The reset may overtake the client's reading of what it had received.
    assert!(fates.contains_key("reset_reply"), "{fates:?}");
    assert!(fates.keys().all(|fate| fate.starts_with("reset_re")), "{fates:?}");
}

#[test]
fn a_mute_server_has_never_served() {
    let server = serve(Manner::Mute);
    let quick = |load| Load { timeout: Duration::from_millis(300), ..load };
    let loads = vec![quick(churn(200.0)), quick(kept(100.0, 2, Duration::from_secs(9)))];
    let gathered = run(loads, server.address, 100);
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request] {
        only(&gathered, kind, "never_served");
    }
}

#[test]
fn requests_that_wait_for_a_deaf_server_time_out_with_it() {
    let server = serve(Manner::Deaf);
    let lifetime = Duration::from_secs(9);
    let load = Load { timeout: Duration::from_millis(300), ..kept(400.0, 2, lifetime) };
    let gathered = run(vec![load], server.address, 200);
    only(&gathered, OpKind::Request, "timeout");
    // None waits longer than its own time, however many wait before it.
    let longest = gathered.operations.iter().map(|row| row.finished - row.dispatched).max();
    assert!(longest.unwrap() < Duration::from_secs(2), "{longest:?}");
}

/// Runs a load that expects no greeting.
fn run_plain(manner: Manner, timeout: Duration) -> Gathered {
    let server = serve(manner);
    let loads = vec![churn(300.0), kept(300.0, 4, Duration::from_millis(200))];
    let mut plan = plan(loads.into_iter().map(|load| Load { timeout, ..load }).collect());
    plan.target.greeting = None;
    let (running, sightings) = begin(&plan, server.address);
    wait_for(&running, 300);
    let gathered = running.finish();
    books_balance(&gathered);
    assert!(sightings.all().is_empty());
    gathered
}

#[test]
fn a_server_may_have_no_greeting() {
    let gathered = run_plain(Manner::Plain, Duration::from_secs(5));
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request, OpKind::Close] {
        only(&gathered, kind, "Ok");
    }
    assert!(gathered.connections.iter().all(|row| row.bytes_in == row.bytes_out));
    let gathered = run_plain(Manner::Mute, Duration::from_millis(300));
    only(&gathered, OpKind::Churn, "never_served");
    let gathered = run_plain(Manner::FinishAtOnce, Duration::from_secs(5));
    let fates = fates(&gathered, OpKind::Churn);
    // Whoever sends to a server that is gone is reset, if it is too late to read the end.
    assert!(fates.contains_key("eof_early"), "{fates:?}");
}

#[test]
fn a_late_first_byte_is_a_stall() {
    let server = serve(Manner::Late);
    let load = Load { stall: Duration::from_millis(100), ..churn(200.0) };
    only(&run(vec![load], server.address, 100), OpKind::Churn, "stall_accept");
}

#[test]
fn harm_to_an_idle_connection_is_noticed_at_once() {
    for (manner, expected) in
        [(Manner::FinishAfterGreeting, "eof_idle"), (Manner::ResetAfterGreeting, "reset_idle")]
    {
        let server = serve(manner);
        let loads = vec![kept(0.0, 4, Duration::from_secs(60))];
        let gathered = run(loads, server.address, 40);
        // A reset can overtake the greeting, too; then the opening has the harm.
        let fates = fates(&gathered, OpKind::Close);
        assert!(fates.contains_key(expected), "{manner:?}: {fates:?}");
    }
}

#[test]
fn what_is_given_up_is_cancelled() {
    let server = serve(Manner::Mute);
    let loads = vec![churn(500.0), kept(100.0, 4, Duration::from_secs(60))];
    let (running, _) = begin(&plan(loads), server.address);
    // Nothing ends by itself: wait for time to pass on the schedule instead.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(running.counts(), (0, 0));
    let gathered = running.abort();
    books_balance(&gathered);
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request] {
        only(&gathered, kind, "Cancelled");
    }
}

#[test]
fn a_greeting_without_numbers_is_not_accepted() {
    let mut plan = plan(vec![churn(1.0)]);
    plan.target.greeting = Some("hello".to_owned());
    let address = (Ipv4Addr::LOCALHOST, 1).into();
    let site = Site { address, directory: Path::new("/") };
    assert!(start(&plan, site, Clock::start(), Sightings::default()).is_err());
}
