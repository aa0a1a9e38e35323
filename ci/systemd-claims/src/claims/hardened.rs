//! Units that are locked up.

use std::collections::BTreeSet;
use std::fs;

use crate::clients::{Load, greet};
use crate::report::{Failure, Report, ensure, failure};
use crate::unit::{Plan, Unit, until};

/// What the documentation of the library says of system calls.
const GUIDE: &str = include_str!("../../../../ecdysis/src/guide/seccomp.md");

/// The unit that is shipped.
const SERVICE: &str = include_str!("../../../../echo-server/systemd/echo-server.service");
const SOCKET: &str = include_str!("../../../../echo-server/systemd/echo-server.socket");

/// The shipped unit, and one with a filter as narrow as the guide allows.
pub(crate) fn units(report: &mut Report) -> Result<(), Failure> {
    report.claim("the units that echo-server ships: reloads, and a stop that drains", shipped());
    let calls = calls();
    report.claim(
        "DynamicUser, ProtectSystem, NoNewPrivileges, and the guide's system calls alone",
        {
            let unit = locked_up(Plan::new("locked", 7161), &calls).start()?;
            let reloaded = reloads(&unit).and_then(|what| {
                unit.systemctl("stop")?;
                let (result, killed) = (unit.show("Result")?, unit.count_in_journal(&["SYS"])?);
                ensure!(result == "success" && killed == 0, "result {result}, {killed} killed");
                Ok(what)
            });
            reloaded.map(|what| format!("{} calls, {what}", calls.len()))
        },
    );
    for missing in ["pidfd_open", "pipe2"] {
        let claim = format!("without {missing} it is not so: the filter is in force");
        report.claim(&claim, without(missing, &calls));
    }
    Ok(())
}

fn shipped() -> Result<String, Failure> {
    let service =
        SERVICE.replace("/usr/local/bin/echo-server", "/usr/local/lib/systemd-claims/echo-server");
    ensure!(service != SERVICE, "the unit names another program");
    let unit = Unit::of_files(
        "echo-server.service",
        7000,
        &[("echo-server.socket", SOCKET), ("echo-server.service", &service)],
    )?;
    unit.systemctl("start")?;
    let what = reloads(&unit)?;
    let old = greet(unit.address())?;
    unit.systemctl("reload")?;
    unit.until_main(greet(unit.address())?.pid)?;
    let mut requests = [old, greet(unit.address())?];
    unit.begin_to_stop()?;
    unit.until("SubState", "stop-sigterm")?;
    for request in &mut requests {
        request.echo()?;
    }
    for request in requests {
        request.finish()?;
    }
    unit.until("ActiveState", "inactive")?;
    let result = unit.show("Result")?;
    ensure!(result == "success", "it ended with {result}");
    Ok(what)
}

fn locked_up(plan: Plan, calls: &BTreeSet<&str>) -> Plan {
    let filter: Vec<_> = calls.iter().copied().collect();
    plan.set("DynamicUser=yes")
        .set("ProtectSystem=strict")
        .set("NoNewPrivileges=yes")
        .set("CapabilityBoundingSet=")
        .set("SystemCallArchitectures=native")
        .set(&format!("SystemCallFilter={}", filter.join(" ")))
}

fn without(missing: &str, calls: &BTreeSet<&str>) -> Result<String, Failure> {
    let mut calls = calls.clone();
    ensure!(calls.remove(missing), "the guide does not name it");
    let plan = locked_up(Plan::new("narrower", 7162), &calls).set("SystemCallErrorNumber=ENOSYS");
    let unit = plan.load()?;
    match unit.systemctl("start").and_then(|()| reloads(&unit)) {
        Ok(_) => Err(failure!("nobody has missed it")),
        Err(why) => Ok(why.to_string().chars().take(60).collect()),
    }
}

/// Three reloads under load, and what the kernel says of the last process.
fn reloads(unit: &Unit) -> Result<String, Failure> {
    let load = Load::begin(unit.address());
    for generation in 1..=3 {
        unit.systemctl("reload")?;
        let new = greet(unit.address())?;
        let status = unit.show("StatusText")?;
        ensure!(new.generation == generation, "{} serves: {status}", new.generation);
        unit.until_main(new.pid)?;
    }
    until("somebody is served", || Ok((load.tally().served() > 20).then_some(())))?;
    let tally = load.end();
    ensure!(tally.harm.is_empty(), "{tally} {:?}", tally.harm.first());
    let status = fs::read_to_string(format!("/proc/{}/status", unit.main_pid()?))?;
    for wanted in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"] {
        ensure!(status.contains(wanted), "it is not locked up: {wanted}");
    }
    ensure!(!status.contains("Uid:\t0"), "it runs as root");
    Ok(tally.to_string())
}

/// The calls that the guide names: those of every program, of Tokio, and of what the
/// echo server uses of systemd.
fn calls() -> BTreeSet<&'static str> {
    let mut calls = BTreeSet::new();
    let mut section = "";
    for line in GUIDE.lines() {
        section = line.strip_prefix("# ").unwrap_or(section);
        let Some(row) = line.strip_prefix("| ") else { continue };
        let cells: Vec<_> = row.split(" | ").collect();
        match (section, &cells[..]) {
            ("In every program" | "In every program on Tokio", [names, ..]) => {
                calls.extend(names_in(names))
            }
            ("For single functions", [function, names, ..]) if function.contains("systemd") => {
                calls.extend(names_in(names));
            }
            _ => {}
        }
    }
    calls
}

/// What stands between backticks and looks like the name of a system call.
fn names_in(cell: &str) -> impl Iterator<Item = &str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|text| {
        text.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    })
}
