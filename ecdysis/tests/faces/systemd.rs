//! What systemd is told, by whom, and in which order.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use ecdysis::control::{Command, request};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::clients::{Greeted, Looping, greet};
use crate::manager::Manager;
use crate::service::{PATIENCE, Service, Start, eventually, field, signal};

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

#[test]
fn each_step_is_told_in_order_and_by_the_main_process() {
    for manager in [Manager::at_a_path(), Manager::abstract_name()] {
        let mut service = manager.serve(Start::new("tokio").with("PROBATION", "20"));
        let first = service.first_pid();

        service.replace_with("exit 3");
        signal(first, Signal::SIGHUP);
        manager.reloads();
        let status = manager.has_reloaded();
        assert!(status.contains("failed after") && status.contains("exit status: 3"), "{status}");

        service.hold("exec $real \"$@\"");
        let before = now();
        signal(first, Signal::SIGHUP);
        let second = field(&service.log_until("started"), "pid").parse().unwrap();
        // It has been told before there was a successor at all.
        let told = manager.next_now().map(|message| message.fields["MONOTONIC_USEC"].clone());
        let told = Duration::from_micros(told.unwrap().parse().unwrap());
        assert!(before <= told + Duration::from_micros(1) && told <= now(), "{before:?} {told:?}");
        assert!(manager.next_now().is_none(), "nothing, until the successor is ready");
        service.release();
        manager.has_handed_off();
        manager.is_succeeded_by(second);
        manager.serves(second, 1);

        signal(second, Signal::SIGTERM);
        manager.stops();
        assert_eq!(service.first_exit_code(), Some(0));
        service.log_to_the_end();
        assert!(manager.next_now().is_none());
    }
}

#[test]
fn a_long_chain_is_told_by_each_in_its_turn() {
    let manager = Manager::at_a_path();
    let service = manager.serve(Start::new("tokio").with("PROBATION", "0"));
    let mut main = service.first_pid();
    for generation in 1..=20 {
        signal(main, Signal::SIGHUP);
        manager.reloads();
        let serves = service.log_until(&format!("generation {generation} serves"));
        main = field(&serves, "pid").parse().unwrap();
        manager.has_handed_off();
        manager.is_succeeded_by(main);
        manager.serves(main, generation);
    }
}

#[test]
fn a_successor_on_probation_is_not_the_main_process_and_a_rollback_is_told() {
    let manager = Manager::at_a_path();
    let service = manager.serve(Start::new("tokio").with("PROBATION", "3600000"));
    signal(service.first_pid(), Signal::SIGHUP);
    manager.reloads();
    manager.has_handed_off();
    service.log_until("generation 1 is serving");
    let new = greet(service.address()).unwrap();
    assert_eq!(new.generation, 1);
    assert!(manager.next_now().is_none());
    signal(new.pid, Signal::SIGKILL);
    let status = manager.has_reloaded();
    assert!(status.contains("ended on probation"), "{status}");
    assert_eq!(manager.main.get(), service.first_pid());
    signal(service.first_pid(), Signal::SIGTERM);
    manager.stops();
}

#[test]
fn a_stop_during_an_upgrade_ends_the_reload_first() {
    let manager = Manager::at_a_path();
    let mut service = manager.serve(Start::new("tokio"));
    service.replace_with("echo started; exec sleep 1000");
    signal(service.first_pid(), Signal::SIGHUP);
    service.log_until("started");
    signal(service.first_pid(), Signal::SIGTERM);
    manager.reloads();
    let status = manager.has_reloaded();
    assert!(status.contains("stopped while the successor started"), "{status}");
    manager.stops();
    assert_eq!(service.first_exit_code(), Some(0));
    assert!(manager.next_now().is_none());
}

/// A service on probation, and a connection to each of the two processes.
fn on_probation(manager: &Manager) -> (Service, [Greeted; 2]) {
    let service = manager.serve(Start::new("tokio").with("PROBATION", "3600000"));
    let old = greet(service.address()).unwrap();
    signal(old.pid, Signal::SIGHUP);
    manager.reloads();
    manager.has_handed_off();
    // One that is stopped before it serves is no successor, and rolled back.
    service.log_until("generation 1 is serving");
    let new = greet(service.address()).unwrap();
    assert_eq!(new.generation, 1);
    (service, [old, new])
}

