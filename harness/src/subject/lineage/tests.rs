use tempfile::TempDir;

use super::*;
use crate::event::Exit;

const SECONDS: Duration = Duration::from_secs(20);

fn start(script: &str) -> (Subject, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let command = ["/bin/sh", "-c", script].map(OsString::from);
    let subject = Subject::start(&command, directory.path(), Clock::start()).unwrap();
    (subject, directory)
}

/// Looks until `done`, or fails.
fn until(subject: &mut Subject, done: impl Fn(&Subject) -> bool) {
    let deadline = subject.clock.now().after(SECONDS);
    loop {
        subject.refresh();
        if done(subject) {
            return;
        }
        assert!(subject.clock.now() < deadline, "{subject:?}\n{}", subject.log_tail(20));
        thread::sleep(Duration::from_millis(1));
    }
}

fn exit_of(subject: &Subject, pid: u32) -> Option<Exit> {
    subject.find(pid).unwrap().exit
}

#[test]
fn knows_how_the_main_process_ended() {
    let (mut subject, _directory) = start("echo one; echo two >&2; echo three; exit 7");
    let main = subject.main_pid().unwrap();
    assert!(subject.wait_gone(main, SECONDS));
    assert_eq!(exit_of(&subject, main), Some(Exit::Code(7)));
    assert_eq!(subject.alive(), 0);
    assert_eq!(subject.log_tail(2), "two\nthree");
    assert!(subject.end().is_empty());
    assert_eq!(subject.signal(main, Signal::SIGTERM).unwrap_err().raw_os_error(), Some(3));
}

#[test]
fn follows_children_and_grandchildren_and_leaves_none() {
    let (mut subject, _directory) = start("sleep 100 & (sleep 100; :) & wait");
    until(&mut subject, |subject| subject.alive() == 4);
    let mut pids: Vec<u32> = subject.processes().iter().map(|process| process.pid).collect();
    let mut killed = subject.end();
    pids.sort_unstable();
    killed.sort_unstable();
    assert_eq!(killed, pids);
    for process in subject.processes() {
        assert!(process.gone.is_some() && process.is_settled(), "{process:?}");
        assert_eq!(procfs::kin(process.pid), None);
    }
    assert_eq!(exit_of(&subject, subject.main_pid().unwrap()), Some(Exit::Signal(9)));
    assert!(subject.end().is_empty());
}

#[test]
fn inherits_orphans_and_their_status() {
    let (mut subject, _directory) = start("(sleep 0.3; exit 5) & exit 0");
    let main = subject.main_pid().unwrap();
    until(&mut subject, |subject| subject.is_gone(main) && subject.processes().len() > 1);
    assert_eq!(exit_of(&subject, main), Some(Exit::Code(0)));
    until(&mut subject, |subject| subject.alive() == 0);
    let exits: Vec<_> = subject.processes().iter().map(|process| process.exit).collect();
    assert!(exits.contains(&Some(Exit::Code(5))), "{exits:?}");
}

#[test]
fn a_status_that_the_parent_took_is_not_invented() {
    let (mut subject, _directory) = start("(sleep 0.3; exit 5) & wait; sleep 100");
    until(&mut subject, |subject| subject.processes().len() >= 2);
    let child = subject.processes()[1].pid;
    assert!(subject.wait_gone(child, SECONDS));
    until(&mut subject, |subject| subject.find(child).unwrap().is_settled());
    assert_eq!(exit_of(&subject, child), Some(Exit::Reaped));
}

#[test]
fn a_status_that_nobody_took_is_inherited() {
    // Exec keeps the children, but `sleep` does not wait for them.
    let (mut subject, _directory) = start("(sleep 0.2; exit 5) & exec sleep 100");
    until(&mut subject, |subject| subject.processes().len() >= 2);
    let child = subject.processes()[1].pid;
    assert!(subject.wait_gone(child, SECONDS));
    subject.kill(subject.main_pid().unwrap()).unwrap();
    until(&mut subject, |subject| subject.processes().iter().all(Process::is_settled));
    assert_eq!(exit_of(&subject, child), Some(Exit::Code(5)));
}

#[test]
fn watches_for_a_child() {
    let (mut subject, _directory) = start("trap '(sleep 100) & wait' USR1; while :; do :; done");
    let main = subject.main_pid().unwrap();
    let soon = subject.clock.now().after(Duration::from_millis(50));
    assert_eq!(subject.watch_for_child(main, soon), None);
    let asked = subject.clock.now();
    subject.signal(main, Signal::SIGUSR1).unwrap();
    let child = subject.watch_for_child(main, asked.after(SECONDS)).unwrap();
    assert!(subject.find(child).unwrap().seen > asked);
    subject.kill(child).unwrap();
    assert!(subject.wait_gone(child, SECONDS));
    assert!(!subject.is_gone(main));
}

