//! What the harness costs as a generator of load, beside others that do the same work:
//! a connection for each request by HTTP, closed by the server with its answer.
//!
//! All of them visit one server, which runs here, in turn; the processor time of each
//! is what the kernel says of a child that has ended (getrusage(2)). The harness and
//! `hey` keep to a rate; `wrk` goes as fast as the server lets it. At each rate the
//! harness also says how late it was: dispatched − intended, of every connection.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::gates::Gates;
use crate::quantile::spread;

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(4);
const CLIENTS: usize = 32;
const BACKLOG: u32 = 4096;

/// What the harness is offered, connections a second.
const RATES: [u32; 3] = [2_000, 10_000, 20_000];
/// Up to this rate its lateness has to be what it demands of itself by default.
const PUNCTUAL_UP_TO: u32 = 10_000;
const LATE: Duration = Duration::from_millis(5);

/// More processor time for a connection than this many times what the other tool takes
/// at the same rate is too much: it keeps a record of each, the other does not.
const DEAREST: f64 = 2.0;

/// Who goes, in each round one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Harness(u32),
    Hey(u32),
    Wrk,
}

impl Tool {
    fn name(self) -> String {
        match self {
            Self::Harness(rate) => format!("harness at {rate}/s"),
            Self::Hey(rate) => format!("hey at {rate}/s"),
            Self::Wrk => format!("wrk, {CLIENTS} clients"),
        }
    }
}

/// What one run of one of them came to.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Connections served, a second.
    rate: f64,
    /// Processor time for each, µs.
    cost: f64,
    /// The median and the 99th percentile of the lateness, ms.
    late: Option<[f64; 2]>,
}

/// Puts them to the same work; `harness` is its program.
pub(crate) fn run(harness: &str, gates: &mut Gates) -> io::Result<()> {
    let address = serve()?;
    // Asked for what they do not know, they end at once.
    let present = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let mut tools: Vec<Tool> = RATES.into_iter().map(Tool::Harness).collect();
    if present("hey") {
        tools.push(Tool::Hey(PUNCTUAL_UP_TO));
    }
    if present("wrk") {
        tools.push(Tool::Wrk);
    }
    let mut works: Vec<Vec<Work>> = vec![Vec::new(); tools.len()];
    for round in 0..ROUNDS {
        for turn in 0..tools.len() {
            let turn = (turn + round) % tools.len();
            works[turn].push(work(tools[turn], harness, address)?);
        }
    }
    print(&tools, &works);
    let median = |tool: Tool, of: fn(&Work) -> f64| {
        let place = tools.iter().position(|one| *one == tool)?;
        Some(spread(works[place].iter().map(of))[1])
    };
    for rate in RATES.into_iter().filter(|rate| *rate <= PUNCTUAL_UP_TO) {
        let late =
            median(Tool::Harness(rate), |work| work.late.map_or(f64::INFINITY, |late| late[1]));
        gates.check(
            &format!("the harness at {rate}/s: 99 of 100 connections are at most {LATE:?} late"),
            late.is_some_and(|late| late <= LATE.as_secs_f64() * 1e3),
        );
    }
    if let Some(other) = median(Tool::Hey(PUNCTUAL_UP_TO), |work| work.cost) {
        let ours = median(Tool::Harness(PUNCTUAL_UP_TO), |work| work.cost);
        let ratio = ours.map_or(f64::INFINITY, |ours| ours / other);
        gates.check(
            &format!("the harness takes at most {DEAREST} times the processor of hey ({ratio:.2})"),
            ratio <= DEAREST,
        );
    }
    Ok(())
}

fn print(tools: &[Tool], works: &[Vec<Work>]) {
    println!(
        "generator: {ROUNDS} rounds of {SPAN:?} each, interleaved; a connection for each request; \
         medians (least and most)"
    );
    println!(
        "{:<24}{:>28}{:>28}{:>14}{:>14}",
        "", "connections/s", "processor/connection, µs", "late p50, ms", "late p99, ms"
    );
    for (tool, works) in tools.iter().zip(works) {
        let figure = |of: fn(&Work) -> f64| {
            let [least, median, most] = spread(works.iter().map(of));
            format!("{median:.1} ({least:.1} .. {most:.1})")
        };
        let late =
            |which: usize| match works.iter().map(|work| work.late).collect::<Option<Vec<_>>>() {
                Some(late) => format!("{:.3}", spread(late.iter().map(|late| late[which]))[1]),
                None => "not told".to_owned(),
            };
        println!(
            "{:<24}{:>28}{:>28}{:>14}{:>14}",
            tool.name(),
            figure(|work| work.rate),
            figure(|work| work.cost),
            late(0),
            late(1)
        );
    }
}

