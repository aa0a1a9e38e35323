//! A process that may start no thread, or few (`RLIMIT_NPROC`, or the number of
//! processes that a container may have).

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use nix::unistd::geteuid;

use crate::clients::visit;
use crate::server::{EXEC, Server};

const TCP: &str = "tcp:127.0.0.1:0";

/// So many are enough for whatever a generation does, and a user does elsewhere.
const ENOUGH: u64 = 10_000;

/// A server that can be limited. The limit does not hold for root, and counts
/// what a user runs elsewhere, so it takes a user who runs nothing.
fn server(user: u32) -> Server {
    let mut server = if geteuid().is_root() { Server::of_user(user) } else { Server::new() };
    server.steps(&[TCP]);
    // A runtime that can start some of its threads but not all panics, and then
    // waits for ever for those that it has.
    server.launch(&format!("export TOKIO_WORKER_THREADS=1; {EXEC}"), &[&server.arguments()]);
    server.has_started();
    server
}

fn has_prlimit() -> bool {
    Command::new("prlimit").arg("--version").output().is_ok()
}

/// Has the server, and what it starts, start nothing when its user has so many
/// threads.
fn limit(server: &Server, threads: u64) {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={}", server.pid)).arg(format!("--nproc={threads}:"));
    // In a container, root may be kept from changing the limits of others.
    if let Some(user) = server.user {
        prlimit.uid(user).gid(user);
    }
    assert!(prlimit.status().unwrap().success());
}

fn served(address: SocketAddr) -> (u64, u32) {
    visit(TcpStream::connect(address).unwrap()).unwrap()
}

#[test]
fn a_process_that_may_start_no_thread_says_so_and_serves_on() {
    if !has_prlimit() {
        println!("NOT TESTED: prlimit(1), of util-linux, is missing");
        return;
    }
    let mut server = server(1_000_000_000 + process::id());
    let address = server.address_of(TCP);
    limit(&server, 1);
    let report = server.fail();
    assert!(report.contains("Resource temporarily unavailable"), "{report}");
    assert_eq!(served(address), (0, server.pid));
    limit(&server, ENOUGH);
    server.upgrade();
    assert_eq!(served(address), (1, server.pid));
}

#[test]
fn wherever_threads_run_out_an_upgrade_fails_and_the_old_process_serves_on() {
    if !geteuid().is_root() || !has_prlimit() {
        println!("NOT TESTED: it takes root, to be a user who runs nothing else, and prlimit(1)");
        return;
    }
    let mut server = server(1_500_000_000 + process::id());
    let address = server.address_of(TCP);
    let mut failed = 0;
    // The upgrade itself, the start of the successor, its runtime, its own threads.
    for threads in 1..ENOUGH {
        limit(&server, threads);
        server.ask_to_upgrade();
        let report = server.outcome();
        if report.contains(" completed") {
            server.has_completed(&report);
            break;
        }
        failed += 1;
        assert_eq!(served(address), (0, server.pid));
    }
    assert!(failed > 3, "{failed}");
    assert_eq!(served(address), (1, server.pid));
}