#[test]
fn freezes_and_thaws() {
    let (mut subject, _directory) = start("trap 'exit 3' TERM; while :; do sleep 0.01; done");
    let main = subject.main_pid().unwrap();
    thread::sleep(Duration::from_millis(100));
    subject.stop(main).unwrap();
    subject.signal(main, Signal::SIGTERM).unwrap();
    assert!(!subject.wait_gone(main, Duration::from_millis(100)));
    subject.cont(main).unwrap();
    assert!(subject.wait_gone(main, SECONDS));
    assert_eq!(exit_of(&subject, main), Some(Exit::Code(3)));
}

#[test]
fn two_subjects_do_not_mix_their_orphans() {
    let scripts = ["sleep 100 & sleep 100 & exit 0"; 2];
    let [(mut left, _l), (mut right, _r)] = scripts.map(start);
    let orphaned =
        |subject: &Subject| subject.is_gone(subject.main.unwrap()) && subject.alive() == 2;
    until(&mut left, orphaned);
    until(&mut right, orphaned);
    assert_eq!(left.end().len(), 2);
    right.refresh();
    assert_eq!(right.alive(), 2);
    assert_eq!(right.end().len(), 2);
}

#[test]
fn follows_a_child_into_another_session() {
    let (mut subject, _directory) = start("setsid sh -c 'sleep 0.2; sleep 100 & exit 0' & wait");
    until(&mut subject, |subject| subject.processes().len() >= 4);
    until(&mut subject, |subject| subject.is_gone(subject.main.unwrap()) && subject.alive() == 1);
    assert_eq!(subject.end().len(), 1);
}

#[test]
fn a_server_that_is_not_ours_is_seen_and_outlives_us() {
    let mut stranger = Command::new("/bin/sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
    let mut subject = Subject::attach(Some(stranger.id()), Clock::start()).unwrap();
    until(&mut subject, |subject| subject.alive() == 2);
    let child = subject.processes()[1].pid;
    assert!(subject.end().is_empty());
    drop(subject);
    assert!(procfs::kin(child).is_some() && stranger.try_wait().unwrap().is_none());
    // By name of the process, because only that of the child is known.
    for pid in [child, stranger.id()] {
        assert!(Command::new("/bin/kill").arg(pid.to_string()).status().unwrap().success());
    }
    stranger.wait().unwrap();
    // Now there is nobody to attach to.
    let error = Subject::attach(Some(stranger.id()), Clock::start()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(3));
    assert!(Subject::attach(None, Clock::start()).unwrap().is_unseen());
}

#[test]
fn a_server_in_the_background_is_found_by_its_pid_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // It becomes an orphan before it leaves its session, as a daemon does.
    let script = format!(
        "(sleep 0.2; exec setsid sh -c 'echo $$ >{}; exec sleep 100') & exit 0",
        file.path().display()
    );
    let (mut subject, _directory) = start(&script);
    let first = subject.main_pid();
    subject.follow(file.path().to_owned());
    until(&mut subject, |subject| subject.main_pid() != first);
    let daemon = subject.main_pid().unwrap();
    assert_eq!(procfs::kin(daemon).unwrap().session, daemon);
    assert_eq!(subject.end(), [daemon]);
}

#[test]
fn a_pid_file_does_not_make_a_stranger_ours() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (mut subject, _directory) = start("exec sleep 100");
    let main = subject.main_pid();
    subject.follow(file.path().to_owned());
    for text in ["", "x", "0", "4000000000", &process::id().to_string()] {
        std::fs::write(file.path(), text).unwrap();
        subject.refresh();
        assert_eq!((subject.main_pid(), subject.processes().len()), (main, 1), "{text}");
    }
}

#[test]
fn what_a_command_left_behind_belongs_to_the_subject() {
    let (mut subject, directory) = start("exec sleep 100");
    let pid = directory.path().join("pid");
    let script = format!("sleep 100 & echo $! >{}", pid.display());
    let mut command =
        Command::new("/bin/sh").args(["-c", &script]).process_group(0).spawn().unwrap();
    subject.claim(command.id());
    command.wait().unwrap();
    until(&mut subject, |subject| subject.alive() == 2);
    let left: u32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(subject.end().contains(&left));
}

#[test]
fn dropping_kills() {
    let (subject, _directory) = start("sleep 100");
    let main = subject.main_pid().unwrap();
    drop(subject);
    assert_eq!(procfs::kin(main), None);
}

#[test]
fn what_cannot_be_run_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let start = |command: &[OsString]| Subject::start(command, directory.path(), Clock::start());
    assert_eq!(start(&[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(start(&["/no/such/program".into()]).unwrap_err().kind(), ErrorKind::NotFound);
}
