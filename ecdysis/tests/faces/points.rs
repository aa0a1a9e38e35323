//! What an upgrade costs that fails, or whose process crashes, at each of the named
//! points of the library, with clients who come and go meanwhile.
//!
//! The points are the library's own list: one that is added there and has no row
//! here is a test that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;

use ecdysis::FailPoint;
use ecdysis::control::{Answer, Command, request};
use nix::sys::signal::Signal;

use Ends::{Alone, CarriedOn, Completes, Crashes, Fails};

use crate::clients::{CLIENTS, Greeted, Looping, Tally, connect, greet, greeted};
use crate::service::{
    PATIENCE, Service, Start, eventually, eventually_is, field, has_stopped, signal,
};

/// How an upgrade ends at one of whose points something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The caller is told one of these kinds of error. The old process serves on, and
    /// so nobody notices.
    Fails(&'static [&'static str]),
    /// The same; the new process had begun to serve, and had connections of its own.
    Crashes(&'static [&'static str]),
    /// As if nothing had happened.
    Completes,
    /// The old process dies and the new one serves. The connections of the old one
    /// have ended, nobody is refused.
    CarriedOn,
    /// The old process dies, and there is no new one.
    Alone,
}

/// The point, what comes of an error there, and what of a crash.
type Row = (&'static str, Option<Ends>, Ends);

const SYSTEM: Option<Ends> = Some(Fails(&["System"]));
const EXITED: Ends = Fails(&["Exited"]);
/// It says ready and is gone: it depends on which of the two is seen first.
const EXITED_OR_ROLLED_BACK: Ends = Fails(&["Exited", "RolledBack"]);

/// Those that an upgrade passes that goes well.
const COURSE: &[Row] = &[
    ("ecdysis.predecessor.begin", SYSTEM, Alone),
    ("ecdysis.predecessor.state", Some(Fails(&["State"])), Alone),
    ("ecdysis.predecessor.pipes", SYSTEM, Alone),
    ("ecdysis.predecessor.manifest", SYSTEM, Alone),
    ("ecdysis.predecessor.spawn", Some(Fails(&["Start"])), Alone),
    ("ecdysis.predecessor.spawned", SYSTEM, CarriedOn),
    ("ecdysis.predecessor.wait", SYSTEM, CarriedOn),
    ("ecdysis.predecessor.ready", SYSTEM, CarriedOn),
    ("ecdysis.predecessor.stopped", SYSTEM, CarriedOn),
    ("ecdysis.predecessor.go", None, CarriedOn),
    ("ecdysis.predecessor.probation", Some(Completes), CarriedOn),
    ("ecdysis.predecessor.settle", Some(Completes), CarriedOn),
    ("ecdysis.predecessor.settled", None, CarriedOn),
    ("ecdysis.predecessor.decided", None, CarriedOn),
    ("ecdysis.predecessor.drain", None, CarriedOn),
    ("ecdysis.successor.begin", Some(EXITED), EXITED),
    ("ecdysis.successor.manifest", Some(EXITED), EXITED),
    ("ecdysis.successor.adopt", Some(EXITED), EXITED),
    ("ecdysis.successor.adopted", Some(EXITED), EXITED),
    ("ecdysis.successor.claim", Some(EXITED), EXITED),
    ("ecdysis.successor.initialised", Some(EXITED), EXITED),
    // It ends by itself; that its pipe is closed is seen before.
    ("ecdysis.successor.ready", Some(Fails(&["Exited", "ReadyPipeClosed"])), EXITED),
    ("ecdysis.successor.said", None, EXITED_OR_ROLLED_BACK),
    // It takes the old one for gone, which lets it have its way.
    ("ecdysis.successor.hear", Some(Completes), EXITED_OR_ROLLED_BACK),
    ("ecdysis.successor.go", None, Fails(&["RolledBack"])),
    ("ecdysis.successor.serve", None, Crashes(&["RolledBack"])),
];

/// Those at which the probation is over: one that crashes there is a service that
/// crashes, and has its old process back only by luck.
const AFTERWARDS: &[&str] = &["ecdysis.successor.settle", "ecdysis.successor.settled"];

/// Those that only an upgrade passes that fails: how it fails without more, with an
/// error there, and with a crash.
const FAILURES: &[(&str, Ends, Option<Ends>, Ends)] = &[
    ("ecdysis.predecessor.kill", EXITED, SYSTEM, Alone),
    ("ecdysis.predecessor.rollback", Fails(&["RolledBack"]), None, Alone),
    ("ecdysis.predecessor.recover", EXITED, None, Alone),
];

/// A service of which somebody has connections, for one upgrade.
struct Trial {
    service: Service,
    clients: Looping,
    kept: Greeted,
    before: Holdings,
}

/// What a process has open, by kind, and what is in the directory of its service.
type Holdings = (BTreeMap<String, usize>, BTreeSet<String>);

impl Trial {
    /// One to which `action` happens at this point, in whichever process it is that
    /// passes it; once in each that does.
    fn new(point: &str, action: &str, ends: Ends) -> Self {
        let probation = match ends {
            // The one that crashes must not be taken for one that has stood the test.
            Fails(kinds) | Crashes(kinds) if kinds.contains(&"RolledBack") => "2000",
            Fails(_) | Crashes(_) | Completes | CarriedOn | Alone => "20",
        };
        let order = format!("{point}=1*{action}");
        let start = Start::new("tokio").with("PROBATION", probation).with("STATE", "yes");
        let pid_file = start.path("pid");
        let start = start.with("PID_FILE", pid_file);
        let ours = point.starts_with("ecdysis.predecessor.");
        let service = if ours { start.with("FAILPOINTS", &order) } else { start }.serve();
        service.replace_with(&if ours {
            "unset FAILPOINTS; exec $real \"$@\"".to_owned()
        } else {
            format!("FAILPOINTS='{order}' exec $real \"$@\"")
        });
        let before = holdings(&service, service.first_pid());
        let clients = Looping::begin(service.address());
        clients.wait_for(20, 0);
        let kept = greet(service.address()).unwrap();
        Self { service, clients, kept, before }
    }

    /// Upgrades, and makes sure that the point was passed.
    fn upgrade(&self, point: &str) -> io::Result<Answer> {
        let answer = upgrade(&self.service);
        self.service.log_until(&format!("failpoint {point} is passed"));
        answer
    }

    /// The upgrade has failed in this way, or has come to this end.
    fn ends(self, answer: io::Result<Answer>, ends: Ends) {
        match ends {
            Fails(kinds) => self.ends_failed(&answer.unwrap(), kinds, 0),
            Crashes(kinds) => self.ends_failed(&answer.unwrap(), kinds, CLIENTS),
            Completes => self.ends_completed(&answer.unwrap()),
            CarriedOn => self.ends_carried_on(&answer),
            Alone => self.ends_alone(&answer),
        }
    }

    fn ends_failed(mut self, answer: &Answer, kinds: &[&str], lost: usize) {
        assert!(!answer.ok, "{answer:?}");
        let outcome = self.service.log_until("outcome ");
        let kind = outcome.strip_prefix("outcome Err(").unwrap();
        assert!(kinds.iter().any(|expected| kind.starts_with(expected)), "{outcome}");
        self.clients.wait_for(20, 0);
        assert!(self.kept.echoes("still there"));
        drop(self.kept);
        let tally = self.clients.end();
        assert!(tally.refused == 0 && tally.broken.len() <= lost, "{tally:?}");
        let first = self.service.first_pid();
        holds(&self.service, first, &self.before);
        assert_eq!(pid_file(&self.service), first);
        goes_on(&self.service, first, 1, &self.before);
    }

    fn ends_completed(mut self, answer: &Answer) {
        assert!(answer.ok, "{answer:?}");
        assert_eq!(self.service.log_until("outcome "), "outcome Ok(())");
        self.clients.wait_for(20, 1);
        assert!(self.kept.echoes("still there"));
        drop(self.kept);
        let tally = self.clients.end();
        assert!(tally.is_clean(), "{tally:?}");
        let pid = answer.upgrade.as_ref().unwrap().successor.unwrap();
        goes_on(&self.service, pid, 2, &self.before);
    }

    fn ends_carried_on(mut self, answer: &io::Result<Answer>) {
        assert!(answer.is_err(), "nobody was left to answer: {answer:?}");
        self.has_crashed();
        self.clients.wait_for(20, 1);
        assert!(!self.kept.echoes("still there"), "it died with the process that had it");
        let Tally { refused, broken, .. } = self.clients.end();
        assert!(refused == 0 && broken.len() <= CLIENTS, "{refused} {broken:?}");
        let pid = greet(self.service.address()).unwrap().pid;
        goes_on(&self.service, pid, 2, &self.before);
    }

    fn ends_alone(mut self, answer: &io::Result<Answer>) {
        assert!(answer.is_err(), "nobody was left to answer: {answer:?}");
        self.has_crashed();
        assert!(self.kept.stream.read(&mut [0]).unwrap_or_default() == 0);
        // Whoever were left would have the log open.
        self.service.log_to_the_end();
        greet(self.service.address()).unwrap_err();
        self.clients.end();
    }

    fn has_crashed(&mut self) {
        let status = self.service.first_status();
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    }
}

fn upgrade(service: &Service) -> io::Result<Answer> {
    request(&service.path("control"), Command::Upgrade, PATIENCE)
}

/// The next upgrade is one like any other, to this generation, and nothing is left of
/// the one before it.
fn goes_on(service: &Service, pid: u32, generation: u64, before: &Holdings) {
    service.restore();
    let clients = Looping::begin(service.address());
    clients.wait_for(20, generation - 1);
    let answer = upgrade(service).unwrap();
    assert!(answer.ok, "{answer:?}");
    clients.wait_for(20, generation);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");
    let successor = answer.upgrade.unwrap().successor.unwrap();
    assert_ne!(successor, pid);
    eventually("it is the only one left", || (processes(service) == [successor]).then_some(()));
    holds(service, successor, before);
    assert_eq!(pid_file(service), successor);
}

fn pid_file(service: &Service) -> u32 {
    fs::read_to_string(service.path("pid")).unwrap().trim().parse().unwrap()
}

/// Whose service it is that runs, zombies included but for the one that the test has
/// to wait for.
fn processes(service: &Service) -> Vec<u32> {
    let group = service.first_pid().to_string();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_group = pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
        fields.is_some_and(|fields| {
            fields[2] == group && (fields[0] != "Z" || *pid != service.first_pid())
        })
    });
    of_group.collect()
}