/// systemd hears of no other main process when it has begun to stop the service:
/// the successor was killed with its connections when the old process had ended.
#[test]
fn a_stop_on_probation_is_told_by_the_old_process_which_ends_last() {
    for told in [0, 1] {
        for first in [0, 1] {
            let manager = Manager::at_a_path();
            let (mut service, clients) = on_probation(&manager);
            signal(clients[told].pid, Signal::SIGTERM);
            for generation in [0, 1] {
                service.log_until(&format!("generation {generation} leaves"));
            }
            manager.stops();
            // In either order.
            let mut clients = clients.into_iter();
            let (old, new) = (clients.next().unwrap(), clients.next().unwrap());
            let (one, mut other) = if first == 0 { (old, new) } else { (new, old) };
            drop(one);
            assert!(other.echoes("in flight"));
            drop(other);
            assert_eq!(service.first_exit_code(), Some(0));
            let log = service.log_to_the_end();
            let at = |text: &str| log.iter().position(|line| line.contains(text)).unwrap();
            assert!(at("generation 1 is done") < at("generation 0 is done"), "{log:#?}");
            assert!(!log.iter().any(|line| line.contains("connections cut")), "{log:#?}");
            assert!(manager.next_now().is_none(), "nobody else has said anything");
        }
    }
}

/// It may live for long yet with what does not stop.
#[test]
fn after_a_partial_stop_on_probation_the_successor_is_the_main_process() {
    for told in ["the old one", "the new one"] {
        let manager = Manager::at_a_path();
        let (mut service, [old, new]) = on_probation(&manager);
        let second = new.pid;
        if told == "the new one" {
            // It serves, and so it answers here.
            assert!(request(&service.path("drain"), Command::Drain, PATIENCE).unwrap().ok);
        } else {
            signal(old.pid, Signal::SIGUSR1);
        }
        manager.is_succeeded_by(second);
        if told == "the old one" {
            manager.serves(second, 1);
        }
        service.log_until("generation 1 leaves: PartialStop");
        drop((old, new));
        assert_eq!(service.first_exit_code(), Some(0), "it is not waited for");
    }
}

/// A service without probation.
fn hurried(manager: &Manager) -> Service {
    manager.serve(Start::new("tokio").with("PROBATION", "0"))
}

/// It is told to stop while an older generation has a connection.
fn stopped_with_an_older_one(service: &Service) -> (Greeted, u32) {
    let old = greet(service.address()).unwrap();
    signal(old.pid, Signal::SIGHUP);
    let second = field(&service.log_until("generation 1 serves"), "pid").parse().unwrap();
    // One that is stopped before it serves is no successor.
    service.log_until("generation 1 is serving");
    service.log_until("generation 0 leaves");
    signal(second, Signal::SIGTERM);
    service.log_until("generation 1 leaves");
    (old, second)
}

/// systemd takes the end of the main process for that of the service.
#[test]
fn a_main_process_that_stops_waits_for_the_older_ones() {
    let manager = Manager::at_a_path();
    let service = hurried(&manager);
    let (old, _) = stopped_with_an_older_one(&service);
    ends_last(&manager, &service, old);
}

/// It took its predecessor, which had let go of the service, for the one that ends last.
#[cfg(feature = "failpoints")]
#[test]
fn so_does_one_that_has_not_heard_yet_that_it_is_the_main_process() {
    let manager = Manager::at_a_path();
    let service = hurried(&manager);
    // Its predecessor waits for 0.2 s.
    let slow = "FAILPOINTS='ecdysis.successor.settle=sleep(1000)'";
    service.replace_with(&format!("{slow} exec $real \"$@\""));
    let (old, second) = stopped_with_an_older_one(&service);
    manager.reloads();
    manager.has_handed_off();
    manager.is_succeeded_by(second);
    manager.stops();
    ends_last(&manager, &service, old);
}

fn ends_last(manager: &Manager, service: &Service, mut old: Greeted) {
    // Which may take longer than the unit allows, so it asks for more.
    eventually("more time is asked for", || {
        while manager.next_now().is_some() {}
        (manager.extended.get() >= 1).then_some(())
    });
    assert!(old.echoes("in flight"));
    drop(old);
    let log = service.log_to_the_end();
    let at = |text: &str| log.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("generation 0 is done") < at("generation 1 is done"), "{log:#?}");
}

