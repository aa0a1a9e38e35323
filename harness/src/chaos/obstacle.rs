//! Upgrades whose program cannot be executed: what stands at its path is missing, no
//! program, or somebody writes to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::device::{Attempt, Device, Hit, Scene};
use crate::scenario::fault::Obstacle;
use crate::subject::Disguise;

/// Between two looks at what came of the upgrade.
const LOOK: Duration = Duration::from_micros(200);

/// The header of a program, without what it says the program consists of.
const HEADER: u64 = 64;

/// Where the header says for which machine it is, and one that there is none of.
const MACHINE: usize = 18;
const NO_MACHINE: [u8; 2] = [0xff, 0x7f];

/// Something at the path of the server's program, for one upgrade.
#[derive(Debug)]
pub struct InTheWay {
    disguise: Disguise,
    obstacle: Obstacle,
    /// Somebody writes to the program as long as this is open.
    writer: Option<File>,
}

impl InTheWay {
    /// This obstacle.
    #[must_use]
    pub fn new(disguise: Disguise, obstacle: Obstacle) -> Self {
        Self { disguise, obstacle, writer: None }
    }

    fn build(&mut self) -> io::Result<PathBuf> {
        let path = self.disguise.place().join("obstacle");
        clear(&path)?;
        let real = self.disguise.real();
        match self.obstacle {
            Obstacle::Missing => {}
            Obstacle::NotExecutable => self.copy(&path, 0o644)?,
            Obstacle::Directory => fs::create_dir(&path)?,
            Obstacle::OtherMachine => {
                let mut program = fs::read(real)?;
                let machine = program.get_mut(MACHINE..MACHINE + NO_MACHINE.len());
                let no_program = || io::Error::other("the server's program has no header");
                machine.ok_or_else(no_program)?.copy_from_slice(&NO_MACHINE);
                write(&path, &program, 0o755)?;
            }
            Obstacle::Truncated => {
                let mut header = Vec::new();
                File::open(real)?.take(HEADER).read_to_end(&mut header)?;
                write(&path, &header, 0o755)?;
            }
            Obstacle::Empty => write(&path, &[], 0o755)?,
            Obstacle::WrittenTo => {
                self.copy(&path, 0o755)?;
                self.writer = Some(OpenOptions::new().append(true).open(&path)?);
            }
            Obstacle::Loop => symlink(&path, &path)?,
            Obstacle::NoInterpreter => write(&path, b"#!/no/such/interpreter\n", 0o755)?,
            Obstacle::Replaced => self.copy(&path, 0o755)?,
        }
        Ok(path)
    }

    fn copy(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::copy(self.disguise.real(), path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn remove(&mut self) {
        self.writer = None;
        // What cannot be undone now cannot be later; the next upgrade tells.
        let _ = self.disguise.take_off();
    }

    /// Whether a process runs what was put in the place of the program.
    fn runs(&self, pid: u32) -> bool {
        let runs = fs::read_link(format!("/proc/{pid}/exe"));
        runs.is_ok_and(|program| program == self.disguise.place().join("obstacle"))
    }
}

impl Device for InTheWay {
    fn prepare(&mut self, _scene: &mut Scene<'_>) -> Result<(), String> {
        let built = self.build().and_then(|path| self.disguise.put_on(&path));
        built.map_err(|error| format!("cannot put that at the program's path: {error}"))
    }

    fn inject(&mut self, scene: &mut Scene<'_>) -> Attempt {
        let injected = scene.clock.now();
        loop {
            // Asked before the look, so that the last look is later than the end.
            let over = (scene.over)();
            let late = scene.clock.now() >= scene.give_up;
            scene.subject.refresh();
            let processes = scene.subject.processes().iter();
            let new = processes.rev().map(|process| process.pid).find(|pid| self.runs(*pid));
            let path = self.disguise.path().display();
            let what = self.obstacle.name();
            if let Some(pid) = new {
                let evidence = format!("pid {pid} runs what is at {path} now: {what}");
                return Attempt::Delivered(Hit { pid: new, victim: None, injected, evidence });
            }
            if over && self.obstacle != Obstacle::Replaced {
                let evidence = format!("until the request had ended, {path} was: {what}");
                return Attempt::Delivered(Hit { pid: None, victim: None, injected, evidence });
            }
            if over || late {
                let evidence = format!("nobody executed {path}, which was: {what}");
                return Attempt::Missed { pid: None, evidence };
            }
            thread::sleep(LOOK);
        }
    }

    fn heal(&mut self, _scene: &mut Scene<'_>) -> Option<String> {
        self.remove();
        None
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes what an earlier fault has left. A program that still runs keeps its file.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(data) = fs::symlink_metadata(path) else { return Ok(()) };
    if data.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn each_obstacle_is_refused_by_the_kernel_with_an_error_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (real, shim) = (Path::new("/bin/true"), Path::new("/bin/false"));
        let disguise = Disguise::lay(directory.path(), "true", real, shim).unwrap();
        for (obstacle, errno) in [
            (Obstacle::Missing, Some(Errno::ENOENT)),
            (Obstacle::NotExecutable, Some(Errno::EACCES)),
            (Obstacle::Directory, Some(Errno::EACCES)),
            (Obstacle::OtherMachine, Some(Errno::ENOEXEC)),
            (Obstacle::Truncated, Some(Errno::ENOEXEC)),
            (Obstacle::Empty, Some(Errno::ENOEXEC)),
            (Obstacle::WrittenTo, Some(Errno::ETXTBSY)),
            (Obstacle::Loop, Some(Errno::ELOOP)),
            (Obstacle::NoInterpreter, Some(Errno::ENOENT)),
            (Obstacle::Replaced, None),
        ] {
            let mut device = InTheWay::new(disguise.clone(), obstacle);
            let built = device.build().unwrap();
            disguise.put_on(&built).unwrap();
            let run = Command::new(disguise.path()).status();
            let refused = run.as_ref().err().and_then(io::Error::raw_os_error);
            assert_eq!(refused, errno.map(|errno| errno as i32), "{obstacle:?}: {run:?}");
            drop(device);
            assert!(Command::new(disguise.path()).status().unwrap().success(), "{obstacle:?}");
        }
    }
}
