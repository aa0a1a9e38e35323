//! On a shell, which starts a process for each line that it reads.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use syscalls::Sysno;

use super::*;
use crate::event::{Exit, Phase, Whom};

const PATIENCE: Duration = Duration::from_secs(60);

/// A shell that does for each line what `body` says, and then says how that ended.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    tracer: Tracer,
}

impl Shell {
    fn start(body: &str) -> Self {
        let script =
            format!("trap 'echo asked' USR1; echo up; while read line; do {body}; echo $?; done");
        let mut child = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(output.next().unwrap().unwrap(), "up");
        let tracer = Tracer::attach(child.id()).unwrap();
        Self { child, input, output, tracer }
    }

    fn order(&self, whom: Whom, deed: Deed) {
        let trigger = Some(Signal::SIGUSR1);
        self.tracer.order(Orders { old: self.child.id(), whom, deed, trigger }).unwrap();
    }

    fn say(&mut self) -> String {
        self.input.write_all(b"go\n").unwrap();
        self.output.next().unwrap().unwrap()
    }

    fn hit(&self) -> crate::event::Hit {
        assert!(self.tracer.wait_until(PATIENCE, |account| account.hit.is_some()));
        self.tracer.account().hit.unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_successor_is_killed_at_each_of_its_calls_and_at_no_other() {
    let mut shell = Shell::start("/bin/true");
    shell.order(Whom::Successor, Deed::Watch);
    assert_eq!(shell.say(), "0");
    let calls = shell.tracer.account().calls;
    assert!(calls.contains(&"execve") && calls.last() == Some(&"exit_group"), "{calls:?}");
    let exec = calls.iter().position(|call| *call == "execve").unwrap();
    for (index, call) in calls.iter().enumerate() {
        let number = u64::try_from(index + 1).unwrap();
        shell.order(Whom::Successor, Deed::KillAt(number));
        assert_eq!(shell.say(), "137", "{call}");
        assert!(shell.tracer.wait_until(PATIENCE, |account| !account.ended.is_empty()));
        let hit = shell.hit();
        let expected = if index <= exec { Phase::Born } else { Phase::Started };
        assert_eq!((hit.number, hit.call, hit.phase), (number, *call, expected));
        assert_eq!(hit.ended, Some(Exit::Signal(9)));
    }
    shell.order(Whom::Successor, Deed::KillAt(10_000));
    assert_eq!(shell.say(), "0");
    assert_eq!(shell.tracer.account().hit, None);
}

#[test]
fn a_predecessor_is_killed_at_a_call_after_its_trigger() {
    let mut shell = Shell::start("/bin/true");
    shell.order(Whom::Predecessor, Deed::KillAt(1));
    // Calls before the trigger do not count.
    assert_eq!(shell.say(), "0");
    assert_eq!(shell.tracer.account().hit, None);
    kill(Pid::from_raw(shell.child.id().try_into().unwrap()), Signal::SIGUSR1).unwrap();
    assert!(shell.tracer.wait_until(PATIENCE, |account| !account.ended.is_empty()));
    assert_eq!(shell.hit().number, 1);
    assert!(shell.output.next().is_none(), "it has said nothing after the trigger");
}

#[test]
fn those_who_are_not_watched_are_left_alone() {
    let mut shell = Shell::start("/bin/true");
    shell.order(Whom::Successor, Deed::KillAt(1));
    shell.tracer.rest(shell.child.id()).unwrap();
    assert_eq!(shell.say(), "0");
    assert_eq!(shell.tracer.account().calls, Vec::<&str>::new());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_call_that_is_to_fail_fails_and_no_other() {
    let mut shell = Shell::start("cat /dev/null");
    shell.order(Whom::Successor, Deed::Watch);
    assert_eq!(shell.say(), "0");
    let opened = shell.tracer.account().calls.iter().filter(|call| **call == "openat").count();
    let last = u64::try_from(opened).unwrap();
    let fail = |turn| Deed::Fail { call: Sysno::openat, turn, errno: Errno::EIO };
    shell.order(Whom::Successor, fail(last));
    assert_eq!(shell.say(), "1", "cat says that it cannot read");
    assert!(shell.tracer.wait_until(PATIENCE, |account| !account.ended.is_empty()));
    let hit = shell.hit();
    assert_eq!((hit.call, hit.ended), ("openat", Some(Exit::Code(1))));
    shell.order(Whom::Successor, fail(last + 1));
    assert_eq!(shell.say(), "0");
    assert_eq!(shell.tracer.account().hit, None);
}

#[test]
fn who_is_not_there_cannot_be_followed() {
    assert!(Tracer::attach(u32::MAX).is_err());
    let mut shell = Shell::start("/bin/true");
    assert!(Tracer::attach(shell.child.id()).is_err(), "it is followed already");
    assert_eq!(shell.say(), "0");
}
