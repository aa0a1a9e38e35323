//! Crashes of a process that serves.

use std::fs;

use crate::clients::{Load, greet};
use crate::report::{Failure, Report, ensure, now};
use crate::unit::{Plan, Unit, signal, until};

/// The service comes back.
pub(crate) fn are_noticed(report: &mut Report) -> Result<(), Failure> {
    report.claim("a crash of the new process is noticed at once while the old one drains", {
        let plan = Plan::new("crash", 7131).set("Restart=on-failure").set("RestartSec=0");
        crash(&plan.start()?)
    });
    report.claim("a crash on probation costs no restart: the old process serves again", {
        let plan = Plan::new("rollback", 7132).set("Restart=on-failure");
        roll_back(&plan.arguments("--probation 1h").start()?)
    });
    Ok(())
}

/// The first one is the standard library's, which looks for an overflow of the stack,
/// finds none, and has the next one kill.
fn segfault(pid: u32) -> Result<(), Failure> {
    signal(pid, "SEGV")?;
    until("SIGSEGV kills", || Ok((!catches_segv(pid)).then_some(())))?;
    signal(pid, "SEGV")
}

fn catches_segv(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << 10) != 0)
}

fn crash(unit: &Unit) -> Result<String, Failure> {
    let mut old = greet(unit.address())?;
    unit.systemctl("reload")?;
    let new = greet(unit.address())?.pid;
    unit.until_main(new)?;
    old.echo()?;
    let began = now();
    segfault(new)?;
    unit.until("NRestarts", "1")?;
    let noticed = began.elapsed().as_millis();
    let restarted = until("it serves again", || Ok(greet(unit.address()).ok()))?;
    let took = began.elapsed().as_millis();
    ensure!(restarted.generation == 0 && restarted.pid != new, "it was not restarted");
    let crashes = unit.count_in_journal(&["status=11/SEGV"])?;
    ensure!(crashes == 1, "{crashes} crashes are in the journal");
    // A service that is not watched is missed after a timeout, if at all.
    ensure!(took < 2000, "restarted after {took} ms");
    Ok(format!("noticed after {noticed} ms, serves after {took} ms"))
}

fn roll_back(unit: &Unit) -> Result<String, Failure> {
    let main = unit.main_pid()?;
    unit.systemctl("reload")?;
    let new = greet(unit.address())?.pid;
    ensure!(new != main, "the new process does not serve");
    segfault(new)?;
    until("the old one serves again", || {
        Ok(greet(unit.address()).ok().filter(|serves| serves.pid == main))
    })?;
    let load = Load::begin(unit.address());
    until("it serves", || Ok((load.tally().served() > 20).then_some(())))?;
    let (tally, status) = (load.end(), unit.show("StatusText")?);
    ensure!(tally.harm.is_empty(), "{tally}");
    ensure!(status.contains("ended on probation"), "the status is {status:?}");
    let restarts = unit.show("NRestarts")?;
    ensure!(restarts == "0" && unit.main_pid()? == main, "{restarts} restarts");
    Ok(status)
}
