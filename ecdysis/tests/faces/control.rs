//! Control sockets, from the outside: `ecdysis-ctl`, the library's client, and
//! clients of the published crate, which only connect.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Output, Stdio};
use std::thread;
use std::time::Duration;

use ecdysis::control::{Answer, Command, Outcome, Status, request};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::clients::{Looping, greet};
use crate::service::{PATIENCE, Service, Start, eventually, field, signal, stop};

fn ctl(service: &Service, command: &str) -> process::Command {
    let mut ctl = process::Command::new(env!("CARGO_BIN_EXE_ecdysis-ctl"));
    ctl.arg(service.path("control")).arg(command);
    ctl.stdout(Stdio::piped()).stderr(Stdio::piped());
    ctl
}

/// Runs `ecdysis-ctl`: its exit code, the answer it prints, what it complains of.
fn run(service: &Service, command: &str) -> (Option<i32>, Answer, String) {
    told(ctl(service, command).output().unwrap())
}

fn told(output: Output) -> (Option<i32>, Answer, String) {
    let answer = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), answer, String::from_utf8(output.stderr).unwrap())
}

fn ask(service: &Service, command: Command) -> Answer {
    request(&service.path("control"), command, PATIENCE).unwrap()
}

fn status(service: &Service) -> Status {
    ask(service, Command::Status).status.unwrap()
}

fn outcome(answer: &Answer) -> Outcome {
    answer.upgrade.as_ref().unwrap_or_else(|| panic!("{answer:?}")).outcome
}

