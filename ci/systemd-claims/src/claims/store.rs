//! What systemd keeps of a service that is killed.

use std::net::TcpStream;

use crate::clients::{connect, greet, greeted};
use crate::report::{Failure, Report, ensure, failure};
use crate::unit::{Plan, Unit};

/// Clients that wait before the service is killed, and as many that come after.
const CLIENTS: usize = 50;

/// With the store, and without.
pub(crate) fn keeps_the_queue(report: &mut Report) -> Result<(), Failure> {
    // A second without anybody, so that it is certain who waits for what.
    let plan = |name, port| Plan::new(name, port).set("Restart=on-failure").set("RestartSec=1s");
    let unit = plan("store", 7141).set("FileDescriptorStoreMax=16").start()?;
    for _ in 0..3 {
        unit.systemctl("reload")?;
        unit.until_main(greet(unit.address())?.pid)?;
    }
    report.claim("systemd keeps one listener after three reloads", {
        let kept = unit.show("NFileDescriptorStore")?;
        if kept == "1" { Ok("1 kept") } else { Err(failure!("{kept} are kept")) }
    });
    report.claim("who waits when the service is killed is served by the one that is restarted", {
        killed(&unit).map(|served| format!("{served} of {} served", 2 * CLIENTS))
    });
    report.claim("the restarted one is upgraded as any other", {
        unit.systemctl("reload")?;
        let new = greet(unit.address())?;
        unit.until_main(new.pid)?;
        if new.generation == 1 { Ok("generation 1 serves") } else { Err(failure!("it is not")) }
    });
    report.claim("a stop leaves nothing with systemd", {
        unit.systemctl("stop")?;
        let (kept, refused) =
            (unit.show("NFileDescriptorStore")?, connect(unit.address()).is_err());
        if kept == "0" && refused { Ok("0 kept") } else { Err(failure!("{kept} kept")) }
    });
    report.claim("without the store they are refused: the claim above can fail", {
        let unit = plan("no-store", 7142).start()?;
        match killed(&unit) {
            Err(why) => Ok(why.to_string()),
            Ok(_) => Err(failure!("they are served all the same")),
        }
    });
    Ok(())
}

fn killed(unit: &Unit) -> Result<usize, Failure> {
    let before = unit.show("NRestarts")?.parse::<u32>()?;
    // Nobody is accepted from here on.
    unit.freeze()?;
    let mut waiting = queue(unit)?;
    unit.signal_all("KILL")?;
    unit.until("SubState", "auto-restart")?;
    waiting.extend(queue(unit)?);
    unit.until("NRestarts", &(before + 1).to_string())?;
    let mut served = 0;
    for stream in waiting {
        let mut client = greeted(stream)?;
        ensure!(client.generation == 0, "generation {} has served it", client.generation);
        client.echo()?;
        client.finish()?;
        served += 1;
    }
    Ok(served)
}

fn queue(unit: &Unit) -> Result<Vec<TcpStream>, Failure> {
    Ok((0..CLIENTS).map(|_| connect(unit.address())).collect::<Result<_, _>>()?)
}
