//! Flows of datagrams, and servers that treat them badly.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

/// What a server does with each datagram. It is told how many came before.
type Treat = fn(&UdpSocket, u64, &[u8], SocketAddr) -> std::io::Result<()>;

/// A server that treats so many datagrams, and then closes its socket.
fn serve_datagrams(most: u64, treat: Treat) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        for before in 0..most {
            let (count, client) = socket.recv_from(&mut buffer).unwrap();
            // A client that is gone is no reason to end.
            let _ = treat(&socket, before, &buffer[..count], client);
        }
    });
    address
}

fn echo(socket: &UdpSocket, datagram: &[u8], client: SocketAddr) -> std::io::Result<()> {
    socket.send_to(datagram, client).map(drop)
}

fn greeted(generation: u64, datagram: &[u8]) -> Vec<u8> {
    [format!("generation {generation} pid 77\n").as_bytes(), datagram].concat()
}

fn flows(flows: usize) -> Load {
    let load = load("flows", LoadKind::Udp { flows }, 400.0);
    Load { to: Endpoint::Udp, timeout: Duration::from_millis(500), ..load }
}

/// The fates of a hundred datagrams and more that are treated so.
fn treated(flows: Load, treat: Treat) -> BTreeMap<String, usize> {
    let gathered = run(vec![flows], serve_datagrams(u64::MAX, treat), 100);
    fates(&gathered, OpKind::Datagram)
}

#[track_caller]
fn are(fates: &BTreeMap<String, usize>, expected: &[&str]) {
    assert_eq!(fates.keys().collect::<Vec<_>>(), expected, "{fates:?}");
}

