//! Successors that go wrong before they are themselves: another program stands in
//! the place of the server's, and is executed by the real predecessor.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use super::device::{Attempt, Device, Hit, Scene};
use crate::event::Exit;
use crate::scenario::fault::Misdeed;
use crate::subject::{Disguise, Subject};

/// Between two looks at what the stand-in has written.
const LOOK: Duration = Duration::from_micros(200);

/// One program in the place of another, for one upgrade.
#[derive(Debug)]
pub struct Shim {
    disguise: Disguise,
    misdeed: Misdeed,
    after: Duration,
    /// It is to die, and does not become the server.
    dies: bool,
    /// What it has told.
    notes: Vec<Note>,
}

/// A line that the stand-in has written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    monotonic: u64,
    pid: u32,
    what: String,
    particulars: String,
}

impl Shim {
    /// A successor that does this `after` so long. `dies`: it is not to become a server.
    #[must_use]
    pub fn new(disguise: Disguise, misdeed: Misdeed, after: Duration, dies: bool) -> Self {
        Self { disguise, misdeed, after, dies, notes: Vec::new() }
    }

    fn lay_out(&self) -> io::Result<()> {
        let place = self.disguise.place();
        let orders = format!(
            "program {}\nmisdeed {}\nafter-us {}\n",
            self.disguise.real().display(),
            self.misdeed.name(),
            self.after.as_micros(),
        );
        fs::write(place.join("orders"), orders)?;
        fs::write(place.join("note"), "")?;
        if self.misdeed == Misdeed::DropPrivileges {
            // Whoever it becomes must find the program again, and may leave its account.
            let run = place.parent().unwrap_or(place);
            fs::set_permissions(run, fs::Permissions::from_mode(0o755))?;
        }
        self.disguise.put_on(&self.disguise.shim())
    }

    fn read_notes(&mut self) {
        let text = fs::read_to_string(self.disguise.place().join("note")).unwrap_or_default();
        // The last line may be half-written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        self.notes = whole.lines().filter_map(parse).collect();
    }

    fn note(&self, what: &str) -> Option<&Note> {
        self.notes.iter().find(|note| note.what == what)
    }
}

impl Device for Shim {
    fn prepare(&mut self, _scene: &mut Scene<'_>) -> Result<(), String> {
        if self.misdeed == Misdeed::DropPrivileges && !nix::unistd::geteuid().is_root() {
            return Err("only root has privileges to drop".to_owned());
        }
        self.lay_out().map_err(|error| format!("cannot take the program's place: {error}"))
    }

    fn inject(&mut self, scene: &mut Scene<'_>) -> Attempt {
        loop {
            // Asked before the look, so that the last look is later than the end.
            let over = (scene.over)() || scene.clock.now() >= scene.give_up;
            self.read_notes();
            if let Some(did) = self.note("did").cloned() {
                scene.subject.refresh();
                return Attempt::Delivered(Hit {
                    pid: Some(did.pid),
                    victim: self.dies.then_some(did.pid),
                    injected: scene.clock.at_monotonic(did.monotonic),
                    evidence: format!("pid {} {}", did.pid, did.particulars),
                });
            }
            if over {
                let pid = self.note("began").map(|note| note.pid);
                let evidence = match self.note("lost") {
                    Some(lost) => format!("the stand-in could not: {}", lost.particulars),
                    None if pid.is_some() => "the stand-in began, and did nothing".to_owned(),
                    None => format!(
                        "{} was not executed, where a program stood in for the server's",
                        self.disguise.path().display()
                    ),
                };
                return Attempt::Missed { pid, evidence };
            }
            scene.subject.refresh();
            thread::sleep(LOOK);
        }
    }

    fn heal(&mut self, scene: &mut Scene<'_>) -> Option<String> {
        // Dropped, it is tried again; and if that fails, the next upgrade tells.
        let _ = self.disguise.take_off();
        self.read_notes();
        let mut more = Vec::new();
        if self.dies
            && let Some(did) = self.note("did")
        {
            more.push(end_of(scene.subject, did.pid));
        }
        for note in &self.notes {
            if let Some(child) = left_child(&note.particulars) {
                // Ours, not the server's: it had to outlive its parent, and may not have
                // come to say so.
                let held = |note: &Note| note.pid == child && note.particulars.starts_with("holds");
                let says = if self.notes.iter().any(held) { "held on" } else { "began to hold on" };
                more.push(format!("pid {child} {says}"));
                scene.subject.refresh();
                let _ = scene.subject.kill(child);
            }
            if self.misdeed == Misdeed::BindAndDie {
                more.extend(freed(&note.particulars));
            }
        }
        (!more.is_empty()).then(|| more.join("; "))
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.disguise.take_off();
    }
}

fn parse(line: &str) -> Option<Note> {
    let mut words = line.splitn(4, ' ');
    Some(Note {
        monotonic: words.next()?.parse().ok()?,
        pid: words.next()?.parse().ok()?,
        what: words.next()?.to_owned(),
        particulars: words.next().unwrap_or_default().to_owned(),
    })
}

/// Whom a stand-in has left behind, if it says so.
fn left_child(particulars: &str) -> Option<u32> {
    particulars.strip_prefix("leaves pid ")?.split(' ').next()?.parse().ok()
}

/// How a process has ended, as far as it is known.
fn end_of(subject: &Subject, pid: u32) -> String {
    let process = subject.processes().iter().rev().find(|process| process.pid == pid);
    match process.map(|process| (process.gone, process.exit)) {
        Some((_, Some(Exit::Signal(signal)))) => format!("it ended by signal {signal}"),
        Some((_, Some(Exit::Code(code)))) => format!("it ended with status {code}"),
        Some((None, _)) => "it is still there".to_owned(),
        Some((Some(_), _)) | None => "it is gone, reaped by its parent".to_owned(),
    }
}

/// Whether an address that died with its listener can be had again.
fn freed(particulars: &str) -> Option<String> {
    let address: SocketAddr = particulars.rsplit(' ').next()?.parse().ok()?;
    Some(match TcpListener::bind(address) {
        Ok(_) => format!("{address} is free again"),
        Err(error) => format!("{address} is not free: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stand_in_has_written_is_read() {
        let note = parse("12 34 did dies by SIGKILL").unwrap();
        assert_eq!((note.monotonic, note.pid, note.what.as_str()), (12, 34, "did"));
        assert_eq!(note.particulars, "dies by SIGKILL");
        assert_eq!(parse("12 34 began").unwrap().particulars, "");
        assert_eq!(parse("12 x did"), None);
    }

    #[test]
    fn who_was_left_behind_is_known_from_who_has_left_him() {
        assert_eq!(left_child("leaves pid 77 with what it was given, and dies"), Some(77));
        assert_eq!(left_child("holds what it was given"), None);
    }

    #[test]
    fn an_address_that_somebody_has_is_not_free() {
        // Its neighbour has the same port, which nobody is given by chance while this is held.
        // The listener's own address is not certain to be free when it is dropped: a program
        // that another test has just started has a copy until it has been executed.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let had = freed(&format!("dies, listening on 127.0.0.1:{port}")).unwrap();
        assert!(had.contains("not free"), "{had}");
        let nobodys = freed(&format!("dies, listening on 127.0.0.2:{port}")).unwrap();
        assert!(nobodys.contains("free again"), "{nobodys}");
        assert_eq!(freed("dies by SIGKILL"), None);
    }
}