/// Connects to a control socket and says nothing, as clients of the published
/// crate do; all that comes until the end.
fn only_connect(service: &Service, socket: &str) -> Answer {
    let mut client = UnixStream::connect(service.path(socket)).unwrap();
    let mut line = String::new();
    client.read_to_string(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn ctl_tells_the_state_and_what_came_of_an_upgrade() {
    let service = Start::new("tokio").with("PROBATION", "0").serve();
    let (code, answer, complaint) = run(&service, "status");
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let status = answer.status.unwrap();
    assert_eq!((status.pid, status.generation), (service.first_pid(), 0));
    assert_eq!(status.phase, "serving");

    service.replace_with("exit 3");
    let (code, answer, complaint) = run(&service, "upgrade");
    assert_eq!((code, outcome(&answer)), (Some(1), Outcome::Failed));
    assert!(complaint.contains("ended before it was ready (exit status: 3)"), "{complaint}");

    fs::remove_file(service.program()).unwrap();
    let (code, answer, complaint) = run(&service, "upgrade");
    assert_eq!((code, outcome(&answer)), (Some(1), Outcome::Failed));
    assert!(complaint.contains("No such file or directory"), "{complaint}");
    assert!(complaint.contains(service.program().to_str().unwrap()), "{complaint}");

    service.restore();
    let (code, answer, complaint) = run(&service, "upgrade");
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let upgrade = answer.upgrade.unwrap();
    assert_eq!(upgrade.outcome, Outcome::Completed);
    assert_eq!((upgrade.generation, upgrade.predecessor), (1, service.first_pid()));
    assert_eq!(upgrade.successor, Some(status_of_generation(&service, 1).pid));
    let spans = [upgrade.started_us, upgrade.handed_off_us, upgrade.decided_us];
    assert!(spans.iter().all(Option::is_some) && spans.is_sorted(), "{spans:?}");
}

/// Asks until this generation answers: for an instant, the old one may.
fn status_of_generation(service: &Service, generation: u64) -> Status {
    eventually("the generation", || {
        let status = status(service);
        (status.generation == generation).then_some(status)
    })
}

#[test]
fn ctl_tells_of_a_rollback() {
    let service = Start::new("tokio").with("PROBATION", "3600000").serve();
    let asking = ctl(&service, "upgrade").spawn().unwrap();
    service.log_until("generation 1 is serving");
    let successor = greet(service.address()).unwrap().pid;
    signal(successor, Signal::SIGKILL);
    let (code, answer, complaint) = told(asking.wait_with_output().unwrap());
    assert_eq!((code, outcome(&answer)), (Some(1), Outcome::RolledBack));
    assert!(complaint.contains("ended on probation (signal: 9 (SIGKILL))"), "{complaint}");
    assert_eq!(status(&service).counters["upgrades_rolled_back"], 1);
}

#[test]
fn ctl_stops_the_service() {
    let mut service = Start::new("tokio").serve();
    let (code, answer, _) = run(&service, "stop");
    assert_eq!((code, answer.ok), (Some(0), true));
    service.log_until("leaves: FullStop");
    assert_eq!(service.first_exit_code(), Some(0));
    for socket in ["control", "upgrade", "stop", "drain"] {
        assert!(!service.path(socket).exists(), "{socket} is left");
    }
}

/// Even where the file lets everybody connect.
#[test]
fn a_user_who_may_not_ask_is_refused_whatever_the_socket() {
    if !geteuid().is_root() {
        println!("NOT TESTED: it takes root to be another user");
        return;
    }
    let service = Start::new("tokio").serve();
    let everybody = |path: PathBuf, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    everybody(service.path("."), 0o711);
    // The program itself may be where only root can reach it.
    let program = service.path("ctl");
    let mut copy = process::Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_ecdysis-ctl")).arg(&program);
    assert!(copy.status().unwrap().success());
    for (socket, command) in
        [("control", "upgrade"), ("control", "status"), ("upgrade", "upgrade"), ("stop", "stop")]
    {
        everybody(service.path(socket), 0o666);
        let mut asks = process::Command::new(&program);
        asks.arg(service.path(socket)).arg(command).uid(4711).gid(4711);
        let (code, answer, complaint) = told(asks.output().unwrap());
        assert_ne!(code, Some(0), "{socket}, {command}");
        assert!(!answer.ok && answer.upgrade.is_none() && answer.status.is_none(), "{answer:?}");
        assert!(complaint.contains("user 4711 may not ask here"), "{complaint}");
    }
    let status = status(&service);
    assert_eq!((status.pid, status.generation), (service.first_pid(), 0));
    assert_eq!(
        (status.phase.as_str(), &status.counters["upgrades_started"]),
        ("serving", &0.into())
    );
}

#[test]
fn a_drain_stops_only_what_stops_on_it() {
    for socket in [None, Some("drain")] {
        let mut service = Start::new("tokio").serve();
        let log = service.log_until("lasting listener on");
        let lasting = log.rsplit_once(' ').unwrap().1.parse().unwrap();
        // The process ends when this one does.
        let mut connection = greet(lasting).unwrap();
        match socket {
            None => assert_eq!(run(&service, "drain").0, Some(0)),
            Some(socket) => drop(UnixStream::connect(service.path(socket)).unwrap()),
        }
        service.log_until("leaves: PartialStop");
        assert!(greet(lasting).unwrap().echoes("new"));
        assert!(connection.echoes("old"));
        eventually("its end", || greet(service.address()).err());
        drop(connection);
        assert_eq!(service.first_exit_code(), Some(0));
    }
}

#[test]
fn a_client_that_only_connects_upgrades_and_is_told_the_outcome() {
    let service = Start::new("tokio").with("PROBATION", "0").serve();
    service.replace_with("exit 3");
    let answer = only_connect(&service, "upgrade");
    assert!(!answer.ok);
    assert!(answer.error.unwrap().contains("exit status: 3"));
    service.restore();
    let answer = only_connect(&service, "upgrade");
    assert!(answer.ok);
    assert_eq!(outcome(&answer), Outcome::Completed);
    // One that does not even wait for the answer has asked, too.
    drop(UnixStream::connect(service.path("upgrade")).unwrap());
    service.log_until("generation 2 serves");
}

#[test]
fn a_client_that_only_connects_stops_and_waits_for_the_end() {
    let mut service = Start::new("tokio").serve();
    let answer = only_connect(&service, "stop");
    assert_eq!((answer.ok, answer.command), (true, Some(Command::Stop)));
    // It has seen the end of its connection, and that was the process's.
    service.log_until("generation 0 is done");
    assert_eq!(service.first_exit_code(), Some(0));
}

#[test]
fn silent_clients_are_in_nobodys_way() {
    let mut service = Start::new("tokio").with("PROBATION", "0").serve();
    let socket = service.path("control");
    let silent: Vec<_> = (0..30).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for generation in 1..=3 {
        let answer = ask(&service, Command::Upgrade);
        assert!(answer.ok, "{answer:?}");
        service.log_until(&format!("generation {generation} serves"));
    }
    assert_eq!(service.first_exit_code(), Some(0), "nor do they keep the old process");
    let mut first = silent.into_iter().next().unwrap();
    let mut line = String::new();
    first.read_to_string(&mut line).unwrap();
    assert!(line.contains("this process leaves"), "{line}");
    assert!(ask(&service, Command::Stop).ok);
    service.log_to_the_end();
}

#[test]
fn a_control_file_that_is_gone_does_not_make_a_stop_fail() {
    let mut service = Start::new("tokio").serve();
    fs::remove_file(service.path("upgrade")).unwrap();
    // And in the place of another there is somebody else's by now.
    fs::remove_file(service.path("drain")).unwrap();
    fs::write(service.path("drain"), "mine").unwrap();
    assert!(ask(&service, Command::Stop).ok);
    service.log_until("leaves: FullStop");
    assert_eq!(service.first_exit_code(), Some(0));
    assert!(!service.path("control").exists() && !service.path("stop").exists());
    assert_eq!(fs::read_to_string(service.path("drain")).unwrap(), "mine");
}

#[test]
fn a_handoff_does_not_wait_for_half_a_second() {
    let service = Start::new("tokio").with("PROBATION", "0").serve();
    let handed_off = (1..=5).map(|generation| {
        let answer = ask(&service, Command::Upgrade);
        service.log_until(&format!("generation {generation} serves"));
        Duration::from_micros(answer.upgrade.unwrap().handed_off_us.unwrap())
    });
    // The published crate's never takes less than 500 ms. The machine may be
    // busy, but not each time.
    assert!(handed_off.min().unwrap() < Duration::from_millis(400));
}

/// The pids of all generations so far, the first one's first.
fn generations(log: &[String]) -> Vec<u32> {
    let serves = log.iter().filter(|line| line.contains(" serves pid="));
    serves.map(|line| field(line, "pid").parse().unwrap()).collect()
}

/// Four requests at once, with the first generation stopped for 0.4 s by
/// `stop_it` at some moment of its upgrade: one chain, in the end one generation.
fn four_requests(probation: &str, stop_it: impl Fn(&Service)) {
    let mut service = Start::new("tokio").with("PROBATION", probation).serve();
    let clients = Looping::begin(service.address());
    clients.wait_for(20, 0);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let service = &service;
        let ask = || {
            let socket = service.path("control");
            scope.spawn(move || request(&socket, Command::Upgrade, PATIENCE).unwrap())
        };
        let asking = [(); 4].map(|()| ask());
        stop_it(service);
        stop(service.first_pid());
        // How long it is stopped is the subject: the published crate then
        // believed, after 0.4 s, that its successor had failed.
        thread::sleep(Duration::from_millis(400));
        signal(service.first_pid(), Signal::SIGCONT);
        asking.map(|asked| asked.join().unwrap()).into()
    });
    for answer in &answers {
        assert!(matches!(outcome(answer), Outcome::Completed | Outcome::PassedOn), "{answer:?}");
    }
    assert!(answers.iter().any(|answer| outcome(answer) == Outcome::Completed));
    assert_eq!(service.first_exit_code(), Some(0));

    // The chain ends, and nobody else is left.
    let last = eventually("the last of the chain", || {
        let status = status(&service);
        let idle = status.counters["upgrades_started"] == 0;
        (idle && status.draining.is_empty()).then_some(status)
    });
    clients.wait_for(100, last.generation);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");
    signal(last.pid, Signal::SIGTERM);
    let log = service.log_to_the_end();
    let generations = generations(&log);
    assert_eq!(u64::try_from(generations.len()).unwrap(), last.generation + 1, "{log:#?}");
    assert_eq!(generations.last(), Some(&last.pid));
    assert!(!log.iter().any(|line| line.contains("failed after")), "{log:#?}");
}

#[test]
fn four_requests_and_a_predecessor_that_sleeps_on_probation_leave_one_generation() {
    four_requests("100", |service| drop(service.log_until("generation 1 is serving")));
}

#[test]
fn four_requests_and_a_predecessor_that_sleeps_at_once_leave_one_generation() {
    four_requests("0", |service| drop(service.log_until("generation 1 listens")));
}