#[test]
fn a_second_stop_ends_the_wait_for_the_older_ones() {
    let manager = Manager::at_a_path();
    let service = hurried(&manager);
    let (mut old, second) = stopped_with_an_older_one(&service);
    // As often as is needed: the first of them may be taken for the one before.
    eventually("it ends", || {
        let _ = kill(Pid::from_raw(second.cast_signed()), Signal::SIGTERM);
        let log = service.log_so_far();
        log.iter().any(|line| line.contains("generation 1 is done")).then_some(())
    });
    assert!(old.echoes("in flight"));
}

#[test]
fn who_is_told_of_a_completed_upgrade_is_told_after_systemd() {
    let manager = Manager::at_a_path();
    let service = manager.serve(Start::new("tokio").with("PROBATION", "0"));
    let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
    manager.reloads();
    manager.has_handed_off();
    let told = manager.next_now().unwrap();
    assert_eq!(told.fields["MAINPID"], answer.upgrade.unwrap().successor.unwrap().to_string());
}

#[test]
fn the_watchdog_is_fed_by_the_main_process_and_without_a_gap() {
    let manager = Manager::at_a_path();
    let start = Start::new("tokio").with("PROBATION", "1000").with("WATCHDOG_USEC", "20000");
    // As systemd has it where a script has become the main process.
    let start = start.by("export WATCHDOG_PID=$$; exec \"$0\" \"$@\"");
    let service = manager.serve(start);
    let fed_after = |what: &str| {
        while !manager.next().fields.contains_key(what) {}
        for _ in 0..5 {
            assert_eq!(manager.next().names(), ["WATCHDOG"]);
        }
        manager.main.get()
    };
    let first = service.first_pid();
    assert_eq!(fed_after("WATCHDOG"), first);
    service.hold("exec $real \"$@\"");
    signal(first, Signal::SIGHUP);
    service.log_until("started");
    assert_eq!(fed_after("RELOADING"), first, "while the successor initialises");
    service.release();
    let second: u32 = field(&service.log_until("generation 1 serves"), "pid").parse().unwrap();
    assert_eq!(fed_after("READY"), first, "and while it is on probation");
    while manager.main.get() == first {
        manager.next();
    }
    manager.serves(second, 1);
    assert_eq!(fed_after("WATCHDOG"), second);
}

#[test]
fn the_watchdog_is_fed_while_what_outlives_a_partial_stop_is_served() {
    let manager = Manager::at_a_path();
    let service = manager.serve(Start::new("tokio").with("WATCHDOG_USEC", "20000"));
    let lasting = service.log_until("has its lasting listener on ");
    let lasting = lasting.rsplit_once(' ').unwrap().1.parse().unwrap();
    let mut client = greet(lasting).unwrap();
    assert!(request(&service.path("drain"), Command::Drain, PATIENCE).unwrap().ok);
    service.log_until("generation 0 leaves: PartialStop");
    // What was said before that has been read, or is read now.
    while manager.next_now().is_some() {}
    for _ in 0..5 {
        assert_eq!(manager.next().names(), ["WATCHDOG"]);
    }
    assert!(client.echoes("served on"));
}

#[test]
fn a_dead_manager_costs_nobody_anything() {
    let manager = Manager::at_a_path();
    let mut service = manager.serve(Start::new("tokio").with("PROBATION", "20"));
    drop(manager);
    let clients = Looping::begin(service.address());
    clients.wait_for(20, 0);
    let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
    assert!(answer.ok, "{answer:?}");
    clients.wait_for(20, 1);
    assert!(request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap().ok);
    clients.wait_for(20, 2);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");
    assert_eq!(service.first_exit_code(), Some(0));
    assert!(request(&service.path("control"), Command::Stop, PATIENCE).unwrap().ok);
    let log = service.log_to_the_end();
    // The process that found nobody at its own start says so, and serves.
    assert!(log.iter().any(|line| line.contains("systemd is not told")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("generation 2 is done")), "{log:#?}");
}

#[test]
fn a_manager_that_does_not_read_blocks_nobody() {
    let manager = Manager::at_a_path();
    let service = manager.serve(Start::new("tokio").with("PROBATION", "0"));
    // As many as the kernel keeps for it (unix(7), max_dgram_qlen), and more.
    let own = UnixDatagram::unbound().unwrap();
    own.set_nonblocking(true).unwrap();
    while own.send_to(b"READY=1", &manager.name).is_ok() {}
    for generation in 1..=3 {
        let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
        assert!(answer.ok, "{answer:?}");
        service.log_until(&format!("generation {generation} serves"));
    }
    assert!(request(&service.path("control"), Command::Stop, PATIENCE).unwrap().ok);
    service.log_to_the_end();
}
