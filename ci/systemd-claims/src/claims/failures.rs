//! Reloads that fail.

use crate::clients::{Load, greet};
use crate::report::{Failure, Report, ensure, failure};
use crate::unit::{Plan, Unit};

/// A service, and programs in its place that are none.
pub(crate) fn cost_nothing(report: &mut Report) -> Result<(), Failure> {
    let plan = Plan::new("failures", 7121).arguments("--ready-deadline 300ms");
    let unit = plan.start()?;
    let load = Load::begin(unit.address());
    for (what, script, why) in [
        ("exits with 1", Some("exit 1"), "exit status: 1"),
        ("kills itself", Some("kill -SEGV $$"), "signal: 11"),
        ("is never ready", Some("exec sleep 1000"), "not ready within 300ms"),
        ("is gone", None, "No such file"),
    ] {
        let claim =
            format!("a new program that {what}: the service serves on, the status says why");
        report.claim(&claim, failed(&unit, script, why));
    }
    report.claim("the next reload after failed ones is as any other", {
        unit.restore()?;
        unit.systemctl("reload")?;
        let new = greet(unit.address())?;
        unit.until_main(new.pid)?;
        let status = unit.show("StatusText")?;
        let restarts = unit.show("NRestarts")?;
        if new.generation == 1 && restarts == "0" { Ok(status) } else { Err(failure!("{status}")) }
    });
    let tally = load.end();
    report.claim("failed reloads harm nobody", {
        let enough = tally.harm.is_empty() && tally.served() > 20;
        if enough { Ok(&tally) } else { Err(failure!("{tally} {:?}", tally.harm.first())) }
    });
    Ok(())
}

fn failed(unit: &Unit, script: Option<&str>, why: &str) -> Result<String, Failure> {
    let main = unit.main_pid()?;
    match script {
        Some(script) => unit.replace_with(script)?,
        None => unit.remove_program()?,
    }
    unit.systemctl("reload")?;
    let serves = greet(unit.address())?;
    ensure!((serves.pid, serves.generation) == (main, 0), "{} serves", serves.pid);
    let text = unit.show("StatusText")?;
    ensure!(text.contains(why), "{text:?} does not say {why:?}");
    ensure!(unit.status()?.contains(why), "systemctl status does not say {why:?}");
    let (state, pid) = (unit.show("ActiveState")?, unit.main_pid()?);
    ensure!(state == "active" && pid == main, "it is {state}, its main process {pid}");
    Ok(text)
}
