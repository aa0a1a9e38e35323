//! Sockets that systemd binds.

use std::fs;

use crate::clients::{connect, greet, greeted};
use crate::report::{Failure, Report, ensure, failure};
use crate::unit::{Plan, Unit, systemctl, until};

/// Two listeners of one name, for two services that want one of them each.
const TWO: &str = "[Socket]\nListenStream=127.0.0.1:7151\nListenStream=127.0.0.1:7152\n\
                   FileDescriptorName=web\nService=claim-one.service\n";
const UNNAMED: &str = "[Socket]\nListenStream=127.0.0.1:7153\nService=claim-unnamed.service\n";
const CLOSED: &str = "closing a socket of systemd that nobody asked for";

/// Each finds its own.
pub(crate) fn finds_its_sockets(report: &mut Report) -> Result<(), Failure> {
    let web = "--from-systemd web";
    let one = Plan::new("one", 7151).arguments(web).with("claim-web.socket", TWO);
    // Whatever else is passed a socket, systemd makes it as that wants it (O_NONBLOCK),
    // and it is one open file.
    let shared = "Sockets=claim-web.socket\nNonBlocking=yes";
    let one = one.set(shared).load()?;
    let two = Plan::new("two", 7152).arguments(web).set(shared).load()?;
    systemctl(&["start", "claim-web.socket"])?;
    report.claim("whoever connects first starts the service, and is served", {
        let waiting = connect(one.address())?;
        one.until("ActiveState", "active")?;
        two.systemctl("start")?;
        let mut client = greeted(waiting)?;
        client
            .echo()
            .map(|()| format!("generation {} of it", client.generation))
            .map_err(From::from)
    });
    report.claim("of several descriptors with one name each service finds the one it asks for", {
        after_three_reloads(&one).and_then(|_| after_three_reloads(&two))
    });
    report.claim("a socket that nobody asks for is closed, and that is said", unasked(&one, 7152));
    let plan = Plan::new("unnamed", 7153).by("/usr/bin/env --unset=LISTEN_FDNAMES");
    let plan = plan.arguments("--from-systemd unknown").with("claim-unnamed.socket", UNNAMED);
    let unnamed = plan.load()?;
    systemctl(&["start", "claim-unnamed.socket"])?;
    report.claim("without LISTEN_FDNAMES the socket is found as \"unknown\"", {
        unnamed.systemctl("start").and_then(|()| after_three_reloads(&unnamed))
    });
    report.claim("a stop of the service costs nobody in the queue anything", queued(&unnamed));
    Ok(())
}

fn after_three_reloads(unit: &Unit) -> Result<String, Failure> {
    let before = greet(unit.address())?.generation;
    for _ in 0..3 {
        unit.systemctl("reload")?;
        unit.until_main(greet(unit.address())?.pid)?;
    }
    let mut client = greet(unit.address())?;
    client.echo()?;
    ensure!(client.generation == before + 3, "generation {} serves", client.generation);
    Ok("3 reloads".to_owned())
}

fn unasked(unit: &Unit, port: u16) -> Result<String, Failure> {
    let said = unit.count_in_journal(&[CLOSED])?;
    ensure!(said == 1, "it is said {said} times");
    let held = listeners(unit.main_pid()?)?;
    ensure!(held == [unit.address().port()], "it has {held:?}, and {port} is another's");
    Ok(format!("it has {held:?}"))
}

/// The ports that a process listens at: its sockets' inodes (proc_pid_fd(5)) in the
/// kernel's list (proc_pid_net(5), `tcp`).
fn listeners(pid: u32) -> Result<Vec<u16>, Failure> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that is closed meanwhile is no listener.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let text = target.to_string_lossy().into_owned();
        sockets.extend(
            text.strip_prefix("socket:[").map(|rest| rest.trim_end_matches(']').to_owned()),
        );
    }
    let mut ports = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/net/tcp"))?.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
        if state == "0A" && sockets.iter().any(|socket| socket == inode) {
            let (_, port) = local.split_once(':').ok_or_else(|| failure!("no port in {line}"))?;
            ports.push(u16::from_str_radix(port, 16)?);
        }
    }
    Ok(ports)
}

/// systemd has the listener still, and starts the service anew for who waits there.
fn queued(unit: &Unit) -> Result<String, Failure> {
    unit.freeze()?;
    let waiting = (0..20).map(|_| connect(unit.address())).collect::<Result<Vec<_>, _>>()?;
    unit.begin_to_stop()?;
    unit.until("ActiveState", "deactivating")?;
    unit.signal_all("CONT")?;
    let mut served = 0;
    for stream in waiting {
        let mut client = greeted(stream)?;
        client.echo()?;
        client.finish()?;
        served += 1;
    }
    until("it serves again", || Ok(greet(unit.address()).ok()))?;
    Ok(format!("{served} of 20 served"))
}
