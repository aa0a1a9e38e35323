//! systemd's watchdog.

use std::thread;
use std::time::Duration;

use crate::clients::greet;
use crate::report::{Failure, Report, ensure};
use crate::unit::{Plan, Unit, signal};

/// Fed, and not fed.
pub(crate) fn is_fed(report: &mut Report) -> Result<(), Failure> {
    let plan = Plan::new("watchdog", 7171).set("WatchdogSec=1").set("Restart=on-failure");
    let unit = plan.set("RestartSec=0").start()?;
    report.claim("the watchdog is fed over three reloads", fed(&unit));
    report.claim("one that hangs is restarted: the watchdog is on", {
        signal(unit.main_pid()?, "STOP")?;
        unit.until("NRestarts", "1")?;
        let bites = unit.count_in_journal(&["Watchdog timeout"])?;
        if bites == 1 { Ok("1 restart") } else { Err(format!("{bites} bites").into()) }
    });
    Ok(())
}

/// Each generation serves for longer than the watchdog waits.
fn fed(unit: &Unit) -> Result<String, Failure> {
    for generation in 1..=3 {
        unit.systemctl("reload")?;
        let new = greet(unit.address())?;
        ensure!(new.generation == generation, "generation {} serves", new.generation);
        thread::sleep(Duration::from_millis(1500));
        let (main, restarts) = (unit.main_pid()?, unit.show("NRestarts")?);
        ensure!(main == new.pid && restarts == "0", "{restarts} restarts");
    }
    Ok("3 reloads, 4.5 s, WatchdogSec=1".to_owned())
}