fn work(tool: Tool, harness: &str, address: SocketAddr) -> io::Result<Work> {
    let seconds = SPAN.as_secs();
    let url = format!("http://{address}/");
    let before = children()?;
    let (served, late) = match tool {
        Tool::Harness(rate) => by_harness(harness, address, rate)?,
        Tool::Hey(rate) => {
            let each = rate / u32::try_from(CLIENTS).unwrap_or(u32::MAX);
            let arguments =
                format!("-z {seconds}s -c {CLIENTS} -q {each} -disable-keepalive {url}");
            (hey_served(&output("hey", &arguments)?)?, None)
        }
        Tool::Wrk => {
            (wrk_served(&output("wrk", &format!("-t1 -c{CLIENTS} -d{seconds}s {url}"))?)?, None)
        }
    };
    // To start and to report is a part of it: seconds of load are long enough.
    let cpu = children()? - before;
    Ok(Work { rate: served / SPAN.as_secs_f64(), cost: cpu.as_secs_f64() * 1e6 / served, late })
}

/// Processor time of the children that have ended.
fn children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default()
    };
    Ok(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

fn output(program: &str, arguments: &str) -> io::Result<String> {
    let Output { status, stdout, .. } = Command::new(program)
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        Ok(text)
    } else {
        Err(io::Error::other(format!("{program}: {status}: {text}")))
    }
}

fn by_harness(
    program: &str,
    address: SocketAddr,
    rate: u32,
) -> io::Result<(f64, Option<[f64; 2]>)> {
    let dir = TempDir::new()?;
    let scenario = dir.path().join("generator.toml");
    fs::write(&scenario, scenario_of(rate))?;
    let out = dir.path().join("run");
    let made = Command::new(program)
        .args(["attach", "--format", "quiet", "--no-recording", "--connect", &address.to_string()])
        .arg("--out")
        .args([out.as_path(), scenario.as_path()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    // How it judges a server in the machine's network, at rates that are too high for
    // it, is not asked for here; but judged it must have been.
    if !matches!(made.status.code(), Some(0 | 1 | 3)) {
        let why = String::from_utf8_lossy(&made.stderr);
        return Err(io::Error::other(format!("{program}: {}: {why}", made.status)));
    }
    read_result(&out)
}

fn scenario_of(rate: u32) -> String {
    let seconds = SPAN.as_secs();
    format!(
        "schema = \"harness/scenario/1\"\nname = \"generator\"\nabout = \"Load, and nothing else\"\n\
         [target]\n[phases]\nwarmup = \"0s\"\nbaseline = \"0s\"\nstorm = \"{seconds}s\"\nsettle = \"0s\"\n\
         [[load]]\nname = \"churn\"\nkind = \"churn\"\nspeak = \"http\"\nrate = {rate}\n\
         stall = \"500ms\"\n"
    )
}

fn read_result(out: &Path) -> io::Result<(f64, Option<[f64; 2]>)> {
    let result: Value = serde_json::from_slice(&fs::read(out.join("result.json"))?)?;
    let number = |path: &str| result.pointer(path).and_then(Value::as_f64);
    let served = number("/populations/0/ok").ok_or_else(|| io::Error::other("no population"))?;
    let late = ["/observer/lateness/p50", "/observer/lateness/p99"].map(number);
    Ok((served, late[0].zip(late[1]).map(|(p50, p99)| [p50 / 1e6, p99 / 1e6])))
}

/// `[200]`, a tab, `39961 responses`
fn hey_served(text: &str) -> io::Result<f64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("[200]"));
    let count = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.ok_or_else(|| io::Error::other(format!("hey counted nothing: {text}")))
}

/// `  81234 requests in 4.00s, 5.1MB read`
fn wrk_served(text: &str) -> io::Result<f64> {
    let line = text.lines().find_map(|line| line.split_once(" requests in "));
    let count = line.and_then(|(count, _)| count.trim().parse().ok());
    count.ok_or_else(|| io::Error::other(format!("wrk counted nothing: {text}")))
}

/// A server that answers one request on each connection, on a thread of its own, for
/// as long as this process lives.
fn serve() -> io::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _context = runtime.enter();
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        socket.listen(BACKLOG)?
    };
    let address = listener.local_addr()?;
    thread::spawn(move || runtime.block_on(accept(listener)));
    Ok(address)
}

async fn accept(listener: TcpListener) {
    // Whoever is not answered is missed by the client.
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket));
    }
}

async fn answer(mut socket: TcpStream) -> io::Result<()> {
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    socket
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
        .await
}
