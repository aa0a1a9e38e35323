//! Clients by HTTP against web servers of all manners.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::client::{Client, Context, Population};
use super::super::http::Talk;
use super::super::ledger::Ledger;
use super::super::link::Door;
use super::*;
use crate::clock::Stamp;
use crate::event::Harm;
use crate::scenario::plan::{Http, Speak};

/// How a web server treats a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Web {
    Good,
    Chunked,
    /// Says that it closes the connection, and does.
    Polite,
    /// Ends the body by ending the connection.
    UntilEnd,
    /// Ends in the middle of the body.
    Cut,
    /// Ends in the middle of the chunks.
    CutChunks,
    /// Is not able to.
    Failing,
    /// Says something behind the body.
    Garbage,
    /// Never ends its head.
    EndlessHead,
    /// Sends its head byte by byte.
    SlowHead,
    /// Says nothing for a while.
    Late,
    /// Answers once, and ends the connection while it is idle.
    CloseIdle,
    /// Answers once, waits for the next request and ends the connection unread.
    CloseUnread,
    /// Answers once, reads the next request and drops it.
    Drop,
}

fn serve(web: Web) -> (SocketAddr, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket.listen(4096).unwrap()
    });
    let address = listener.local_addr().unwrap();
    runtime.spawn(accept(listener, web));
    (address, runtime)
}

async fn accept(listener: TcpListener, web: Web) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(treat(stream, web));
    }
}

/// The answer to a request, and whether the connection ends with it.
fn answer(web: Web) -> (String, bool) {
    let head = |status: &str, lines: &str| {
        format!("HTTP/1.1 {status}\r\nX-Served-By: 3/77\r\n{lines}\r\n")
    };
    let sized = head("200 OK", "Content-Length: 10\r\n") + "0123456789";
    match web {
        Web::Good | Web::Late | Web::CloseIdle | Web::CloseUnread | Web::Drop => (sized, false),
        Web::Chunked => {
            let chunks = "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";
            (head("200 OK", "Transfer-Encoding: chunked\r\n") + chunks, false)
        }
        Web::Polite => {
            (sized.replace("Content-Length", "Connection: close\r\nContent-Length"), true)
        }
        Web::UntilEnd => (head("200 OK", "") + "0123456789", true),
        Web::Cut => (sized.replace("56789", ""), true),
        Web::CutChunks => {
            (head("200 OK", "Transfer-Encoding: chunked\r\n") + "4\r\n0123\r\n6\r\n45", true)
        }
        Web::Failing => (sized.replace("200 OK", "503 Sorry"), false),
        Web::Garbage => (sized + "0123456789", false),
        Web::EndlessHead => (head("200 OK", &format!("X: {}", "x".repeat(1 << 17))), false),
        Web::SlowHead => (sized, false),
    }
}

async fn treat(mut stream: TcpStream, web: Web) -> std::io::Result<()> {
    let (text, ends) = answer(web);
    let mut request = vec![0; 1024];
    let mut served = 0;
    loop {
        if served == 1 && web == Web::CloseIdle {
            sleep(Duration::from_millis(20)).await;
            return Ok(());
        }
        if served == 1 && web == Web::CloseUnread {
            stream.peek(&mut request).await?;
            return Ok(());
        }
        let read = stream.read(&mut request).await?;
        if read == 0 || served == 1 && web == Web::Drop {
            return stream.shutdown().await;
        }
        assert!(request[..read].ends_with(b"\r\n\r\n"), "{request:?}");
        if web == Web::Late {
            sleep(Duration::from_millis(400)).await;
        }
        // The first part of a head that is slow, so slow that it takes for ever.
        let pieces = if web == Web::SlowHead { 1 } else { text.len() };
        for piece in text.as_bytes().chunks(pieces) {
            stream.write_all(piece).await?;
            if web == Web::SlowHead {
                sleep(Duration::from_millis(20)).await;
            }
        }
        served += 1;
        if ends {
            return Ok(());
        }
    }
}

fn by_http(load: Load) -> Load {
    let http = Http {
        path: "/".to_owned(),
        host: "localhost".to_owned(),
        status: None,
        body_bytes: Some(10),
    };
    Load { speak: Speak::Http(http), ..load }
}

fn run(web: Web, loads: Vec<Load>, operations: u64) -> (Gathered, Sightings) {
    let (address, _runtime) = serve(web);
    let mut plan = plan(loads.into_iter().map(by_http).collect());
    plan.target.greeting = Some("x-served-by: {generation}/{pid}".to_owned());
    let (running, sightings) = begin(&plan, address);
    wait_for(&running, operations);
    let gathered = running.finish();
    books_balance(&gathered);
    (gathered, sightings)
}

#[test]
fn a_good_web_server_harms_nobody_and_says_who_it_is() {
    for web in [Web::Good, Web::Chunked, Web::Polite, Web::UntilEnd] {
        let loads = vec![churn(300.0), kept(300.0, 4, Duration::from_millis(200))];
        let (gathered, sightings) = run(web, loads, 400);
        for kind in [OpKind::Churn, OpKind::Open, OpKind::Request, OpKind::Close] {
            only(&gathered, kind, "Ok");
        }
        assert_eq!(sightings.all(), [Served { generation: Some(3), pid: 77 }]);
        let asked = gathered.connections.iter().filter(|row| row.bytes_out > 0);
        assert!(asked.into_iter().all(|row| row.served.is_some() && !row.reset), "{web:?}");
        let requests = fates(&gathered, OpKind::Request)["Ok"];
        let opens = fates(&gathered, OpKind::Open)["Ok"];
        // Whoever is told that the connection ends opens another, without harm.
        let one_each = matches!(web, Web::Polite | Web::UntilEnd);
        assert_eq!(opens >= requests, one_each, "{web:?}: {opens} for {requests}");
    }
}

