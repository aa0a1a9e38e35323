//! Clients of a unix seqpacket socket.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;

/// What a server makes of a record.
type Answer = fn(&[u8]) -> Vec<Vec<u8>>;

/// Nobody listens yet. So nobody is admitted once it is dropped, even by the copy that a
/// program has which another test has just started, until it has been executed.
fn bind(path: &Path) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
    socket
}

fn listen(path: &Path, backlog: i32) -> Socket {
    let listener = bind(path);
    listener.listen(backlog).unwrap();
    listener
}

/// A server at `path`, for as long as the test's process lives.
fn serve_records(path: &Path, answer: Answer) {
    let listener = listen(path, 1024);
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            thread::spawn(move || treat(&client, answer));
        }
    });
}

fn treat(mut client: &Socket, answer: Answer) -> std::io::Result<()> {
    client.write_all(b"generation 3 pid 77\n")?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return client.shutdown(Shutdown::Write);
        }
        for record in answer(&buffer[..count]) {
            assert_eq!(client.write(&record)?, record.len());
        }
    }
}

fn by_records(path: &Path, rate: f64, payload: (usize, usize)) -> Plan {
    let to = Endpoint::Seqpacket(path.to_string_lossy().into_owned());
    let kept = kept(rate, 2, Duration::from_millis(100));
    plan([churn(rate), kept].map(|load| Load { to: to.clone(), payload, ..load }).into())
}

fn run_records(path: &Path, rate: f64, payload: (usize, usize)) -> Gathered {
    let plan = by_records(path, rate, payload);
    let (running, _) = begin(&plan, (Ipv4Addr::LOCALHOST, 1).into());
    wait_for(&running, 50);
    let gathered = running.finish();
    books_balance(&gathered);
    gathered
}

fn judged(answer: Answer) -> Gathered {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    serve_records(&path, answer);
    run_records(&path, 200.0, (64, 512))
}

#[test]
fn records_are_served_whole_however_large() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    serve_records(&path, |record| vec![record.to_vec()]);
    let gathered = run_records(&path, 20.0, (1, 200_000));
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request, OpKind::Close] {
        only(&gathered, kind, "Ok");
    }
}

#[test]
fn a_record_that_is_not_the_one_that_was_sent_is_a_harm() {
    let answers: [(Answer, &str); 4] = [
        (|record| vec![record.iter().map(|byte| !byte).collect()], "corrupt"),
        // Every byte is right, and still it is another message.
        (|record| record.chunks(record.len().div_ceil(2)).map(<[u8]>::to_vec).collect(), "corrupt"),
        (|record| vec![[record, record].concat()], "dup_bytes"),
        (|record| vec![record[record.len() / 2..].to_vec()], "lost_bytes"),
    ];
    for (answer, expected) in answers {
        let gathered = judged(answer);
        let fates = fates(&gathered, OpKind::Churn);
        assert!(fates.contains_key(expected) && !fates.contains_key("Ok"), "{expected}: {fates:?}");
    }
}

#[test]
fn what_happens_at_the_door_has_the_names_of_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    only(&run_records(&path, 200.0, (64, 512)), OpKind::Churn, "uds_enoent");

    drop(bind(&path));
    only(&run_records(&path, 200.0, (64, 512)), OpKind::Churn, "uds_refused");
    std::fs::remove_file(&path).unwrap();

    let listener = listen(&path, 4);
    let (running, _) = begin(&by_records(&path, 200.0, (64, 512)), (Ipv4Addr::LOCALHOST, 1).into());
    wait_for(&running, 50);
    drop(listener);
    let fates = fates(&running.finish(), OpKind::Churn);
    assert!(fates.contains_key("uds_eagain") && fates.contains_key("uds_queue_lost"), "{fates:?}");
}
