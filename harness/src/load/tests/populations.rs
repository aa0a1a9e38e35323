//! Populations that are more than a request on a TCP connection.

use socket2::{Domain, SockAddr, Socket, Type};

use super::server::serve_unix;
use super::*;
use crate::scenario::plan::Pace;

fn stream(rate: f64, size: usize, pace: Pace, half_close: f64) -> Load {
    let kind = LoadKind::Stream { pace, half_close };
    Load { payload: (size, size), ..load("streams", kind, rate) }
}

#[test]
fn a_stream_goes_at_the_pace_it_was_given_and_is_byte_exact() {
    let server = serve(Manner::Echo);
    // 100 KiB at 500 KiB/s are a fifth of a second, however slow the machine.
    for pace in [
        Pace { send: Some(500 << 10), receive: None },
        Pace { send: None, receive: Some(500 << 10) },
    ] {
        let gathered = run(vec![stream(50.0, 100 << 10, pace, 0.5)], server.address, 20);
        only(&gathered, OpKind::Churn, "Ok");
        let shortest = gathered.operations.iter().map(|row| row.finished - row.dispatched).min();
        assert!(shortest.unwrap() > Duration::from_millis(150), "{pace:?}: {shortest:?}");
        let greeting = u64::try_from("generation 3 pid 77\n".len()).unwrap();
        assert!(gathered.connections.iter().all(|row| row.bytes_in == (100 << 10) + greeting));
    }
}

#[test]
fn a_reply_that_is_dropped_because_the_client_has_finished_is_a_harm() {
    let server = serve(Manner::Hasty);
    let gathered = run(vec![stream(200.0, 64, Pace::default(), 1.0)], server.address, 50);
    only(&gathered, OpKind::Churn, "half_close");
}

#[test]
fn a_volley_is_fired_at_its_moment_beside_the_schedule() {
    let server = serve(Manner::Echo);
    let (clock, plan) = (Clock::start(), plan(vec![churn(100.0)]));
    let site = Site { address: server.address, directory: Path::new("/nonexistent") };
    let running = start(&plan, site, clock, Sightings::default()).unwrap();
    let moment = clock.now().after(Duration::from_millis(100));
    let volley = |moment| Volley { population: 0, moment, count: 64, number: 1 };
    running.burst(&plan.loads[0], volley(moment)).unwrap();
    // The load ends before this one.
    running.burst(&plan.loads[0], volley(moment.after(Duration::from_hours(1)))).unwrap();
    wait_for(&running, 100);
    let gathered = running.finish();
    books_balance(&gathered);
    only(&gathered, OpKind::Churn, "Ok");
    let fired: Vec<_> = gathered.operations.iter().filter(|row| row.intended == moment).collect();
    assert_eq!(fired.len(), 64);
    assert!(fired.iter().all(|row| row.dispatched >= moment));
}

#[test]
fn idle_connections_are_held_and_then_asked_once() {
    let server = serve(Manner::Echo);
    let idle = load("idle", LoadKind::Idle { connections: 50 }, 500.0);
    let gathered = run(vec![idle], server.address, 50);
    for kind in [OpKind::Open, OpKind::Request, OpKind::Close] {
        assert_eq!(fates(&gathered, kind), BTreeMap::from([("Ok".to_owned(), 50)]));
    }
    // All of them were there at the same time.
    let last_opened = gathered.connections.iter().filter_map(|row| row.opened).max().unwrap();
    assert!(gathered.connections.iter().all(|row| row.closed > last_opened));
}

#[test]
fn an_idle_connection_that_is_dropped_is_a_harm() {
    let server = serve(Manner::FinishAfterGreeting);
    let idle = load("idle", LoadKind::Idle { connections: 4 }, 500.0);
    let gathered = run(vec![idle], server.address, 16);
    assert!(fates(&gathered, OpKind::Close).contains_key("eof_idle"));
}

fn by_unix(path: &Path) -> Plan {
    let to = Endpoint::Unix(path.to_string_lossy().into_owned());
    let kept = kept(100.0, 2, Duration::from_millis(100));
    plan([churn(300.0), kept].map(|load| Load { to: to.clone(), ..load }).into())
}

fn run_unix(path: &Path, operations: u64) -> Gathered {
    let (running, _) = begin(&by_unix(path), (Ipv4Addr::LOCALHOST, 1).into());
    wait_for(&running, operations);
    let gathered = running.finish();
    books_balance(&gathered);
    gathered
}

#[test]
fn a_unix_socket_is_served_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _server = serve_unix(Manner::Echo, &path);
    let gathered = run_unix(&path, 300);
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request, OpKind::Close] {
        only(&gathered, kind, "Ok");
    }
    assert!(gathered.connections.iter().all(|row| row.local.is_none()));
}

/// Nobody listens yet. So nobody is admitted once it is dropped, even by the copy that a
/// program has which another test has just started, until it has been executed.
fn bind(path: &Path) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
    socket
}

#[test]
fn what_happens_at_a_unix_socket_has_names_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    only(&run_unix(&path, 50), OpKind::Churn, "uds_enoent");

    drop(bind(&path));
    only(&run_unix(&path, 50), OpKind::Churn, "uds_refused");
    std::fs::remove_file(&path).unwrap();

    // Nobody accepts: the queue fills, and when it is closed all of it is lost.
    let listener = bind(&path);
    listener.listen(4).unwrap();
    let (running, _) = begin(&by_unix(&path), (Ipv4Addr::LOCALHOST, 1).into());
    wait_for(&running, 50);
    drop(listener);
    let fates = fates(&running.finish(), OpKind::Churn);
    assert!(fates.contains_key("uds_eagain") && fates.contains_key("uds_queue_lost"), "{fates:?}");
}
