//! Reloads that go well.

use std::thread;
use std::time::Duration;

use crate::clients::{Load, greet};
use crate::report::{Failure, Report, ensure, failure, now};
use crate::unit::{Plan, Unit, until};

/// What the journal has of a process that systemd takes for a stranger, or does not
/// listen to.
const STRANGERS: [&str; 3] =
    ["which is not our child", "reception only permitted", "Supervising process"];

const RELOADS: u64 = 50;

/// Fifty reloads, one after the other.
pub(crate) fn under_load(report: &mut Report) -> Result<(), Failure> {
    let unit = Plan::new("reloads", 7101).start()?;
    let load = Load::begin(unit.address());
    let (mut late, mut lost, mut took) = (0, 0, Vec::new());
    for generation in 1..=RELOADS {
        let began = now();
        unit.systemctl("reload")?;
        took.push(began.elapsed());
        // At once: who is told that it is over may look.
        let new = greet(unit.address())?;
        late += u32::from(new.generation != generation);
        lost += u32::from(unit.until_main(new.pid).is_err());
    }
    let tally = load.end();
    took.sort();
    report.claim("50 reloads under load harm nobody", {
        let harm = tally.harm.first().cloned().unwrap_or_default();
        let enough = tally.served() > 1000 && tally.served.len() > 40;
        if tally.harm.is_empty() && enough { Ok(&tally) } else { Err(failure!("{tally} {harm}")) }
    });
    report.claim("systemctl reload returns when new connections reach the new generation", {
        let median = took[took.len() / 2].as_secs_f64() * 1000.0;
        none(late).map(|none| format!("{none} of {RELOADS} late; a reload takes {median:.0} ms"))
    });
    report.claim("MainPID follows each time", none(lost).map(|none| format!("{none} lost")));
    report.claim("systemd knows every process for its own child, by default NotifyAccess", {
        let strangers = unit.count_in_journal(&STRANGERS)?;
        let (access, restarts) = (unit.show("NotifyAccess")?, unit.show("NRestarts")?);
        let held = strangers == 0 && access == "main" && restarts == "0";
        let measured = format!("{strangers} strangers, NotifyAccess={access}, {restarts} restarts");
        if held { Ok(measured) } else { Err(failure!("{measured}")) }
    });
    Ok(())
}

fn none(count: u32) -> Result<u32, Failure> {
    if count == 0 { Ok(count) } else { Err(failure!("{count} of {RELOADS} were not as claimed")) }
}

/// One reload that can be looked at, and several that are asked for at once.
pub(crate) fn in_steps(report: &mut Report) -> Result<(), Failure> {
    let unit = Plan::new("notify", 7102).start()?;
    report.claim("a reload is acknowledged with RELOADING and MONOTONIC_USEC", steps(&unit));
    report.claim("a reload on probation is one of its own", in_a_row(&unit));
    Ok(())
}

/// systemd is in this state only when it has been told of a reload that is younger
/// than its own request (systemd.service(5), `Type=notify-reload`).
fn steps(unit: &Unit) -> Result<String, Failure> {
    unit.replace_with("mkfifo /run/claim-notify; read go </run/claim-notify; exec $real \"$@\"")?;
    unit.begin_to_reload()?;
    unit.until("SubState", "reload-notify")?;
    let status = unit.show("StatusText")?;
    ensure!(status == "upgrading", "the status is {status:?}");
    ensure!(greet(unit.address())?.generation == 0, "the old one does not serve");
    until("the successor waits", || Ok(std::fs::write("/run/claim-notify", "go\n").ok()))?;
    unit.until("SubState", "running")?;
    let new = greet(unit.address())?;
    ensure!(new.generation == 1, "generation {} serves", new.generation);
    unit.until("StatusText", "generation 1 serves")?;
    unit.restore()?;
    Ok("reload-notify, upgrading, running, generation 1 serves".to_owned())
}

fn in_a_row(unit: &Unit) -> Result<String, Failure> {
    let before = greet(unit.address())?.generation;
    for generation in before + 1..=before + 5 {
        unit.systemctl("reload")?;
        let new = greet(unit.address())?;
        ensure!(new.generation == generation, "{} serves, not {generation}", new.generation);
    }
    let last = greet(unit.address())?;
    unit.until_main(last.pid)?;
    // And none is left over.
    thread::sleep(Duration::from_millis(200));
    ensure!(greet(unit.address())?.pid == last.pid, "one more has been made");
    Ok("5 reloads, 5 generations".to_owned())
}