/// Waits until a process holds what it held before.
fn holds(service: &Service, pid: u32, before: &Holdings) {
    eventually_is(&format!("what {pid} holds"), before, || holdings(service, pid));
}

fn holdings(service: &Service, pid: u32) -> Holdings {
    let names = |path: &Path| fs::read_dir(path).unwrap().map(Result::unwrap);
    let mut open = BTreeMap::new();
    for entry in names(Path::new(&format!("/proc/{pid}/fd"))) {
        // One that is closed between the two looks is not open.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if pid == service.first_pid() && is_stray(pid, entry.file_name().to_str().unwrap()) {
            continue;
        }
        let target = target.display().to_string();
        let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
        *open.entry(kind.to_owned()).or_default() += 1;
    }
    let directory = service.program().parent().unwrap().to_owned();
    let files = names(&directory).map(|entry| entry.file_name().into_string().unwrap());
    (open, files.collect())
}

/// What the first generation has from whoever runs the tests, and cannot but have.
fn is_stray(pid: u32, number: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    let crosses = flags.is_some_and(|flags| flags & libc::O_CLOEXEC == 0);
    crosses && !["0", "1", "2"].contains(&number)
}

#[test]
fn every_point_of_the_library_has_its_row() {
    let rows = COURSE.iter().map(|(name, error, _)| (*name, error.is_some()));
    let afterwards = AFTERWARDS.iter().map(|name| (*name, false));
    let failures = FAILURES.iter().map(|(name, _, error, _)| (*name, error.is_some()));
    let rows: Vec<_> = rows.chain(afterwards).chain(failures).collect();
    let points: Vec<_> = FailPoint::ALL.iter().map(|point| (point.name, point.can_fail)).collect();
    assert_eq!(rows, points, "the rows are those of the library, in its order");
    for point in FailPoint::ALL {
        assert!(point.meaning.ends_with('.'), "{point:?}");
    }
}

