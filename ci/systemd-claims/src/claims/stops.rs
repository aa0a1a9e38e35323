//! Stops, which drain.

use std::thread;
use std::time::Duration;

use crate::clients::{Greeted, connect, greet};
use crate::report::{Failure, Report, ensure, failure, now};
use crate::unit::{Plan, Unit, until};

/// For how long each request is under way yet when the service is told to stop.
const REQUEST: Duration = Duration::from_millis(300);
/// The same, where a stop that is heard twice would be taken for a second one.
const LONG: Duration = Duration::from_millis(2500);

/// Stops at several moments.
pub(crate) fn drain(report: &mut Report) -> Result<(), Failure> {
    report.claim("systemctl stop drains after three reloads", {
        let unit = Plan::new("stop", 7111).start()?;
        for _ in 0..3 {
            reload(&unit)?;
        }
        stop(&unit, vec![greet(unit.address())?], REQUEST)
    });
    for mode in ["control-group", "mixed"] {
        let claim = format!("systemctl stop on probation drains both, KillMode={mode}");
        report.claim(&claim, on_probation(mode));
    }
    report.claim("systemctl stop drains an older generation, KillMode=mixed", {
        let unit = Plan::new("older", 7113).set("KillMode=mixed").start()?;
        let old = greet(unit.address())?;
        reload(&unit)?;
        reload(&unit)?;
        let new = greet(unit.address())?;
        stop(&unit, vec![new, old], LONG)
    });
    report.claim("systemctl stop ends an upgrade that is under way", {
        let unit = Plan::new("midway", 7114).start()?;
        unit.replace_with("exec sleep 1000")?;
        unit.begin_to_reload()?;
        unit.until("SubState", "reload-notify")?;
        stop(&unit, vec![greet(unit.address())?], REQUEST)
    });
    report.claim("systemctl stop drains for longer than TimeoutStopSec=1", {
        let unit = Plan::new("longer", 7115).set("TimeoutStopSec=1").start()?;
        stop(&unit, vec![greet(unit.address())?], LONG)
    });
    Ok(())
}

/// Reloads, and waits until the new process is the main one.
fn reload(unit: &Unit) -> Result<(), Failure> {
    unit.systemctl("reload")?;
    unit.until_main(greet(unit.address())?.pid)
}

/// A stop reaches one process or both, at once or one after the other, and either may
/// be the one that has to wait for its client.
fn on_probation(mode: &str) -> Result<String, Failure> {
    let mut rounds = 0;
    for gap in [REQUEST, REQUEST, LONG] {
        for last in [0, 1] {
            let plan = Plan::new("probation", 7112).set(&format!("KillMode={mode}"));
            let unit = plan.start()?;
            let old = greet(unit.address())?;
            unit.systemctl("reload")?;
            let new = greet(unit.address())?;
            ensure!(unit.main_pid()? == old.pid, "it is no probation any more");
            let requests = if last == 0 { vec![new, old] } else { vec![old, new] };
            let stopped = stop(&unit, requests, gap);
            stopped.map_err(|why| failure!("round {rounds}: {why}"))?;
            rounds += 1;
        }
    }
    Ok(format!("{rounds} rounds"))
}

/// Stops a unit while these requests are under way, which finish one after the other.
fn stop(unit: &Unit, requests: Vec<Greeted>, gap: Duration) -> Result<String, Failure> {
    let (began, count) = (now(), requests.len());
    unit.begin_to_stop()?;
    until("nobody is let in", || Ok(connect(unit.address()).err().map(drop)))?;
    for mut request in requests {
        thread::sleep(gap);
        let generation = request.generation;
        request.echo().map_err(|why| failure!("generation {generation} has cut it: {why}"))?;
        let state = unit.show("ActiveState")?;
        ensure!(state == "deactivating", "it is {state} before its requests have finished");
        request.finish()?;
    }
    unit.until("ActiveState", "inactive")?;
    let (result, killed) = (unit.show("Result")?, unit.count_in_journal(&["Killing process"])?);
    ensure!(result == "success" && killed == 0, "result {result}, {killed} killed");
    Ok(format!("{count} in flight, stopped after {:.0} ms", began.elapsed().as_secs_f64() * 1000.0))
}