/// Bytes of memory that the datagrams in a socket's queue hold, each some hundreds: the
/// fifth field of `/proc/net/udp`, behind the colon.
fn held_by(socket: &UdpSocket) -> u64 {
    let port = format!(":{:04X}", socket.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = row.into_iter().find(|row| row.get(1).is_some_and(|local| local.ends_with(&port)));
    let (_, held) = ours.unwrap()[4].split_once(':').unwrap();
    u64::from_str_radix(held, 16).unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !holds() {
        assert!(clock.now().0 < 30_000_000_000, "never: {what}");
        thread::yield_now();
    }
}

#[test]
fn a_good_server_answers_each_datagram_once_and_the_books_balance() {
    let server = serve_datagrams(u64::MAX, |socket, _, datagram, client| {
        echo(socket, &greeted(3, datagram), client)
    });
    let (running, sightings) = begin(&plan(vec![flows(8)]), server);
    wait_for(&running, 300);
    let gathered = running.finish();
    books_balance(&gathered);
    only(&gathered, OpKind::Datagram, "Ok");
    let served = Served { generation: Some(3), pid: 77 };
    assert_eq!(sightings.all(), [served]);
    assert_eq!(gathered.connections.len(), 8);
    let greeting = u64::try_from("generation 3 pid 77\n".len()).unwrap();
    let mut all = 0;
    for row in &gathered.connections {
        let flow = row.datagrams.unwrap();
        assert_eq!((flow.received, flow.dropped), (flow.sent, 0));
        assert_eq!((row.served, row.established), (Some(served), None));
        assert_eq!(row.bytes_in, row.bytes_out + flow.sent * greeting);
        all += flow.sent;
    }
    assert_eq!(all, gathered.intended[0]);
}

#[test]
fn a_server_need_not_say_who_it_is() {
    let server =
        serve_datagrams(u64::MAX, |socket, _, datagram, client| echo(socket, datagram, client));
    // Not even where clients of other kinds are told.
    let (running, sightings) = begin(&plan(vec![flows(2)]), server);
    wait_for(&running, 100);
    only(&running.finish(), OpKind::Datagram, "Ok");
    assert!(sightings.all().is_empty());
}

#[test]
fn a_datagram_that_is_not_answered_is_lost() {
    are(&treated(flows(4), |_, _, _, _| Ok(())), &["udp_lost"]);
    // Every fourth, and nobody sends it again.
    let fates =
        treated(
            flows(4),
            |socket, before, datagram, client| {
                if before % 4 > 0 { echo(socket, datagram, client) } else { Ok(()) }
            },
        );
    assert!(fates["udp_lost"].abs_diff(fates["Ok"] / 3) <= 2, "{fates:?}");
}

#[test]
fn datagrams_in_the_queue_of_a_socket_that_is_closed_are_lost() {
    let server = serve_datagrams(1, |socket, _, datagram, client| {
        wait_until("more of them wait", || held_by(socket) > 20_000);
        echo(socket, datagram, client)
    });
    let gathered = run(vec![flows(4)], server, 100);
    let fates = fates(&gathered, OpKind::Datagram);
    are(&fates, &["Ok", "udp_lost"]);
    // Of those that met nobody, the kernel told us; of those in the queue, nobody did.
    let lost = |errno: Option<i32>| {
        let rows = gathered.operations.iter();
        rows.filter(|row| row.fate != Fate::Ok && row.errno == errno).count()
    };
    let (silently, refused) = (lost(None), lost(Some(111)));
    assert!(silently > 10 && refused > 10, "{silently} {refused}");
    assert_eq!((fates["Ok"], fates["udp_lost"]), (1, silently + refused));
}

#[test]
fn what_is_wrong_with_an_answer_has_its_name() {
    let changed: Treat = |socket, _, datagram, client| {
        let changed: Vec<u8> = datagram.iter().map(|byte| byte & 0xfe).collect();
        echo(socket, &changed, client)
    };
    let short: Treat =
        |socket, _, datagram, client| echo(socket, &datagram[..datagram.len() - 1], client);
    let long: Treat =
        |socket, _, datagram, client| echo(socket, &[datagram, b"more"].concat(), client);
    // The answer itself is right; that it comes twice is what hurts.
    let twice: Treat = |socket, _, datagram, client| {
        echo(socket, datagram, client)?;
        echo(socket, datagram, client)
    };
    let strange: Treat = |socket, _, _, client| echo(socket, &[7; 100], client);
    for (treat, expected) in [
        (changed, ["corrupt"].as_slice()),
        (short, &["lost_bytes"]),
        (long, &["dup_bytes"]),
        (twice, &["Ok", "dup_bytes"]),
        (strange, &["corrupt", "udp_lost"]),
    ] {
        are(&treated(flows(4), treat), expected);
    }
}

#[test]
fn an_answer_that_comes_late_is_a_stall_and_one_that_comes_too_late_is_lost() {
    let late: Treat = |socket, _, datagram, client| {
        let (socket, datagram) = (socket.try_clone()?, datagram.to_vec());
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            echo(&socket, &datagram, client)
        });
        Ok(())
    };
    let stall = Duration::from_millis(100);
    for (timeout, expected) in [(5000, "stall_accept"), (150, "udp_lost")] {
        let timeout = Duration::from_millis(timeout);
        are(&treated(Load { stall, timeout, ..flows(4) }, late), &[expected]);
    }
}

#[test]
fn a_flow_that_goes_back_to_an_older_generation_is_misrouted() {
    let fates = treated(flows(2), |socket, before, datagram, client| {
        let generation = if before % 50 < 40 { 5 } else { 4 };
        echo(socket, &greeted(generation, datagram), client)
    });
    are(&fates, &["Ok", "udp_misrouted"]);
    assert!((10..=fates["Ok"] / 3).contains(&fates["udp_misrouted"]), "{fates:?}");
    // Where the older one is gone when the younger comes, nobody is.
    let fates = treated(flows(2), |socket, before, datagram, client| {
        echo(socket, &greeted(4 + before / 50, datagram), client)
    });
    are(&fates, &["Ok"]);
}

#[test]
fn datagrams_that_wait_are_cancelled_with_the_run() {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let server = serve_datagrams(u64::MAX, |_, _, _, _| {
        RECEIVED.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let patient = Load { timeout: Duration::from_secs(60), ..flows(4) };
    let (running, _) = begin(&plan(vec![patient]), server);
    // Nothing ends by itself; the server knows how many wait.
    wait_until("many wait", || RECEIVED.load(Ordering::Relaxed) >= 50);
    let gathered = running.abort();
    books_balance(&gathered);
    only(&gathered, OpKind::Datagram, "Cancelled");
}