#[test]
fn an_upgrade_passes_the_points_in_their_order() {
    let names = COURSE.iter().map(|(name, ..)| *name).chain(AFTERWARDS.iter().copied());
    let order: Vec<_> = names.map(|name| format!("{name}=off")).collect();
    let start = Start::new("tokio").with("PROBATION", "20").with("STATE", "yes");
    let service = start.with("FAILPOINTS", order.join(";")).serve();
    let answer = upgrade(&service).unwrap();
    assert!(answer.ok, "{answer:?}");
    service.log_until("failpoint ecdysis.successor.settled");
    service.log_until("failpoint ecdysis.predecessor.drain");
    let successor = answer.upgrade.unwrap().successor.unwrap();
    let log = service.log_so_far();
    for (end, pid) in [("predecessor", service.first_pid()), ("successor", successor)] {
        let ours = format!("ecdysis.{end}.");
        let mut passed: Vec<&str> = Vec::new();
        for line in log.iter().filter(|line| line.starts_with("failpoint ") && line.contains(&ours))
        {
            assert_eq!(field(line, "pid"), pid.to_string());
            let name = line.split(' ').nth(1).unwrap();
            if !passed.contains(&name) {
                passed.push(name);
            }
        }
        let all = COURSE.iter().map(|(name, ..)| *name).chain(AFTERWARDS.iter().copied());
        // It looks for a word once more when it is on probation.
        assert_eq!(passed, all.filter(|name| name.starts_with(&ours)).collect::<Vec<_>>());
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_can() {
    for (order, part) in [
        ("ecdysis.predecessor.bgin=off", "there are ecdysis.predecessor.begin, "),
        ("ecdysis.predecessor.begin", "a point, \"=\" and an action are accepted"),
        ("ecdysis.predecessor.begin=die", "unrecognized command \"die\""),
    ] {
        let service = Start::new("tokio").with("FAILPOINTS", order).start();
        let said = service.log_until("cannot begin: FAILPOINTS: ");
        assert!(said.contains(part), "{said}");
    }
    let others = Start::new("tokio").with("FAILPOINTS", "somebody.elses=return(abort)");
    assert_eq!(greet(others.serve().address()).unwrap().generation, 0);
}

#[test]
fn a_step_that_fails_costs_the_upgrade_at_most() {
    // Out of memory, which any of them may be.
    let action = format!("return({})", libc::ENOMEM);
    for (point, error, _) in COURSE {
        let Some(ends) = error else { continue };
        let trial = Trial::new(point, &action, *ends);
        let answer = trial.upgrade(point);
        trial.ends(answer, *ends);
    }
}

#[test]
fn a_panic_of_ours_costs_the_upgrade_at_most() {
    for (point, error, _) in COURSE {
        let Some(ends @ Fails(_)) = *error else { continue };
        // Whatever the step is, it is the upgrade that has panicked.
        let ends = match point.strip_prefix("ecdysis.predecessor.") {
            Some(_) => Fails(&["System"]),
            None => ends,
        };
        let trial = Trial::new(point, "panic", ends);
        let answer = trial.upgrade(point);
        trial.ends(answer, ends);
    }
    // Here it could have failed in no other way.
    for point in ["ecdysis.successor.said", "ecdysis.successor.go"] {
        let ends = Fails(&["Exited", "ReadyPipeClosed", "RolledBack"]);
        let trial = Trial::new(point, "panic", ends);
        let answer = trial.upgrade(point);
        trial.ends(answer, ends);
    }
}

#[test]
fn an_old_process_that_crashes_costs_its_own_connections() {
    for (point, _, crash) in COURSE.iter().filter(|(point, ..)| point.contains(".predecessor.")) {
        let trial = Trial::new(point, "return(abort)", *crash);
        let answer = trial.upgrade(point);
        trial.ends(answer, *crash);
    }
}

#[test]
fn a_new_process_that_crashes_costs_its_own_connections() {
    for (point, _, crash) in COURSE.iter().filter(|(point, ..)| point.contains(".successor.")) {
        let trial = Trial::new(point, "return(abort)", *crash);
        let answer = trial.upgrade(point);
        trial.ends(answer, *crash);
    }
}

#[test]
fn a_new_process_that_crashes_when_it_is_settled_leaves_the_old_one_its_connections() {
    for point in AFTERWARDS {
        let trial = Trial::new(point, "return(abort)", Completes);
        let answer = trial.upgrade(point).unwrap();
        if answer.ok {
            // It was too late to serve again.
            let Trial { mut service, clients, mut kept, .. } = trial;
            assert!(kept.echoes("still there"));
            drop(kept);
            clients.end();
            assert_eq!(service.first_exit_code(), Some(0));
            service.log_to_the_end();
        } else {
            trial.ends(Ok(answer), Crashes(&["RolledBack"]));
        }
    }
}

#[test]
fn a_step_that_takes_long_costs_nothing() {
    for point in COURSE.iter().map(|(name, ..)| *name).chain(AFTERWARDS.iter().copied()) {
        let trial = Trial::new(point, "sleep(50)", Completes);
        let answer = trial.upgrade(point);
        trial.ends(answer, Completes);
    }
}

#[test]
fn what_happens_when_an_upgrade_fails_is_no_worse() {
    for (point, without, error, crash) in FAILURES {
        let error = error.map(|ends| ("return(12)", ends));
        let cases = [("return(abort)", *crash), ("sleep(50)", *without)];
        for (action, ends) in error.into_iter().chain(cases) {
            let trial = Trial::new(point, action, *without);
            trial.service.replace_with(match without {
                Fails(["RolledBack"]) => {
                    "FAILPOINTS='ecdysis.successor.go=return(abort)' exec $real \"$@\""
                }
                Fails(_) | Crashes(_) | Completes | CarriedOn | Alone => "exit 3",
            });
            let answer = trial.upgrade(point);
            trial.ends(answer, ends);
        }
    }
}

#[test]
fn one_that_stops_in_the_middle_goes_on_when_it_may() {
    let point = "ecdysis.successor.go";
    // On probation for as long as the test likes.
    let service = Start::new("tokio").with("PROBATION", "3600000").serve();
    service.replace_with(&format!("FAILPOINTS='{point}=return(stop)' exec $real \"$@\""));
    let asked = {
        let control = service.path("control");
        thread::spawn(move || request(&control, Command::Upgrade, PATIENCE))
    };
    let pid: u32 = field(&service.log_until(&format!("failpoint {point}")), "pid").parse().unwrap();
    eventually("it stops", || has_stopped(pid).then_some(()));
    let waiting = connect(service.address()).unwrap();
    signal(pid, Signal::SIGCONT);
    let mut greeted = greeted(waiting).unwrap();
    assert_eq!((greeted.pid, greeted.generation), (pid, 1));
    assert!(greeted.echoes("served"));
    signal(pid, Signal::SIGKILL);
    let answer = asked.join().unwrap().unwrap();
    assert!(!answer.ok, "{answer:?}");
}