#[test]
fn every_bad_manner_of_a_web_server_has_its_name() {
    for (web, expected) in [
        (Web::Cut, "eof_early"),
        (Web::CutChunks, "eof_early"),
        (Web::Failing, "bad_status"),
        (Web::Garbage, "dup_bytes"),
        (Web::EndlessHead, "corrupt"),
        (Web::SlowHead, "timeout"),
        (Web::Late, "stall_accept"),
    ] {
        let load = Load {
            timeout: Duration::from_secs(1),
            stall: Duration::from_millis(100),
            ..churn(200.0)
        };
        let (gathered, _) = run(web, vec![load], 50);
        let fates = fates(&gathered, OpKind::Churn);
        assert_eq!(fates.keys().collect::<Vec<_>>(), [expected], "{web:?}: {fates:?}");
    }
}

#[test]
fn a_short_body_and_a_server_that_does_not_say_who_it_is_are_noticed() {
    let (address, _runtime) = serve(Web::Good);
    for (greeting, body_bytes, expected) in
        [("x-other: {pid}", 10, "corrupt"), ("x-served-by: {generation}/{pid}", 11, "lost_bytes")]
    {
        let mut plan = plan(vec![by_http(churn(200.0))]);
        plan.target.greeting = Some(greeting.to_owned());
        if let Speak::Http(http) = &mut plan.loads[0].speak {
            http.body_bytes = Some(body_bytes);
        }
        let (running, _) = begin(&plan, address);
        wait_for(&running, 50);
        only(&running.finish(), OpKind::Churn, expected);
    }
}

#[test]
fn an_idle_connection_that_is_closed_is_no_request_that_failed() {
    let (gathered, _) = run(Web::CloseIdle, vec![kept(20.0, 4, Duration::from_secs(60))], 60);
    assert!(fates(&gathered, OpKind::Close).contains_key("eof_idle"));
    let requests = fates(&gathered, OpKind::Request);
    // One may cross the close, and is told from one that was lost.
    let crossed = ["Ok", "reset_idle", "epipe"];
    assert!(requests.contains_key("Ok"), "{requests:?}");
    assert!(requests.keys().all(|fate| crossed.contains(&fate.as_str())), "{requests:?}");
}

#[test]
fn a_request_that_crosses_the_close_has_a_name_of_its_own() {
    // More is asked for than can be answered: there always is a next request.
    let forever = Duration::from_secs(60);
    let load = Load { timeout: forever, ..kept(20_000.0, 2, forever) };
    let (gathered, _) = run(Web::CloseUnread, vec![load], 400);
    let mut fates = fates(&gathered, OpKind::Request);
    assert!(fates.remove("Ok").is_some(), "{fates:?}");
    assert_eq!(fates.keys().collect::<Vec<_>>(), ["reset_idle"], "{fates:?}");
    let reset = gathered.connections.iter().filter(|row| row.reset).count();
    assert_eq!(reset, fates["reset_idle"]);
}

#[test]
fn a_request_that_is_written_to_a_closed_connection_knows_it() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let door = Door::Net(listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let read = stream.read(&mut [0; 1024]).unwrap();
        assert!(read > 0);
        stream.write_all(answer(Web::Good).0.as_bytes()).unwrap();
    });
    let (ledger, _rows) = Ledger::new(1);
    let (_cancel, cancelled) = watch::channel(false);
    let context = Context {
        clock: Clock::start(),
        ledger: Arc::new(ledger),
        sightings: Sightings::default(),
        greeting: None,
        seed: 0,
        cancelled,
        turn: AtomicU32::new(0),
    };
    let load = by_http(kept(1.0, 1, Duration::from_secs(1)));
    let talk = match &load.speak {
        Speak::Http(http) => Talk::new(http, None),
        Speak::Echo => None,
    };
    let population = Population { index: 0, load: load.clone(), door, talk };
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut client = Client::new(&context, &population);
        client.open(Stamp::default()).await.unwrap();
        client.request(0, 0).await.unwrap();
        // It has closed; the client has not looked.
        server.join().unwrap();
        let ending = client.request(1, 0).await.unwrap_err();
        assert_eq!(client.judge(ending, &load, false).fate, Fate::Harmed(Harm::Epipe));
        assert!(client.row.reset);
        client.close();
    });
}

#[test]
fn a_request_that_was_read_and_dropped_is_not_taken_for_one_that_was_not() {
    let (gathered, _) = run(Web::Drop, vec![kept(100.0, 4, Duration::from_secs(60))], 100);
    let mut fates = fates(&gathered, OpKind::Request);
    assert!(fates.remove("Ok").is_some());
    assert_eq!(fates.keys().collect::<Vec<_>>(), ["eof_early"], "{fates:?}");
    assert!(gathered.connections.iter().all(|row| !row.reset));
}
